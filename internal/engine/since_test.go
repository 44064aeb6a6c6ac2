package engine_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// TestSinceSnapshot: a registry in which nothing happens needs no new snapshot, one that changes does.
func TestSinceSnapshot(t *testing.T) {
	m, db, clock := objstoretest.NewMem(), index.NewMem(), &leap{}
	s := storeOn(t, m)
	opt := options(t, s, db)
	opt.Index = must(index.Open(t.Context(), db, clock.now))
	opt.Now, opt.Snapshots, opt.Limits.SnapshotInterval = clock.now, t.TempDir(), 50*time.Millisecond
	r := start(t, s, db, opt)
	age := func() time.Duration {
		age, ok, err := r.SinceSnapshot(t.Context())
		if err != nil || !ok {
			t.Fatalf("%t, %v", ok, err)
		}
		return age
	}
	fresh := func() bool { return age() < time.Hour }
	r.mustPush(t, writer, "m:1", small("a"))
	waitFor(t, "there is a snapshot", func() bool { return len(m.Keys("index/snapshots/")) > 0 })
	clock.by(graceOver)
	waitFor(t, "the snapshot was seen to hold everything", fresh)
	for range 10000 {
		m.Fail(objstoretest.OpPut, 0, objstore.ErrUnavailable, false)
	}
	patch(t, r, "m:1", "changed")
	clock.by(graceOver)
	for range 5 {
		if time.Sleep(30 * time.Millisecond); fresh() {
			t.Fatalf("no snapshot was taken, and it is %s old", age())
		}
	}
	m.Heal()
	waitFor(t, "a snapshot is taken again", fresh)
}

// TestSinceSnapshotOfAnEarlierRun goes on from what the service before it did.
func TestSinceSnapshotOfAnEarlierRun(t *testing.T) {
	s, db, clock := memStore(t), index.NewMem(), &leap{}
	open := func(dir string) *rig {
		opt := options(t, s, db)
		opt.Index = must(index.Open(t.Context(), db, clock.now))
		opt.Now, opt.Snapshots, opt.Limits.SnapshotInterval = clock.now, dir, 1000*time.Hour
		return start(t, s, db, opt)
	}
	r := open(t.TempDir())
	r.mustPush(t, writer, "m:1", small("a"))
	r.Close() // which takes one
	clock.by(graceOver)
	r = open(t.TempDir())
	if age, ok, err := r.SinceSnapshot(t.Context()); err != nil || !ok || age < graceOver || age > 2*graceOver {
		t.Errorf("%s, %t, %v", age, ok, err)
	}
	r.Close()
	if _, ok, err := open("").SinceSnapshot(t.Context()); err != nil || ok {
		t.Errorf("without snapshots: %t, %v", ok, err)
	}
}

// TestLeases hears what is left of a lease when a client comes back, commits, sends parts and says nothing, and goes away.
func TestLeases(t *testing.T) {
	m, db, clock := objstoretest.NewMem(), index.NewMem(), &leap{}
	s := storeOn(t, m)
	type use struct {
		what engine.LeaseUse
		left time.Duration // in whole minutes
	}
	heard := make(chan use, 100)
	opt := options(t, s, db)
	opt.Index = must(index.Open(t.Context(), db, clock.now))
	opt.Now, opt.Limits.Lease = clock.now, 15*time.Minute
	opt.Leases = func(what engine.LeaseUse, left time.Duration) { heard <- use{what, left.Round(time.Minute)} }
	r := start(t, s, db, opt)
	want := func(what engine.LeaseUse, left time.Duration) {
		t.Helper()
		select {
		case got := <-heard:
			if got != (use{what, left}) {
				t.Errorf("heard %v, want %s with %s left", got, what, left)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s was not heard", what)
		}
	}
	f := folder{"a": random(1000, 1)}
	u := must(r.open(t, writer, "m:1"))
	clock.by(4 * time.Minute)
	if err := r.sendAll(t, writer, u.ID, f); err != nil {
		t.Fatal(err)
	}
	want(engine.LeaseRenewed, 11*time.Minute)
	clock.by(10 * time.Minute)
	must(r.commit(t, writer, u.ID, f.files(), ballast.Metadata{}))
	want(engine.LeaseCommitted, 5*time.Minute)

	u = must(r.open(t, writer, "m:2"))
	clock.by(12 * time.Minute)
	must(r.Upload(t.Context(), writer, u.ID, 0))
	want(engine.LeaseRenewed, 3*time.Minute)
	must(r.Upload(t.Context(), writer, u.ID, 0)) // there is no need yet
	clock.by(time.Hour)
	waitFor(t, "its label is free", func() bool { // the conflict has the reaper look
		next, err := r.open(t, writer, "m:2")
		return err == nil && r.AbortUpload(t.Context(), writer, next.ID) == nil
	})
	want(engine.LeaseExpired, 0)

	u = must(r.open(t, writer, "m:3"))
	body := random(partSize+1, 2)
	if err := r.sendBlob(t, writer, u.ID, ballast.DigestOf(body), body, ballast.MethodMultipart); err != nil {
		t.Fatal(err)
	}
	want(engine.LeaseRenewed, 15*time.Minute)
	m.SetClock(clock.now) // it sent one more, and said nothing
	clock.by(10 * time.Minute)
	key := ballast.BlobKey(acme, ballast.DigestOf(body))
	open := must(s.ListUploads(t.Context(), key))
	req := must(s.SignPart(t.Context(), key, open[0].ID, 1, ballast.DigestOf(part(body, 1)), partSize, time.Hour))
	if status := s.send(t, req, part(body, 1), nil); status != http.StatusOK {
		t.Fatalf("part 1: %d", status)
	}
	clock.by(6 * time.Minute)
	waitFor(t, "the parts keep its label", func() bool {
		_, err := r.open(t, writer, "m:3")
		if ballast.CodeOf(err) != ballast.CodeConflict {
			t.Fatalf("its label: %v", err)
		}
		return len(heard) > 0
	})
	want(engine.LeaseParts, 0)
	if len(heard) > 0 {
		t.Errorf("and then %v", <-heard)
	}
}
