package index_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

func (w *world) promote(key string) index.Version {
	w.t.Helper()
	v, err := w.Promote(w.ctx, vkey(key), index.Change{By: "ci@acme"}, "")
	w.ok(err)
	return v
}

// rollback answers the version that is in production then, or the code of the refusal.
func (w *world) rollback(n, reason string) string {
	w.t.Helper()
	v, err := w.Rollback(w.ctx, acme, name(n), "ci@acme", reason)
	if err != nil {
		return string(ballast.CodeOf(err))
	}
	return v.Version.String()
}

// stages shows the stages of some versions of acme::m.
func (w *world) stages(labels ...string) (all []ballast.Stage) {
	w.t.Helper()
	for _, label := range labels {
		v, err := w.Version(w.ctx, vkey("acme::m::"+label))
		w.ok(err)
		all = append(all, v.Stage)
	}
	return all
}

func (w *world) wantStages(want string, labels ...string) {
	w.t.Helper()
	if got := fmt.Sprint(w.stages(labels...)); got != want {
		w.t.Errorf("stages are %s, want %s", got, want)
	}
}

// history reads all pages of what was in production under acme::m, the newest first.
func (w *world) history(limit int) (now string, all []ballast.Promotion) {
	w.t.Helper()
	for below := int64(0); ; {
		_, v, page, next, err := w.Production(w.ctx, reader.Scopes, name("m"), below, limit)
		w.ok(err)
		all, now, below = append(all, page...), v.String(), next
		if next == 0 {
			return now, all
		}
	}
}

func TestPromoteDemotesTheOther(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for _, label := range []string{"1", "2", "3"} {
			w.publish("acme::m::"+label, label)
		}
		w.publish("acme::n::1", "n")
		w.publish("m::1", "global")
		w.promote("acme::n::1")
		w.promote("m::1")
		w.promote("acme::m::1")
		// A clock that runs while a transaction lasts: what happens at one time must still bear one.
		w.tick = time.Second
		v := w.promote("acme::m::2")
		w.wantStages("[staged production none]", "1", "2", "3")
		old, err := w.Version(w.ctx, vkey("acme::m::1"))
		w.ok(err)
		_, all := w.history(10)
		if v.UpdatedAt != old.UpdatedAt || all[0].At != v.UpdatedAt || v.Revision != 2 || old.Revision != 3 {
			t.Errorf("promoted at %s rev %d, demoted at %s rev %d, noted at %s", v.UpdatedAt, v.Revision, old.UpdatedAt, old.Revision, all[0].At)
		}
		w.tick = 0
		again := w.promote("acme::m::2")
		if _, all := w.history(10); again.Revision != v.Revision || len(all) != 2 {
			t.Errorf("promoted again: %+v, history %+v", again, all)
		}
		for ref, want := range map[string]string{"m@production": "acme::m::2", "n@production": "acme::n::1"} {
			if got := w.resolve(reader, ref); got != want {
				t.Errorf("%s is %s, want %s", ref, got, want)
			}
		}
		if got := w.resolve(index.Lookup{Scopes: []ballast.Scope{ballast.Global}}, "m@production"); got != "m::1" {
			t.Errorf("in global alone: %s", got)
		}
	})
}

func TestPromoteRefusals(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		promote := func(key string, c index.Change) error {
			_, err := w.Promote(w.ctx, vkey(key), c, "")
			return err
		}
		base := w.publish("base::1", "b")
		w.publish("acme::m::1", "x")
		w.publishOn("base::1", "acme::m::2", "y")
		w.publish("acme::m::3", "z")
		w.seal("acme::m::4", "s")
		one := int64(7)
		w.want(ballast.CodePrecondition, promote("acme::m::1", index.Change{IfRevision: &one}))
		w.want(ballast.CodeNotFound, promote("acme::m::9", ci))
		w.want(ballast.CodeNotFound, promote("acme::m::4", ci))
		w.retire(base.Key().String())
		w.want(ballast.CodeRetired, promote("acme::m::2", ci))
		w.stage("acme::m::3", ballast.StageArchived)
		w.want(ballast.CodePrecondition, promote("acme::m::3", ci))
		w.stage("acme::m::3", ballast.StageDeprecated)
		w.want(ballast.CodePrecondition, promote("acme::m::3", ci))
		w.retire("acme::m::1")
		w.want(ballast.CodeRetired, promote("acme::m::1", ci))
		w.delete("acme::m::1")
		w.want(ballast.CodeNotFound, promote("acme::m::1", ci))
		if now, all := w.history(10); now != "" || len(all) != 0 {
			t.Errorf("in production: %q, %+v", now, all)
		}
		if got := w.resolve(reader, "m@production"); got != "not_found" {
			t.Errorf("production is %s", got)
		}
	})
}

// TestOneInProduction promotes many versions at once, in a tenant and in global.
func TestOneInProduction(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for _, scope := range []string{"acme::", "global::"} {
			const n = 8
			for i := range n {
				w.publish(fmt.Sprintf("%sm::%d", scope, i+1), fmt.Sprint(i))
			}
			var all sync.WaitGroup
			for i := range n {
				all.Go(func() {
					if _, err := w.Promote(w.ctx, vkey(fmt.Sprintf("%sm::%d", scope, i+1)), ci, ""); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			count := map[ballast.Stage]int{}
			for i := range n {
				v, err := w.Version(w.ctx, vkey(fmt.Sprintf("%sm::%d", scope, i+1)))
				w.ok(err)
				count[v.Stage]++
			}
			if count[ballast.StageProduction] != 1 || count[ballast.StageStaged] != n-1 {
				t.Errorf("%s: %v", scope, count)
			}
		}
	})
}

func TestRollback(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		want := func(label string) {
			t.Helper()
			if got := w.rollback("m", "it is slow"); got != label {
				t.Errorf("rolled back to %s, want %s", got, label)
			}
		}
		want("not_found")
		for _, label := range []string{"1", "2", "3", "4", "5"} {
			w.publish("acme::m::"+label, label)
		}
		want("precondition")
		w.promote("acme::m::1")
		want("precondition") // there is none before it
		for _, label := range []string{"2", "3", "4"} {
			w.promote("acme::m::" + label)
		}
		w.wantStages("[staged staged staged production]", "1", "2", "3", "4")
		want("3")
		want("4") // the one before, in time
		want("3")
		w.retire("acme::m::4")
		want("2")
		w.stage("acme::m::3", ballast.StageArchived)
		w.promote("acme::m::5")
		want("2")
		want("5")
		w.retire("acme::m::2")
		want("3") // archived, and served all the same
		w.wantStages("[production staged]", "3", "5")
		if got := w.resolve(reader, "m"); got != "acme::m::5" {
			t.Errorf("latest is %s", got)
		}
		w.retire("acme::m::3") // clears production
		want("5")
		w.retire("acme::m::5")
		want("1")
		w.stage("acme::m::1", ballast.StageDeprecated)
		w.delete("acme::m::1")
		want("precondition")
		w.publish("m::1", "global")
		w.promote("m::1")
		want("precondition") // never another scope's
	})
}

func TestProductionHistory(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("acme::m::1", "a")
		w.publish("acme::m::2", "b")
		w.promote("acme::m::1")
		w.clock = w.clock.Add(time.Second)
		w.promote("acme::m::2")
		w.clock = w.clock.Add(time.Second)
		if got := w.rollback("m", "it is slow"); got != "1" {
			t.Fatalf("rolled back to %s", got)
		}
		w.stage("acme::m::1", ballast.StageDeprecated)
		at := func(ago time.Duration) ballast.Time { return ballast.At(w.clock.Add(-ago)) }
		want := fmt.Sprint([]ballast.Promotion{
			{Number: 4, Kind: ballast.Cleared, From: version("1"), By: "ci@acme", At: at(0)},
			{Number: 3, Kind: ballast.RolledBack, From: version("2"), To: version("1"), Reason: "it is slow", By: "ci@acme", At: at(0)},
			{Number: 2, Kind: ballast.Promoted, From: version("1"), To: version("2"), By: "ci@acme", At: at(time.Second)},
			{Number: 1, Kind: ballast.Promoted, To: version("1"), By: "ci@acme", At: at(2 * time.Second)},
		})
		for limit := 1; limit < 6; limit++ {
			if now, all := w.history(limit); now != "" || fmt.Sprint(all) != want {
				t.Errorf("by %d: now %q\n%v\nwant\n%v", limit, now, all, want)
			}
		}
	})
}

// TestRollbackTakesNoFaultForARefusal: a record that cannot be read is not one that is not served.
func TestRollbackTakesNoFaultForARefusal(t *testing.T) {
	s := index.NewMem()
	w := newWorld(t, s)
	w.publish("base::1", "base")
	w.publish("acme::m::1", "a")
	w.publishOn("base::1", "acme::m::2", "b")
	w.publish("acme::m::3", "c")
	for _, label := range []string{"1", "2", "3"} {
		w.promote("acme::m::" + label)
	}
	w.ok(w.PutUnknown(w.ctx, index.VersionKey(vkey("base::1"))))
	if v, err := w.Rollback(w.ctx, acme, name("m"), "ci", "r"); !errors.Is(err, index.ErrNewer) {
		t.Errorf("rolled back to %s past what cannot be read, %v", v.Version, err)
	}
	w.wantStages("[staged staged production]", "1", "2", "3")
}
