package index_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// flawsOf are the flaws of a whole index, looked at in pages of a few items.
func flawsOf(t *testing.T, x *index.Index) (all []index.Flaw) {
	t.Helper()
	for after := []byte(nil); ; {
		flaws, seen, last, err := x.Inspect(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, flaws...)
		if last == nil {
			return all
		}
		if bytes.Compare(last, after) <= 0 || seen != 3 {
			t.Fatalf("the page behind %q ends at %q", after, last)
		}
		after = last
	}
}

// For each way to break an item, the flaw is named, and where it can be mended it is.
func TestFlawsAreNamedAndMended(t *testing.T) {
	for what, tc := range map[string]struct {
		kind     byte
		with, by string // what is replaced in the value; an empty one drops the item
		want     index.FlawKind
		mended   bool
	}{
		"a name's counter":        {'n', `"ready":1`, `"ready":7`, index.FlawCounter, true},
		"what latest chooses":     {'l', "", "", index.FlawUnlisted, true},
		"by digest":               {'d', "", "", index.FlawUnlisted, true},
		"by manifest":             {'M', "", "", index.FlawUnlisted, true},
		"by time":                 {'y', "", "", index.FlawUnlisted, true},
		"an alias's version":      {'A', "", "", index.FlawUnlisted, true},
		"an alias":                {'a', "", "", index.FlawDangling, true},
		"an upload's label":       {'k', "", "", index.FlawUnlisted, true},
		"an upload's time":        {'U', "", "", index.FlawUnlisted, true},
		"an upload":               {'u', "", "", index.FlawDangling, true},
		"a version":               {'v', "", "", index.FlawDangling, false},
		"a blob":                  {'b', "", "", index.FlawDangling, false},
		"one that cannot be read": {'v', `"status":"ready"`, `"status":"???"`, index.FlawUnreadable, false},
	} {
		t.Run(what, func(t *testing.T) {
			db := index.NewMem()
			w := newWorld(t, db)
			w.publish("acme::m::1.0.0", "a")
			must(w.SetAlias(w.ctx, acme, name("m"), must(ballast.ParseAlias("champion")), version("1.0.0"), "ci", nil))
			w.open("acme::m::2.0.0")
			if found := flawsOf(t, w.Index); len(found) > 0 {
				t.Fatalf("before: %+v", found)
			}
			edit(t, db, tc.kind, tc.with, tc.by)
			found := flawsOf(t, w.Index)
			kinds := map[index.FlawKind]bool{}
			for _, f := range found {
				kinds[f.Kind] = true
				if f.What == "" || len(f.Key) == 0 || strings.Contains(f.What, "%!") {
					t.Errorf("flaw %+v", f)
				}
			}
			if !kinds[tc.want] {
				t.Fatalf("found %+v, want %s", found, tc.want)
			}
			for _, f := range found {
				if _, err := w.Mend(t.Context(), f.Key); err != nil {
					t.Fatal(err)
				}
			}
			if left := flawsOf(t, w.Index); tc.mended && len(left) > 0 {
				t.Fatalf("after: %+v", left)
			}
		})
	}
}

// Of bytes that a rebuild missed the index has nothing: a lost version says so itself, and a retired one is not served. With
// one that is served it is a flaw.
func TestMissingBytesOfWhatIsNotServedAreNoFlaw(t *testing.T) {
	db := index.NewMem()
	w := newWorld(t, db)
	v := w.publish("acme::m::1.0.0", "a")
	err := db.Update(t.Context(), func(tx index.Tx) error {
		for item, err := range tx.Scan([]byte{'b'}, nil, false) {
			if err == nil && bytes.Contains(item.Key, []byte(sum("a").Encoded())) {
				return tx.Delete(item.Key)
			}
		}
		return index.ErrNotFound
	})
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[ballast.Status]bool{ballast.StatusReady: true, ballast.StatusLost: false, ballast.StatusRetired: false} {
		if err := w.SetStatus(w.ctx, v.Key(), status); err != nil {
			t.Fatal(err)
		}
		flawed := false
		for _, f := range flawsOf(t, w.Index) {
			flawed = flawed || f.Kind == index.FlawDangling && strings.Contains(f.What, sum("a").Encoded())
		}
		if flawed != want {
			t.Errorf("unknown bytes of a version that is %s: a flaw %v, want %v", status, flawed, want)
		}
	}
}

// edit replaces a text in the first value of a kind of key that holds it; an empty text drops all of the kind.
func edit(t *testing.T, db index.Store, kind byte, with, by string) {
	t.Helper()
	edited := 0
	err := db.Update(t.Context(), func(tx index.Tx) error {
		edited = 0
		for item, err := range tx.Scan([]byte{kind}, nil, false) {
			if err != nil {
				return err
			}
			if !strings.Contains(string(item.Value), with) {
				continue
			}
			if edited++; with == "" {
				err = tx.Delete(item.Key)
			} else {
				err = tx.Put(item.Key, []byte(strings.Replace(string(item.Value), with, by, 1)))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || edited == 0 {
		t.Fatalf("planting under %q: %d items, %v", kind, edited, err)
	}
}
