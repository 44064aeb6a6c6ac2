package index_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

const partSize = 5 << 20

// multipart is a Want of a blob of two parts, none of them declared.
func multipart(content string) index.Want {
	return index.Want{Digest: sum(content), Size: 2 * partSize, Method: ballast.MethodMultipart, PartSize: partSize}
}

// stored takes the multipart of a blob to where it waits to be re-read, completed for u.
func (w *world) stored(u index.Upload, content string) index.BlobID {
	w.t.Helper()
	id := blobID(content)
	w.ask(u, multipart(content))
	_, err := w.MultipartOpened(w.ctx, id, "mp-"+content)
	w.ok(err)
	_, err = w.Completing(w.ctx, id, u.ID, "mp-"+content)
	w.ok(err)
	w.ok(w.StoredByMultipart(w.ctx, id, index.Found{Digest: id.Digest, Size: 2 * partSize, ETag: "e"}, u.ID))
	return id
}

func TestTheFirstFixesMethodAndPartSize(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		a, b := w.open("acme::m"), w.open("acme::m")
		if got := w.ask(a, multipart("x"))[0]; !got.Fresh || got.Blob.State != index.BlobUploading || got.Blob.PartSize != partSize {
			t.Errorf("the first: %+v", got)
		}
		other := multipart("x")
		other.PartSize *= 2
		for _, want := range []index.Want{other, {Digest: sum("x"), Size: other.Size, Method: ballast.MethodPut}} {
			if got := w.ask(b, want)[0]; got.Fresh || got.Blob.Method != ballast.MethodMultipart || got.Blob.PartSize != partSize {
				t.Errorf("the second: %+v", got)
			}
		}
		w.wantKeys(index.KindPin, 2)
		w.wantKeys(index.KindPinOf, 2)
	})
}

func TestAskIsAllOrNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		w.sent(u, "x")
		wrong := putWant("x")
		wrong.Size++
		_, err := w.Ask(w.ctx, u.ID, []index.Want{putWant("y"), wrong}, w.clock, lease)
		w.want(ballast.CodeInvalid, err)
		w.wantState(blobID("y"), index.BlobAbsent)
		w.wantKeys(index.KindPin, 1)
	})
}

func TestSignedUntilOnlyGrows(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		for _, c := range []struct{ signed, want time.Duration }{{2 * time.Hour, 2 * time.Hour}, {time.Hour, 2 * time.Hour}, {3 * time.Hour, 3 * time.Hour}} {
			if _, err := w.Ask(w.ctx, u.ID, []index.Want{putWant("x")}, w.clock.Add(c.signed), lease); err != nil {
				t.Fatal(err)
			}
			if got := w.blob(blobID("x")).SignedUntil; got != ballast.At(w.clock.Add(c.want)) {
				t.Errorf("signed until %v, want %v from now", got, c.want)
			}
		}
		w.ok(w.Tainted(w.ctx, blobID("x")))
		w.ok(w.Reclaimed(w.ctx, blobID("x")))
		if got := w.wantState(blobID("x"), index.BlobAbsent).SignedUntil; got != ballast.At(w.clock.Add(3*time.Hour)) {
			t.Errorf("a reclaimed blob was signed until %v", got)
		}
	})
}

func TestMaxWantsFitATransaction(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		wants := make([]index.Want, index.MaxWants)
		var found []index.Found
		var digests []digest.Digest
		for i := range wants {
			wants[i] = putWant(fmt.Sprint("content ", i))
			found = append(found, index.Found{Digest: wants[i].Digest, Size: wants[i].Size})
			digests = append(digests, wants[i].Digest)
		}
		w.ask(u, wants...)
		w.ok(w.StoredByPut(w.ctx, acme, found))
		w.sent(u, "manifest")
		_, err := w.Accept(w.ctx, u.ID, index.Accepted{Manifest: sum("manifest")})
		w.ok(err)
		w.ok(w.Reference(w.ctx, u.ID, digests, true))
	})
}

func TestPinsEndWithTheUpload(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		a, b := w.open("acme::m"), w.open("acme::m")
		for _, content := range []string{"1", "2", "3", "4", "5"} {
			w.sent(a, content)
		}
		w.ask(a, multipart("shared"), putWant("never sent"))
		w.ask(b, multipart("shared"), putWant("1"))
		w.abort(a)
		for i, want := range []bool{true, true, true, false} {
			more, err := w.Release(w.ctx, a.ID, 2)
			if err != nil || more != want {
				t.Fatalf("release %d: more is %t, %v", i, more, err)
			}
		}
		w.wantKeys(index.KindPinOf, 2)
		w.wantState(blobID("shared"), index.BlobUploading)
		if at := w.wantState(blobID("1"), index.BlobVerified).Tombstone; !at.IsZero() {
			t.Error("a pinned blob has a tombstone")
		}
		for content, state := range map[string]index.BlobState{"2": index.BlobVerified, "never sent": index.BlobUploading} {
			if at := w.wantState(blobID(content), state).Tombstone; at != ballast.At(w.clock) {
				t.Errorf("%s: tombstone %v", content, at)
			}
		}
		w.ask(b, putWant("2"))
		if at := w.blob(blobID("2")).Tombstone; !at.IsZero() {
			t.Error("a tombstone outlived a pin")
		}
	})
}

func TestReferencedBlobsGetNoTombstone(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.get(w.publish("acme::m::1", "x").Upload)
		w.release(u)
		w.wantKeys(index.KindPin, 0)
		for _, content := range []string{"x", "manifest of x"} {
			if at := w.wantState(blobID(content), index.BlobVerified).Tombstone; !at.IsZero() {
				t.Errorf("%s: tombstone %v", content, at)
			}
		}
	})
}

// TestTheLastPinOfAMultipartAbortsIt follows it through busy back to absent.
func TestTheLastPinOfAMultipartAbortsIt(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		a, b := w.open("acme::m"), w.open("acme::m")
		id := blobID("x")
		w.ask(a, multipart("x"))
		w.ask(b, multipart("x"))
		_, err := w.MultipartOpened(w.ctx, id, "mp")
		w.ok(err)
		w.abort(a)
		w.release(a)
		w.wantState(id, index.BlobUploading)
		w.abort(b)
		w.release(b)
		if got := w.wantState(id, index.BlobAborting); got.MultipartID != "mp" {
			t.Errorf("it forgot what to abort: %+v", got)
		}
		c := w.open("acme::m")
		if got := w.ask(c, multipart("x"))[0]; got.Fresh || got.Blob.State != index.BlobAborting {
			t.Errorf("while it is busy: %+v", got)
		}
		w.wantKeys(index.KindPin, 0)
		w.wantReclaiming(id)
		w.ok(w.Reclaimed(w.ctx, id))
		w.wantReclaiming()
		if got := w.wantState(id, index.BlobAbsent); got.MultipartID != "" || got.Method != "" {
			t.Errorf("reclaimed: %+v", got)
		}
		if got := w.ask(c, putWant("x"))[0]; !got.Fresh || got.Blob.Method != ballast.MethodPut {
			t.Errorf("asked again: %+v", got)
		}
		w.ok(w.Reclaimed(w.ctx, id))
		w.wantState(id, index.BlobUploading)
	})
}

func TestReclaimedIsUnusedOnlyWithoutPins(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		for _, content := range []string{"1", "2"} {
			w.ask(u, putWant(content))
			w.ok(w.Tainted(w.ctx, blobID(content)))
		}
		w.ok(w.Reclaimed(w.ctx, blobID("1")))
		w.abort(u)
		w.release(u)
		w.ok(w.Reclaimed(w.ctx, blobID("2")))
		for _, content := range []string{"1", "2"} {
			if at := w.wantState(blobID(content), index.BlobAbsent).Tombstone; at != ballast.At(w.clock) {
				t.Errorf("%s after the last pin: tombstone %v", content, at)
			}
		}
		v := w.open("acme::m")
		w.ask(v, putWant("3"))
		w.ok(w.Tainted(w.ctx, blobID("3")))
		w.ok(w.Reclaimed(w.ctx, blobID("3")))
		if at := w.wantState(blobID("3"), index.BlobAbsent).Tombstone; !at.IsZero() {
			t.Error("a blob that is pinned is marked as unused")
		}
	})
}

func (w *world) wantReclaiming(want ...index.BlobID) {
	w.t.Helper()
	got, err := w.Reclaiming(w.ctx, index.BlobID{}, 10)
	w.ok(err)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("to reclaim: %v, want %v", got, want)
	}
}

func TestAnAbandonedPutMayBecomeAMultipart(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		a, b := w.open("acme::m"), w.open("acme::m")
		w.ask(a, putWant("x"))
		if got := w.ask(b, multipart("x"))[0]; got.Fresh || got.Blob.Method != ballast.MethodPut {
			t.Errorf("while it is pinned: %+v", got)
		}
		for _, u := range []index.Upload{a, b} {
			w.abort(u)
			w.release(u)
		}
		if got := w.ask(w.open("acme::m"), multipart("x"))[0]; !got.Fresh || got.Blob.Method != ballast.MethodMultipart {
			t.Errorf("once nobody pins it: %+v", got)
		}
	})
}

// Who alone waits for a PUT may send parts instead, as after a connection that was cut; and not the other way round.
func TestAPutOfOnesOwnMayBecomeAMultipart(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		a, b := w.open("acme::m"), w.open("acme::m")
		w.ask(a, putWant("x"))
		if got := w.ask(a, putWant("x"))[0]; got.Fresh {
			t.Errorf("asked again for the same: %+v", got)
		}
		if got := w.ask(a, multipart("x"))[0]; !got.Fresh || got.Blob.Method != ballast.MethodMultipart || got.Blob.PartSize != partSize {
			t.Errorf("asked for parts: %+v", got)
		}
		if got := w.ask(a, putWant("x"))[0]; got.Fresh || got.Blob.Method != ballast.MethodMultipart {
			t.Errorf("asked for a PUT again: %+v", got)
		}
		w.ask(a, putWant("y"))
		w.ask(b, putWant("y"))
		for _, u := range []index.Upload{a, b} {
			if got := w.ask(u, multipart("y"))[0]; got.Fresh || got.Blob.Method != ballast.MethodPut {
				t.Errorf("while another waits for the PUT: %+v", got)
			}
		}
	})
}

func TestOneMultipartABlob(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		id := blobID("x")
		w.ask(w.open("acme::m"), multipart("x"))
		for _, mine := range []string{"first", "second"} {
			if b, err := w.MultipartOpened(w.ctx, id, mine); err != nil || b.MultipartID != "first" {
				t.Errorf("%s: the blob has %q, %v", mine, b.MultipartID, err)
			}
		}
		if b, err := w.MultipartLost(w.ctx, id, "second"); err != nil || b.MultipartID != "first" {
			t.Errorf("losing another: %+v, %v", b, err)
		}
		if b, err := w.MultipartLost(w.ctx, id, "first"); err != nil || b.State != index.BlobAbsent {
			t.Errorf("losing it: %+v, %v", b, err)
		}
		if b, err := w.MultipartOpened(w.ctx, id, "late"); err != nil || b.MultipartID != "" {
			t.Errorf("opened after it was lost: %+v, %v", b, err)
		}
	})
}

// TestBlobTransitions tries every recorded event in every state.
func TestBlobTransitions(t *testing.T) {
	id := blobID("x")
	states := map[index.BlobState]func(*world){
		index.BlobAbsent:    func(*world) {},
		index.BlobUploading: func(w *world) { w.ask(w.open("acme::m"), multipart("x")) },
		index.BlobStored:    func(w *world) { w.stored(w.open("acme::m"), "x") },
		index.BlobVerified:  func(w *world) { w.sent(w.open("acme::m"), "x") },
		index.BlobDeleting: func(w *world) {
			w.ask(w.open("acme::m"), putWant("x"))
			w.ok(w.Tainted(w.ctx, id))
		},
		index.BlobAborting: func(w *world) {
			u := w.open("acme::m")
			w.ask(u, multipart("x"))
			w.abort(u)
			w.release(u)
		},
	}
	events := map[string]struct {
		do func(*world) error
		to map[index.BlobState]index.BlobState // what is left out stays
	}{
		"stored by put": {func(w *world) error {
			return w.StoredByPut(w.ctx, acme, []index.Found{{Digest: id.Digest, Size: 1}})
		}, map[index.BlobState]index.BlobState{index.BlobUploading: index.BlobVerified}},
		"stored by multipart": {func(w *world) error {
			return w.StoredByMultipart(w.ctx, id, index.Found{Digest: id.Digest, Size: 1}, "")
		}, map[index.BlobState]index.BlobState{index.BlobUploading: index.BlobStored}},
		"tainted": {func(w *world) error { return w.Tainted(w.ctx, id) },
			map[index.BlobState]index.BlobState{index.BlobUploading: index.BlobDeleting, index.BlobStored: index.BlobDeleting}},
		"reclaimed": {func(w *world) error { return w.Reclaimed(w.ctx, id) },
			map[index.BlobState]index.BlobState{index.BlobDeleting: index.BlobAbsent, index.BlobAborting: index.BlobAbsent}},
		"verified by nobody": {func(w *world) error { return w.Verified(w.ctx, id, "nobody", 0, nil) }, nil},
		"a lie of nobody":    {func(w *world) error { return w.Lied(w.ctx, id, "nobody", sum("y")) }, nil},
	}
	for from, reach := range states {
		for what, event := range events {
			t.Run(fmt.Sprintf("%s, %q", what, from), func(t *testing.T) {
				w := newWorld(t, index.NewMem())
				reach(w)
				w.wantState(id, from)
				w.ok(event.do(w))
				want, moves := event.to[from]
				if !moves {
					want = from
				}
				w.wantState(id, want)
			})
		}
	}
}

func TestPinned(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		a, b := w.open("acme::m"), w.open("acme::m")
		w.ask(a, putWant("x"))
		w.ask(b, putWant("y"))
		files := []ballast.File{{Path: "x", Size: 1, Digest: sum("x")}, {Path: "y", Size: 1, Digest: sum("y")}, {Path: "z", Size: 1, Digest: sum("z")}}
		missing, err := w.Pinned(w.ctx, a, files)
		if err != nil || fmt.Sprint(missing) != fmt.Sprint([]digest.Digest{sum("y"), sum("z")}) {
			t.Errorf("missing: %v, %v", missing, err)
		}
		files[0].Size = 2
		if missing, err = w.Pinned(w.ctx, a, files[:1]); err != nil || len(missing) != 1 {
			t.Errorf("declared with another size: %v, %v", missing, err)
		}
		again := putWant("x")
		again.Size = 2
		w.ask(a, again)
		if missing, err = w.Pinned(w.ctx, a, files[:1]); err != nil || len(missing) != 0 {
			t.Errorf("declared anew: %v, %v", missing, err)
		}
		for content, want := range map[string]bool{"x": true, "z": false} {
			if got, err := w.HasPins(w.ctx, blobID(content)); err != nil || got != want {
				t.Errorf("%s: pinned is %t, %v", content, got, err)
			}
		}
	})
}

func TestBlobsBelongToAScope(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.sent(w.open("acme::m"), "x")
		if got := w.ask(w.open("other::m"), putWant("x"))[0]; !got.Fresh {
			t.Errorf("another scope's blob is known: %+v", got)
		}
		w.wantState(index.BlobID{Scope: ballast.Global, Digest: sum("x")}, index.BlobAbsent)
	})
}

func TestPinnedMultiparts(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		w.ask(u, multipart("open"), multipart("not yet"), putWant("put"))
		_, err := w.MultipartOpened(w.ctx, blobID("open"), "mp")
		w.ok(err)
		w.stored(u, "done")
		open, err := w.PinnedMultiparts(w.ctx, u)
		if err != nil || len(open) != 1 || open[sum("open")].MultipartID != "mp" {
			t.Errorf("got %v, %v", open, err)
		}
	})
}
