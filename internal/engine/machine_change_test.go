package engine_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// modelPromotion is one change of what is in production.
type modelPromotion struct {
	kind       ballast.PromotionKind
	from, to   *modelVersion
	reason, by string
}

func (how modelPromotion) String() string {
	label := func(v *modelVersion) (label ballast.Version) {
		if v != nil {
			label = v.key.Version
		}
		return label
	}
	return fmt.Sprintf("%s %s→%s %q %s", how.kind, label(how.from), label(how.to), how.reason, how.by)
}

// moves are the stages that a version may be moved to, by the one that it has.
func moves(from ballast.Stage) []ballast.Stage {
	return map[ballast.Stage][]ballast.Stage{
		ballast.StageNone:       {ballast.StageValidated, ballast.StageStaged, ballast.StageArchived, ballast.StageDeprecated},
		ballast.StageValidated:  {ballast.StageStaged, ballast.StageArchived, ballast.StageDeprecated},
		ballast.StageStaged:     {ballast.StageArchived, ballast.StageDeprecated},
		ballast.StageProduction: {ballast.StageArchived, ballast.StageDeprecated},
		ballast.StageArchived:   {ballast.StageDeprecated},
		ballast.StageDeprecated: {ballast.StageArchived},
	}[from]
}

// changer is mostly somebody who may change what a scope publishes.
func (m *machine) changer(s ballast.Scope) engine.Principal {
	able := slices.DeleteFunc(everybody(), func(p engine.Principal) bool { return roleIn(p, s) < ballast.Maintainer })
	if len(able) == 0 || m.oneIn(8) {
		return m.anybody()
	}
	return pick(m, "maintainer", able)
}

// change draws a version to change, in a scope or without one, and from which revision.
func (m *machine) change() (p engine.Principal, own engine.Own) {
	own.Ref = m.anyRef()
	s := own.Ref.Scope
	if s.IsZero() {
		s = acme
	}
	p = m.changer(s)
	if m.oneIn(4) {
		revision := int64(m.draw("revision", 4))
		if v, code := m.target(p, own.Ref, ballast.Reader); code == "" && v != nil && !m.oneIn(4) {
			revision = v.revision
		}
		own.IfMatch = &revision
	}
	return p, own
}

// target is the version that a change is about, which may be none or over, if the principal has the role there.
func (m *machine) target(p engine.Principal, ref ballast.Ref, role ballast.Role) (*modelVersion, ballast.Code) {
	s := home(p, ref.Scope)
	if code := may(p, s, role); code != "" {
		return nil, code
	}
	if !ref.Version.IsZero() {
		return m.name(s, ref.Name).at(ref.Version), ""
	}
	return m.known(p, []ballast.Scope{s}, ref, true)
}

func may(p engine.Principal, s ballast.Scope, role ballast.Role) ballast.Code {
	switch has := roleIn(p, s); {
	case has == ballast.NoRole:
		return ballast.CodeNotFound
	case has < role:
		return ballast.CodeDenied
	}
	return ""
}

// changeable is target, refused when it is not there any more or yet, or at another revision.
func (m *machine) changeable(p engine.Principal, own engine.Own, role ballast.Role) (*modelVersion, ballast.Code) {
	v, code := m.target(p, own.Ref, role)
	switch {
	case code != "":
		return nil, code
	case v == nil || v.status == ballast.StatusSealed || v.status == ballast.StatusDeleted:
		return nil, ballast.CodeNotFound
	case own.IfMatch != nil && *own.IfMatch != v.revision:
		return nil, ballast.CodePrecondition
	}
	return v, ""
}

func (m *machine) drawPatch() step {
	p, own := m.change()
	if m.oneIn(2) && !own.Ref.Scope.IsZero() {
		p = m.actor(own.Ref.Scope)
	}
	fields := map[string]string{}
	for range m.draw("fields", 4) {
		switch m.draw("field", 8) {
		case 0:
			fields["base_model"] = `"m::1"`
		case 1:
			fields["colour"] = `"red"`
		case 2:
			fields["task"] = pick(m, "task", []string{`"ner"`, `"juggling"`, "null"})
			fields["tags"] = pick(m, "tags", []string{`["a"]`, `["b"]`, `["a","b"]`, "null"})
		case 3:
			fields["metrics"] = pick(m, "metrics", []string{`{"loss":0.25}`, `{"f1":0.5,"loss":0.5}`, `{"loss":null}`, "null"})
		case 4:
			fields["config"] = pick(m, "config", []string{`{"n":1.10}`, `{"n":12345678901234567890}`, "null"})
		default:
			fields[pick(m, "which", []string{"description", "dataset_id"})] = pick(m, "text", []string{`"a"`, `"b"`, "null", "null"})
		}
	}
	if m.oneIn(20) {
		fields["description"] = `"` + strings.Repeat("x", ballast.MaxMetadataBytes) + `"`
	}
	return m.patch("patch", p, own, fields, "")
}

func (m *machine) drawStage() step {
	p, own := m.change()
	return m.patch("stage", p, own, nil, pick(m, "stage", ballast.Stages()))
}

// patch changes fields, given as JSON, or the stage.
func (m *machine) patch(op string, p engine.Principal, own engine.Own, fields map[string]string, stage ballast.Stage) step {
	var got ballast.VersionInfo
	var v *modelVersion
	req := ballast.PatchVersion{Stage: stage, Metadata: map[string]json.RawMessage{}}
	for field, value := range fields {
		req.Metadata[field] = json.RawMessage(value)
	}
	return step{
		name: op, show: args(p.Name, own.Ref, own.IfMatch, stage, slices.Sorted(maps.Keys(fields))),
		call: func() (err error) { got, err = m.engine.Patch(m.Context(), p, own, req); return err },
		want: func() (code ballast.Code) {
			role := ballast.Writer
			if stage != "" {
				role = ballast.Maintainer
			}
			if v, code = m.changeable(p, own, role); code == "" {
				code = m.patched(p, v, fields, stage)
			}
			return code
		},
		check: func() { m.sameVersion(got, v) },
	}
}

func (m *machine) patched(p engine.Principal, v *modelVersion, fields map[string]string, stage ballast.Stage) ballast.Code {
	if fields["base_model"] != "" || fields["colour"] != "" {
		return ballast.CodeInvalid
	}
	said, changed := maps.Clone(v.said), []string(nil)
	for field, value := range fields {
		if value == "null" {
			value = ""
		} else if field == "metrics" {
			value = mergedMetrics(said[field], value)
		}
		if said[field] != value {
			changed = append(changed, field)
		}
		if said[field] = value; value == "" {
			delete(said, field)
		}
	}
	switch {
	case len(said["description"]) > ballast.MaxMetadataBytes:
		return ballast.CodeTooLarge
	case slices.Contains(changed, "task") && !m.knowsTask(strings.Trim(said["task"], `"`)):
		return ballast.CodeInvalid
	case stage == "" || stage == v.stage:
	case v.status != ballast.StatusReady || !slices.Contains(moves(v.stage), stage):
		return ballast.CodePrecondition
	default:
		changed = append(changed, "stage")
		m.leaveProduction(p, v)
		v.stage = stage
	}
	if v.said = said; len(changed) > 0 {
		slices.Sort(changed)
		m.touch(modelEvent{kind: ballast.EventChanged, fields: changed, by: p.By()}, v)
	}
	return ""
}

// touch counts a change of a version and says so.
func (m *machine) touch(e modelEvent, v *modelVersion) {
	v.revision++
	e.of, e.before, e.after = v, v.revision-1, v.revision
	m.say(e)
}

// leaveProduction notes that a version is in production no more, if it was, and nothing is in its place.
func (m *machine) leaveProduction(p engine.Principal, v *modelVersion) {
	n := m.name(v.key.Scope, v.key.Name)
	if n.production == v {
		n.production = nil
		n.history = append(n.history, modelPromotion{kind: ballast.Cleared, from: v, by: p.By()})
	}
}

func (m *machine) drawPromote() step {
	p, own := m.change()
	reason := pick(m, "reason", []string{"", "", "it is good", "it is good", "it is good", "a\nb"})
	var got ballast.VersionInfo
	var v *modelVersion
	return step{
		name: "promote", show: args(p.Name, own.Ref, own.IfMatch, reason),
		call: func() (err error) { got, err = m.engine.Promote(m.Context(), p, own, reason); return err },
		want: func() (code ballast.Code) {
			if reason == "a\nb" {
				return ballast.CodeInvalid
			}
			if v, code = m.changeable(p, own, ballast.Maintainer); code != "" {
				return code
			}
			switch {
			case v.status == ballast.StatusRetired || m.shut(v):
				return ballast.CodeRetired
			case v.stage == ballast.StageProduction:
				return ""
			case v.stage == ballast.StageArchived || v.stage == ballast.StageDeprecated:
				return ballast.CodePrecondition
			}
			m.intoProduction(v, modelPromotion{kind: ballast.Promoted, reason: reason, by: p.By()})
			return ""
		},
		check: func() { m.sameVersion(got, v) },
	}
}

func (m *machine) intoProduction(v *modelVersion, how modelPromotion) {
	n := m.name(v.key.Scope, v.key.Name)
	how.from, how.to = n.production, v
	if old := n.production; old != nil {
		old.stage = ballast.StageStaged
		m.touch(modelEvent{kind: ballast.EventChanged, fields: []string{"stage"}, by: how.by}, old)
	}
	v.stage, n.production, n.history = ballast.StageProduction, v, append(n.history, how)
	kind := map[ballast.PromotionKind]ballast.EventKind{ballast.Promoted: ballast.EventPromoted, ballast.RolledBack: ballast.EventRolledBack}[how.kind]
	m.touch(modelEvent{kind: kind, fields: []string{"stage"}, from: how.from, by: how.by}, v)
}

func (m *machine) drawRollback() step {
	p, named, name := m.changer(acme), m.anyScope(), m.anyName()
	if all := m.all(); len(all) > 0 && !m.oneIn(4) {
		k := pick(m, "known version", all).key
		p, named, name = m.changer(k.Scope), k.Scope, k.Name
	}
	reason := pick(m, "reason", []string{"it is slow", "it is slow", "it is slow", " "})
	var got ballast.VersionInfo
	var v *modelVersion
	return step{
		name: "rollback", show: args(p.Name, named, name, reason),
		call: func() (err error) { got, err = m.engine.Rollback(m.Context(), p, named, name, reason); return err },
		want: func() ballast.Code {
			s := home(p, named)
			if reason == " " {
				return ballast.CodeInvalid
			}
			if code := may(p, s, ballast.Maintainer); code != "" {
				return code
			}
			n := m.name(s, name)
			if !n.hadReady {
				return ballast.CodeNotFound
			}
			for _, how := range slices.Backward(n.history) {
				if v = how.to; v != nil && v != n.production && v.status == ballast.StatusReady && !m.shut(v) {
					m.intoProduction(v, modelPromotion{kind: ballast.RolledBack, reason: reason, by: p.By()})
					return ""
				}
			}
			return ballast.CodePrecondition
		},
		check: func() { m.sameVersion(got, v) },
	}
}

func (m *machine) drawProduction() step { return m.production(m.anybody(), m.anyScope(), m.anyName()) }

func (m *machine) production(p engine.Principal, named ballast.Scope, name ballast.Name) step {
	var now string
	var got, expected []string
	var n *modelName
	return step{
		name: "production", show: args(p.Name, named, name),
		call: func() error {
			for cursor, more := "", true; more; more = cursor != "" {
				page, err := m.engine.Production(m.Context(), p, named, name, 2, cursor)
				if err != nil {
					return err
				}
				now = page.Version.String()
				for _, how := range page.Promotions {
					got = append(got, fmt.Sprintf("%s %s→%s %q %s", how.Kind, how.From, how.To, how.Reason, how.By))
				}
				cursor = page.Cursor
			}
			return nil
		},
		want: func() ballast.Code {
			if n = m.found(p, named, name); n == nil {
				return ballast.CodeNotFound
			}
			for _, how := range slices.Backward(n.history) {
				expected = append(expected, how.String())
			}
			return ""
		},
		check: func() {
			var label ballast.Version
			if n.production != nil {
				label = n.production.key.Version
			}
			equal(m, "production", now, label.String())
			equal(m, "history", got, expected)
		},
	}
}

func byKey(a, b *modelVersion) int {
	return cmp.Or(cmp.Compare(a.key.Scope.String(), b.key.Scope.String()), cmp.Compare(a.key.Name.Fold(), b.key.Name.Fold()), a.key.Version.Compare(b.key.Version))
}
