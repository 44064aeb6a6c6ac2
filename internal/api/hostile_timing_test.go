package api

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/hub"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// counting is a store that counts what its transactions read.
type counting struct {
	index.Store
	reads atomic.Int64
}

// View implements index.Store. Of a function that runs twice the last run counts.
func (s *counting) View(ctx context.Context, fn func(index.Tx) error) error {
	n := 0
	err := s.Store.View(ctx, func(tx index.Tx) error { n = 0; return fn(countingTx{tx, &n}) })
	s.reads.Add(int64(n))
	return err
}

type countingTx struct {
	index.Tx
	n *int
}

func (tx countingTx) Get(key []byte) ([]byte, error) { *tx.n++; return tx.Tx.Get(key) }

func (tx countingTx) Scan(prefix, from []byte, reverse bool) iter.Seq2[index.Item, error] {
	*tx.n++
	return func(yield func(index.Item, error) bool) {
		for item, err := range tx.Tx.Scan(prefix, from, reverse) {
			if *tx.n++; !yield(item, err) {
				return
			}
		}
	}
}

// effort is what a request costs the service: reads of the index and objects in memory, which are the same each time, and
// time, which is not.
type effort struct {
	reads  int64
	allocs int64
	took   time.Duration
}

func (e effort) String() string {
	return fmt.Sprintf("%d reads, %d objects, %s", e.reads, e.allocs, e.took)
}

// stopwatch is a registry whose effort is measured, without a network.
type stopwatch struct {
	*testing.T
	m     *memory
	store *counting
	h     http.Handler
}

func newStopwatch(t *testing.T, breaks func(*memory) Service) *stopwatch {
	t.Helper()
	w := &stopwatch{T: t, store: &counting{Store: index.NewMem()}, m: &memory{store: objstoretest.NewMem()}}
	var err error
	if w.m.index, err = index.Open(t.Context(), w.store, time.Now); err != nil {
		t.Fatal(err)
	}
	w.m.Engine = enginetest.Open(t, engine.Options{
		Index: w.m.index, Bucket: w.m.store, Signer: w.m.store, RecordKey: engine.NewRecordKey(make([]byte, sha256.Size)), Logger: slog.New(slog.DiscardHandler),
	})
	if _, err := w.m.EnsureAdmin(t.Context(), func(token string) error { w.m.admin = token; return nil }); err != nil {
		t.Fatal(err)
	}
	w.h = New(breaks(w.m), Options{Guest: hub.New(w.m.Engine, hub.Options{})})
	return w
}

// measure sends requests in turn, many times, and returns the least reads and objects of each, and the median of its time:
// what else the process does at the moment can only add to them.
func (w *stopwatch) measure(token string, rounds int, paths ...string) []effort {
	took := make([][]time.Duration, len(paths))
	least := make([]effort, len(paths))
	for round := range rounds {
		for i, path := range paths {
			e := w.once(token, path)
			took[i] = append(took[i], e.took)
			if round < 5 { // which takes twenty requests
				e.allocs = int64(testing.AllocsPerRun(20, func() { w.once(token, path) }))
			}
			if round == 0 {
				least[i] = e
			}
			least[i].reads = min(least[i].reads, e.reads)
			if e.allocs > 0 {
				least[i].allocs = min(least[i].allocs, e.allocs)
			}
		}
	}
	for i := range took {
		slices.Sort(took[i])
		least[i].took = took[i][rounds/2]
	}
	return least
}

// once sends a request that is refused.
func (w *stopwatch) once(token, path string) effort {
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("X-Request-Id", "the-same")
	rec := httptest.NewRecorder()
	reads, begin := w.store.reads.Load(), time.Now()
	w.h.ServeHTTP(rec, req)
	took := time.Since(begin)
	if rec.Code != http.StatusNotFound {
		w.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	return effort{reads: w.store.reads.Load() - reads, took: took}
}

// slack is by how many objects two refusals may differ: what the runtime keeps for later use is not the same each time.
const slack = 6

// compare reports where the absent, another's and another's with many versions take different effort to refuse.
func (w *stopwatch) compare(token string, rounds int, report func(string, ...any)) {
	for _, form := range []string{
		"/v1/models/%s::%s", "/v1/models/%s::%s/versions", "/v1/models/%s::%s/versions/1", "/v1/models/%s::%s/versions/latest", "/v1/models/%s::%s/versions/@champion",
		"/v1/models/%s::%s/versions/1/files?urls=true", "/v1/models/%s::%s/versions/1/files/w.bin", "/v1/models/%s::%s/versions/1/children", "/v1/models/%s::%s/aliases", "/v1/models/%s::%s/production",
		"/v1/models/%[2]s", "/v1/models/%[2]s/versions/1", "/v1/models/%[2]s/versions/latest/files/w.bin",
		"/%[2]s/resolve/main/w.bin", "/api/models/%[2]s", "/api/models/%[2]s/refs", "/api/models/%[2]s/tree/1",
	} {
		var paths []string
		for _, name := range []string{"not-there", "there-one", "there-all"} {
			paths = append(paths, fmt.Sprintf(form, "them", name))
		}
		got := w.measure(token, rounds, paths...)
		w.Logf("%-46s absent %s; another's %.2f, with many versions %.2f of its time", form, got[0], ratio(got[1], got[0]), ratio(got[2], got[0]))
		for i, what := range []string{"another's", "another's with many versions"} {
			e := got[i+1]
			if d := e.allocs - got[0].allocs; e.reads != got[0].reads || d > slack || d < -slack {
				report("%s: absent takes %s, %s %s", form, got[0], what, e)
			}
		}
	}
}

func ratio(a, b effort) float64 { return float64(a.took) / float64(b.took) }

// TestAbsentTakesAsLong: to refuse what is absent takes the service as much as to refuse what is another's, however much
// of it there is, so that no clock tells them apart. The ratio of the medians of the time is printed; on a machine that
// does something else it proves nothing, and the reads and objects do.
func TestAbsentTakesAsLong(t *testing.T) {
	w := newStopwatch(t, sound)
	token := w.settle()
	w.compare(token, 200, t.Errorf)
}

// TestAbsentTakesAsLongNotices is the control: one look more, a look at what is another's, and more work.
func TestAbsentTakesAsLongNotices(t *testing.T) {
	for name, breaks := range map[string]func(*memory) Service{
		"a look at who has it":   func(m *memory) Service { return looksFirst{m.Engine} },
		"an early end":           func(m *memory) Service { return endsEarly{m.Engine} },
		"work for what is there": func(m *memory) Service { return worksMore{m.Engine} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newStopwatch(t, breaks)
			token := w.settle()
			found := 0
			w.compare(token, 10, func(string, ...any) { found++ })
			if found == 0 {
				t.Error("nothing was noticed")
			}
		})
	}
}

// settle gives another tenant a model of one version and one of many, and returns a token of acme's.
func (w *stopwatch) settle() string {
	owner := w.m.token(w.T, "owner", "them=admin").Token
	w.m.publish(w.T, owner, "there-one:1", ballast.Metadata{}, map[string]string{"w.bin": "one"})
	for i := range 30 {
		w.m.publish(w.T, owner, fmt.Sprintf("there-all:%d", i+1), ballast.Metadata{}, map[string]string{"w.bin": "all"})
	}
	w.m.point(w.T, owner, "there-all@champion")
	w.m.settle(w.T)
	return w.m.token(w.T, "caller", "acme=admin").Token
}

// Services that are wrong in one way each.
type (
	looksFirst struct{ *engine.Engine }
	endsEarly  struct{ *engine.Engine }
	worksMore  struct{ *engine.Engine }
)

// Model asks what the owner sees before it refuses.
func (s looksFirst) Model(c ctx, p principal, scope ballast.Scope, name ballast.Name) (ballast.ModelInfo, error) {
	if _, err := s.Engine.Model(c, asOwner(them), them, name); err == nil {
		_, _ = s.Engine.Versions(c, asOwner(them), them, name, engine.ListVersions{Limit: 10})
	}
	return s.Engine.Model(c, p, scope, name)
}

// Version refuses what nobody has before it looks at all.
func (s endsEarly) Version(c ctx, p principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	if ref.Name.String() == "not-there" {
		return ballast.VersionInfo{}, index.NotFound(ref)
	}
	_, _ = s.Engine.Version(c, asOwner(them), ref)
	return s.Engine.Version(c, p, ref)
}

// File does without a read, and still does more.
func (s worksMore) File(c ctx, p principal, ref ballast.Ref, path string) (ballast.FileInfo, error) {
	f, err := s.Engine.File(c, p, ref, path)
	if ref.Name.String() != "not-there" {
		for range 20 {
			err = fmt.Errorf("once more: %w", err)
		}
		err = engine.AsError(err)
	}
	return f, err
}
