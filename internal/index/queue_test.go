package index_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

const verifyLease = time.Minute

// leased gives the next job to a worker and wants it to be id.
func (w *world) leased(worker string, id index.BlobID) index.Blob {
	w.t.Helper()
	got, b, ok, err := w.LeaseVerify(w.ctx, worker, verifyLease)
	w.ok(err)
	if !ok || got != id {
		w.t.Fatalf("%s got %v (%t), want %v", worker, got, ok, id)
	}
	return b
}

func (w *world) wantNoJob(worker string) {
	w.t.Helper()
	if id, _, ok, err := w.LeaseVerify(w.ctx, worker, verifyLease); ok || err != nil {
		w.t.Errorf("%s got %v, %v", worker, id, err)
	}
}

func TestVerifyJobsHaveOneWorker(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		w.wantNoJob("a")
		id := w.stored(u, "x")
		if b := w.leased("a", id); b.State != index.BlobStored || b.ETag != "e" || b.MultipartID != "" || b.Completing != "" {
			t.Errorf("the job's blob: %+v", b)
		}
		w.wantNoJob("b")
		w.clock = w.clock.Add(verifyLease - time.Second)
		if held, err := w.RenewVerify(w.ctx, id, "a", verifyLease); err != nil || !held {
			t.Fatal(held, err)
		}
		w.clock = w.clock.Add(verifyLease - time.Second)
		w.wantNoJob("b")
		w.ok(w.Verified(w.ctx, id, "a", 0, nil))
		if b := w.wantState(id, index.BlobVerified); b.Assurance != ballast.AssuranceReread || b.Size != 2*partSize {
			t.Errorf("verified: %+v", b)
		}
		w.clock = w.clock.Add(time.Hour)
		w.wantNoJob("b")
	})
}

// What a process that was killed had leased is given out by the next one at once; a pause is still a pause.
func TestALeaseEndsWithItsIndex(t *testing.T) {
	s := index.NewMem()
	killed := newWorld(t, s)
	id := killed.stored(killed.open("acme::m"), "x")
	killed.leased("a", id)
	next := newWorld(t, s)
	next.leased("b", id)
	if held, err := next.RenewVerify(next.ctx, id, "a", verifyLease); held || err != nil {
		t.Errorf("the dead worker's lease: %t, %v", held, err)
	}
	next.ok(next.ReturnVerify(next.ctx, id, "b", time.Minute))
	newWorld(t, s).wantNoJob("c")
}

func TestALostLeaseGivesNoVerdict(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		id := w.stored(u, "x")
		w.leased("a", id)
		w.clock = w.clock.Add(verifyLease)
		w.leased("b", id)
		w.ok(w.Verified(w.ctx, id, "a", 0, nil))
		w.ok(w.Lied(w.ctx, id, "a", sum("other")))
		w.ok(w.ReturnVerify(w.ctx, id, "a", 0))
		if held, err := w.RenewVerify(w.ctx, id, "a", time.Hour); err != nil || held {
			t.Errorf("a lost lease was renewed: %v", err)
		}
		w.wantState(id, index.BlobStored)
		w.wantNoJob("a")
		w.ok(w.Verified(w.ctx, id, "b", 0, nil))
		w.wantState(id, index.BlobVerified)
		w.ok(w.Lied(w.ctx, id, "b", sum("other")))
		w.wantState(id, index.BlobVerified)
	})
}

func TestReturnVerify(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		id := w.stored(u, "x")
		w.leased("a", id)
		w.ok(w.ReturnVerify(w.ctx, id, "a", 10*time.Second))
		w.ok(w.Verified(w.ctx, id, "a", 0, nil))
		w.wantState(id, index.BlobStored)
		w.wantNoJob("a")
		w.clock = w.clock.Add(10 * time.Second)
		w.leased("b", id)
	})
}

func TestALeasedJobDoesNotHideOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		for _, content := range []string{"x", "y", "z"} {
			w.stored(u, content)
		}
		seen := map[index.BlobID]bool{}
		for _, worker := range []string{"a", "b", "c"} {
			id, _, ok, err := w.LeaseVerify(w.ctx, worker, verifyLease)
			if !ok || err != nil || seen[id] {
				t.Fatalf("%s got %v again, %t, %v", worker, id, ok, err)
			}
			seen[id] = true
		}
		w.wantNoJob("d")
	})
}

func TestALieFailsItsUploadOnly(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		liar, honest := w.open("acme::m::1"), w.open("acme::m::2")
		w.ask(honest, multipart("x"))
		id := w.stored(liar, "x")
		w.leased("a", id)
		w.ok(w.Lied(w.ctx, id, "a", sum("other")))
		failed := w.get(liar.ID)
		if e := failed.Error; failed.Status != ballast.UploadFailed || e.Code != ballast.CodeIntegrity || e.Expected != id.Digest || e.Actual != sum("other") {
			t.Errorf("the liar: %s, %+v", failed.Status, e)
		}
		if got := w.get(honest.ID); got.Status != ballast.UploadPending {
			t.Errorf("the honest one is %s", got.Status)
		}
		w.open("acme::m::1")
		w.wantState(id, index.BlobDeleting)
		w.wantReclaiming(id)
		w.wantNoJob("b")
		if got := w.ask(honest, multipart("x"))[0]; got.Blob.State != index.BlobDeleting {
			t.Errorf("while it is removed: %+v", got)
		}
		w.ok(w.Reclaimed(w.ctx, id))
		if got := w.ask(honest, multipart("x"))[0]; !got.Fresh {
			t.Errorf("once it is gone: %+v", got)
		}
		w.release(liar)
		w.wantState(id, index.BlobUploading)
	})
}

func TestALieSparesWhatIsSettled(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u, other := w.open("acme::m"), w.open("acme::m")
		id := w.stored(u, "x")
		w.ask(other, multipart("x"))
		w.abort(u)
		w.release(u)
		w.leased("a", id)
		w.ok(w.Lied(w.ctx, id, "a", ""))
		if got := w.get(u.ID); got.Status != ballast.UploadAborted || got.Error != nil {
			t.Errorf("an aborted upload became %s, %v", got.Status, got.Error)
		}
		if got := w.get(other.ID); got.Status != ballast.UploadPending {
			t.Errorf("the other is %s", got.Status)
		}
		w.wantState(id, index.BlobDeleting)
	})
}

func TestALieWithoutActual(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		id := w.stored(u, "x")
		w.leased("a", id)
		w.ok(w.Lied(w.ctx, id, "a", ""))
		if e := w.get(u.ID).Error; e == nil || e.Code != ballast.CodeIntegrity || e.Expected != id.Digest || e.Actual != "" {
			t.Errorf("got %+v", e)
		}
	})
}

// overtaken is a Store whose next Update loses a race: fn runs, then another transaction commits, then fn runs again, as
// an engine with optimistic transactions may do it.
type overtaken struct {
	index.Store
	by func()
}

var errAgain = errors.New("again")

func (s *overtaken) Update(ctx context.Context, fn func(index.Tx) error) error {
	if by := s.by; by != nil {
		s.by = nil
		_ = s.Store.Update(ctx, func(tx index.Tx) error {
			_ = fn(tx)
			return errAgain
		})
		by()
	}
	return s.Store.Update(ctx, fn)
}

// TestAnswersAreOfTheRunThatCounts has an Update overtaken by what makes its first answer wrong.
func TestAnswersAreOfTheRunThatCounts(t *testing.T) {
	setup := func(t *testing.T) (*world, *overtaken, index.BlobID) {
		s := &overtaken{Store: index.NewMem()}
		w := newWorld(t, s)
		id := w.stored(w.open("acme::m"), "large")
		return w, s, id
	}
	t.Run("renewal", func(t *testing.T) {
		w, s, id := setup(t)
		w.leased("a", id)
		s.by = func() { w.ok(w.Verified(w.ctx, id, "a", 0, nil)) }
		if held, err := w.RenewVerify(w.ctx, id, "a", verifyLease); held || err != nil {
			t.Errorf("held is %t, %v", held, err)
		}
	})
	t.Run("lease", func(t *testing.T) {
		w, s, id := setup(t)
		s.by = func() { w.leased("b", id) }
		w.wantNoJob("a")
	})
	t.Run("upload", func(t *testing.T) {
		w, s, _ := setup(t)
		u, twin := w.upload("acme::m"), w.upload("acme::m")
		twin.Attempt = u.Attempt
		s.by = func() {
			_, _, err := w.CreateUpload(w.ctx, twin, lease)
			w.ok(err)
		}
		if got, created, err := w.CreateUpload(w.ctx, u, lease); err != nil || created || got.ID != twin.ID {
			t.Errorf("got %s, created %t, %v", got.ID, created, err)
		}
	})
	t.Run("seal", func(t *testing.T) {
		w, s, _ := setup(t)
		a, b := w.accept(w.open("acme::m"), "x", ballast.Metadata{}), w.accept(w.open("acme::m"), "y", ballast.Metadata{})
		s.by = func() {
			_, err := w.Seal(w.ctx, b.ID, record)
			w.ok(err)
		}
		if v, err := w.Seal(w.ctx, a.ID, record); err != nil || v.Version.String() != "2" || w.get(a.ID).Version.String() != "2" {
			t.Errorf("sealed as %s, %v", v.Version, err)
		}
	})
	t.Run("release", func(t *testing.T) {
		w, s, _ := setup(t)
		u := w.open("acme::m")
		w.ask(u, putWant("1"), putWant("2"))
		w.abort(u)
		s.by = func() { w.release(u) }
		if more, err := w.Release(w.ctx, u.ID, 1); err != nil || more {
			t.Errorf("more is %t, %v", more, err)
		}
	})
}
