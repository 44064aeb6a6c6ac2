package client

import (
	"encoding/json"
	"testing"

	"github.com/ballast-registry/ballast"
)

func TestMetadataThatAVersionHasAlready(t *testing.T) {
	held := ballast.VersionInfo{Metadata: ballast.Metadata{
		Task: "text-generation", BaseModel: "acme::base::1", Tags: []string{"a", "b"},
		Metrics: map[string]float64{"acc": 0.5}, Config: json.RawMessage(`{"a":1}`),
	}}
	for name, c := range map[string]struct {
		pushed ballast.Metadata
		same   bool
	}{
		"none":             {ballast.Metadata{}, true},
		"all":              {held.Metadata, true},
		"a part":           {ballast.Metadata{Task: "text-generation", Config: json.RawMessage("{ \"a\": 1 }")}, true},
		"a base":           {ballast.Metadata{BaseModel: "base:1"}, true},
		"a moving base":    {ballast.Metadata{BaseModel: "base@champion"}, true},
		"a description":    {ballast.Metadata{Description: "new"}, false},
		"another task":     {ballast.Metadata{Task: "embedding"}, false},
		"fewer tags":       {ballast.Metadata{Tags: []string{"a"}}, false},
		"another metric":   {ballast.Metadata{Metrics: map[string]float64{"acc": 0.6}}, false},
		"another version":  {ballast.Metadata{BaseModel: "base:2"}, false},
		"another base":     {ballast.Metadata{BaseModel: "other:1"}, false},
		"another's base":   {ballast.Metadata{BaseModel: "umbrella::base::1"}, false},
		"no base whatever": {ballast.Metadata{BaseModel: "::"}, false},
	} {
		if got := saidOf(held, c.pushed); got != c.same {
			t.Errorf("%s: %t", name, got)
		}
	}
}
