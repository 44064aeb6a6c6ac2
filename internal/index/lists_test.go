package index_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// models reads all pages of a list of names, and calls between each two.
func (w *world) models(scopes []ballast.Scope, prefix string, limit int, between func()) (shown []string) {
	w.t.Helper()
	for after := ""; ; {
		page, next, err := w.Models(w.ctx, index.Whole(scopes...), prefix, after, limit)
		w.ok(err)
		if len(page) > limit {
			w.t.Fatalf("%d names on a page of %d", len(page), limit)
		}
		for _, m := range page {
			shown = append(shown, fmt.Sprintf("%s::%s latest %s of %d", m.Scope, m.Name.Name, m.Latest, m.Name.Ready))
		}
		if next == "" {
			return shown
		}
		if next <= after {
			w.t.Fatalf("the list goes back from %q to %q", after, next)
		}
		after = next
		between()
	}
}

func TestModels(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for _, target := range []string{"org/a::1", "org/a::2.0.0-rc", "B::1", "acme::b::7", "acme::gone::1", "gone::1", "acme::a-b::1", "a::1", "acme::archived::3"} {
			w.publish(target, target)
		}
		w.seal("acme::sealed::1", "s")
		w.seal("acme::a::1", "s2")
		w.open("acme::open::1")
		w.ok(w.SetStatus(w.ctx, vkey("acme::gone::1"), ballast.StatusRetired))
		w.ok(w.Archive(w.ctx, vkey("acme::archived::3")))
		want := []string{"global::a latest 1 of 1", "acme::a-b latest 1 of 1", "acme::archived latest  of 1", "acme::b latest 7 of 1", "global::org/a latest 1 of 2"}
		for limit := 1; limit < 8; limit++ {
			if diff := cmp.Diff(want, w.models(reader.Scopes, "", limit, func() {})); diff != "" {
				t.Errorf("limit %d: %s", limit, diff)
			}
		}
		if diff := cmp.Diff([]string{"global::org/a latest 1 of 2"}, w.models(reader.Scopes, "Org/", 3, func() {})); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(want[:3], w.models(reader.Scopes, "a", 1, func() {})); diff != "" {
			t.Error(diff)
		}
	})
}

// TestModelsPages holds the pages of any list to what the two scopes hold, while names are added to it.
func TestModelsPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, index.NewMem())
		targets := rapid.SliceOfDistinct(rapid.StringMatching(`(acme|global)::[ab]{1,2}(/[ab])?`), func(s string) string { return s })
		want := map[string]string{} // by name; acme's shadow global's
		for i, target := range targets.Draw(t, "names") {
			scope, name, _ := strings.Cut(target, "::")
			v := w.publish(target, fmt.Sprint("content ", i))
			gone := rapid.IntRange(0, 3).Draw(t, "gone") == 0
			if gone {
				w.ok(w.SetStatus(w.ctx, v.Key(), ballast.StatusRetired))
			}
			if _, shadowed := want[name]; shadowed && scope == "global" {
				continue
			}
			want[name] = fmt.Sprintf("%s::%s latest 1 of 1", scope, name)
			if gone {
				want[name] = ""
			}
		}
		added := 0
		got := w.models(reader.Scopes, "", rapid.IntRange(1, 5).Draw(t, "limit"), func() {
			if added < 5 {
				added++
				w.publish(fmt.Sprintf("acme::%sz%d", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "new"), added), fmt.Sprint("added ", added))
			}
		})
		got = slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, "z") })
		var names []string
		for n, shown := range want {
			if shown != "" {
				names = append(names, n)
			}
		}
		slices.Sort(names)
		var all []string
		for _, n := range names {
			all = append(all, want[n])
		}
		if diff := cmp.Diff(all, got, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

// versions reads all pages of a name's versions.
func (w *world) versions(n string, limit int, between func()) (shown []string) {
	w.t.Helper()
	var below ballast.Version
	for {
		page, next, err := w.Versions(w.ctx, reader.Scopes, name(n), below, limit, ready)
		w.ok(err)
		if len(page) > limit {
			w.t.Fatalf("%d versions on a page of %d", len(page), limit)
		}
		for _, v := range page {
			shown = append(shown, v.Version.String())
		}
		if next.IsZero() {
			return shown
		}
		below = next
		between()
	}
}

// TestVersionsPages lists the ready versions of a name, highest first, while others are added to it.
func TestVersionsPages(t *testing.T) {
	labels := strings.Fields(`1 2 10 1.0.1 1.2.0 2.0.0-rc.1 2.0.0-rc.2 2.0.0-rc.10 10.0.0-a 3.0.0 4 5 6.0.0-x`)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, index.NewMem())
		w.publish("m::99", "not these")
		var want []ballast.Version
		for i, label := range rapid.SliceOfNDistinct(rapid.SampledFrom(labels), 1, len(labels), rapid.ID).Draw(t, "labels") {
			v := w.publish("acme::m::"+label, fmt.Sprint(i))
			switch status := rapid.SampledFrom([]ballast.Status{ballast.StatusReady, ballast.StatusReady, ballast.StatusRetired, ballast.StatusDeleted}).Draw(t, "status"); status {
			case ballast.StatusReady:
				want = append(want, v.Version)
			default:
				w.ok(w.SetStatus(w.ctx, v.Key(), status))
			}
		}
		w.seal("acme::m::50", "sealed")
		added := 0
		got := w.versions("M", rapid.IntRange(1, 4).Draw(t, "limit"), func() {
			if added++; added < 4 {
				w.publish(fmt.Sprintf("acme::m::%d.7.0", rapid.IntRange(0, 3).Draw(t, "major")*10+added), fmt.Sprint("added ", added))
			}
		})
		got = slices.DeleteFunc(got, func(s string) bool { return strings.HasSuffix(s, ".7.0") })
		slices.SortFunc(want, func(a, b ballast.Version) int { return b.Compare(a) })
		var all []string
		for _, v := range want {
			all = append(all, v.String())
		}
		if diff := cmp.Diff(all, got, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestVersionsOfTheFirstScope(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		_, _, err := w.Versions(w.ctx, reader.Scopes, name("m"), ballast.Version{}, 10, ready)
		w.want(ballast.CodeNotFound, err)
		_, err = w.Model(w.ctx, reader.Scopes, name("m"))
		w.want(ballast.CodeNotFound, err)
		w.publish("m::1", "x")
		w.seal("acme::m::5", "y")
		if got := w.versions("m", 10, nil); fmt.Sprint(got) != "[1]" {
			t.Errorf("own is only sealed: %v", got)
		}
		v := w.publish("acme::m::7", "z")
		w.ok(w.SetStatus(w.ctx, v.Key(), ballast.StatusDeleted))
		if got := w.versions("m", 10, nil); len(got) != 0 {
			t.Errorf("own shadows for good: %v", got)
		}
		if m, err := w.Model(w.ctx, reader.Scopes, name("m")); err != nil || m.Scope != acme || m.Name.Ready != 0 || !m.Latest.IsZero() {
			t.Errorf("own shadows for good: %+v, %v", m, err)
		}
	})
}

// TestTokensPages lists the tokens that a caller may see, each once, while others come and go.
func TestTokensPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, index.NewMem())
		ids := rapid.SliceOfDistinct(rapid.StringMatching(`[a-c]{1,3}`), rapid.ID).Draw(t, "ids")
		see := func(tok index.Token) bool { return !strings.HasPrefix(tok.ID, "b") }
		var want []string
		for _, id := range ids {
			tok := index.Token{ID: id, Name: "n", Hash: []byte{1}, Grants: []ballast.Grant{{Scope: acme, Role: ballast.Writer}}}
			w.ok(w.PutToken(w.ctx, tok))
			if see(tok) {
				want = append(want, id)
			}
		}
		slices.Sort(want)
		limit := rapid.IntRange(1, 4).Draw(t, "limit")
		var got []string
		for after, pages := "", 0; ; pages++ {
			page, next, err := w.Tokens(w.ctx, after, limit, see)
			w.ok(err)
			if len(page) > limit {
				t.Fatalf("%d tokens on a page of %d", len(page), limit)
			}
			for _, tok := range page {
				if !strings.HasSuffix(tok.ID, "z") {
					got = append(got, tok.ID)
				}
			}
			if next == "" {
				break
			}
			after = next
			w.ok(w.PutToken(w.ctx, index.Token{ID: rapid.SampledFrom([]string{"a", "c"}).Draw(t, "new") + fmt.Sprint(pages) + "z"}))
			if pages == 0 {
				w.ok(w.DeleteToken(w.ctx, after, "w")) // the cursor's own token
			}
			if pages > 50 {
				t.Fatalf("the list does not end")
			}
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestToken(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		in := index.Token{ID: "t", Name: "ci", Hash: []byte{1, 2, 3}, CreatedBy: "root", CreatedAt: ballast.At(w.clock),
			Grants: []ballast.Grant{{Scope: acme, Role: ballast.Writer}, {Scope: ballast.Global, Role: ballast.Reader}}}
		w.ok(w.PutToken(w.ctx, in))
		got, ok, err := w.Token(w.ctx, "t")
		if err != nil || !ok || fmt.Sprint(got) != fmt.Sprint(in) {
			t.Errorf("got %+v, %t, %v", got, ok, err)
		}
		for range 2 {
			w.ok(w.DeleteToken(w.ctx, "t", "w"))
			if _, ok, err := w.Token(w.ctx, "t"); ok || err != nil {
				t.Errorf("deleted: %t, %v", ok, err)
			}
		}
	})
}
