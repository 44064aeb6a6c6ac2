package ballast_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

func TestMetadataNestsOnlySoDeep(t *testing.T) {
	nested := func(n int) json.RawMessage {
		return json.RawMessage(strings.Repeat(`{"a]\"}":[`, n/2) + `"[[{{\\"` + strings.Repeat("]}", n/2))
	}
	wide := json.RawMessage("[" + strings.Repeat("[],{},", 1000) + "[]]")
	for _, m := range []ballast.Metadata{
		{Config: nested(ballast.MaxMetadataDepth)}, {Extra: nested(ballast.MaxMetadataDepth)}, {Extra: wide},
	} {
		if err := m.Check(); err != nil {
			t.Errorf("%.40s%.40s: %v", m.Config, m.Extra, err)
		}
	}
	// The decoder's own limit is 10,000: deeper is caught before a Metadata exists.
	for _, n := range []int{ballast.MaxMetadataDepth + 2, 2_000} {
		for _, m := range []ballast.Metadata{{Config: nested(n)}, {Extra: nested(n)}} {
			if code := ballast.CodeOf(m.Check()); code != ballast.CodeTooLarge {
				t.Errorf("%d arrays and objects in each other: %q", n, code)
			}
		}
	}
}
