package engine

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// production checks that at most one version of a name is in production, and that it is the one that is found there.
func (c *checker) production() {
	for id, v := range c.Versions {
		p := c.Production[index.NameID{Scope: v.Scope, Name: v.Name.Fold()}]
		found := !p.Version.IsZero() && index.VersionID(v.Scope, v.Name, p.Version) == id
		if found != (v.Stage == ballast.StageProduction) {
			c.report(InvariantGate, "%s is %s and found as production: %t", v.Key(), v.Stage, found)
		}
		if v.Stage == ballast.StageProduction && v.Status != ballast.StatusReady && v.Status != ballast.StatusLost {
			c.report(InvariantGate, "%s is in production and %s", v.Key(), v.Status)
		}
	}
	for name, p := range c.Production {
		history := c.History[name]
		if int64(len(history)) != p.Changes {
			c.report(InvariantKept, "%s in %s was in production %d times, and %d of them are kept", name.Name, name.Scope, p.Changes, len(history))
			continue
		}
		before := ballast.Version{}
		for _, how := range history {
			if how.From != before {
				c.report(InvariantKept, "%s in %s: change %d of production comes from %q after %q", name.Name, name.Scope, how.Number, how.From, before)
			}
			before = how.To
		}
		if before != p.Version {
			c.report(InvariantGate, "%s in %s: production is %q and was last made %q", name.Name, name.Scope, p.Version, before)
		}
	}
}

// lineage checks that each base is there, and knows its children.
func (c *checker) lineage() {
	edges := 0
	for id, v := range c.Versions {
		restoring := v.Due != nil && v.Due.Kind == ballast.EventRestored
		if v.Metadata.BaseModel == "" || v.Status == ballast.StatusDeleted && !restoring {
			continue
		}
		k, err := ballast.ParseKey(v.Metadata.BaseModel)
		if err != nil {
			c.report(InvariantOneContent, "%s: its base is %q", v.Key(), v.Metadata.BaseModel)
			continue
		}
		edges++
		if depth := c.depth(v); depth > index.MaxLineage {
			c.report(InvariantBounded, "%s has more than %d bases behind it", v.Key(), index.MaxLineage)
		}
		base := index.VersionID(k.Scope, k.Name, k.Version)
		if b, ok := c.Versions[base]; !ok || b.Status == ballast.StatusDeleted {
			c.report(InvariantKept, "%s: its base %s is gone", v.Key(), k)
		}
		if !c.Children[base+" "+id] {
			c.report(InvariantKept, "%s is not among the children of its base %s", v.Key(), k)
		}
	}
	if edges != len(c.Children) {
		c.report(InvariantKept, "%d versions have a base, and bases have %d children", edges, len(c.Children))
	}
}

// depth counts the bases behind a version, no further than one over the limit.
func (c *checker) depth(v index.Version) (depth int) {
	for v.Metadata.BaseModel != "" && depth <= index.MaxLineage {
		k, err := ballast.ParseKey(v.Metadata.BaseModel)
		if err != nil {
			return depth
		}
		depth++
		v = c.Versions[index.VersionID(k.Scope, k.Name, k.Version)]
	}
	return depth
}

// aliases checks that each alias points at a version that is there and knows it, so that it keeps it from being deleted.
func (c *checker) aliases() {
	for id, a := range c.Aliases {
		to := id.Version(a.Version)
		if v, ok := c.Versions[to]; !ok || v.Status == ballast.StatusDeleted {
			c.report(InvariantKept, "alias %s of %s in %s points at %s, which is gone", id.Alias, id.Name, id.Scope, a.Version)
		}
		if !c.AliasOf[to+" "+id.Alias] {
			c.report(InvariantKept, "alias %s of %s in %s is not known to %s, at which it points", id.Alias, id.Name, id.Scope, a.Version)
		}
	}
	if len(c.AliasOf) != len(c.Aliases) {
		c.report(InvariantKept, "there are %d aliases, and versions know %d", len(c.Aliases), len(c.AliasOf))
	}
}

// feed checks that the events tell of every change of a version, each once. Once old ones were dropped it can only see
// that none tells of a change that was not.
func (c *checker) feed() {
	of := map[string][]index.Event{}
	last := int64(0)
	for _, e := range c.Events {
		if last > 0 && e.Number != last+1 {
			c.report(InvariantOrder, "event %d follows upon %d", e.Number, last)
		}
		last = e.Number
		if strings.HasPrefix(string(e.Kind), "version.") {
			id := index.VersionID(e.Scope, e.Name, e.Version)
			of[id] = append(of[id], e)
		}
	}
	if last != c.LastEvent {
		c.report(InvariantOrder, "the last event is %d, and the last number given %d", last, c.LastEvent)
	}
	whole := len(c.Events) == 0 || c.Events[0].Number == 1
	for id, v := range c.Versions {
		events := of[id]
		if v.Due != nil {
			events = append(events, *v.Due)
		}
		if v.Status == ballast.StatusSealed {
			events = append(events, index.Event{After: v.Revision}) // to come
		}
		slices.SortFunc(events, func(a, b index.Event) int { return cmp.Compare(a.Before, b.Before) })
		at := int64(0)
		for _, e := range events {
			if e.Before != at && whole {
				c.report(InvariantOrder, "%s: its events go from revision %d to %d", v.Key(), at, e.Before)
			}
			at = max(e.After, e.Before+1) // a deletion leaves none
		}
		if at > v.Revision || at < v.Revision && whole {
			c.report(InvariantOrder, "%s is at revision %d, its last event at %d", v.Key(), v.Revision, at)
		}
	}
}
