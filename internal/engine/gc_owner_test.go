package engine_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// TestGCOfALostPrefix takes the prefix away from a service that has just looked at its mark: it looks again before it removes
// anything.
func TestGCOfALostPrefix(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		c := newCollector(t, s)
		c.lost = true
		c.mustPush(t, writer, "m:1", small("a"))
		c.remove(t, "m:1")
		c.collect(t, false)
		c.clock.by(graceOver)
		if err := c.Ready(t.Context()); err != nil { // which looks
			t.Fatal(err)
		}
		before := c.left(t)
		must(s.Put(t.Context(), "index/owner.json", []byte(`{"index_id":"another","epoch":7}`), objstore.Condition{}))
		if _, err := c.StartGC(t.Context(), admin, ballast.GCRequest{}); err != nil {
			t.Fatal(err)
		}
		run := must(c.GC(t.Context(), admin, time.Minute))
		if run.State != ballast.GCFailed || run.Removed.Blobs != 0 || !slices.Equal(c.left(t), before) {
			t.Errorf("gc is %s and removed %+v; left are %q of %q", run.State, run.Removed, c.left(t), before)
		}
		if _, err := c.StartGC(t.Context(), admin, ballast.GCRequest{}); ballast.CodeOf(err) != ballast.CodeUnavailable {
			t.Errorf("gc again: %v", err)
		}
	})
}

// TestGCOfAnEmptyIndex starts a service with an emptied data folder on a bucket that has versions: it refuses to start, and
// removes nothing.
func TestGCOfAnEmptyIndex(t *testing.T) {
	s := memStore(t)
	r := newRig(t, s)
	r.mustPush(t, writer, "m:1", small("a"))
	r.Close()
	before := slices.Collect(keysOf(t, s))
	opt := options(t, s, index.NewMem())
	opt.TakeOver = true
	if e, err := engine.Open(t.Context(), opt); err == nil {
		e.Close()
		t.Error("it started")
	}
	if now := slices.Collect(keysOf(t, s)); !slices.Equal(now, before) {
		t.Errorf("%q are left of %q", now, before)
	}
}

func keysOf(t *testing.T, s store) func(func(string) bool) {
	return func(yield func(string) bool) {
		for obj, err := range s.List(t.Context(), "tenants/", "") {
			if err != nil {
				t.Fatal(err)
			}
			if !yield(obj.Key) {
				return
			}
		}
	}
}

// TestGCOfYesterdaysIndex puts back a copy of the index in which a blob was being deleted. It has been published again since:
// its bytes stay.
func TestGCOfYesterdaysIndex(t *testing.T) {
	m, dir, clock := objstoretest.NewMem(), t.TempDir(), &leap{}
	s := storeOn(t, m)
	file := filepath.Join(dir, "index.db")
	open := func() (*collector, *index.Bolt) {
		bolt, err := index.OpenBolt(file, index.BoltOptions{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		opt := options(t, s, index.NewMem())
		opt.Index = must(index.Open(t.Context(), bolt, clock.now))
		opt.Now, opt.Limits.GCInterval = clock.now, -1
		c := &collector{rig: start(t, s, bolt, opt), clock: clock}
		c.lost = true
		return c, bolt
	}
	c, bolt := open()
	f := small("again")
	c.mustPush(t, writer, "m:1", f)
	c.remove(t, "m:1")
	c.collect(t, false)
	clock.by(graceOver)
	m.Fail(objstoretest.OpDelete, 0, objstore.ErrUnavailable, false)
	must(c.StartGC(t.Context(), admin, ballast.GCRequest{}))
	if run := must(c.GC(t.Context(), admin, time.Minute)); run.State != ballast.GCFailed {
		t.Fatalf("gc is %s while the store removes nothing", run.State)
	}
	c.Close()
	bolt.Close()
	yesterday := must(os.ReadFile(file))

	m.Heal()
	c, bolt = open()
	deadline := time.Now().Add(time.Minute)
	for _, err := c.push(t, writer, "m:2", f); err != nil; _, err = c.push(t, writer, "m:2", f) {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	c.Close()
	bolt.Close()
	before := slices.Collect(keysOf(t, s))
	// The copy was taken while this service ran: it bears the epoch that the bucket has.
	if err := os.WriteFile(file, yesterday, 0o600); err != nil {
		t.Fatal(err)
	}
	b := must(index.OpenBolt(file, index.BoltOptions{NoSync: true}))
	x := must(index.Open(t.Context(), b, clock.now))
	own := must(x.Owner(t.Context()))
	if err := x.SaveIntent(t.Context(), own.Intent+1, true); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	c, bolt = open()
	defer bolt.Close()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := c.StartGC(t.Context(), admin, ballast.GCRequest{}); err == nil {
			t.Fatal("gc runs on yesterday's index")
		}
		if ballast.CodeOf(c.Ready(t.Context())) == ballast.CodeUnavailable {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not notice that it is old")
		}
	}
	time.Sleep(4 * c.opt.Limits.ReclaimRetry)
	if now := slices.Collect(keysOf(t, s)); !slices.Equal(now, before) {
		t.Errorf("%q are left of %q", now, before)
	}
	c.Close()
}
