package ballast_test

import (
	"math"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

func TestVersionFilterCheck(t *testing.T) {
	metric := func(name string, b ballast.Bound, v float64) ballast.VersionFilter {
		return ballast.VersionFilter{Metrics: []ballast.MetricFilter{{Metric: name, Bound: b, Value: v}}}
	}
	for name, f := range map[string]ballast.VersionFilter{
		"nothing": {}, "status": {Status: ballast.ListAll}, "stage": {Stage: ballast.StageArchived}, "task": {Task: "ner"},
		"tags": {Tags: []string{"a", "b"}}, "metric": metric("f1", ballast.AtMost, 0), "creator": {Creator: "ci@acme"},
	} {
		if err := f.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for allowed, f := range map[string]ballast.VersionFilter{
		"ready, retired, all": {Status: "deleted"}, "validated": {Stage: "prod"}, "text-generation": {Task: "NER"},
		"at most 32": {Tags: make([]string, 33)}, "is empty": {Tags: []string{""}}, "gte or lte": metric("f1", "gt", 0),
		"finite": metric("f1", ballast.AtLeast, math.Inf(1)), "needs a name": metric("", ballast.AtLeast, 1),
	} {
		if err := f.Check(); ballast.CodeOf(err) != ballast.CodeInvalid || !strings.Contains(err.Error(), allowed) {
			t.Errorf("%+v: %v, want %q in it", f, err, allowed)
		}
	}
	if _, err := ballast.ParseVersionOrder("created"); ballast.CodeOf(err) != ballast.CodeInvalid || !strings.Contains(err.Error(), "newest") {
		t.Errorf("an unknown order: %v", err)
	}
}

// TestVersionFilterMatches is about the edges: a bound holds at its value, and what is not there matches nothing.
func TestVersionFilterMatches(t *testing.T) {
	m := ballast.Metadata{Tags: []string{"a"}, Metrics: map[string]float64{"f1": 0.9, "zero": 0}}
	matches := func(f ballast.VersionFilter) bool {
		return f.Matches(ballast.StatusReady, ballast.StageNone, "ci@acme", m)
	}
	for _, c := range []struct {
		metric string
		bound  ballast.Bound
		value  float64
		want   bool
	}{
		{"f1", ballast.AtLeast, 0.9, true}, {"f1", ballast.AtMost, 0.9, true}, {"f1", ballast.AtLeast, 0.9000001, false}, {"f1", ballast.AtMost, 0.8999999, false},
		{"zero", ballast.AtLeast, 0, true}, {"none", ballast.AtLeast, -1, false}, {"none", ballast.AtMost, 1, false},
	} {
		if got := matches(ballast.VersionFilter{Metrics: []ballast.MetricFilter{{Metric: c.metric, Bound: c.bound, Value: c.value}}}); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
	for status, shows := range map[ballast.ListedStatus]string{"": "ready", ballast.ListReady: "ready", ballast.ListRetired: "retired", ballast.ListAll: "ready retired lost"} {
		for _, s := range []ballast.Status{ballast.StatusSealed, ballast.StatusReady, ballast.StatusRetired, ballast.StatusDeleted, ballast.StatusLost} {
			if got := status.Shows(s); got != strings.Contains(shows, string(s)) {
				t.Errorf("a list of %q shows %s: %t", status, s, got)
			}
		}
	}
}
