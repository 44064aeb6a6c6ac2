package index_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

func TestAttempts(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		first := w.open("acme::m::1")
		again := w.upload("acme::M::1")
		again.Attempt = first.Attempt
		w.clock = w.clock.Add(10 * time.Minute)
		u, created, err := w.CreateUpload(w.ctx, again, lease)
		if err != nil || created || u.ID != first.ID {
			t.Fatalf("the same attempt: got %s, created %t, %v", u.ID, created, err)
		}
		if want := ballast.At(w.clock.Add(lease)); u.LeaseUntil != want || w.get(u.ID).LeaseUntil != want {
			t.Errorf("its lease ends %v, want %v", u.LeaseUntil, want)
		}
		w.wantKeys(index.KindTime, 1)
		for _, target := range []string{"acme::m::2", "acme::m", "acme::n::1", "other::m::1"} {
			u := w.upload(target)
			u.Attempt = first.Attempt
			_, _, err := w.CreateUpload(w.ctx, u, lease)
			w.want(ballast.CodeInvalid, err)
		}
		other := w.upload("acme::m::2")
		other.Attempt, other.Principal = first.Attempt, "q"
		if _, created, err := w.CreateUpload(w.ctx, other, lease); err != nil || !created {
			t.Errorf("another principal: created %t, %v", created, err)
		}
		w.abort(first)
		if u, created, err := w.CreateUpload(w.ctx, again, lease); err != nil || !created || u.ID != again.ID {
			t.Errorf("after it was settled: got %s, created %t, %v", u.ID, created, err)
		}
	})
}

// TestAttemptOfASealedUpload asks again for an upload that got its label from the seal.
func TestAttemptOfASealedUpload(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.accept(w.open("acme::m"), "x", ballast.Metadata{})
		if _, err := w.Seal(w.ctx, u.ID, record); err != nil {
			t.Fatal(err)
		}
		again := w.upload("acme::m")
		again.Attempt = u.Attempt
		if got, created, err := w.CreateUpload(w.ctx, again, lease); err != nil || created || got.ID != u.ID || got.Version.String() != "1" {
			t.Errorf("got %+v, created %t, %v", got, created, err)
		}
		again = w.upload("acme::m::2")
		again.Attempt = u.Attempt
		_, _, err := w.CreateUpload(w.ctx, again, lease)
		w.want(ballast.CodeInvalid, err)
	})
}

func TestLabelsAreHeld(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		holder := w.open("acme::Org/M::1.0.0-RC")
		integer := w.open("acme::m::2")
		for target, by := range map[string]index.Upload{"acme::org/m::1.0.0-rc": holder, "acme::m::2.0.0": integer, "acme::M::2": integer} {
			_, _, err := w.CreateUpload(w.ctx, w.upload(target), lease)
			e := w.want(ballast.CodeConflict, err)
			if want := (ballast.Holder{Upload: by.ID, CreatedBy: by.CreatedBy, ExpiresAt: by.LeaseUntil}); e.Holder == nil || *e.Holder != want {
				t.Errorf("%s: held by %+v, want %+v", target, e.Holder, want)
			}
		}
		w.open("other::m::2")
		w.open("acme::m::2.0.0-rc")
		w.open("acme::m")
		w.open("acme::m")
		w.abort(integer)
		w.open("acme::m::2.0.0")
		w.wantKeys(index.KindHold, 4)
		w.wantKeys(index.KindUpload, 7)
	})
}

func TestLabelsAreTaken(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		v := w.publish("acme::m::1", "x")
		sealed := w.seal("acme::m::2", "y")
		_, _, err := w.CreateUpload(w.ctx, w.upload("acme::M::1"), lease)
		if e := w.want(ballast.CodeAlreadyExists, err); e.Expected != v.Digest {
			t.Errorf("it names %s, want %s", e.Expected, v.Digest)
		}
		_, _, err = w.CreateUpload(w.ctx, w.upload("acme::m::2"), lease)
		if e := w.want(ballast.CodeAlreadyExists, err); e.Expected != sealed.Digest {
			t.Errorf("it names %s, want %s", e.Expected, sealed.Digest)
		}
		_, _, err = w.CreateUpload(w.ctx, w.upload("acme::m::1.0.0"), lease)
		if e := w.want(ballast.CodeAlreadyExists, err); e.Expected != "" {
			t.Errorf("another label at the same position names the digest %s", e.Expected)
		}
		w.ok(w.SetStatus(w.ctx, v.Key(), ballast.StatusDeleted))
		_, _, err = w.CreateUpload(w.ctx, w.upload("acme::m::1"), lease)
		w.want(ballast.CodeAlreadyExists, err)
		w.wantKeys(index.KindHold, 1)
	})
}

func TestLease(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m::1")
		idle := w.open("acme::m::2")
		w.clock = w.clock.Add(lease - time.Second)
		w.wantDue()
		w.ok(w.Renew(w.ctx, u.ID, lease))
		if expired, err := w.Expire(w.ctx, idle.ID); err != nil || expired.Status != ballast.UploadPending {
			t.Fatalf("a second early: %s, %v", expired.Status, err)
		}
		w.clock = w.clock.Add(time.Second)
		w.wantDue(idle.ID)
		if kept, err := w.Expire(w.ctx, u.ID); err != nil || kept.Status != ballast.UploadPending {
			t.Fatalf("a renewed one: %s, %v", kept.Status, err)
		}
		if expired, err := w.Expire(w.ctx, idle.ID); err != nil || expired.Status != ballast.UploadExpired {
			t.Fatalf("at its end: %s, %v", expired.Status, err)
		}
		w.wantDue()
		w.open("acme::m::2")
		_, err := w.Ask(w.ctx, idle.ID, []index.Want{putWant("x")}, w.clock, lease)
		w.want(ballast.CodeLeaseLost, err)
		w.wantKeys(index.KindPin, 0)
		w.ok(w.Renew(w.ctx, idle.ID, lease))
		if got := w.get(idle.ID); got.Status != ballast.UploadExpired {
			t.Errorf("a renewal made it %s", got.Status)
		}
	})
}

func TestAskRenewsTheLease(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		w.clock = w.clock.Add(10 * time.Minute)
		w.ask(u, putWant("x"))
		if got, want := w.get(u.ID).LeaseUntil, ballast.At(w.clock.Add(lease)); got != want {
			t.Errorf("the lease ends %v, want %v", got, want)
		}
		w.clock = w.clock.Add(lease - 1)
		w.wantDue()
	})
}

func TestAnAcceptedCommitHasNoLease(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.accept(w.open("acme::m::1"), "x", ballast.Metadata{})
		w.clock = w.clock.Add(100 * lease)
		w.wantDue()
		if got, err := w.Expire(w.ctx, u.ID); err != nil || got.Status != ballast.UploadVerifying {
			t.Errorf("it is %s, %v", got.Status, err)
		}
		_, err := w.Accept(w.ctx, u.ID, index.Accepted{})
		w.want(ballast.CodeConflict, err)
		_, err = w.Ask(w.ctx, u.ID, nil, w.clock, lease)
		w.want(ballast.CodeConflict, err)
		if ids, err := w.Verifying(w.ctx); err != nil || len(ids) != 1 || ids[0] != u.ID {
			t.Errorf("to finish: %v, %v", ids, err)
		}
	})
}

func TestReopen(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.accept(w.open("acme::m::1"), "x", ballast.Metadata{})
		w.clock = w.clock.Add(lease)
		w.ok(w.Reopen(w.ctx, u.ID, lease))
		got := w.get(u.ID)
		if got.Status != ballast.UploadPending || got.Accepted != nil || got.LeaseUntil != ballast.At(w.clock.Add(lease)) {
			t.Errorf("reopened: %+v", got)
		}
		if ids, err := w.Verifying(w.ctx); err != nil || len(ids) != 0 {
			t.Errorf("to finish: %v, %v", ids, err)
		}
		w.ask(u, putWant("y"))
		_, _, err := w.CreateUpload(w.ctx, w.upload("acme::m::1"), lease)
		w.want(ballast.CodeConflict, err)
		w.wantKeys(index.KindTime, 1)

		u = w.accept(u, "x", ballast.Metadata{})
		_, err = w.Seal(w.ctx, u.ID, record)
		w.ok(err)
		w.ok(w.Reopen(w.ctx, u.ID, lease))
		if got := w.get(u.ID); got.Status != ballast.UploadVerifying || !got.Sealed {
			t.Errorf("reopened after its seal: %+v", got)
		}
		_, err = w.Settle(w.ctx, u.ID, ballast.UploadAborted, nil)
		w.want(ballast.CodeConflict, err)
	})
}

func TestSettle(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		why := ballast.Errorf(ballast.CodeIntegrity, "wrong bytes")
		u := w.open("acme::m::1")
		if _, err := w.Settle(w.ctx, u.ID, ballast.UploadFailed, why); err != nil {
			t.Fatal(err)
		}
		at := w.get(u.ID).SettledAt
		w.clock = w.clock.Add(time.Hour)
		w.abort(u)
		if got := w.get(u.ID); got.Status != ballast.UploadFailed || got.SettledAt != at || got.Error.Detail != why.Detail {
			t.Errorf("a second end changed it: %+v", got)
		}
		_, err := w.Ask(w.ctx, u.ID, nil, w.clock, lease)
		w.want(ballast.CodeIntegrity, err)
		w.wantKeys(index.KindHold, 0)
		w.wantKeys(index.KindAttempt, 0)

		verifying := w.accept(w.open("acme::m::1"), "x", ballast.Metadata{})
		w.abort(verifying)
		if ids, err := w.Verifying(w.ctx); err != nil || len(ids) != 0 {
			t.Errorf("to finish: %v, %v", ids, err)
		}
		if _, err := w.Seal(w.ctx, verifying.ID, record); ballast.CodeOf(err) != ballast.CodeLeaseLost {
			t.Errorf("sealed after it was aborted: %v", err)
		}
		w.want(ballast.CodeLeaseLost, w.Reference(w.ctx, verifying.ID, nil, true))
	})
}

// TestSettleLeavesTheLabelOfOthers ends an upload without a label that turned out to be an existing version, while
// another upload holds that position.
func TestSettleLeavesTheLabelOfOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("acme::m::1", "x")
		holder := w.open("acme::m::2")
		v, err := w.Seal(w.ctx, w.accept(w.open("acme::m"), "x", ballast.Metadata{}).ID, record)
		if err != nil || v.Version.String() != "1" {
			t.Fatal(v.Version, err)
		}
		_, _, err = w.CreateUpload(w.ctx, w.upload("acme::m::2"), lease)
		if e := w.want(ballast.CodeConflict, err); e.Holder.Upload != holder.ID {
			t.Errorf("held by %s", e.Holder.Upload)
		}
	})
}

func TestForget(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m::1")
		w.ask(u, putWant("x"))
		w.ok(w.Forget(w.ctx, u.ID))
		w.get(u.ID)
		w.abort(u)
		w.ok(w.Forget(w.ctx, u.ID))
		w.get(u.ID)
		if ids, err := w.Releasing(w.ctx); err != nil || len(ids) != 1 || ids[0] != u.ID {
			t.Errorf("to release: %v, %v", ids, err)
		}
		w.release(u)
		if ids, err := w.Releasing(w.ctx); err != nil || len(ids) != 0 {
			t.Errorf("to release: %v, %v", ids, err)
		}
		w.clock = w.clock.Add(index.SettledLife - time.Second)
		w.wantDue()
		w.clock = w.clock.Add(time.Second)
		w.wantDue(u.ID)
		w.ok(w.Forget(w.ctx, u.ID))
		w.wantDue()
		_, err := w.Upload(w.ctx, u.ID)
		w.want(ballast.CodeNotFound, err)
		for _, kind := range []byte{index.KindUpload, index.KindTime, index.KindPin, index.KindPinOf, index.KindHold, index.KindAttempt} {
			w.wantKeys(kind, 0)
		}
	})
}

func TestDueComesInPages(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for range 5 {
			w.clock = w.clock.Add(time.Second)
			w.open("acme::m")
		}
		w.clock = w.clock.Add(time.Hour)
		var pages [][]string
		for after, more := "", true; more; more = after != "" {
			due, next, err := w.Due(w.ctx, after, 2)
			w.ok(err)
			after = next
			var ids []string
			for _, u := range due {
				ids = append(ids, u.ID)
			}
			pages = append(pages, ids)
		}
		if got := fmt.Sprint(pages); got != "[[upload-0001 upload-0002] [upload-0003 upload-0004] [upload-0005]]" {
			t.Error(got)
		}
	})
}

func TestUnknownUpload(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		_, err := w.Settle(w.ctx, "none", ballast.UploadAborted, nil)
		w.want(ballast.CodeNotFound, err)
		w.want(ballast.CodeNotFound, w.Renew(w.ctx, "none", lease))
		w.want(ballast.CodeNotFound, w.Reference(w.ctx, "none", []digest.Digest{sum("x")}, false))
		_, err = w.Seal(w.ctx, "none", record)
		w.want(ballast.CodeNotFound, err)
		if _, err := w.Ready(w.ctx, vkey("acme::m::1")); !errors.Is(err, index.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}
