package faults_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/api"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
	"github.com/ballast-registry/ballast/testenv/canary"
)

// dated answers with a Date that is off.
func dated(off time.Duration) testenv.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}
}

// TestClockAtStart: a service does not start on a store whose clock is an hour off, and says so.
func TestClockAtStart(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		front := testenv.NewProxy(t, s.Endpoint)
		for _, off := range []time.Duration{time.Hour, -time.Hour} {
			front.Clear()
			front.Add(nil, -1, dated(off))
			wantWords(t, refusal(t, serveCommand(t, s.Through(front), t.TempDir())), "clock", "NTP")
		}
		front.Clear()
		front.Add(nil, -1, dated(time.Minute)) // the control: so little is no reason
		data := t.TempDir()
		start(t, data, serveCommand(t, s.Through(front), data)).stop(t)
	})
}

// wallClock can be set.
type wallClock struct{ off atomic.Int64 }

func (c *wallClock) set(off time.Duration) { c.off.Store(int64(off)) }

// now is not what the machine's clock would be, which the SDK goes by.
func (c *wallClock) now() time.Time { return time.Now().Add(time.Duration(c.off.Load())) }

// newClockedWorld has a registry in this process, whose clock can be set. All of it goes by that clock but the SDK's
// own calls, which find out the store's time by themselves.
func newClockedWorld(t *testing.T, s *testenv.Store, clock *wallClock) *world {
	t.Helper()
	data := t.TempDir()
	cfg := s.Config()
	cfg.Now = clock.now
	bucket := must[*objstore.S3](t)(objstore.Open(t.Context(), cfg))
	bolt := must[*index.Bolt](t)(index.OpenBolt(filepath.Join(data, "index.db"), index.BoltOptions{}))
	x := must[*index.Index](t)(index.Open(t.Context(), bolt, clock.now))
	log := canary.Log(t, slog.LevelWarn)
	e := must[*engine.Engine](t)(engine.Open(t.Context(), engine.Options{
		Index: x, Bucket: bucket, Signer: bucket, Now: clock.now, Logger: log,
		RecordKey: must[engine.RecordKey](t)(engine.LoadRecordKey(filepath.Join(data, "record.key"), true)),
	}))
	check(t, errorOf(e.EnsureAdmin(t.Context(), func(token string) error {
		return os.WriteFile(filepath.Join(data, "admin.token"), []byte(token), 0o600)
	})))
	handler := api.New(e, api.Options{Logger: log})
	face := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", clock.now().UTC().Format(http.TimeFormat)) // as a machine with that clock says
		handler.ServeHTTP(w, r)
	}))
	w := newWorldOf(t, &service{url: face.URL, data: data, end: func() error {
		face.Close()
		_ = e.Close()
		return x.Close()
	}})
	t.Cleanup(func() {
		if !w.ended {
			_ = w.end()
		}
	})
	w.store = s
	return w.filled()
}

func errorOf[T any](_ T, err error) error { return err }

// TestClockOfTheService: the service's clock jumps by an hour while it runs, and back. What it signs meanwhile the store
// may refuse; that is said to be so, and is no loss.
func TestClockOfTheService(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s *testenv.Store) {
				var clock wallClock
				w := newClockedWorld(t, s, &clock)
				clock.set(off)
				cfg := s.Config()
				cfg.Now = clock.now
				report, err := objstore.Probe(t.Context(), must[*objstore.S3](t)(objstore.Open(t.Context(), cfg)), objstore.ProbeOptions{})
				if err == nil {
					err = report.Refusal(true)
				}
				if err == nil || !strings.Contains(err.Error(), "clock") {
					t.Errorf("the probe says %v", err)
				}

				if err := w.during(ballast.CodeUnavailable, ballast.CodeLeaseLost); err != nil {
					t.Error(err)
				}
				err = w.push("skewed:1", model{"config.json": random(100)}) // a store that refuses a large body may cut it off unheard
				t.Logf("a push meanwhile: %v", err)
				if err != nil {
					wantWords(t, err.Error(), "clock")
				}
				if refuses := err != nil; off < 0 && !refuses {
					t.Error("the store takes what has expired")
				}

				clock.set(0)
				w.renewHalf()
				w.after()
			})
		})
	}
}
