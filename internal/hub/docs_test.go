package hub_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/ballast-registry/ballast/internal/hub"
)

var documented = regexp.MustCompile("`((?:GET|POST|PUT|DELETE) /[^`]*)`")

// TestRoutesAreDocumented holds docs/hub.md to the routes: each stands there, and nothing else does.
func TestRoutesAreDocumented(t *testing.T) {
	page := must(os.ReadFile("../../docs/hub.md"))
	said := map[string]bool{}
	for _, m := range documented.FindAllSubmatch(page, -1) {
		said[string(m[1])] = true
	}
	routes := hub.Routes()
	for _, route := range routes {
		if !said[route] {
			t.Errorf("docs/hub.md does not name %s", route)
		}
	}
	for route := range said {
		if !slices.Contains(routes, route) {
			t.Errorf("docs/hub.md names %s, which is no route", route)
		}
	}
}
