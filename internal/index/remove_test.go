package index_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// chained is a record whose HMAC shows the whole chain.
func chained(v index.Version) ([]byte, string, error) {
	return fmt.Appendf(nil, "%s %d %s", v.Key(), v.Records+1, v.Status), v.RecordMAC + "+" + string(v.Status), nil
}

// retire and delete end a version, record included.
func (w *world) retire(key string) index.Version { return w.end(w.Retire, key) }
func (w *world) delete(key string) index.Version { return w.end(w.Delete, key) }

func (w *world) end(do ending, key string) index.Version {
	w.t.Helper()
	v, err := w.begin(do, key)
	w.ok(err)
	v, err = w.Recorded(w.ctx, v.Key(), v.Records+1)
	w.ok(err)
	return v
}

type ending = func(ctx context.Context, k ballast.Key, c index.Change, record func(index.Version) ([]byte, string, error)) (index.Version, error)

func (w *world) begin(do ending, key string) (index.Version, error) {
	return do(w.ctx, vkey(key), index.Change{By: "ops@acme"}, chained)
}

func TestRetire(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("acme::m::1", "x")
		w.publish("acme::m::2", "y")
		w.publish("m::2", "global")
		w.clock = w.clock.Add(1e9)
		v, err := w.begin(w.Retire, "acme::m::2")
		if err != nil || v.Status != ballast.StatusRetired || v.RetiredBy != "ops@acme" || v.RetiredAt != ballast.At(w.clock) || v.Revision != 2 || v.Records != 1 {
			t.Errorf("retired: %+v, %v", v, err)
		}
		refused := func() {
			t.Helper()
			for _, ref := range []string{"m:2", "m@" + sum("manifest of y").String()} {
				_, err := w.Resolve(w.ctx, reader, must(ballast.ParseRef(ref)))
				if e := w.want(ballast.CodeRetired, err); !strings.Contains(e.Detail, "acme::m::2") {
					t.Errorf("%s: %q does not name the version", ref, e.Detail)
				}
				known := reader
				known.Retired = true
				if got := w.resolve(known, ref); got != "acme::m::2" {
					t.Errorf("what is known of %s: %s", ref, got)
				}
			}
			if got := w.resolve(reader, "m"); got != "acme::m::1" {
				t.Errorf("latest is %s", got)
			}
		}
		refused() // before its record is written
		p, ok, err := w.PendingRecord(w.ctx, v.Key())
		if err != nil || !ok || p.Number != 2 || string(p.Record) != "acme::m::2 2 retired" || v.RecordMAC != "mac+retired" {
			t.Errorf("pending: %+v, %t, %v", p, ok, err)
		}
		if again, err := w.begin(w.Retire, "acme::m::2"); err != nil || again.Revision != 2 || again.RecordMAC != v.RecordMAC {
			t.Errorf("retired again: %+v, %v", again, err)
		}
		for range 2 {
			if v, err := w.Recorded(w.ctx, v.Key(), 2); err != nil || v.Records != 2 || v.Status != ballast.StatusRetired || v.Revision != 2 {
				t.Errorf("recorded: %+v, %v", v, err)
			}
		}
		refused()
		stale := int64(1)
		if v, err := w.Retire(w.ctx, v.Key(), index.Change{By: "x", IfRevision: &stale}, chained); err != nil || v.Revision != 2 || v.RetiredBy != "ops@acme" {
			t.Errorf("retired long after: %+v, %v", v, err)
		}
		if m, err := w.Model(w.ctx, reader.Scopes, name("m")); err != nil || m.Name.Ready != 1 || m.Latest != version("1") {
			t.Errorf("the name: %+v, %v", m, err)
		}
		w.wantKeys(index.KindRecord, 0)
	})
}

func TestRetireRefusals(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("m::1", "global")
		w.seal("acme::m::2", "s")
		for _, k := range []string{"acme::m::1", "acme::m::2"} {
			_, err := w.begin(w.Retire, k)
			w.want(ballast.CodeNotFound, err)
		}
		w.publish("acme::m::3", "x")
		stale := int64(9)
		_, err := w.Retire(w.ctx, vkey("acme::m::3"), index.Change{IfRevision: &stale}, chained)
		w.want(ballast.CodePrecondition, err)
		no := errors.New("no key")
		if _, err := w.Retire(w.ctx, vkey("acme::m::3"), ci, func(index.Version) ([]byte, string, error) { return nil, "", no }); !errors.Is(err, no) {
			t.Errorf("got %v", err)
		}
		if got := w.resolve(reader, "m:3"); got != "acme::m::3" {
			t.Errorf("a refused retirement left %s", got)
		}
		w.delete("acme::m::3")
		_, err = w.begin(w.Retire, "acme::m::3")
		w.want(ballast.CodeNotFound, err)
	})
}

// TestRetiredIsTerminal: whatever is pushed afterwards, it stays retired.
func TestRetiredIsTerminal(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("acme::m::1", "x")
		other := w.accept(w.open("acme::m::5"), "x", ballast.Metadata{}) // in flight
		w.retire("acme::m::1")
		_, err := w.Seal(w.ctx, other.ID, record)
		w.want(ballast.CodeRetired, err)
		for _, label := range []string{"1", "1.0.0"} {
			_, _, err := w.CreateUpload(w.ctx, w.upload("acme::m::"+label), lease)
			if e := w.want(ballast.CodeRetired, err); e.Expected != "" {
				t.Errorf("%s: answered as if it were there", label)
			}
		}
		for _, target := range []string{"acme::m", "acme::m::7"} {
			_, err := w.Seal(w.ctx, w.accept(w.open(target), "x", ballast.Metadata{}).ID, record)
			w.want(ballast.CodeRetired, err)
		}
		if v, err := w.Version(w.ctx, vkey("acme::m::1")); err != nil || v.Status != ballast.StatusRetired {
			t.Errorf("it is %+v, %v", v, err)
		}
	})
}

// TestRetiringProductionClearsIt and says so.
func TestRetiringProductionClearsIt(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("acme::m::1", "x")
		w.promote("acme::m::1")
		v, err := w.begin(w.Retire, "acme::m::1")
		if err != nil || v.Stage != ballast.StageArchived {
			t.Errorf("retired: %+v, %v", v, err)
		}
		if now, all := w.history(5); now != "" || len(all) != 2 || all[0].Kind != ballast.Cleared || all[0].From != version("1") || all[0].By != "ops@acme" {
			t.Errorf("production is %q after %+v", now, all)
		}
		if got := w.resolve(reader, "m@production"); got != "not_found" {
			t.Errorf("production is %s", got)
		}
	})
}

// TestARetiredTwinHidesNoOther: the digest means the version that is served, for those too who ask what is known.
func TestARetiredTwinHidesNoOther(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("acme::m::1", "x")
		w.publish("acme::m::2", "x")
		w.retire("acme::m::2")
		known := reader
		known.Retired = true
		for what, l := range map[string]index.Lookup{"served": reader, "known": known} {
			if got := w.resolve(l, "m@"+sum("manifest of x").String()); got != "acme::m::1" {
				t.Errorf("%s: %s", what, got)
			}
		}
		w.retire("acme::m::1")
		if got := w.resolve(known, "m@"+sum("manifest of x").String()); got != "acme::m::2" {
			t.Errorf("known: %s", got)
		}
	})
}

func TestDelete(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("m::1", "global")
		v := w.publish("acme::m::1", "x")
		v, err := w.begin(w.Delete, v.Key().String())
		if err != nil || v.Status != ballast.StatusDeleted || v.DeletedBy != "ops@acme" || v.RecordMAC != "mac+deleted" {
			t.Errorf("deleted: %+v, %v", v, err)
		}
		gone := func() {
			t.Helper()
			for _, ref := range []string{"m:1", "m", "m@" + sum("manifest of x").String()} {
				if got := w.resolve(writer, ref); got != "not_found" {
					t.Errorf("%s is %s", ref, got) // not the global one
				}
			}
			_, err := w.SetAlias(w.ctx, acme, name("m"), must(ballast.ParseAlias("a")), version("1"), "ci", nil)
			w.want(ballast.CodeNotFound, err)
		}
		gone()
		if again, err := w.begin(w.Delete, "acme::m::1"); err != nil || again.Revision != v.Revision {
			t.Errorf("deleted again: %+v, %v", again, err)
		}
		_, err = w.Recorded(w.ctx, v.Key(), 2)
		w.ok(err)
		gone()
		for _, label := range []string{"1", "1.0.0"} {
			_, _, err := w.CreateUpload(w.ctx, w.upload("acme::m::"+label), lease)
			if e := w.want(ballast.CodeAlreadyExists, err); e.Expected != "" || !strings.Contains(e.Detail, "never used again") {
				t.Errorf("%s: %+v", label, e)
			}
		}
		if v := w.publish("acme::m", "x"); v.Version.String() != "2" {
			t.Errorf("the next is %s", v.Version)
		}
		_, err = w.begin(w.Delete, "acme::m::9")
		w.want(ballast.CodeNotFound, err)
		w.seal("acme::m::10", "s")
		_, err = w.begin(w.Delete, "acme::m::10")
		w.want(ballast.CodeNotFound, err)
		stale := int64(9)
		_, err = w.Delete(w.ctx, vkey("acme::m::2"), index.Change{IfRevision: &stale}, chained)
		w.want(ballast.CodePrecondition, err)
	})
}

// TestADeletedManifestIsGarbageAlone: its bytes stay while another version has the same files.
func TestADeletedManifestIsGarbageAlone(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		manifest := blobID("manifest of x")
		u := w.open("acme::m::1")
		_, err := w.Seal(w.ctx, w.accept(u, "x", ballast.Metadata{}).ID, record)
		w.ok(err)
		_, err = w.Ready(w.ctx, vkey("acme::m::1"))
		w.ok(err)
		w.release(u)
		twin := w.open("acme::n::1")
		_, err = w.Seal(w.ctx, w.accept(twin, "x", ballast.Metadata{}).ID, record)
		w.ok(err)
		_, err = w.Ready(w.ctx, vkey("acme::n::1"))
		w.ok(err)
		w.release(twin)
		w.delete("acme::m::1")
		if b := w.blob(manifest); !b.Tombstone.IsZero() {
			t.Errorf("marked as unused beside a twin: %+v", b)
		}
		pin := w.open("acme::p::1")
		w.ask(pin, putWant("manifest of x"))
		w.delete("acme::n::1")
		if b := w.blob(manifest); !b.Tombstone.IsZero() {
			t.Errorf("marked as unused beside a pin: %+v", b)
		}
		w.abort(pin)
		w.release(pin)
		if b := w.blob(manifest); b.Tombstone.IsZero() {
			t.Errorf("not marked as unused: %+v", b)
		}
		again := w.open("acme::q::1")
		_, err = w.Seal(w.ctx, w.accept(again, "x", ballast.Metadata{}).ID, record)
		w.ok(err)
		if b := w.blob(manifest); !b.Tombstone.IsZero() {
			t.Errorf("published again and marked as unused: %+v", b)
		}
		_, err = w.Ready(w.ctx, vkey("acme::q::1"))
		w.ok(err)
		w.release(again)
		w.delete("acme::q::1")
		if b := w.blob(manifest); b.Tombstone.IsZero() {
			t.Errorf("not marked as unused by the last deletion: %+v", b)
		}
	})
}

func TestDeleteListsWhatPointsAtIt(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("m::1", "x")
		child := w.publishOn("m::1", "acme::c::1", "c1")
		w.publishOn("m::1", "other::c::2", "c2")
		sealed, err := w.Seal(w.ctx, w.accept(w.open("acme::c::3"), "c3", ballast.Metadata{BaseModel: "m::1"}).ID, record)
		w.ok(err)
		for _, a := range []string{"b", "a"} {
			_, err := w.SetAlias(w.ctx, ballast.Global, name("m"), must(ballast.ParseAlias(a)), version("1"), "ci", nil)
			w.ok(err)
		}
		w.promote("m::1")
		refused := func(want ...string) {
			t.Helper()
			_, err := w.begin(w.Delete, "m::1")
			var got []string
			for _, r := range w.want(ballast.CodeReferenced, err).References {
				got = append(got, strings.TrimSpace(string(r.Kind)+" "+r.Name))
			}
			if !slices.Equal(got, want) {
				t.Errorf("refused for %v, want %v", got, want)
			}
		}
		refused("production", "alias a", "alias b", "child acme::c::1", "child acme::c::3", "child other::c::2")
		w.stage("m::1", ballast.StageArchived)
		for _, a := range []string{"a", "b"} {
			w.ok(w.DeleteAlias(w.ctx, ballast.Global, name("m"), must(ballast.ParseAlias(a)), "ci", nil))
		}
		w.retire(child.Key().String()) // still made from it
		refused("child acme::c::1", "child acme::c::3", "child other::c::2")
		w.delete(child.Key().String())
		w.delete("other::c::2")
		refused("child acme::c::3")
		_, err = w.Ready(w.ctx, sealed.Key())
		w.ok(err)
		w.delete(sealed.Key().String())
		w.delete("m::1")
	})
}

// TestDeleteRacesWhoPointsAtIt: of a deletion and somebody who begins to point at the version, one wins.
func TestDeleteRacesWhoPointsAtIt(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for i := range 60 {
			base := fmt.Sprintf("acme::m%d::1", i)
			k := w.publish(base, base).Key()
			points := func() error {
				_, err := w.SetAlias(w.ctx, acme, k.Name, must(ballast.ParseAlias("a")), k.Version, "ci", nil)
				return err
			}
			switch i % 3 {
			case 1:
				u := w.accept(w.open(fmt.Sprintf("acme::c%d::1", i)), "child of "+base, ballast.Metadata{BaseModel: base})
				points = func() error { _, err := w.Seal(w.ctx, u.ID, record); return err }
			case 2:
				points = func() error { _, err := w.Promote(w.ctx, k, ci, ""); return err }
			}
			var deleted, pointed error
			var both sync.WaitGroup
			start := make(chan struct{})
			both.Go(func() { <-start; _, deleted = w.begin(w.Delete, base) })
			both.Go(func() { <-start; pointed = points() })
			close(start)
			both.Wait()
			v, err := w.Version(w.ctx, k)
			w.ok(err)
			switch {
			case deleted == nil && v.Status == ballast.StatusDeleted:
				if code := ballast.CodeOf(pointed); code != ballast.CodeNotFound && code != ballast.CodePrecondition {
					t.Errorf("%s is deleted, and whoever pointed at it was told %v", base, pointed)
				}
			case ballast.CodeOf(deleted) == ballast.CodeReferenced && v.Status == ballast.StatusReady:
				w.ok(pointed)
			default:
				t.Errorf("%s is %s: deleted %v, pointed at %v", base, v.Status, deleted, pointed)
			}
		}
	})
}

// TestAnotherEndWaits for the record of the first, and then adds to the chain.
func TestAnotherEndWaits(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("acme::m::1", "x")
		v, err := w.begin(w.Retire, "acme::m::1")
		w.ok(err)
		if _, err := w.begin(w.Delete, "acme::m::1"); !errors.Is(err, index.ErrPending) {
			t.Errorf("got %v", err)
		}
		if v, err := w.Recorded(w.ctx, v.Key(), 3); err != nil || v.Records != 1 {
			t.Errorf("a record that nobody waits for: %+v, %v", v, err)
		}
		_, err = w.Recorded(w.ctx, v.Key(), 2)
		w.ok(err)
		v, err = w.begin(w.Delete, "acme::m::1")
		if p, _, perr := w.PendingRecord(w.ctx, v.Key()); err != nil || perr != nil || p.Number != 3 || v.RecordMAC != "mac+retired+deleted" || string(p.Record) != "acme::m::1 3 deleted" {
			t.Errorf("deleted: %+v, pending %+v, %v", v, p, err)
		}
	})
}

func TestPendingEnds(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.seal("acme::s::1", "s") // its upload finishes it
		for _, label := range []string{"1", "2", "3"} {
			w.publish("acme::m::"+label, label)
		}
		for _, do := range []struct {
			key string
			do  ending
		}{{"acme::m::1", w.Retire}, {"acme::m::3", w.Delete}} {
			_, err := w.begin(do.do, do.key)
			w.ok(err)
		}
		for limit, want := range map[int]string{1: "[acme::m::1]", 2: "[acme::m::1 acme::m::3]", 9: "[acme::m::1 acme::m::3]"} {
			if got, err := w.PendingEnds(w.ctx, limit); err != nil || fmt.Sprint(got) != want {
				t.Errorf("by %d: %v, %v", limit, got, err)
			}
		}
		for key, want := range map[string]map[int]bool{
			"acme::m::1": {1: true, 2: true, 3: false}, "acme::m::2": {1: true, 2: false}, "acme::s::1": {1: true, 2: false}, "acme::m::9": {1: false},
		} {
			for n, knows := range want {
				if got, err := w.KnowsRecord(w.ctx, vkey(key), n); err != nil || got != knows {
					t.Errorf("record %d of %s is known: %t, %v", n, key, got, err)
				}
			}
		}
	})
}
