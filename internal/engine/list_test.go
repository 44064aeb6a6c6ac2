package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// say publishes a version without files, for what is said of it.
func (r *rig) say(t *testing.T, p engine.Principal, target string, m ballast.Metadata) ballast.VersionInfo {
	t.Helper()
	u, err := r.open(t, p, target)
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.commit(t, p, u.ID, nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// listed reads all pages of a list.
func listed(limit int, page func(l engine.ListVersions) (ballast.VersionsPage, error)) (keys []string, err error) {
	for l := (engine.ListVersions{Limit: limit}); ; {
		got, err := page(l)
		if err != nil {
			return nil, err
		}
		for _, v := range got.Versions {
			keys = append(keys, v.Key)
		}
		if l.Cursor = got.Cursor; l.Cursor == "" {
			return keys, nil
		}
	}
}

func (r *rig) all(ctx context.Context, p engine.Principal, l engine.ListAllVersions, limit int) ([]string, error) {
	return listed(limit, func(page engine.ListVersions) (ballast.VersionsPage, error) {
		page.Filter = l.Filter
		l.ListVersions = page
		return r.AllVersions(ctx, p, l)
	})
}

var maintainer = engine.Principal{ID: "m", Name: "lead", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Maintainer}}}

func bound(name string, b ballast.Bound, value float64) ballast.MetricFilter {
	return ballast.MetricFilter{Metric: name, Bound: b, Value: value}
}

// TestFilters finds versions by each thing that is said of them, in the list of one name and in that of all.
func TestFilters(t *testing.T) {
	r := newRig(t, memStore(t))
	metrics := func(v float64) map[string]float64 { return map[string]float64{"validation_accuracy": v} }
	r.say(t, writer, "base:1", ballast.Metadata{})
	r.say(t, writer, "m:1", ballast.Metadata{Task: "ner", Tags: []string{"a"}, Metrics: metrics(0.8)})
	r.say(t, writer, "m:2", ballast.Metadata{Task: "ner", Tags: []string{"a", "b"}, Metrics: metrics(0.9), BaseModel: "base:1"})
	r.say(t, admin, "m:3", ballast.Metadata{Task: "regression"}) // global, hidden by acme's
	r.say(t, admin, "n:10", ballast.Metadata{Task: "ner", Tags: []string{"b"}, Metrics: metrics(0.95)})
	for _, retired := range []string{"m:1", "n:10"} {
		p := maintainer
		if strings.HasPrefix(retired, "n") {
			p = admin
		}
		r.say(t, p, strings.Replace(retired, ":", "-old:", 1), ballast.Metadata{Tags: []string{"a", "b"}})
		if _, _, err := r.Retire(t.Context(), p, engine.Own{Ref: ref(strings.Replace(retired, ":", "-old:", 1))}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Patch(t.Context(), maintainer, engine.Own{Ref: ref("m:2")}, ballast.PatchVersion{Stage: ballast.StageStaged}); err != nil {
		t.Fatal(err)
	}
	type filter = ballast.VersionFilter
	for _, c := range []struct {
		filter filter
		want   string
	}{
		{filter{}, "acme::base::1 acme::m::2 acme::m::1 n::10"},
		{filter{Task: "ner"}, "acme::m::2 acme::m::1 n::10"},
		{filter{Task: "regression"}, ""},
		{filter{Tags: []string{"b"}}, "acme::m::2 n::10"},
		{filter{Tags: []string{"b", "a"}}, "acme::m::2"},
		{filter{Stage: ballast.StageStaged}, "acme::m::2"},
		{filter{Creator: "admin@global"}, "n::10"},
		{filter{Creator: "admin"}, ""},
		{filter{Metrics: []ballast.MetricFilter{bound("validation_accuracy", ballast.AtLeast, 0.9)}}, "acme::m::2 n::10"},
		{filter{Metrics: []ballast.MetricFilter{bound("validation_accuracy", ballast.AtLeast, 0.85), bound("validation_accuracy", ballast.AtMost, 0.9)}}, "acme::m::2"},
		{filter{Metrics: []ballast.MetricFilter{bound("loss", ballast.AtMost, 1e9)}}, ""},
		{filter{Base: ref("base")}, "acme::m::2"},
		{filter{Status: ballast.ListRetired}, "acme::m-old::1 n-old::10"},
		{filter{Status: ballast.ListAll, Tags: []string{"b"}}, "acme::m::2 acme::m-old::1 n::10 n-old::10"},
	} {
		for limit := 1; limit < 4; limit++ {
			got, err := r.all(t.Context(), reader, engine.ListAllVersions{ListVersions: engine.ListVersions{Filter: c.filter}}, limit)
			if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("%+v by %d: %v, %v; want %s", c.filter, limit, got, err, c.want)
			}
		}
		got, err := listed(1, func(l engine.ListVersions) (ballast.VersionsPage, error) {
			l.Filter = c.filter
			return r.Versions(t.Context(), reader, ballast.Scope{}, ref("m").Name, l)
		})
		ofM := slices.DeleteFunc(strings.Fields(c.want), func(k string) bool { return !strings.HasPrefix(k, "acme::m::") })
		if diff := cmp.Diff(ofM, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("m with %+v: %v\n%s", c.filter, err, diff)
		}
	}
}

// TestFiltersBeforeTheLimit: a page is full of what the filter admits, whatever lies between.
func TestFiltersBeforeTheLimit(t *testing.T) {
	r := newRig(t, memStore(t))
	for i := range 9 {
		tag := "common"
		if i%4 == 0 {
			tag = "rare"
		}
		r.say(t, writer, fmt.Sprintf("m:%d", i+1), ballast.Metadata{Tags: []string{tag}})
	}
	l := engine.ListVersions{Limit: 2, Filter: ballast.VersionFilter{Tags: []string{"rare"}}}
	pages := map[string]func() (ballast.VersionsPage, error){
		"of a name": func() (ballast.VersionsPage, error) {
			return r.Versions(t.Context(), reader, ballast.Scope{}, ref("m").Name, l)
		},
	}
	for _, order := range []ballast.VersionOrder{ballast.OrderName, ballast.OrderOldest, ballast.OrderNewest} {
		pages["of all by "+string(order)] = func() (ballast.VersionsPage, error) {
			return r.AllVersions(t.Context(), reader, engine.ListAllVersions{Order: order, ListVersions: l})
		}
	}
	for name, page := range pages {
		got, err := page()
		if err != nil || len(got.Versions) != 2 || got.Cursor == "" {
			t.Errorf("%s: %d versions, cursor %q, %v", name, len(got.Versions), got.Cursor, err)
		}
	}
}

// TestListsKeepToScopes: nobody finds by a filter what they may not read, nor learns that it is there.
func TestListsKeepToScopes(t *testing.T) {
	r := newRig(t, memStore(t))
	r.say(t, writer, "base:1", ballast.Metadata{})
	r.say(t, writer, "m:1", ballast.Metadata{Tags: []string{"secret"}, BaseModel: "base:1"})
	for _, named := range []ballast.Scope{{}, acme, ballast.Global} {
		got, err := r.all(t.Context(), other, engine.ListAllVersions{Scope: named, ListVersions: engine.ListVersions{Filter: ballast.VersionFilter{Tags: []string{"secret"}}}}, 10)
		if err != nil || len(got) != 0 {
			t.Errorf("scope %s: %v, %v", named, got, err)
		}
	}
	texts := map[string]string{}
	for _, base := range []string{"acme::base:1", "acme::nowhere:1"} {
		_, err := r.all(t.Context(), other, engine.ListAllVersions{ListVersions: engine.ListVersions{Filter: ballast.VersionFilter{Base: ref(base)}}}, 10)
		texts[base] = strings.ReplaceAll(wantCode(t, err, ballast.CodeNotFound).Error(), ref(base).Name.String(), "NAME")
	}
	if texts["acme::base:1"] != texts["acme::nowhere:1"] {
		t.Errorf("what is there and what is not are told apart: %q", texts)
	}
}

// TestOrdersByTime lists by registration, of both scopes together.
func TestOrdersByTime(t *testing.T) {
	r := newRig(t, memStore(t))
	var want []string
	for i, target := range []string{"z:1", "b:2", "b:1", "a:7"} {
		p := writer
		if i%2 == 1 {
			p = admin
		}
		want = append(want, r.say(t, p, target, ballast.Metadata{}).Key)
	}
	want = slices.DeleteFunc(want, func(k string) bool { return k == "b::2" }) // acme has the name too
	for order, want := range map[ballast.VersionOrder][]string{ballast.OrderOldest: want, ballast.OrderNewest: {want[2], want[1], want[0]}} {
		got, err := r.all(t.Context(), reader, engine.ListAllVersions{Order: order}, 1)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", order, err, diff)
		}
	}
}

// TestCursorsOfOtherLists: a cursor is good for the list that answered it, and for the base that it began with.
func TestCursorsOfOtherLists(t *testing.T) {
	r := newRig(t, memStore(t))
	r.say(t, writer, "base:1", ballast.Metadata{})
	for i := range 3 {
		r.say(t, writer, fmt.Sprintf("m:%d", i+1), ballast.Metadata{BaseModel: "base:1"})
	}
	ask := func(order ballast.VersionOrder, cursor string) (ballast.VersionsPage, error) {
		return r.AllVersions(t.Context(), reader, engine.ListAllVersions{Order: order, ListVersions: engine.ListVersions{Limit: 1, Cursor: cursor, Filter: ballast.VersionFilter{Base: ref("base")}}})
	}
	page, err := ask(ballast.OrderName, "")
	if err != nil || page.Cursor == "" {
		t.Fatalf("cursor %q, %v", page.Cursor, err)
	}
	_, err = ask(ballast.OrderNewest, page.Cursor)
	wantCode(t, err, ballast.CodeInvalid)
	for _, cursor := range []string{page.Cursor, "YQ", "bmFtZQoK", "!"} {
		_, err = r.Versions(t.Context(), reader, ballast.Scope{}, ref("m").Name, engine.ListVersions{Limit: 1, Cursor: cursor})
		wantCode(t, err, ballast.CodeInvalid)
	}
	if _, err := ask(ballast.OrderName, page.Cursor); err != nil {
		t.Fatal(err)
	}
	r.say(t, writer, "base:2", ballast.Metadata{})
	_, err = ask(ballast.OrderName, page.Cursor)
	wantCode(t, err, ballast.CodeGone)
}

// TestCheckSeesWhatIsNotListed: a version that the orders by time do not find is reported.
func TestCheckSeesWhatIsNotListed(t *testing.T) {
	m, r := memRig(t, nil)
	r.lost = true // it ends damaged
	r.mustPush(t, writer, "m:1", small("a"))
	r.Close()
	planter{t, r.index, m}.edit('y', "", "")
	found := violations(t, r.opt)
	if !slices.ContainsFunc(found, func(v engine.Violation) bool {
		return v.Invariant == engine.InvariantGate && strings.Contains(v.String(), "listed by time")
	}) {
		t.Fatalf("reported: %v", found)
	}
}
