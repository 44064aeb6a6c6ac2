package index_test

import (
	"fmt"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

func (w *world) setAlias(alias, to string, ifRevision *int64) (index.Alias, error) {
	w.t.Helper()
	return w.SetAlias(w.ctx, acme, name("M"), must(ballast.ParseAlias(alias)), version(to), "ci", ifRevision)
}

func TestAliasesMoveByCompareAndSwap(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for _, label := range []string{"1", "2", "3"} {
			w.publish("acme::m::"+label, label)
		}
		revision := func(n int64) *int64 { return &n }
		for i, step := range []struct {
			to       string
			ifMatch  *int64
			revision int64 // 0: precondition
		}{
			{"1", revision(1), 0}, // there is none yet
			{"1", revision(0), 1}, {"2", revision(0), 0}, {"2", revision(1), 2}, {"3", revision(1), 0}, {"2", nil, 2},
			{"2", revision(2), 2}, {"2", revision(1), 0}, {"3", nil, 3}, {"1.0.0", revision(3), 4},
		} {
			a, err := w.setAlias("champion", step.to, step.ifMatch)
			if step.revision == 0 {
				w.want(ballast.CodePrecondition, err)
				continue
			}
			if err != nil || a.Revision != step.revision || a.Version.Compare(version(step.to)) != 0 || a.UpdatedBy != "ci" {
				t.Errorf("step %d: %+v, %v", i, a, err)
			}
		}
		w.wantAliasesOf("acme::m::1", "champion")
		w.wantAliasesOf("acme::m::2")
		w.wantAliasesOf("acme::m::3")

		champion := must(ballast.ParseAlias("champion"))
		w.want(ballast.CodePrecondition, w.DeleteAlias(w.ctx, acme, name("m"), champion, "w", revision(3)))
		w.ok(w.DeleteAlias(w.ctx, acme, name("m"), champion, "w", revision(4)))
		w.want(ballast.CodeNotFound, w.DeleteAlias(w.ctx, acme, name("m"), champion, "w", nil))
		w.wantAliasesOf("acme::m::1")
		if got := w.resolve(reader, "m@champion"); got != "not_found" {
			t.Errorf("a deleted alias is %s", got)
		}
	})
}

func (w *world) wantAliasesOf(key string, want ...string) {
	w.t.Helper()
	v, err := w.Version(w.ctx, vkey(key))
	w.ok(err)
	got, err := w.AliasesOf(w.ctx, []index.Version{v})
	if err != nil || len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		w.t.Errorf("aliases of %s: %v, %v; want %v", key, got, err, want)
	}
}

func TestAliasesPointAtReadyVersions(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		_, err := w.setAlias("a", "1", nil)
		w.want(ballast.CodeNotFound, err)
		w.seal("acme::m::1", "x")
		_, err = w.setAlias("a", "1", nil)
		w.want(ballast.CodeNotFound, err)
		v, err := w.Ready(w.ctx, vkey("acme::m::1"))
		w.ok(err)
		_, err = w.setAlias("a", "1", nil)
		w.ok(err)
		w.ok(w.SetStatus(w.ctx, v.Key(), ballast.StatusRetired))
		_, err = w.setAlias("b", "1", nil)
		w.want(ballast.CodePrecondition, err)
	})
}

// TestAliasesOfANameAreBounded: they are listed together and shown with each version. Those that are there go on moving.
func TestAliasesOfANameAreBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("acme::m::1", "x")
		w.publish("acme::m::2", "y")
		w.publish("acme::other::1", "x")
		for i := range ballast.MaxAliases {
			_, err := w.setAlias(fmt.Sprintf("a-%d", i), "1", nil)
			w.ok(err)
		}
		_, err := w.setAlias("b", "1", nil)
		w.want(ballast.CodeTooLarge, err)
		_, err = w.setAlias("a-7", "2", nil)
		w.ok(err)
		_, err = w.SetAlias(w.ctx, acme, name("other"), must(ballast.ParseAlias("b")), version("1"), "ci", nil)
		w.ok(err)
		w.ok(w.DeleteAlias(w.ctx, acme, name("m"), must(ballast.ParseAlias("a-8")), "ci", nil))
		_, err = w.setAlias("b", "1", nil)
		w.ok(err)
	})
}

func TestAliasesAreListed(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		_, err := w.Aliases(w.ctx, reader.Scopes, name("m"))
		w.want(ballast.CodeNotFound, err)
		w.publish("m::1", "g")
		_, err = w.SetAlias(w.ctx, ballast.Global, name("m"), must(ballast.ParseAlias("theirs")), version("1"), "ci", nil)
		w.ok(err)
		w.wantAliases("theirs 1")
		w.publish("acme::m::1", "x")
		w.publish("acme::m::1.0.1", "y")
		w.wantAliases()
		for alias, to := range map[string]string{"c": "1", "a": "1.0.1", "b": "1", "b-2": "1"} {
			_, err := w.setAlias(alias, to, nil)
			w.ok(err)
		}
		w.wantAliases("a 1.0.1", "b 1", "b-2 1", "c 1")
		w.wantAliasesOf("acme::m::1", "b", "b-2", "c")
		w.wantAliasesOf("acme::m::1.0.1", "a")
	})
}

func (w *world) wantAliases(want ...string) {
	w.t.Helper()
	all, err := w.Aliases(w.ctx, reader.Scopes, name("m"))
	w.ok(err)
	var got []string
	for _, a := range all {
		got = append(got, a.Name.String()+" "+a.Version.String())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("aliases: %v, want %v", got, want)
	}
}
