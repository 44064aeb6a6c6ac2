package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// recordsOf reads the kinds of a version's chain out of the bucket.
func recordsOf(t *testing.T, b objstore.Bucket, name, version string) (kinds []string) {
	t.Helper()
	prefix := "tenants/acme/models/" + name + "/versions/" + version + "/"
	for o, err := range b.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		body, _, err := b.Get(t.Context(), o.Key, objstore.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Body engine.Record `json:"body"`
		}
		err = json.NewDecoder(body).Decode(&s)
		body.Close()
		if want := fmt.Sprintf("%s%08d.json", prefix, len(kinds)+1); err != nil || o.Key != want || s.Body.Number != len(kinds)+1 {
			t.Fatalf("%s is record %d, want %s: %v", o.Key, s.Body.Number, want, err)
		}
		kinds = append(kinds, string(s.Body.Kind)+" by "+s.Body.By)
	}
	return kinds
}

// Every end of a version adds a record to its chain. That the HMACs link them is for the check after each test.
func TestEndsAddToTheChain(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		for i := range 3 {
			r.mustPush(t, writer, fmt.Sprintf("m:%d", i+1), small(fmt.Sprint(i)))
		}
		must(r.Patch(t.Context(), writer, own("m:1"), ballast.PatchVersion{Metadata: map[string]json.RawMessage{"task": []byte(`"ner"`)}}))
		r.mustRetire(t, keeper, "m:1")
		r.mustDelete(t, keeper, "m:2")
		r.mustRetire(t, keeper, "m:3")
		r.mustDelete(t, keeper, "m:3")
		r.mustRetire(t, keeper, "m:1") // which changes nothing
		r.mustDelete(t, keeper, "m:3")
		for version, want := range map[string][]string{
			"1": {"ready by ci@acme", "retired by ops@acme"}, "2": {"ready by ci@acme", "deleted by ops@acme"},
			"3": {"ready by ci@acme", "retired by ops@acme", "deleted by ops@acme"},
		} {
			if got := recordsOf(t, s.Bucket, "m", version); !slices.Equal(got, want) {
				t.Errorf("chain of %s is %q, want %q", version, got, want)
			}
		}
	})
}

// A version is ended by whatever label means it: the record goes where its chain is.
func TestEndByAnotherSpelling(t *testing.T) {
	m, r := memRig(t, nil)
	r.mustPush(t, writer, "Org/M:1", small("a"))
	if v := r.mustRetire(t, keeper, "org/m:1.0.0"); v.Key != "acme::Org/M::1" {
		t.Errorf("retired %s", v.Key)
	}
	r.mustDelete(t, keeper, "ORG/m:1.0.0")
	if got := recordsOf(t, m, "org/m", "1"); len(got) != 3 {
		t.Errorf("the chain is %q", got)
	}
	r.mustPush(t, writer, "Org/M:2", small("b"))
	noRecords(m, false)
	if _, recorded, err := r.Retire(t.Context(), keeper, own("Org/M:2")); err != nil || recorded {
		t.Fatalf("retired: recorded %t, %v", recorded, err)
	}
	heal(m)
	r.mustDelete(t, keeper, "org/m:2.0.0") // writes the pending record first
	if got := recordsOf(t, m, "org/m", "2"); len(got) != 3 {
		t.Errorf("the chain is %q", got)
	}
}

// noRecords makes every write of a record fail until it is healed, with or without its effect.
func noRecords(m *objstoretest.Mem, persist bool) {
	m.Before(func(_ context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpPut && strings.Contains(key, "/models/") {
			m.Fail(op, 1, objstore.ErrUnavailable, persist)
		}
	})
}

func heal(m *objstoretest.Mem) {
	m.Before(nil)
	m.Heal()
}

// The store is down when a version ends: it is refused at once and not answered as done. Once the store is back the
// record is written, by this process or the next.
func TestEndWhileTheStoreIsDown(t *testing.T) {
	for _, tc := range []struct {
		name             string
		restart, persist bool
	}{{"same process", false, false}, {"answer lost", false, true}, {"next process", true, false}, {"next process, answer lost", true, true}} {
		t.Run(tc.name, func(t *testing.T) {
			s, db := memStore(t), index.NewMem()
			m := s.Bucket.(*objstoretest.Mem)
			opt := options(t, s, db)
			opt.Limits.CommitWait = time.Second
			r := start(t, s, db, opt)
			r.mustPush(t, writer, "m:1", small("a"))
			r.mustPush(t, writer, "m:2", small("b"))
			_, cursor := r.feed(t, reader, "")
			noRecords(m, tc.persist)
			for range 2 { // the second joins the first
				if _, recorded, err := r.Retire(t.Context(), keeper, own("m:1")); err != nil || recorded && !tc.persist {
					t.Fatalf("retired: recorded %t, %v", recorded, err)
				}
			}
			if _, recorded, err := r.Delete(t.Context(), keeper, own("m:2")); err != nil || recorded {
				t.Fatalf("deleted: recorded %t, %v", recorded, err)
			}
			_, err := r.Files(t.Context(), reader, ref("m:1"), engine.ListFiles{URLs: true, Limit: 1})
			wantCode(t, err, ballast.CodeRetired)
			_, err = r.Version(t.Context(), reader, ref("m:2"))
			wantCode(t, err, ballast.CodeNotFound)
			if !tc.persist {
				if _, _, err = r.Delete(t.Context(), keeper, own("m:1")); ballast.CodeOf(err) != ballast.CodeUnavailable {
					t.Fatalf("another end while the first is pending: %v", err)
				}
				if kinds, _ := r.feed(t, reader, cursor); len(kinds) != 0 {
					t.Errorf("the feed says %v of what is not done", kinds)
				}
			}
			if tc.restart {
				r.Close()
				heal(m)
				r = start(t, s, db, opt)
			} else {
				heal(m)
			}
			waitFor(t, "both ends are recorded", func() bool { return len(must(r.opt.Index.PendingEnds(t.Context(), 9))) == 0 })
			kinds, _ := r.feed(t, reader, cursor)
			if slices.Sort(kinds); fmt.Sprint(kinds) != "[version.deleted acme::m::2 version.retired acme::m::1]" {
				t.Errorf("the feed says %v", kinds)
			}
			r.mustRetire(t, keeper, "m:1")
			r.mustDelete(t, keeper, "m:1")
			if got := recordsOf(t, s.Bucket, "m", "1"); fmt.Sprint(got) != "[ready by ci@acme retired by ops@acme deleted by ops@acme]" {
				t.Errorf("the chain is %q", got)
			}
		})
	}
}

// A record that is not ours lies where the next of a chain is to go: the bucket knows more than the index. Nothing is
// answered as done, and all writes stop.
func TestForeignEndStopsTheWrites(t *testing.T) {
	m, r := memRig(t, nil)
	r.lost = true
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, writer, "m:2", small("b"))
	const place = "tenants/acme/models/m/versions/1/00000002.json"
	m.Plant(place, []byte("not ours"))
	_, _, err := r.Retire(t.Context(), keeper, own("m:1"))
	if e := wantCode(t, err, ballast.CodeUnavailable); !strings.Contains(e.Detail, "rebuild") {
		t.Errorf("detail %q does not say what to do", e.Detail)
	}
	_, err = r.Version(t.Context(), reader, ref("m:1"))
	wantCode(t, err, ballast.CodeRetired) // it errs towards refusing
	for what, change := range r.changes(t, keeper, "m:2") {
		if err := change(); ballast.CodeOf(err) != ballast.CodeUnavailable {
			t.Errorf("%s after the bucket was ahead: %v", what, err)
		}
	}
	if got := string(must2(m.Peek(place))); got != "not ours" {
		t.Errorf("the record now holds %q", got)
	}
}

// An index copied back from before a retirement would serve what was retired, and end it again. The survey notices.
func TestOldIndexDoesNotKnowAnEnd(t *testing.T) {
	s := memStore(t)
	db, path := boltAt(t)
	r := start(t, s, db, options(t, s, db))
	r.lost = true
	r.mustPush(t, writer, "m:1", small("a"))
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r.mustRetire(t, keeper, "m:1")
	_, cursor := r.feed(t, reader, "")
	r = r.startOn(t, path, old)
	waitFor(t, "the service is not ready", func() bool { return ballast.CodeOf(r.Ready(t.Context())) == ballast.CodeUnavailable })
	_, _, err = r.Delete(t.Context(), keeper, own("m:1"))
	wantCode(t, err, ballast.CodeUnavailable)
	if got := recordsOf(t, s.Bucket, "m", "1"); len(got) != 2 {
		t.Errorf("the chain is %q", got)
	}
	_, err = r.Events(t.Context(), reader, cursor, 10, 0)
	if e := wantCode(t, err, ballast.CodeGone); e.Cursor == "" {
		t.Error("no cursor to begin with")
	} else if kinds, _ := r.feed(t, reader, e.Cursor); fmt.Sprint(kinds) != "[version.ready acme::m::1]" {
		t.Errorf("from the oldest: %v", kinds)
	}
}

// A follower goes on where it was after a restart, and a feed that no longer goes back so far says so.
func TestFeedAfterARestart(t *testing.T) {
	s, db := memStore(t), index.NewMem()
	opt := options(t, s, db)
	r := start(t, s, db, opt)
	r.mustPush(t, writer, "m:1", small("a"))
	_, cursor := r.feed(t, reader, "")
	r.mustPush(t, writer, "m:2", small("b"))
	r.Close()
	late := opt
	r = start(t, s, db, late)
	r.mustPush(t, writer, "m:3", small("c"))
	if kinds, _ := r.feed(t, reader, cursor); fmt.Sprint(kinds) != "[version.ready acme::m::2 version.ready acme::m::3]" {
		t.Errorf("after a restart: %v", kinds)
	}
	r.Close()
	late.Now = func() time.Time { return time.Now().Add(engine.DefaultLimits().EventLife + time.Hour) }
	r = start(t, s, db, late)
	waitFor(t, "old events are dropped", func() bool {
		_, err := r.Events(t.Context(), reader, cursor, 10, 0)
		return ballast.CodeOf(err) == ballast.CodeGone
	})
	if kinds, _ := r.feed(t, reader, ""); fmt.Sprint(kinds) != "[version.ready acme::m::3]" {
		t.Errorf("left are %v", kinds)
	}
}
