package index_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// allVersions reads all pages of a list and calls between each two.
func (w *world) allVersions(l index.VersionList, between func()) (shown []string) {
	w.t.Helper()
	for l.After = nil; ; between() {
		page, next, err := w.AllVersions(w.ctx, l)
		w.ok(err)
		if len(page) > l.Limit {
			w.t.Fatalf("%d versions on a page of %d", len(page), l.Limit)
		}
		for _, v := range page {
			shown = append(shown, v.Key().String())
		}
		if next == nil {
			return shown
		}
		if string(next) == string(l.After) {
			w.t.Fatalf("the list stands still at %q", next)
		}
		l.After = next
	}
}

// inOrder sorts as a list does: written out anew, from what the orders promise.
func inOrder(order ballast.VersionOrder) func(a, b index.Version) int {
	return func(a, b index.Version) int {
		names := strings.Compare(a.Name.Fold(), b.Name.Fold())
		byTime := a.CreatedAt.Compare(b.CreatedAt.Time)
		if byTime == 0 {
			if byTime = names; byTime == 0 {
				byTime = a.Version.Compare(b.Version)
			}
		}
		switch {
		case order == ballast.OrderOldest:
			return byTime
		case order == ballast.OrderNewest:
			return -byTime
		case names != 0:
			return names
		}
		return b.Version.Compare(a.Version)
	}
}

// TestCatalogPages: the pages of a filtered list together are the filtered whole, whatever the order, the page and what a
// page may look at; and while versions are published, retired and deleted between pages, what is there all the time is
// listed once and nothing else that the filter does not admit.
func TestCatalogPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, index.NewMem())
		targets := rapid.SliceOfNDistinct(rapid.StringMatching(`(acme|global)::[abB](/[ab])?::[1-4]`), 1, 20, strings.ToLower)
		published := map[string]index.Version{}
		publish := func(target string) {
			if rapid.Bool().Draw(t, "the clock goes on") {
				w.clock = w.clock.Add(time.Millisecond)
			}
			u := w.accept(w.open(target), fmt.Sprint("content of ", target), ballast.Metadata{Tags: rapid.SampledFrom([][]string{nil, {"x"}, {"x", "y"}}).Draw(t, "tags")})
			v, err := w.Seal(w.ctx, u.ID, record)
			w.ok(err)
			v, err = w.Ready(w.ctx, v.Key())
			w.ok(err)
			published[v.Key().String()] = v
		}
		change := func(k string) {
			var err error
			v := published[k]
			if rapid.Bool().Draw(t, "delete") {
				v, err = w.Delete(w.ctx, v.Key(), index.Change{By: "t"}, record)
			} else {
				v, err = w.Retire(w.ctx, v.Key(), index.Change{By: "t"}, record)
			}
			w.ok(err)
			v, err = w.Recorded(w.ctx, v.Key(), v.Records+1)
			w.ok(err)
			published[k] = v
		}
		all := targets.Draw(t, "versions")
		now, later := all[:(len(all)+1)/2], all[(len(all)+1)/2:]
		for _, target := range now {
			publish(target)
		}
		filter := ballast.VersionFilter{Status: rapid.SampledFrom([]ballast.ListedStatus{"", ballast.ListRetired, ballast.ListAll}).Draw(t, "status")}
		if rapid.Bool().Draw(t, "filter by tag") {
			filter.Tags = []string{"x"}
		}
		l := index.VersionList{
			Parts: index.Whole(reader.Scopes...), Limit: rapid.IntRange(1, 4).Draw(t, "limit"),
			Order:  rapid.SampledFrom([]ballast.VersionOrder{"", ballast.OrderOldest, ballast.OrderNewest}).Draw(t, "order"),
			Prefix: rapid.SampledFrom([]string{"", "B", "a", "b/"}).Draw(t, "prefix"),
			Keep:   func(v index.Version) bool { return filter.Matches(v.Status, v.Stage, v.CreatedBy, v.Metadata) },
		}
		w.ScanAtMost(rapid.IntRange(1, 12).Draw(t, "scan"))
		whole := func() (keys []string) {
			var found []index.Version
			own := map[string]bool{}
			for _, v := range published {
				own[v.Name.Fold()] = own[v.Name.Fold()] || v.Scope == acme
			}
			for _, v := range published {
				if strings.HasPrefix(v.Name.Fold(), strings.ToLower(l.Prefix)) && l.Keep(v) && (v.Scope == acme || !own[v.Name.Fold()]) {
					found = append(found, v)
				}
			}
			slices.SortFunc(found, inOrder(l.Order))
			for _, v := range found {
				keys = append(keys, v.Key().String())
			}
			return keys
		}
		before := whole()
		if diff := cmp.Diff(before, w.allVersions(l, func() {}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("pages (-whole +pages):\n%s", diff)
		}
		stayed := toSet(before)
		admitted := toSet(before)
		got := w.allVersions(l, func() {
			if len(later) > 0 && rapid.Bool().Draw(t, "publish") {
				publish(later[0])
				later = later[1:]
			} else if k := rapid.SampledFrom(slices.Sorted(keysOf(published))).Draw(t, "changed"); published[k].Status == ballast.StatusReady {
				change(k)
			}
			shown := toSet(whole())
			for k := range stayed {
				if !shown[k] {
					delete(stayed, k)
				}
			}
			for k := range shown {
				admitted[k] = true
			}
		})
		count := map[string]int{}
		for _, k := range got {
			if count[k]++; count[k] > 1 {
				t.Errorf("%s is listed twice in %v", k, got)
			}
			if !admitted[k] {
				t.Errorf("%s is listed and was never to be shown", k)
			}
		}
		for k := range stayed {
			if count[k] == 0 {
				t.Errorf("%s was there all the time and is not in %v", k, got)
			}
		}
	})
}

func toSet(keys []string) map[string]bool {
	set := map[string]bool{}
	for _, k := range keys {
		set[k] = true
	}
	return set
}

func keysOf(m map[string]index.Version) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestCatalogLooksAtABoundedNumber: a filter that matches nothing answers empty pages, each after so many versions.
func TestCatalogLooksAtABoundedNumber(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for i := range 10 {
			w.publish(fmt.Sprintf("acme::m%d::1", i), fmt.Sprint(i))
		}
		w.ScanAtMost(3)
		for _, order := range []ballast.VersionOrder{ballast.OrderName, ballast.OrderOldest, ballast.OrderNewest} {
			pages := 1
			got := w.allVersions(index.VersionList{Parts: index.Whole(reader.Scopes...), Order: order, Limit: 100, Keep: func(index.Version) bool { return false }}, func() { pages++ })
			if len(got) != 0 || pages != 4 {
				t.Errorf("%s: %v on %d pages", order, got, pages)
			}
		}
		if page, next, err := w.Versions(w.ctx, reader.Scopes, name("m1"), ballast.Version{}, 5, ready); err != nil || len(page) != 1 || !next.IsZero() {
			t.Errorf("got %d, next %s, %v", len(page), next, err)
		}
	})
}

// TestCatalogPagesAreBoundedInBytes: a page of long versions ends early, and the pages together hold each once.
func TestCatalogPagesAreBoundedInBytes(t *testing.T) {
	const versions, pageBytes = 80, 2 << 20
	long := ballast.Metadata{Description: strings.Repeat("d", 30<<10)}
	onBoth(t, func(t *testing.T, w *world) {
		for i := range versions {
			v, err := w.Seal(w.ctx, w.accept(w.open(fmt.Sprintf("acme::m::%d", i+1)), fmt.Sprint(i), long).ID, record)
			if err == nil {
				_, err = w.Ready(w.ctx, v.Key())
			}
			w.ok(err)
		}
		for _, order := range []ballast.VersionOrder{ballast.OrderName, ballast.OrderOldest, ballast.OrderNewest} {
			seen, pages := map[string]bool{}, 0
			for after := []byte(nil); pages == 0 || after != nil; pages++ {
				page, next, err := w.AllVersions(w.ctx, index.VersionList{Parts: index.Whole(reader.Scopes...), Order: order, After: after, Limit: 1000, Keep: ready})
				w.ok(err)
				if size := len(page) * len(long.Description); len(page) == 0 || size > pageBytes {
					t.Fatalf("%s: a page of %d versions, %d bytes", order, len(page), size)
				}
				for _, v := range page {
					seen[v.Key().String()] = true
				}
				after = next
			}
			if len(seen) != versions || pages < 2 {
				t.Errorf("%s: %d versions on %d pages", order, len(seen), pages)
			}
		}
	})
}

// TestCatalogPlaces: a place is taken only in the form in which a list answers it.
func TestCatalogPlaces(t *testing.T) {
	w := newWorld(t, index.NewMem())
	for _, order := range []ballast.VersionOrder{ballast.OrderName, ballast.OrderOldest, ballast.OrderNewest} {
		for _, place := range []string{"x", "\x00", "m", "m\x00", "\x00m", "12345678", "12345678\x00", "12345678m", "12345678m\x00"} {
			_, _, err := w.AllVersions(w.ctx, index.VersionList{Parts: index.Whole(reader.Scopes...), Order: order, After: []byte(place), Limit: 1, Keep: ready})
			w.want(ballast.CodeInvalid, err)
		}
	}
}

// TestDamageInTheCatalog: what cannot be read is reported and hides nothing else, in every order.
func TestDamageInTheCatalog(t *testing.T) {
	onDamaged(t, func(t *testing.T, w *world, harm func(...[]byte)) {
		for _, target := range []string{"acme::m::1", "acme::m::2", "acme::m::3", "n::1"} {
			w.publish(target, target)
			w.clock = w.clock.Add(time.Second)
		}
		harm(index.VersionKey(vkey("acme::m::2")))
		for order, want := range map[ballast.VersionOrder]string{
			ballast.OrderName: "[acme::m::3 acme::m::1 n::1]", ballast.OrderOldest: "[acme::m::1 acme::m::3 n::1]", ballast.OrderNewest: "[n::1 acme::m::3 acme::m::1]",
		} {
			w.wantReported(func() {
				got := w.allVersions(index.VersionList{Parts: index.Whole(reader.Scopes...), Order: order, Limit: 10, Keep: ready}, func() {})
				if fmt.Sprint(got) != want {
					t.Errorf("%s: %v, want %s", order, got, want)
				}
			}, index.VersionKey(vkey("acme::m::2")))
		}
	})
}
