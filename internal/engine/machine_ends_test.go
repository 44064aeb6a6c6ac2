package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

func (m *machine) drawRetire() step {
	p, own := m.change()
	return m.end(p, own, ballast.StatusRetired)
}

func (m *machine) drawDelete() step {
	p, own := m.change()
	return m.end(p, own, ballast.StatusDeleted)
}

// drawEnd draws a retirement or deletion; exact ones mean the same version when they are done again.
func (m *machine) drawEnd(exact bool) step {
	p, own := m.change()
	if own.IfMatch = nil; exact && own.Ref.Version.IsZero() {
		own.Ref = ballast.Ref{Scope: own.Ref.Scope, Name: own.Ref.Name, Version: m.anyVersion()}
		if own.Ref.Version.IsZero() {
			return step{}
		}
	}
	return m.end(p, own, pick(m, "end", []ballast.Status{ballast.StatusRetired, ballast.StatusDeleted}))
}

func (m *machine) end(p engine.Principal, own engine.Own, to ballast.Status) step {
	op, call, model := "retire", (*engine.Engine).Retire, m.retired
	if to == ballast.StatusDeleted {
		op, call, model = "delete", (*engine.Engine).Delete, m.deleted
	}
	return m.ending(op, p, own, call, model)
}

func (m *machine) ending(op string, p engine.Principal, own engine.Own,
	call func(*engine.Engine, context.Context, engine.Principal, engine.Own) (ballast.VersionInfo, bool, error),
	model func(engine.Principal, engine.Own, *modelVersion) ballast.Code,
) step {
	var got ballast.VersionInfo
	var recorded bool
	var refused *ballast.Error
	var v *modelVersion
	return step{
		name: op, show: args(p.Name, own.Ref, own.IfMatch),
		call: func() (err error) {
			got, recorded, err = call(m.engine, m.Context(), p, own)
			refused = ballast.AsError(err)
			return err
		},
		want: func() (code ballast.Code) {
			if v, code = m.target(p, own.Ref, ballast.Maintainer); code == "" {
				code = model(p, own, v)
			}
			if code == ballast.CodeReferenced && refused != nil {
				equal(m, "references", refused.References, m.references(p, v))
			}
			return code
		},
		check: func() {
			equal(m, "recorded", recorded, v.due == nil)
			m.sameVersion(got, v)
		},
	}
}

func (m *machine) retired(p engine.Principal, own engine.Own, v *modelVersion) ballast.Code {
	switch {
	case v == nil || v.status == ballast.StatusSealed || v.status == ballast.StatusDeleted:
		return ballast.CodeNotFound
	case v.status == ballast.StatusRetired:
		return ""
	case own.IfMatch != nil && *own.IfMatch != v.revision:
		return ballast.CodePrecondition
	}
	fields := []string{"status"}
	if v.stage == ballast.StageProduction {
		m.leaveProduction(p, v)
		v.stage, fields = ballast.StageArchived, []string{"stage", "status"}
	}
	m.over(v, ballast.StatusRetired, modelEvent{kind: ballast.EventRetired, after: v.revision + 1, fields: fields, by: p.By()})
	return ""
}

func (m *machine) deleted(p engine.Principal, own engine.Own, v *modelVersion) ballast.Code {
	switch {
	case v == nil || v.status == ballast.StatusSealed:
		return ballast.CodeNotFound
	case v.restoring():
		return ballast.CodeUnavailable // the record before cannot be written
	case v.status == ballast.StatusDeleted:
		return ""
	case own.IfMatch != nil && *own.IfMatch != v.revision:
		return ballast.CodePrecondition
	case len(m.references(admin, v)) > 0 || len(m.childrenOf(v)) > 0:
		return ballast.CodeReferenced
	case v.due != nil:
		return ballast.CodeUnavailable // the record before cannot be written
	}
	v.before = v.status
	m.over(v, ballast.StatusDeleted, modelEvent{kind: ballast.EventDeleted, fields: []string{"status"}, by: p.By()})
	return ""
}

// over ends a version. While records cannot be written its event is due.
func (m *machine) over(v *modelVersion, to ballast.Status, e modelEvent) {
	e.of, e.before = v, v.revision
	v.revision++
	if v.status = to; m.outage {
		v.due = &e
	} else {
		m.say(e)
	}
}

// references are what points at a version and a principal sees.
func (m *machine) references(p engine.Principal, v *modelVersion) (refs []ballast.Reference) {
	if v.stage == ballast.StageProduction {
		refs = append(refs, ballast.Reference{Kind: ballast.ReferenceProduction})
	}
	for _, a := range m.aliasesOf(v) {
		refs = append(refs, ballast.Reference{Kind: ballast.ReferenceAlias, Name: a.String()})
	}
	for _, child := range m.childrenOf(v) {
		if roleIn(p, child.key.Scope) != ballast.NoRole {
			refs = append(refs, ballast.Reference{Kind: ballast.ReferenceChild, Name: child.key.String()})
		}
	}
	return refs
}

// childrenOf are the versions with a base, less the deleted ones.
func (m *machine) childrenOf(base *modelVersion) []*modelVersion {
	children := slices.DeleteFunc(m.all(), func(v *modelVersion) bool {
		return v.base != base.key.String() || v.status == ballast.StatusDeleted && !v.restoring()
	})
	slices.SortFunc(children, byKey)
	return children
}

// baseRef draws a reference, mostly to a version that others were made from.
func (m *machine) baseRef() ballast.Ref {
	var bases []*modelVersion
	for _, v := range m.all() {
		if len(m.childrenOf(v)) > 0 {
			bases = append(bases, v)
		}
	}
	if len(bases) == 0 || m.oneIn(3) {
		return m.anyRef()
	}
	k := pick(m, "base", bases).key
	return ballast.Ref{Scope: k.Scope, Name: k.Name, Version: k.Version}
}

func (m *machine) drawChildren() step {
	ref := m.baseRef()
	p := m.actor(ref.Scope)
	var key string
	var got, expected []string
	var v *modelVersion
	return step{
		name: "children", show: args(p.Name, ref),
		call: func() error {
			for cursor, more := "", true; more; more = cursor != "" {
				page, err := m.engine.Children(m.Context(), p, ref, 1, cursor)
				if err != nil {
					return err
				}
				key = page.Key
				for _, c := range page.Children {
					got = append(got, fmt.Sprint(c.Key, c.Status, c.Stage))
				}
				cursor = page.Cursor
			}
			return nil
		},
		want: func() (code ballast.Code) {
			if v, code = m.known(p, lookup(p, ref.Scope), ref, true); code != "" {
				return code
			}
			for _, c := range m.childrenOf(v) {
				if c.status != ballast.StatusSealed && c.status != ballast.StatusDeleted && roleIn(p, c.key.Scope) >= ballast.Reader {
					expected = append(expected, fmt.Sprint(c.key, c.status, c.stage))
				}
			}
			return ""
		},
		check: func() {
			equal(m, "base", key, v.key.String())
			equal(m, "children", got, expected)
		},
	}
}

// modelEvent is one change that the feed tells of.
type modelEvent struct {
	kind          ballast.EventKind
	of, from      *modelVersion
	scope         ballast.Scope // without a version
	name          ballast.Name
	alias         ballast.Alias
	token, by     string
	task          string
	before, after int64
	fields        []string
}

func (m *model) say(e modelEvent) { m.events = append(m.events, e) }

func (e modelEvent) String() string {
	key, scope, name, from := "", e.scope, e.name, ballast.Version{}
	if e.of != nil {
		key, scope, name = e.of.key.String(), e.of.key.Scope, e.of.key.Name
	}
	if e.from != nil {
		from = e.from.key.Version
	}
	return fmt.Sprintf("%s %q %s %s %q %q %q %q %d→%d %v %s", e.kind, key, scope, name, e.alias, e.token, e.task, from, e.before, e.after, e.fields, e.by)
}

// heardBy reports whether a principal is told of an event.
func (e modelEvent) heardBy(p engine.Principal) bool {
	switch {
	case e.token != "":
		return max(roleIn(p, e.scope), roleIn(p, ballast.Global)) >= ballast.Admin
	case e.of != nil:
		return roleIn(p, e.of.key.Scope) >= ballast.Reader
	}
	return roleIn(p, e.scope) >= ballast.Reader
}

// follower is where a principal stands in the feed, and what it was told.
type follower struct {
	cursor string
	told   []string
}

// drawEvents goes on with the feed, over restarts and all. What was said while records could not be written comes in any
// order, so that what is told is compared as a set; the check holds the order of each version's.
func (m *machine) drawEvents() step {
	p := m.anybody()
	f := m.heard[p.ID]
	if f == nil {
		f = &follower{}
		m.heard[p.ID] = f
	}
	after, code := f.cursor, ballast.Code("")
	if m.oneIn(4) {
		after, code = "no cursor", ballast.CodeInvalid
	} else if m.oneIn(4) {
		after, code = "99-1", ballast.CodeGone // of a past that this index does not have
	}
	return step{
		name: "events", show: args(p.Name, after),
		call: func() error {
			for {
				page, err := m.engine.Events(m.Context(), p, after, 3, 0)
				if err != nil {
					return err
				}
				for _, e := range page.Events {
					f.told = append(f.told, fmt.Sprintf("%s %q %s %s %q %q %q %q %d→%d %v %s", e.Kind, e.Key, e.Scope, e.Name, e.Alias, e.Token, e.Task, e.From, e.Before, e.After, e.Fields, e.By))
				}
				if f.cursor = page.Cursor; page.Cursor == after {
					return nil
				}
				after = page.Cursor
			}
		},
		want: func() ballast.Code { return code },
		check: func() {
			var expected []string
			for _, e := range m.events {
				if e.heardBy(p) {
					expected = append(expected, e.String())
				}
			}
			slices.Sort(expected)
			equal(m, "the feed", strings.Join(slices.Sorted(slices.Values(f.told)), "\n"), strings.Join(expected, "\n"))
		},
	}
}
