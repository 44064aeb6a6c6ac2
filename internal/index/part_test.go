package index_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

func names(all ...string) (of []ballast.Names) {
	for _, s := range all {
		of = append(of, must(ballast.ParseNames(s)))
	}
	return of
}

// TestPartsAreAllThereIs lists two registries: one holds what a caller sees of it, the other that and more. Every list
// shows the same of both, and no cursor holds what the caller does not see.
func TestPartsAreAllThereIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		more, just := newWorld(t, index.NewMem()), newWorld(t, index.NewMem())
		seen := names(rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a*", "a/*", "A/b*", "b", "b/*", "b/a"}), rapid.ID).Draw(t, "names")...)
		parts := []index.Part{{Scope: acme, Names: seen}, {Scope: ballast.Global}}
		if seen == nil {
			parts = parts[1:]
		}
		sees := func(k ballast.Key) bool {
			return k.Scope == ballast.Global || slices.ContainsFunc(seen, func(n ballast.Names) bool { return n.Has(k.Name) })
		}
		base, began := "global::base::1", more.clock.Add(time.Hour)
		for _, w := range []*world{more, just} {
			w.publish(base, "base")
			w.ScanAtMost(rapid.IntRange(1, 6).Draw(t, "scan"))
		}
		together := rapid.IntRange(1, 4).Draw(t, "versions of one instant")
		const unseen = "unseen"
		for i, target := range rapid.SliceOfDistinct(rapid.StringMatching(`(acme|global)::(a|b|c|a/[ab]|b/[ab]|unseen)::[12]`), rapid.ID).Draw(t, "versions") {
			k := vkey(target)
			if k.Scope == ballast.Global && k.Name.String() == unseen {
				continue
			}
			for _, w := range []*world{more, just} {
				w.clock = began.Add(time.Duration(i/together) * time.Second)
			}
			more.publishOn(base, target, fmt.Sprint("content ", i))
			if sees(k) {
				just.publishOn(base, target, fmt.Sprint("content ", i))
			}
		}
		same := func(what string, got, want []string) {
			t.Helper()
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s of a part (-alone +among others):\n%s", what, diff)
			}
		}
		limit, prefix := rapid.IntRange(1, 3).Draw(t, "limit"), rapid.SampledFrom([]string{"", "A", "a/", "b/a", "c"}).Draw(t, "prefix")
		list := func(w *world, read func(after []byte) (keys []string, next []byte, err error)) (all []string) {
			for after, pages := []byte(nil), 0; ; pages++ {
				keys, next, err := read(after)
				w.ok(err)
				all = append(all, keys...)
				if next == nil {
					return all
				}
				if bytes.Contains(next, []byte(unseen)) {
					t.Fatalf("a cursor tells what is not seen: %q", next)
				}
				if after = next; pages > 100 {
					t.Fatal("the list does not end")
				}
			}
		}
		models := func(w *world) []string {
			return list(w, func(after []byte) (keys []string, next []byte, err error) {
				page, more, err := w.Models(w.ctx, parts, prefix, string(after), limit)
				for _, m := range page {
					keys = append(keys, fmt.Sprint(m.Scope, m.Name.Name, m.Latest, m.Name.Ready))
				}
				if more != "" {
					next = []byte(more)
				}
				return keys, next, err
			})
		}
		same("models", models(more), models(just))
		for _, order := range []ballast.VersionOrder{"", ballast.OrderOldest, ballast.OrderNewest} {
			versions := func(w *world) []string {
				return list(w, func(after []byte) (keys []string, next []byte, err error) {
					page, next, err := w.AllVersions(w.ctx, index.VersionList{Parts: parts, Prefix: prefix, Order: order, After: after, Limit: limit, Keep: ready})
					return versionKeys(page), next, err
				})
			}
			same("versions "+string(order), versions(more), versions(just))
		}
		children := func(w *world) []string {
			of, err := w.Version(w.ctx, vkey(base))
			w.ok(err)
			return list(w, func(after []byte) (keys []string, next []byte, err error) {
				page, next, err := w.Children(w.ctx, of, parts, after, limit)
				return versionKeys(page), next, err
			})
		}
		same("children", children(more), children(just))
	})
}

func versionKeys(versions []index.Version) (keys []string) {
	for _, v := range versions {
		keys = append(keys, v.Key().String())
	}
	return keys
}

// TestImportsOfAPart lists those into names that are seen.
func TestImportsOfAPart(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for _, n := range []string{"a/1", "b", "A/2", "c", "a/3"} {
			w.abort(w.openImport("acme::"+n, false))
		}
		for limit := 1; limit < 5; limit++ {
			var got []string
			for below, more := "", true; more; more = below != "" {
				page, next, err := w.Imports(w.ctx, index.Part{Scope: acme, Names: names("a/*")}, below, limit)
				w.ok(err)
				for _, u := range page {
					got = append(got, u.Name.String())
				}
				below = next
			}
			if fmt.Sprint(got) != "[a/3 A/2 a/1]" {
				t.Errorf("pages of %d: %v", limit, got)
			}
		}
	})
}
