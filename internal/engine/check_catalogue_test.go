package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// drop removes the first item of a kind.
func (p planter) drop(kind byte) {
	p.t.Helper()
	p.tx(func(tx index.Tx) error {
		for item, err := range tx.Scan([]byte{kind}, nil, false) {
			if err != nil {
				return err
			}
			return tx.Delete(item.Key)
		}
		return fmt.Errorf("there is nothing under %q", kind)
	})
}

func (p planter) tx(change func(index.Tx) error) {
	p.t.Helper()
	if err := p.index.Update(p.t.Context(), change); err != nil {
		p.t.Fatal(err)
	}
}

// usesAll makes every version that is found by its digest use its manifest.
func (p planter) usesAll() {
	p.tx(func(tx index.Tx) error {
		for item, err := range tx.Scan([]byte{'d'}, nil, false) {
			if err != nil {
				return err
			}
			part := strings.SplitN(string(item.Key[1:]), "\x00", 4) // scope, name, digest, order
			if err := tx.Put([]byte("M"+strings.Join([]string{part[0], part[2], part[1], part[3]}, "\x00")), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// catalogue is a registry with something of everything that versions are pointed at by.
func catalogue(t *testing.T) (planter, *rig) {
	m, r := memRig(t, nil)
	r.lost = true // it ends damaged
	for i := range 3 {
		r.mustPush(t, writer, fmt.Sprintf("m:%d", i+1), small(fmt.Sprint(i)))
	}
	must(r.pushOn(t, writer, "m:1", "c:1"))
	for _, of := range []string{"m:2", "m:1"} {
		must(r.Promote(t.Context(), keeper, own(of), ""))
	}
	must(r.SetAlias(t.Context(), writer, acme, ref("m").Name, must(ballast.ParseAlias("champion")), ref("m:1").Version, nil))
	r.mustRetire(t, keeper, "m:2")
	r.mustDelete(t, keeper, "m:3")
	r.Close()
	if found := violations(t, r.opt); len(found) > 0 {
		t.Fatalf("before: %v", found)
	}
	return planter{t, r.index, m}, r
}

// For each thing that leads to a version a violation is planted, and the checker reports it in words.
func TestPlantedViolationsOfTheCatalogue(t *testing.T) {
	for name, tc := range map[string]struct {
		plant func(planter)
		want  engine.Invariant
		says  string
	}{
		"production points elsewhere":      {func(p planter) { p.edit('o', `"version":"1"`, `"version":"2"`) }, engine.InvariantGate, "acme::m::1 is production and found as production: false"},
		"production was not made so":       {func(p planter) { p.edit('o', `"version":"1"`, `"version":"2"`) }, engine.InvariantGate, "was last made"},
		"two in production":                {func(p planter) { p.edit('v', `"stage":"none"`, `"stage":"production"`) }, engine.InvariantGate, "acme::c::1 is production and found as production: false"},
		"retired in production":            {func(p planter) { p.edit('v', `"stage":"staged"`, `"stage":"production"`) }, engine.InvariantGate, "is in production and retired"},
		"a change of production is gone":   {func(p planter) { p.drop('H') }, engine.InvariantKept, "was in production 2 times, and 1 of them are kept"},
		"production comes from nowhere":    {func(p planter) { p.edit('H', `"from":"2"`, `"from":"3"`) }, engine.InvariantKept, "comes from"},
		"an archived one is latest":        {func(p planter) { p.edit('v', `"stage":"none"`, `"stage":"archived"`) }, engine.InvariantGate, "latest can answer acme::c::1: true"},
		"deleted and forgotten":            {func(p planter) { p.edit('d', "", "") }, engine.InvariantGate, "is deleted and remembered by its digest false"},
		"deleted and using bytes":          {func(p planter) { p.usesAll() }, engine.InvariantGate, "still using its manifest true"},
		"a base that is gone":              {func(p planter) { p.edit('v', `"base_model":"acme::m::1"`, `"base_model":"acme::m::9"`) }, engine.InvariantKept, "its base acme::m::9 is gone"},
		"a base that was deleted":          {func(p planter) { p.edit('v', `"base_model":"acme::m::1"`, `"base_model":"acme::m::3"`) }, engine.InvariantKept, "its base acme::m::3 is gone"},
		"a base that is none":              {func(p planter) { p.edit('v', `"base_model":"acme::m::1"`, `"base_model":"m"`) }, engine.InvariantOneContent, `its base is "m"`},
		"a child that is not known":        {func(p planter) { p.drop('c') }, engine.InvariantKept, "is not among the children"},
		"a child of nobody":                {func(p planter) { p.edit('v', `"base_model":"acme::m::1"`, `"task":"ner"`) }, engine.InvariantKept, "0 versions have a base, and bases have 1 children"},
		"a circle":                         {func(p planter) { p.edit('v', `"metadata":{}`, `"metadata":{"base_model":"acme::m::1"}`) }, engine.InvariantBounded, "bases behind it"},
		"an alias of what is gone":         {func(p planter) { p.edit('a', `"version":"1"`, `"version":"9"`) }, engine.InvariantKept, "points at 9, which is gone"},
		"an alias of what was deleted":     {func(p planter) { p.edit('a', `"version":"1"`, `"version":"3"`) }, engine.InvariantKept, "points at 3, which is gone"},
		"an alias that is not known":       {func(p planter) { p.drop('A') }, engine.InvariantKept, "alias champion of m in acme is not known to 1"},
		"an alias that is no more":         {func(p planter) { p.drop('a') }, engine.InvariantKept, "there are 0 aliases, and versions know 1"},
		"an event is gone":                 {func(p planter) { p.event(3) }, engine.InvariantOrder, "event 4 follows upon 2"},
		"the last event is gone":           {func(p planter) { p.event(10) }, engine.InvariantOrder, "the last event is 9, and the last number given 10"},
		"a change without an event":        {func(p planter) { p.edit('v', `"revision":1,`, `"revision":2,`) }, engine.InvariantOrder, "acme::c::1 is at revision 2, its last event at 1"},
		"an event of no change":            {func(p planter) { p.edit('v', `"revision":4,`, `"revision":3,`) }, engine.InvariantOrder, "acme::m::2 is at revision 3, its last event at"},
		"events with a gap":                {func(p planter) { p.edit('e', `"before":1,`, `"before":4,`) }, engine.InvariantOrder, "its events go from revision 1 to 4"},
		"an event due for nothing":         {func(p planter) { p.edit('v', `"record_mac"`, `"due":{},"record_mac"`) }, engine.InvariantOrder, "pending record is false, event true"},
		"the record of an end is gone":     {func(p planter) { p.remove(p.object("m/versions/2/00000002")) }, engine.InvariantRebuild, "acme::m::2 is retired and the bucket has 1 of its 2 records"},
		"an end is not what its record is": {func(p planter) { p.edit('v', `"status":"deleted"`, `"status":"retired"`) }, engine.InvariantRebuild, "acme::m::3 is retired and the last of its records says deleted"},
		"an end that nobody wrote": {func(p planter) {
			p.store.Plant("tenants/acme/models/c/versions/1/00000002.json", []byte(`{}`))
		}, engine.InvariantRebuild, "acme::c::1: tenants/acme/models/c/versions/1/00000002.json: "},
	} {
		t.Run(name, func(t *testing.T) {
			p, r := catalogue(t)
			tc.plant(p)
			found := violations(t, r.opt)
			if !slices.ContainsFunc(found, func(v engine.Violation) bool { return v.Invariant == tc.want && strings.Contains(v.What, tc.says) }) {
				t.Fatalf("reported: %v\nwant %s: %s", found, tc.want, tc.says)
			}
		})
	}
}

// event removes the event of a number.
func (p planter) event(number byte) {
	p.t.Helper()
	p.tx(func(tx index.Tx) error {
		key := []byte{'e', 0, 0, 0, 0, 0, 0, 0, number}
		if _, err := tx.Get(key); err != nil {
			return err
		}
		return tx.Delete(key)
	})
}
