package index_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// onDamaged runs a test with items that fail their checksum, and with items that a newer program wrote. harm damages
// the items of some keys.
func onDamaged(t *testing.T, test func(t *testing.T, w *world, harm func(keys ...[]byte))) {
	t.Run("checksum", func(t *testing.T) {
		m := index.NewMem()
		test(t, newWorld(t, m), func(keys ...[]byte) {
			for _, k := range keys {
				if !m.Corrupt(k) {
					t.Fatalf("there is no %q", k)
				}
			}
		})
	})
	t.Run("form", func(t *testing.T) {
		w := newWorld(t, index.NewMem())
		test(t, w, func(keys ...[]byte) {
			for _, k := range keys {
				w.ok(w.PutUnknown(w.ctx, k))
			}
		})
	})
}

// wantReported checks what was passed over since the last call. It runs what is checked three times, because Mem runs
// every third function twice and one report must come of it.
func (w *world) wantReported(read func(), keys ...[]byte) {
	w.t.Helper()
	var want []string
	for range 3 {
		read()
		for _, k := range keys {
			want = append(want, string(k))
		}
	}
	if diff := cmp.Diff(want, w.damaged); diff != "" {
		w.t.Errorf("reported: %s", diff)
	}
	w.damaged = nil
}

func unreadable(err error) bool {
	return errors.Is(err, index.ErrCorrupt) || errors.Is(err, index.ErrNewer)
}

func TestDamagedVersionsDoNotHideOthers(t *testing.T) {
	onDamaged(t, func(t *testing.T, w *world, harm func(...[]byte)) {
		for _, label := range []string{"1", "2", "3", "4"} {
			w.publish("acme::m::"+label, label)
		}
		bad := []ballast.Key{vkey("acme::m::4"), vkey("acme::m::2")}
		harm(index.VersionKey(bad[0]), index.VersionKey(bad[1]))
		w.wantReported(func() {
			page, next, err := w.Versions(w.ctx, reader.Scopes, name("m"), ballast.Version{}, 2, ready)
			if err != nil || len(page) != 2 || page[0].Version.String() != "3" || page[1].Version.String() != "1" || !next.IsZero() {
				t.Errorf("got %v, next %s, %v", page, next, err)
			}
		}, index.VersionKey(bad[0]), index.VersionKey(bad[1]))
		for _, ref := range []string{"m:4", "m:2", "m"} {
			if _, err := w.Resolve(w.ctx, reader, must(ballast.ParseRef(ref))); !unreadable(err) {
				t.Errorf("%s: got %v", ref, err)
			}
		}
		if got := w.resolve(reader, "m:3"); got != "acme::m::3" {
			t.Errorf("a whole one: %s", got)
		}
	})
}

// TestADamagedVersionIsKnown: it is not one that the index has never heard of.
func TestADamagedVersionIsKnown(t *testing.T) {
	onDamaged(t, func(t *testing.T, w *world, harm func(...[]byte)) {
		bad := w.publish("acme::m::1", "1").Key()
		harm(index.VersionKey(bad))
		if ok, err := w.KnowsRecord(w.ctx, bad, 1); !ok || err != nil {
			t.Errorf("%t, %v", ok, err)
		}
		if ok, err := w.KnowsRecord(w.ctx, vkey("acme::m::2"), 1); ok || err != nil {
			t.Errorf("one that never was: %t, %v", ok, err)
		}
	})
}

// TestDamagedNamesDoNotHideOthers, and yet shadow the same name of the global scope.
func TestDamagedNamesDoNotHideOthers(t *testing.T) {
	onDamaged(t, func(t *testing.T, w *world, harm func(...[]byte)) {
		for _, target := range []string{"acme::a::1", "acme::b::1", "b::1", "acme::c::1", "d::1", "acme::e::1", "e::1", "acme::f::1", "f::1"} {
			w.publish(target, target)
		}
		w.retire("acme::f::1")
		bad, latest := index.NameKey(acme, name("b")), index.VersionKey(vkey("acme::e::1"))
		ended := index.NameKey(acme, name("f"))
		harm(bad, latest, ended)
		want := []string{"acme::a latest 1 of 1", "acme::c latest 1 of 1", "global::d latest 1 of 1"}
		for limit := 1; limit < 7; limit++ {
			if diff := cmp.Diff(want, w.models(reader.Scopes, "", limit, func() {})); diff != "" {
				t.Errorf("limit %d: %s", limit, diff)
			}
		}
		if !slices.Contains(w.damaged, string(bad)) || len(slices.Compact(slices.Sorted(slices.Values(w.damaged)))) != 3 {
			t.Errorf("reported: %q", w.damaged)
		}
		for _, n := range []string{"b", "e", "f"} {
			if m, err := w.Model(w.ctx, reader.Scopes, name(n)); !unreadable(err) {
				t.Errorf("%s: got %+v, %v", n, m, err)
			}
		}
		if got := w.resolve(reader, "b"); got != "acme::b::1" { // its candidates are whole
			t.Errorf("b: got %s", got)
		}
		for _, n := range []string{"e", "f"} {
			if got, err := w.Resolve(w.ctx, reader, ballast.Ref{Name: name(n)}); !unreadable(err) {
				t.Errorf("%s: got %v, %v", n, got.Key(), err)
			}
		}
	})
}

func TestDamagedTokensDoNotHideOthers(t *testing.T) {
	onDamaged(t, func(t *testing.T, w *world, harm func(...[]byte)) {
		for _, id := range []string{"a", "b", "c"} {
			w.ok(w.PutToken(w.ctx, index.Token{ID: id}))
		}
		harm(index.TokenKey("a"))
		w.wantReported(func() {
			page, next, err := w.Tokens(w.ctx, "", 2, func(index.Token) bool { return true })
			if err != nil || len(page) != 2 || page[0].ID != "b" || page[1].ID != "c" || next != "" {
				t.Errorf("got %v, next %q, %v", page, next, err)
			}
		}, index.TokenKey("a"))
		if _, ok, err := w.Token(w.ctx, "a"); ok || !unreadable(err) {
			t.Errorf("the damaged one: %t, %v", ok, err)
		}
	})
}

func TestDamagedAliasesDoNotHideOthers(t *testing.T) {
	onDamaged(t, func(t *testing.T, w *world, harm func(...[]byte)) {
		v := w.publish("acme::m::1", "x")
		for _, alias := range []string{"a", "b", "c"} {
			_, err := w.setAlias(alias, "1", nil)
			w.ok(err)
		}
		bad := index.AliasKey(v.Key(), must(ballast.ParseAlias("b")))
		harm(bad)
		w.wantReported(func() { w.wantAliases("a 1", "c 1") }, bad)
		if _, err := w.Resolve(w.ctx, reader, must(ballast.ParseRef("m@b"))); !unreadable(err) {
			t.Errorf("the damaged one: %v", err)
		}
		if _, err := w.setAlias("b", "1", nil); !unreadable(err) {
			t.Errorf("set: %v", err)
		}
	})
}

func TestDamagedJobsDoNotHideOthers(t *testing.T) {
	onDamaged(t, func(t *testing.T, w *world, harm func(...[]byte)) {
		u := w.open("acme::m")
		ids := []index.BlobID{w.stored(u, "x"), w.stored(u, "y"), w.stored(u, "z")}
		slices.SortFunc(ids, func(a, b index.BlobID) int { return strings.Compare(a.Digest.String(), b.Digest.String()) }) // as they are queued
		harm(index.JobKey(ids[0]), index.BlobKey(ids[1]))
		w.leased("a", ids[2])
		w.damaged = nil
		w.wantReported(func() { w.wantNoJob("b") }, index.JobKey(ids[0]), index.JobKey(ids[1]))
	})
}

func TestDamagedUploadsDoNotHideOthers(t *testing.T) {
	onDamaged(t, func(t *testing.T, w *world, harm func(...[]byte)) {
		bad, good := w.open("acme::m"), w.open("acme::m")
		w.clock = w.clock.Add(lease)
		harm(index.UploadKey(bad.ID))
		w.wantDue(good.ID)
		if len(w.damaged) != 1 {
			t.Errorf("reported: %q", w.damaged)
		}
		if _, err := w.Upload(w.ctx, bad.ID); !unreadable(err) {
			t.Errorf("the damaged one: %v", err)
		}
	})
}

// TestDamagedEntriesDoNotHideOthers is about entries that have no value of their own.
func TestDamagedEntriesDoNotHideOthers(t *testing.T) {
	m := index.NewMem()
	w := newWorld(t, m)
	v := w.publish("acme::m::1", "x")
	for _, alias := range []string{"a", "b"} {
		_, err := w.setAlias(alias, "1", nil)
		w.ok(err)
	}
	bad, good := w.accept(w.open("acme::m"), "y", ballast.Metadata{}), w.accept(w.open("acme::m"), "z", ballast.Metadata{})
	w.ask(w.open("acme::m"), putWant("1"), putWant("2"))
	for _, content := range []string{"1", "2"} {
		w.ok(w.Tainted(w.ctx, blobID(content)))
	}
	aliasOf := index.AliasOfKey(v.Key(), must(ballast.ParseAlias("a")))
	for _, k := range [][]byte{aliasOf, index.VerifyingKey(bad.ID), index.ReclaimKey(blobID("1"))} {
		if !m.Corrupt(k) {
			t.Fatalf("there is no %q", k)
		}
	}
	w.wantReported(func() { w.wantAliasesOf("acme::m::1", "b") }, aliasOf)
	w.wantReported(func() {
		if ids, err := w.Verifying(w.ctx); err != nil || len(ids) != 1 || ids[0] != good.ID {
			t.Errorf("to finish: %v, %v", ids, err)
		}
	}, index.VerifyingKey(bad.ID))
	w.wantReported(func() { w.wantReclaiming(blobID("2")) }, index.ReclaimKey(blobID("1")))
}

// TestDamageFailsClosed: what decides whether bytes may go, or be published, is not passed over.
func TestDamageFailsClosed(t *testing.T) {
	m := index.NewMem()
	w := newWorld(t, m)
	harm := func(k []byte) {
		t.Helper()
		if !m.Corrupt(k) {
			t.Fatalf("there is no %q", k)
		}
	}
	a, b := w.open("acme::m"), w.open("acme::m")
	id := blobID("large")
	w.ask(a, multipart("large"))
	w.ask(b, multipart("large"))
	harm(index.PinKey(id, b.ID))
	w.abort(a)
	if _, err := w.Release(w.ctx, a.ID, 10); !unreadable(err) {
		t.Errorf("released beside a pin that cannot be read: %v", err)
	}
	w.wantState(id, index.BlobUploading)
	if pinned, err := w.HasPins(w.ctx, id); err == nil && !pinned {
		t.Error("a pin that cannot be read passes for none")
	}

	v := w.publish("acme::n::1", "x")
	w.ok(w.SetStatus(w.ctx, v.Key(), ballast.StatusRetired))
	harm(index.ByDigestKey(v.Key(), v.Digest))
	if v, err := w.Seal(w.ctx, w.accept(w.open("acme::n"), "x", ballast.Metadata{}).ID, record); !unreadable(err) {
		t.Errorf("files that may be retired ones were published as %s, %v", v.Key(), err)
	}

	base := w.publish("base::1", "b")
	w.publishOn("base::1", "acme::child::1", "c")
	harm(index.VersionKey(base.Key()))
	if got, err := w.Resolve(w.ctx, reader, must(ballast.ParseRef("child:1"))); !unreadable(err) {
		t.Errorf("%s is served on a base that cannot be read, %v", got.Key(), err)
	}
	if len(w.damaged) != 0 {
		t.Errorf("passed over: %q", w.damaged)
	}
}

// TestNoReportOfAFault: a context that ends a list is no damage.
func TestNoReportOfAFault(t *testing.T) {
	s := index.NewMem()
	w := newWorld(t, s)
	w.ok(w.PutToken(w.ctx, index.Token{ID: "a"}))
	w.ok(s.Close())
	if _, _, err := w.Tokens(w.ctx, "", 10, func(index.Token) bool { return true }); !errors.Is(err, index.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if len(w.damaged) != 0 {
		t.Errorf("reported: %q", w.damaged)
	}
}

// TestUnknownStates: what a stored version says of its state is one of the known words, or the version is unreadable; it
// never reads as something else.
func TestUnknownStates(t *testing.T) {
	for field, known := range map[string]string{"status": "ready", "stage": "none"} {
		for _, to := range []string{"", "Ready", "available", "loaded"} {
			w := newWorld(t, index.NewMem())
			k := w.publish("acme::m::1", "x").Key()
			w.publish("acme::m::2", "y")
			old, changed := fmt.Sprintf(`"%s":%q`, field, known), fmt.Sprintf(`"%s":%q`, field, to)
			w.ok(w.Rewrite(w.ctx, index.VersionKey(k), old, old)) // the control: as it is, it is read
			if got := w.resolve(reader, "m:1"); got != "acme::m::1" {
				t.Fatalf("control: %s", got)
			}
			w.ok(w.Rewrite(w.ctx, index.VersionKey(k), old, changed))
			if _, err := w.Resolve(w.ctx, reader, must(ballast.ParseRef("m:1"))); !errors.Is(err, index.ErrCorrupt) {
				t.Errorf("%s: %v", changed, err)
			}
			if got := w.resolve(reader, "m:2"); got != "acme::m::2" {
				t.Errorf("%s: another version is %s", changed, got)
			}
			w.damaged = nil
		}
	}
}
