package index_test

import (
	"slices"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/internal/index"
)

var gcTimes = index.GCTimes{Grace: 24 * time.Hour, Slack: 15 * time.Minute, Record: 24 * time.Hour}

// garbage is what gc finds.
func (w *world) garbage() (found []index.Garbage) {
	w.t.Helper()
	for after := (index.BlobID{}); ; {
		page, next, err := w.Garbage(w.ctx, after, gcTimes, 2)
		w.ok(err)
		found = append(found, page...)
		if after = next; next == (index.BlobID{}) {
			return found
		}
	}
}

// released opens an upload, has it send contents, and gives it up.
func (w *world) released(contents ...string) {
	w.t.Helper()
	u := w.open("acme::m")
	for _, c := range contents {
		w.sent(u, c)
	}
	_, err := w.Settle(w.ctx, u.ID, "aborted", nil)
	w.ok(err)
	for more := true; more; {
		more, err = w.Release(w.ctx, u.ID, 10)
		w.ok(err)
	}
}

// TestCondemnLooksAgain pins a blob after gc has looked at it: it stays. What is condemned is pinned by nobody.
func TestCondemnLooksAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.released("x", "y", "z")
		if found := w.garbage(); len(found) != 3 || found[0].Fate != index.FateWait {
			t.Fatalf("within the grace: %+v", found)
		}
		w.clock = w.clock.Add(25 * time.Hour)
		found := w.garbage()
		if len(found) != 3 || found[0].Fate != index.FateRemove {
			t.Fatalf("after it: %+v", found)
		}
		u := w.open("acme::m")
		w.ask(u, putWant("y"))
		condemned, err := w.Condemn(w.ctx, []index.BlobID{blobID("x"), blobID("y"), blobID("z")}, gcTimes)
		w.ok(err)
		if len(condemned) != 2 || slices.Contains(condemned, blobID("y")) {
			t.Errorf("condemned %v", condemned)
		}
		w.wantState(blobID("y"), index.BlobVerified)
		if got := w.ask(u, putWant("x"))[0]; got.Blob.State != index.BlobDeleting {
			t.Errorf("who asks about a condemned blob hears %+v", got)
		}
		w.wantKeys(index.KindPin, 1)
		// Should a mark be wrong, the use decides.
		w.ok(w.Entomb(w.ctx, blobID("y"), w.clock.Add(-48*time.Hour)))
		if found := w.garbage(); len(found) != 1 || found[0].Fate != index.FateRemove {
			t.Fatalf("control: what is marked is %+v", found)
		}
		condemned, err = w.Condemn(w.ctx, []index.BlobID{blobID("y")}, gcTimes)
		if w.ok(err); len(condemned) != 0 {
			t.Error("a blob that is pinned was condemned, since it was marked")
		}
	})
}

// TestASignedURLKeepsItsBlob lets the grace end before the last signed URL does.
func TestASignedURLKeepsItsBlob(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		_, err := w.Ask(w.ctx, u.ID, []index.Want{putWant("x")}, w.clock.Add(30*time.Hour), lease)
		w.ok(err)
		_, err = w.Settle(w.ctx, u.ID, "aborted", nil)
		w.ok(err)
		_, err = w.Release(w.ctx, u.ID, 10)
		w.ok(err)
		for _, then := range []struct {
			after time.Duration
			fate  index.Fate
		}{{25 * time.Hour, index.FateWait}, {5 * time.Hour, index.FateWait}, {time.Hour, index.FateRemove}} {
			w.clock = w.clock.Add(then.after)
			if found := w.garbage(); len(found) != 1 || found[0].Fate != then.fate {
				t.Errorf("%+v, want %s", found, then.fate)
			}
		}
		condemned, err := w.Condemn(w.ctx, []index.BlobID{blobID("x")}, gcTimes)
		w.ok(err)
		if len(condemned) != 1 {
			t.Fatalf("condemned %v", condemned)
		}
		w.ok(w.Reclaimed(w.ctx, blobID("x")))
		dropped, err := w.Drop(w.ctx, []index.BlobID{blobID("x")}, gcTimes)
		if w.ok(err); dropped != 0 {
			t.Error("its record was dropped while a signed URL may still bring it back")
		}
		w.clock = w.clock.Add(25 * time.Hour)
		dropped, err = w.Drop(w.ctx, []index.BlobID{blobID("x")}, gcTimes)
		if w.ok(err); dropped != 1 {
			t.Errorf("%d records were dropped", dropped)
		}
	})
}
