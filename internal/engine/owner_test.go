package engine_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

func TestSecondIndexIsRefused(t *testing.T) {
	s := memStore(t)
	r := newRig(t, s)
	_, err := engine.Open(t.Context(), options(t, s, index.NewMem()))
	if err == nil || !strings.Contains(err.Error(), "--take-over") || !strings.Contains(err.Error(), "rebuild") {
		t.Fatalf("a second index on the prefix: %v", err)
	}
	r.mustPush(t, writer, "m:1", small("a"))
	r.Close()
	opt := options(t, s, index.NewMem())
	opt.TakeOver = true
	_, err = engine.Open(t.Context(), opt)
	if err == nil || !strings.Contains(err.Error(), "knows") {
		t.Fatalf("take-over by an index that lacks a version: %v", err)
	}
	start(t, s, r.index, r.opt) // the owner itself may start again
}

// The mark is on the store's disk before the index says that the prefix is claimed. Else a loss of power takes the mark, and
// the index refuses to start without it.
func TestTheMarkIsSyncedBeforeTheClaim(t *testing.T) {
	m, db := objstoretest.NewMem(), index.NewMem()
	opt := options(t, store{Bucket: m, Signer: m}, db)
	broken := errors.New("the disk is gone")
	opt.Sync = func(context.Context) error { return broken }
	if _, err := engine.Open(t.Context(), opt); !errors.Is(err, broken) {
		t.Fatalf("a claim that was not synced: %v", err)
	}
	if err := m.Delete(t.Context(), "index/owner.json"); err != nil { // which the power took
		t.Fatal(err)
	}
	opt.Sync = nil
	e, err := engine.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
}

func TestTakeOverFences(t *testing.T) {
	s, db := memStore(t), index.NewMem()
	opt := options(t, s, db)
	opt.Limits.FenceAge, opt.Limits.RecordTimeout, opt.Limits.TakeOverWait = 100*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond
	first := start(t, s, db, opt)
	first.lost = true
	u := must(first.open(t, writer, "m:1"))
	db2 := index.NewMem()
	opt2 := options(t, s, db2)
	opt2.Limits, opt2.TakeOver = opt.Limits, true
	start(t, s, db2, opt2)
	err := first.sendAll(t, writer, u.ID, small("a"))
	wantCode(t, err, ballast.CodeUnavailable)
	wantCode(t, first.Ready(t.Context()), ballast.CodeUnavailable)
	wantReadOnly(t, first, u.ID)
}

// wantReadOnly wants what changes the index alone to be refused as well: nobody reads it there any more.
func wantReadOnly(t *testing.T, r *rig, upload string) {
	t.Helper()
	v := ref("m:1")
	alias := must(ballast.ParseAlias("champion"))
	_, setErr := r.SetAlias(t.Context(), writer, acme, v.Name, alias, v.Version, nil)
	_, tokenErr := r.CreateToken(t.Context(), admin, ballast.CreateToken{Grants: []ballast.Grant{{Scope: acme, Role: ballast.Reader}}})
	for what, change := range r.changes(t, keeper, "m:1") {
		if err := change(); ballast.CodeOf(err) != ballast.CodeUnavailable {
			t.Errorf("%s after the prefix was lost: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"alias": setErr, "no alias": r.DeleteAlias(t.Context(), writer, acme, v.Name, alias, nil),
		"token": tokenErr, "abort": r.AbortUpload(t.Context(), writer, upload),
	} {
		if ballast.CodeOf(err) != ballast.CodeUnavailable {
			t.Errorf("%s after the prefix was lost: %v", what, err)
		}
	}
}

// A take-over that is killed while it waits for the former owner waits again at the next start, also by an index that
// owned the prefix before.
func TestInterruptedTakeOverWaitsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memStore(t)
		first, second := options(t, s, index.NewMem()), options(t, s, index.NewMem())
		run := func(ctx context.Context, opt engine.Options) error {
			e, err := engine.Open(ctx, opt)
			if err == nil {
				err = e.Close()
			}
			return err
		}
		if err := run(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		second.TakeOver, first.TakeOver = true, true
		if err := run(t.Context(), second); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := run(short, first); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the take-over was not interrupted: %v", err)
		}
		first.TakeOver = false
		began := time.Now()
		if err := run(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < engine.DefaultLimits().TakeOverWait {
			t.Fatalf("the former owner was given %s to stop, want %s", waited, engine.DefaultLimits().TakeOverWait)
		}
	})
}

// An index copied back from yesterday, taken while the service ran, bears the right epoch. It is noticed before it
// writes a record, whether that would collide with one that it does not know or not.
func TestOldIndexWritesNoRecord(t *testing.T) {
	for _, label := range []string{"m:1", "m:2", "n"} {
		t.Run(label, func(t *testing.T) {
			s := memStore(t)
			db, path := boltAt(t)
			r := start(t, s, db, options(t, s, db))
			r.lost = true
			old, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			r.mustPush(t, writer, "m:1", small("a"))
			r = r.startOn(t, path, old)
			records := s.Bucket.(*objstoretest.Mem).Keys("tenants/acme/models/")
			_, err = r.push(t, writer, label, small("b"))
			if e := wantCode(t, err, ballast.CodeUnavailable); !strings.Contains(e.Detail, "rebuild") {
				t.Fatalf("detail %q does not say what to do", e.Detail)
			}
			wantCode(t, r.Ready(t.Context()), ballast.CodeUnavailable)
			if now := s.Bucket.(*objstoretest.Mem).Keys("tenants/acme/models/"); !slices.Equal(now, records) {
				t.Fatalf("records were %v, now %v", records, now)
			}
			_, err = r.Version(t.Context(), reader, ref("m:1"))
			wantCode(t, err, ballast.CodeNotFound)
		})
	}
}

// A record that appears while the service runs is met when the service wants its place.
func TestForeignRecordStopsTheWrites(t *testing.T) {
	m, r := memRig(t, nil)
	r.lost = true
	r.mustPush(t, writer, "m:1", small("a"))
	m.Plant("tenants/acme/models/m/versions/2/00000001.json", []byte("not ours"))
	_, err := r.push(t, writer, "m:2", small("b"))
	if e := wantCode(t, err, ballast.CodeUnavailable); !strings.Contains(e.Detail, "acme::m::2") {
		t.Fatalf("detail %q does not name the version", e.Detail)
	}
	wantCode(t, r.Ready(t.Context()), ballast.CodeUnavailable)
	_, err = r.Version(t.Context(), reader, ref("m:2"))
	wantCode(t, err, ballast.CodeNotFound)
	if got := string(must2(m.Peek("tenants/acme/models/m/versions/2/00000001.json"))); got != "not ours" {
		t.Fatalf("the record now holds %q", got)
	}
}

func must2[T any](v T, ok bool) T {
	if !ok {
		panic("not there")
	}
	return v
}

func boltAt(t *testing.T) (*index.Bolt, string) {
	path := t.TempDir() + "/index.db"
	db, err := index.OpenBolt(path, index.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return db, path
}

// startOn ends a service whose index lies at path, and starts it anew on a copy from before: the bucket knows more then.
func (r *rig) startOn(t *testing.T, path string, copied []byte) *rig {
	t.Helper()
	r.Close()
	if err := errors.Join(r.index.(*index.Bolt).Close(), os.WriteFile(path, copied, 0o600)); err != nil {
		t.Fatal(err)
	}
	db := must(index.OpenBolt(path, index.BoltOptions{}))
	t.Cleanup(func() { db.Close() })
	again := start(t, r.store, db, options(t, r.store, db))
	again.lost = true
	return again
}

func TestRestartFinishesACommit(t *testing.T) {
	m := objstoretest.NewMem()
	s := storeOn(t, m)
	db := index.NewMem()
	opt := options(t, s, db)
	opt.Limits.CommitWait = 10 * time.Millisecond
	r := start(t, s, db, opt)
	u := must(r.open(t, writer, "m:1"))
	f := small("a")
	if err := r.sendAll(t, writer, u.ID, f); err != nil {
		t.Fatal(err)
	}
	reached, once := make(chan struct{}), sync.Once{}
	m.Before(func(ctx context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpPut && strings.Contains(key, "/versions/") {
			once.Do(func() { close(reached) })
		}
	})
	m.Fail(objstoretest.OpPut, 0, objstore.ErrUnavailable, true) // everything written, every answer lost
	if _, err := r.Commit(t.Context(), writer, u.ID, ballast.CommitRequest{Files: f.files()}); err != nil && ballast.CodeOf(err) != ballast.CodeUnavailable {
		t.Fatal(err)
	}
	r.Close()
	m.Heal()
	r = start(t, s, db, opt)
	v, err := r.commit(t, writer, u.ID, f.files(), ballast.Metadata{})
	if err != nil || v.Status != ballast.StatusReady {
		t.Fatalf("after the restart: %+v, %v", v, err)
	}
	<-reached
}

func TestShadowing(t *testing.T) {
	r := newRig(t, memStore(t))
	r.mustPush(t, admin, "global::m:9", small("global"))
	if v := must(r.Version(t.Context(), reader, ref("m"))); v.Key != "m::9" {
		t.Fatalf("before: %s", v.Key)
	}
	r.mustPush(t, writer, "M:1", small("own"))
	if v := must(r.Version(t.Context(), reader, ref("m"))); v.Key != "acme::M::1" {
		t.Fatalf("latest: %s", v.Key)
	}
	if v := must(r.Version(t.Context(), reader, ref("m:9"))); v.Key != "m::9" {
		t.Fatalf("exact: %s", v.Key)
	}
	page := must(r.Models(t.Context(), reader, engine.ListModels{Limit: 10}))
	if len(page.Models) != 1 || page.Models[0].Scope != acme {
		t.Fatalf("list: %+v", page.Models)
	}
	_, err := r.Version(t.Context(), reader, ref("acme::m:9"))
	wantCode(t, err, ballast.CodeNotFound)
}
