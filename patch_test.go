package ballast_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

// TestPatchKnowsFieldsByTheirExactNames: a decoder takes BASE_MODEL for base_model, and with it what a patch must not
// change.
func TestPatchKnowsFieldsByTheirExactNames(t *testing.T) {
	m := ballast.Metadata{Task: "ner"}
	for name, value := range map[string]string{
		"base_model": `"m::1"`, "BASE_MODEL": `"m::1"`, "Base_model": `null`, "TASK": `"regression"`, "licence": `"MIT"`, "": `1`,
	} {
		changes := map[string]json.RawMessage{name: []byte(value), "description": []byte(`"a"`)}
		if got, fields, err := m.Patched(changes); ballast.CodeOf(err) != ballast.CodeInvalid || got.BaseModel != "" || fields != nil {
			t.Errorf("%q: %+v, %q, %v", name, got, fields, err)
		}
	}
	_, _, err := m.Patched(map[string]json.RawMessage{"licence": []byte(`"MIT"`)})
	if err == nil || !strings.Contains(err.Error(), "num_parameters") {
		t.Errorf("the fields are not named: %v", err)
	}
	got, fields, err := m.Patched(map[string]json.RawMessage{"task": []byte(`"regression"`), "description": []byte(`"a"`), "tags": []byte(`null`)})
	if err != nil || got.Task != "regression" || !slices.Equal(fields, []string{"description", "task"}) {
		t.Errorf("control: %+v, %q, %v", got, fields, err)
	}
}
