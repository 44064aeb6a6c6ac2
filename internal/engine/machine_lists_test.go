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
	"github.com/ballast-registry/ballast/internal/index"
)

func (m *machine) drawModels() step { return m.models(m.anybody(), m.anyScope()) }

// visible are the names that a principal sees: its own shadow global ones.
func (m *machine) visible(p engine.Principal, named ballast.Scope) (seen []string) {
	byFold := map[string]string{}
	scopes := lookup(p, named)
	slices.Reverse(scopes)
	for _, s := range scopes {
		for id, n := range m.names {
			if id.Scope != s || !n.hadReady {
				continue
			}
			var latest ballast.Version
			if v := n.latest(); v != nil {
				latest = v.key.Version
			}
			if byFold[id.Name] = ""; len(n.ready()) > 0 {
				byFold[id.Name] = fmt.Sprint(s, n.name, latest, len(n.ready()))
			}
		}
	}
	for _, fold := range slices.Sorted(maps.Keys(byFold)) {
		if byFold[fold] != "" {
			seen = append(seen, byFold[fold])
		}
	}
	return seen
}

func (m *machine) models(p engine.Principal, named ballast.Scope) step {
	var got []string
	return step{
		name: "models", show: args(p.Name, named),
		call: func() error {
			for cursor, more := "", true; more; more = cursor != "" {
				page, err := m.engine.Models(m.Context(), p, engine.ListModels{Scope: named, Limit: 1, Cursor: cursor})
				if err != nil {
					return err
				}
				for _, i := range page.Models {
					got = append(got, fmt.Sprint(i.Scope, i.Name, i.Latest, i.Versions))
				}
				cursor = page.Cursor
			}
			return nil
		},
		want:  func() ballast.Code { return "" },
		check: func() { equal(m, "models", got, m.visible(p, named)) },
	}
}

// found is the name that a list without a reference is about, or nil.
func (m *machine) found(p engine.Principal, named ballast.Scope, name ballast.Name) *modelName {
	for _, s := range lookup(p, named) {
		if n := m.name(s, name); n.hadReady {
			return n
		}
	}
	return nil
}

func (m *machine) drawModel() step {
	p, named, name := m.anybody(), m.anyScope(), m.anyName()
	var got ballast.ModelInfo
	var n *modelName
	return step{
		name: "model", show: args(p.Name, named, name),
		call: func() (err error) { got, err = m.engine.Model(m.Context(), p, named, name); return err },
		want: func() ballast.Code {
			if n = m.found(p, named, name); n == nil {
				return ballast.CodeNotFound
			}
			return ""
		},
		check: func() {
			var latest ballast.Version
			if v := n.latest(); v != nil {
				latest = v.key.Version
			}
			equal(m, "model", fmt.Sprint(got.Scope, got.Name, got.Latest, got.Versions), fmt.Sprint(n.versions[0].key.Scope, n.name, latest, len(n.ready())))
		},
	}
}

// search is a list of versions, of one name or of all, at the page that comes next.
type search struct {
	p      engine.Principal
	scope  ballast.Scope
	name   ballast.Name // zero: all
	prefix string
	order  ballast.VersionOrder
	filter ballast.VersionFilter
	limit  int
	bad    bool // malformed, or with the cursor of another list

	cursor string // "": it begins
	behind place  // where the page before ended
	base   string // what the filter's base meant when it began
	begun  map[*modelVersion]int64
	told   map[*modelVersion]bool // on the pages before
}

// kind tells lists apart whose cursors are not good for each other.
func (s search) kind() string {
	if !s.name.IsZero() {
		return "versions"
	}
	return string(cmp.Or(s.order, ballast.OrderName))
}

// place is where a version stands in every order.
type place struct {
	at      ballast.Time
	fold    string
	version ballast.Version
}

func (m *machine) placeOf(v *modelVersion) place {
	if v.created.IsZero() { // the engine's clock said when
		v.created = must(m.opt.Index.Version(m.Context(), v.key)).CreatedAt
	}
	return place{v.created, v.key.Name.Fold(), v.key.Version}
}

func (s search) compare(a, b place) int {
	byTime := cmp.Or(a.at.Compare(b.at.Time), cmp.Compare(a.fold, b.fold), a.version.Compare(b.version))
	switch s.order {
	case ballast.OrderOldest:
		return byTime
	case ballast.OrderNewest:
		return -byTime
	}
	return cmp.Or(cmp.Compare(a.fold, b.fold), b.version.Compare(a.version))
}

// hidden reports whether a name is not there for a list: it never had a ready version, or a scope before has it.
func (m *machine) hidden(s search, id index.NameID) bool {
	for _, scope := range lookup(s.p, s.scope) {
		if n := m.names[index.NameID{Scope: scope, Name: id.Name}]; n != nil && n.hadReady {
			return scope != id.Scope
		}
	}
	return true
}

// shows reports whether a version is on a list now.
func (m *machine) shows(s search, v *modelVersion) bool {
	f := s.filter
	statuses := map[ballast.ListedStatus][]ballast.Status{
		"": {ballast.StatusReady}, ballast.ListReady: {ballast.StatusReady}, ballast.ListRetired: {ballast.StatusRetired},
		ballast.ListAll: {ballast.StatusReady, ballast.StatusRetired},
	}[f.Status]
	var tags []string
	var metrics map[string]float64
	for field, into := range map[string]any{"tags": &tags, "metrics": &metrics} {
		if text := v.said[field]; text != "" {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				m.Fatal(err)
			}
		}
	}
	for _, tag := range f.Tags {
		if !slices.Contains(tags, tag) {
			return false
		}
	}
	for _, b := range f.Metrics {
		value, measured := metrics[b.Metric]
		if !measured || b.Bound == ballast.AtLeast && value < b.Value || b.Bound == ballast.AtMost && value > b.Value {
			return false
		}
	}
	return slices.Contains(statuses, v.status) && (f.Stage == "" || v.stage == f.Stage) && (f.Task == "" || v.said["task"] == fmt.Sprintf("%q", f.Task)) &&
		(f.Creator == "" || by(v.upload.principal) == f.Creator) && (s.base == "" || v.base == s.base) &&
		strings.HasPrefix(v.key.Name.Fold(), strings.ToLower(s.prefix)) && !m.hidden(s, nameID(v.key.Scope, v.key.Name))
}

// passed are the versions that a list goes by in its order, whether it shows them or not: a page ends behind one of them.
// The orders by time know those that were published and not deleted, and what is hidden too.
func (m *machine) passed(s search) (all []*modelVersion) {
	for _, v := range m.all() {
		id := nameID(v.key.Scope, v.key.Name)
		there := !m.hidden(s, id) && strings.HasPrefix(id.Name, strings.ToLower(s.prefix)) && (s.name.IsZero() || id.Name == s.name.Fold())
		if s.order == ballast.OrderOldest || s.order == ballast.OrderNewest {
			there = slices.Contains(lookup(s.p, s.scope), id.Scope) && (v.status == ballast.StatusReady || v.status == ballast.StatusRetired)
		}
		if there {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b *modelVersion) int { return s.compare(m.placeOf(a), m.placeOf(b)) })
	return all
}

// pageOf is what the next page of a list holds, and where the one after it goes on, if there is one.
func (m *machine) pageOf(s search) (page []*modelVersion, behind place, more bool) {
	for _, v := range m.passed(s) {
		if s.cursor != "" && s.compare(m.placeOf(v), s.behind) <= 0 {
			continue
		}
		if m.shows(s, v) {
			if len(page) == s.limit {
				return page, behind, true
			}
			page = append(page, v)
		}
		behind = m.placeOf(v)
	}
	return page, behind, false
}

// search asks for one page of a list.
func (m *machine) search(op string, s search) step {
	var got ballast.VersionsPage
	return step{
		name: op, show: args(s.p.Name, s.scope, s.name, s.prefix, s.order, s.filter, s.limit, s.cursor),
		call: func() (err error) {
			list := engine.ListVersions{Filter: s.filter, Limit: s.limit, Cursor: s.cursor}
			if !s.name.IsZero() {
				got, err = m.engine.Versions(m.Context(), s.p, s.scope, s.name, list)
				return err
			}
			got, err = m.engine.AllVersions(m.Context(), s.p, engine.ListAllVersions{Scope: s.scope, Prefix: s.prefix, Order: s.order, ListVersions: list})
			return err
		},
		want: func() ballast.Code {
			base, code := m.baseOf(s)
			switch {
			case s.bad && s.cursor == "" || !m.knowsTask(s.filter.Task):
				return ballast.CodeInvalid
			case code != "":
				return code
			case s.bad:
				return ballast.CodeInvalid
			case s.cursor != "" && base != s.base:
				return ballast.CodeGone
			case !s.name.IsZero() && m.found(s.p, s.scope, s.name) == nil:
				return ballast.CodeNotFound
			}
			s.base = base
			return ""
		},
		check: func() { m.samePage(s, got) },
	}
}

// baseOf is what the base of a list's filter means.
func (m *machine) baseOf(s search) (string, ballast.Code) {
	ref := s.filter.Base
	if ref == (ballast.Ref{}) {
		return "", ""
	}
	v, code := m.known(s.p, lookup(s.p, ref.Scope), ref, true)
	if code != "" {
		return "", code
	}
	return v.key.String(), ""
}

// samePage holds a page of a list to the model, and the whole list to what it promises: nothing is shown twice, and what
// would have been shown when it began, and was not changed since, is.
func (m *machine) samePage(s search, got ballast.VersionsPage) {
	page, behind, more := m.pageOf(s)
	var shown, expected []string
	for _, v := range got.Versions {
		shown = append(shown, fmt.Sprint(v.Key, v.Digest, v.Status, v.Stage, v.Revision, v.Aliases))
	}
	for _, v := range page {
		expected = append(expected, fmt.Sprint(v.key, v.digest, v.status, v.stage, v.revision, m.aliasesOf(v)))
	}
	equal(m, "versions", shown, expected)
	equal(m, "more", got.Cursor != "", more)
	if s.cursor == "" {
		s.begun, s.told = map[*modelVersion]int64{}, map[*modelVersion]bool{}
		for _, v := range m.all() {
			if m.shows(s, v) && (s.name.IsZero() || v.key.Name.Fold() == s.name.Fold()) {
				s.begun[v] = v.revision
			}
		}
	}
	s.told = maps.Clone(s.told) // others may go on from the page before
	for _, v := range page {
		if s.told[v] {
			m.Fatalf("%s is listed twice", v.key)
		}
		s.told[v] = true
	}
	if more {
		s.cursor, s.behind = got.Cursor, behind
		m.searches = append(m.searches, s)
		m.searches = m.searches[max(0, len(m.searches)-6):]
		return
	}
	for v, revision := range s.begun {
		if v.revision == revision && m.shows(s, v) && !s.told[v] {
			m.Fatalf("%s was there all the time and is not listed", v.key)
		}
	}
}

func (m *machine) drawVersions() step {
	s := search{p: m.anybody(), scope: m.anyScope(), name: m.anyName(), limit: 1 + m.draw("limit", 2)}
	m.anyFilter(&s)
	return m.search("versions", s)
}

func (m *machine) drawAllVersions() step {
	s := search{p: m.anybody(), scope: m.anyScope(), prefix: pick(m, "prefix", []string{"", "", "", "M", "org/", "x"}), limit: 1 + m.draw("limit", 2)}
	s.order = pick(m, "order", []ballast.VersionOrder{"", ballast.OrderName, ballast.OrderOldest, ballast.OrderNewest})
	if m.anyFilter(&s); m.oneIn(30) {
		s.order, s.bad = "sideways", true
	}
	return m.search("all versions", s)
}

// drawNextVersions goes on with a list, though what it shows may have changed.
func (m *machine) drawNextVersions() step {
	if len(m.searches) == 0 {
		return step{}
	}
	s := pick(m, "list", m.searches)
	if m.oneIn(3) { // now and then something changes that may be on it, or what its filter means
		if change := m.drawPush(); change.call != nil {
			m.do(change)
		}
	}
	if m.oneIn(12) {
		s.cursor, s.bad = "no cursor!", true
		if other := pick(m, "other list", m.searches); other.kind() != s.kind() {
			s.cursor = other.cursor
		}
	}
	return m.search("next versions", s)
}

// anyFilter draws one of the things that a list can be narrowed by, or none, now and then a malformed one.
func (m *machine) anyFilter(s *search) {
	f := &s.filter
	f.Status = pick(m, "status", []ballast.ListedStatus{"", ballast.ListReady, ballast.ListAll, ballast.ListAll, ballast.ListRetired})
	if m.oneIn(2) {
		switch m.draw("filter", 7) {
		case 0:
			f.Stage = pick(m, "stage", ballast.Stages())
		case 1:
			f.Task = pick(m, "task", []string{"ner", "ner", "juggling"})
		case 2:
			f.Tags = pick(m, "tags", [][]string{{"a"}, {"b"}, {"b", "a"}})
		case 3:
			f.Metrics = append(f.Metrics, ballast.MetricFilter{
				Metric: pick(m, "metric", []string{"loss", "f1"}), Bound: pick(m, "bound", []ballast.Bound{ballast.AtLeast, ballast.AtMost}), Value: pick(m, "value", []float64{0.25, 0.5}),
			})
		case 4, 6:
			if f.Base, s.limit = m.baseRef(), 1; m.oneIn(2) { // what it means may change
				f.Base.Version = ballast.Version{}
			}
		case 5:
			f.Creator = m.anybody().By()
		}
	}
	if !m.oneIn(20) {
		return
	}
	switch s.bad = true; m.draw("malformed", 4) {
	case 0:
		f.Status = "sealed"
	case 1:
		f.Stage = "retired"
	case 2:
		f.Tags = []string{""}
	case 3:
		f.Metrics = []ballast.MetricFilter{{Metric: "loss", Bound: "eq"}}
	}
}
