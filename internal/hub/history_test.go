package hub_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/ballast-registry/ballast"
)

// TestTheLogHoldsWhatWasAskedFor also where the list of a name's versions does not: a global version under an own name.
func TestTheLogHoldsWhatWasAskedFor(t *testing.T) {
	r := newRig(t, nil, nil)
	global := r.publish(r.token("global=admin"), "tiny:1", ballast.Metadata{}, files("global"))
	second := r.publish(r.token("acme=writer"), "tiny:2", ballast.Metadata{}, files("two"))
	third := r.publish(r.token("acme=writer"), "tiny:3", ballast.Metadata{}, files("three"))
	for rev, want := range map[string][]string{"1": {global}, "2": {second}, "main": {third, second}} {
		resp, body := r.ask(r.token("acme=reader"), http.MethodGet, "/api/models/tiny/commits/"+rev)
		var log []struct{ ID string }
		if err := json.Unmarshal([]byte(body), &log); err != nil || resp.StatusCode != http.StatusOK || len(log) != len(want) {
			t.Fatalf("%s: %d %s, %v", rev, resp.StatusCode, body, err)
		}
		for i, id := range want {
			if log[i].ID != id {
				t.Errorf("%s: entry %d is %s, want %s", rev, i, log[i].ID, id)
			}
		}
	}
}
