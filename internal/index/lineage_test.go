package index_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// children reads all pages of a version's children in some scopes.
func (w *world) children(base string, scopes []ballast.Scope, limit int, between func()) (keys []string) {
	w.t.Helper()
	v, err := w.Version(w.ctx, vkey(base))
	w.ok(err)
	for after := []byte(nil); ; {
		page, next, err := w.Children(w.ctx, v, index.Whole(scopes...), after, limit)
		w.ok(err)
		if len(page) > limit {
			w.t.Fatalf("%d children on a page of %d", len(page), limit)
		}
		for _, c := range page {
			keys = append(keys, c.Key().String())
		}
		if next == nil {
			return keys
		}
		after = next
		between()
	}
}

func TestChildren(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("base::1", "base")
		w.publish("base::2", "another")
		for _, k := range []string{"other::z::1", "acme::c::10", "c::1", "acme::c::9", "acme::b::1.0.0-rc.1", "acme::B::2"} {
			w.publishOn("base::1", k, k)
		}
		w.publishOn("base::2", "acme::c::3", "not its child")
		_, err := w.Seal(w.ctx, w.accept(w.open("acme::c::4"), "sealed", ballast.Metadata{BaseModel: "base::1"}).ID, record)
		w.ok(err)
		w.retire("acme::c::9")
		w.delete("acme::b::2")
		want := []string{"acme::b::1.0.0-rc.1", "acme::c::9", "acme::c::10", "c::1"}
		both := []ballast.Scope{ballast.Global, acme, ballast.Global}
		added := 0
		for limit := 1; limit < 7; limit++ {
			got := w.children("base::1", both, limit, func() {
				added++
				w.publishOn("base::1", fmt.Sprintf("acme::later%d::1", added), fmt.Sprint("later", added))
			})
			got = slices.DeleteFunc(got, func(k string) bool { return strings.Contains(k, "later") })
			if !slices.Equal(got, want) {
				t.Errorf("by %d: %v, want %v", limit, got, want)
			}
		}
		if got := w.children("base::1", nil, 5, nil); len(got) != 0 {
			t.Errorf("who sees nothing sees %v", got)
		}
	})
}

// TestChildrenCursorsNameWhatWasShown, and never what only others see.
func TestChildrenCursorsNameWhatWasShown(t *testing.T) {
	w := newWorld(t, index.NewMem())
	base := w.publish("base::1", "base")
	for _, k := range []string{"acme::a::1", "acme::b::1", "mine::c::1", "other::d::1", "other::e::1"} {
		w.publishOn("base::1", k, k)
	}
	mine := []ballast.Scope{must(ballast.ParseScope("mine")), ballast.Global}
	page, next, err := w.Children(w.ctx, base, index.Whole(mine...), nil, 1)
	if err != nil || len(page) != 1 || next != nil {
		t.Errorf("got %+v, then %q, %v", page, next, err)
	}
}

func TestADamagedChildHidesNoOther(t *testing.T) {
	w := newWorld(t, index.NewMem())
	w.publish("base::1", "base")
	for _, k := range []string{"acme::a::1", "acme::b::1", "acme::c::1"} {
		w.publishOn("base::1", k, k)
	}
	w.ok(w.PutUnknown(w.ctx, index.VersionKey(vkey("acme::b::1"))))
	if got := w.children("base::1", []ballast.Scope{acme}, 5, nil); fmt.Sprint(got) != "[acme::a::1 acme::c::1]" || len(w.damaged) != 1 {
		t.Errorf("got %v, reported %v", got, w.damaged)
	}
	_, err := w.begin(w.Delete, "base::1")
	if err == nil || ballast.CodeOf(err) == ballast.CodeReferenced {
		t.Errorf("deleting what a damaged record may point at: %v", err)
	}
}

// TestARetiredGrandparentShuts: a version is refused whichever of its bases was retired, up to the last.
func TestARetiredGrandparentShuts(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("m0::1", "0")
		for i := 1; i <= index.MaxLineage; i++ {
			w.publishOn(fmt.Sprintf("m%d::1", i-1), fmt.Sprintf("m%d::1", i), fmt.Sprint(i))
		}
		leaf := fmt.Sprintf("m%d:1", index.MaxLineage)
		v, err := w.Version(w.ctx, vkey(strings.Replace(leaf, ":", "::", 1)))
		w.ok(err)
		if depth, err := w.Depth(w.ctx, v); err != nil || depth != index.MaxLineage {
			t.Errorf("depth %d, %v", depth, err)
		}
		if got := w.resolve(reader, leaf); got != v.Key().String() {
			t.Errorf("before: %s", got)
		}
		w.retire("m0::1")
		_, err = w.Resolve(w.ctx, reader, must(ballast.ParseRef(leaf)))
		if e := w.want(ballast.CodeRetired, err); !strings.Contains(e.Detail, "m0::1") {
			t.Errorf("%q does not name the base", e.Detail)
		}
		known := reader
		known.Retired = true
		if got := w.resolve(known, leaf); got != v.Key().String() {
			t.Errorf("as provenance: %s", got)
		}
	})
}
