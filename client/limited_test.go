package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/api"
	"github.com/ballast-registry/ballast/testenv"
)

// TestALimitedCallGoesOn: it waits as long as it is asked to, more often than it would try otherwise, and not for ever.
func TestALimitedCallGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		limited    int // answers before one that is good
		retryAfter string
		tries      int
		works      bool
		least      time.Duration
		most       time.Duration
	}{
		"for a while":                    {20, "3", 0, true, 60 * time.Second, 76 * time.Second},
		"without a time":                 {12, "", 0, true, 30 * time.Second, 5 * time.Minute},
		"a time beyond reason":           {3, "86400", 0, true, 90 * time.Second, 2 * time.Minute},
		"a time that is no number":       {3, "soon", 0, true, 300 * time.Millisecond, 10 * time.Second},
		"not for ever":                   {1e9, "7", 0, false, 5 * time.Minute, 6 * time.Minute},
		"no more often than it was told": {1e9, "2", 3, false, 4 * time.Second, 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				registry, err := client.New(client.Options{URL: "http://registry.test", Tries: c.tries, Transport: roundTripper(func(*http.Request) (*http.Response, error) {
					rec := httptest.NewRecorder()
					if calls++; calls > c.limited {
						fmt.Fprint(rec, `{}`)
						return rec.Result(), nil
					}
					if c.retryAfter != "" {
						rec.Header().Set("Retry-After", c.retryAfter)
					}
					problem(rec, &ballast.Error{Code: ballast.CodeRateLimited, Detail: "too many requests"})
					return rec.Result(), nil
				})})
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_, err = registry.Whoami(t.Context())
				took := time.Since(start)
				if (err == nil) != c.works || err != nil && ballast.CodeOf(err) != ballast.CodeRateLimited || took < c.least || took > c.most {
					t.Errorf("%v after %s and %d calls", err, took, calls)
				}
			})
		})
	}
}

// TestTransfersGoOnWhenTheyAreLimited: a push and a pull meet a limit that is far too small for them, and end all the same.
func TestTransfersGoOnWhenTheyAreLimited(t *testing.T) {
	metrics := prometheus.NewRegistry()
	w := newWorldWith(t, testenv.Embedded(t), api.Options{Registerer: metrics, Limits: api.Limits{Rate: 4, Burst: 12}})
	token := w.token("acme=writer")
	c, hasty := w.client(client.Options{Token: token}), w.client(client.Options{Token: token, Tries: 1})
	dir, target := t.TempDir(), filepath.Join(t.TempDir(), "pulled")
	for n := range 40 {
		w.must(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.bin", n)), fmt.Appendf(nil, "content %d", n), 0o600))
	}
	if _, err := w.push(c, dir, "m:1", client.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	if limitedIn(t, metrics) == 0 {
		t.Error("nothing of the push was limited")
	}
	for tries := 1; ; tries++ {
		var limited atomic.Bool
		for !limited.Load() { // many at once, lest one after the other be slow enough
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if ballast.CodeOf(err(hasty.Whoami(t.Context()))) == ballast.CodeRateLimited {
						limited.Store(true)
					}
				})
			}
			all.Wait()
		}
		before := limitedIn(t, metrics)
		w.must(os.RemoveAll(target))
		if _, err := w.pull(c, "m:1", target, client.PullOptions{}); err != nil {
			t.Fatal(err)
		}
		if limitedIn(t, metrics) > before {
			break
		}
		if tries == 20 {
			t.Error("nothing of the pulls was limited")
			break
		}
	}
	for n := range 40 {
		if got, err := os.ReadFile(filepath.Join(target, fmt.Sprintf("%02d.bin", n))); err != nil || string(got) != fmt.Sprintf("content %d", n) {
			t.Errorf("file %d: %q, %v", n, got, err)
		}
	}
}

// limitedIn is how many requests were over a limit.
func limitedIn(t *testing.T, metrics *prometheus.Registry) (n float64) {
	t.Helper()
	all, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		if family.GetName() == "ballast_http_limited_total" {
			for _, m := range family.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func err[T any](_ T, err error) error { return err }

// TestFollowersDoNotSpin: a registry that holds no more answers gives an empty one at once, and is asked once a second.
func TestFollowersDoNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c, problem := client.New(client.Options{URL: "http://registry.test", Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			calls++
			rec := httptest.NewRecorder()
			fmt.Fprintf(rec, `{"events":[],"cursor":"1-%d"}`, calls) // others' events move it
			return rec.Result(), nil
		})})
		if problem != nil {
			t.Fatal(problem)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range c.Follow(ctx, client.ListEvents{}) {
		}
		if calls < 30 || calls > 62 {
			t.Errorf("asked %d times in a minute", calls)
		}
	})
}
