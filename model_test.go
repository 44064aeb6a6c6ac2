package ballast_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
)

func TestMetadataCheck(t *testing.T) {
	number := func(v float64) map[string]float64 { return map[string]float64{"accuracy": v} }
	fits := strings.Repeat("x", ballast.MaxMetadataBytes-len(`{"description":""}`))
	for what, m := range map[string]ballast.Metadata{
		"nothing":         {},
		"own task":        {Task: "text_embedding"},
		"task of the Hub": {Task: "text-generation"},
		"lines":           {Description: "# Title\n\n\ttext"},
		"other letters":   {Tags: []string{"größe", "大"}, ModelType: "模型"},
		"metrics":         {Metrics: map[string]float64{"a": 0, "b": -1.5, "c": math.MaxFloat64}},
		"any JSON":        {Config: json.RawMessage(`{"a":[1,null,"x"]}`), Extra: json.RawMessage(`3`)},
		"as much as fits": {Description: fits},
	} {
		if err := m.Check(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, c := range map[string]struct {
		code ballast.Code
		m    ballast.Metadata
	}{
		"no such task":          {ballast.CodeInvalid, ballast.Metadata{Task: "text generation"}},
		"task in capitals":      {ballast.CodeInvalid, ballast.Metadata{Task: "NER"}},
		"not a number":          {ballast.CodeInvalid, ballast.Metadata{Metrics: number(math.NaN())}},
		"infinity":              {ballast.CodeInvalid, ballast.Metadata{Metrics: number(math.Inf(-1))}},
		"metric without a name": {ballast.CodeInvalid, ballast.Metadata{Metrics: map[string]float64{"": 1}}},
		"line end in a metric":  {ballast.CodeInvalid, ballast.Metadata{Metrics: map[string]float64{"a\nb": 1}}},
		"an empty tag":          {ballast.CodeInvalid, ballast.Metadata{Tags: []string{"a", ""}}},
		"a tag twice":           {ballast.CodeInvalid, ballast.Metadata{Tags: []string{"a", "b", "a"}}},
		"line end in a tag":     {ballast.CodeInvalid, ballast.Metadata{Tags: []string{"a\n"}}},
		"control character":     {ballast.CodeInvalid, ballast.Metadata{RegisteredBy: "a\x1b[31m"}},
		"delete":                {ballast.CodeInvalid, ballast.Metadata{Backend: "\x7f"}},
		"no UTF-8":              {ballast.CodeInvalid, ballast.Metadata{DatasetID: "\xff"}},
		"no UTF-8, described":   {ballast.CodeInvalid, ballast.Metadata{Description: "\xff"}},
		"config is no JSON":     {ballast.CodeInvalid, ballast.Metadata{Config: json.RawMessage(`{`)}},
		"one byte too much":     {ballast.CodeTooLarge, ballast.Metadata{Description: fits + "x"}},
		"extra too large":       {ballast.CodeTooLarge, ballast.Metadata{Extra: json.RawMessage(`"` + fits + `seven more"`)}},
	} {
		if err := c.m.Check(); ballast.CodeOf(err) != c.code {
			t.Errorf("%s: got %v, want %s", what, err, c.code)
		}
	}
}

func TestVersionInfoOnTheWire(t *testing.T) {
	text := string(must(json.Marshal(ballast.ModelInfo{Scope: scope("acme"), Name: name("m")})))
	if want := `{"scope":"acme","name":"m","versions":0,"updated_at":null}`; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	in := ballast.VersionInfo{Key: "acme::m::1", Scope: scope("acme"), Name: name("m"), Version: version("1"), Status: ballast.StatusReady,
		Stage: ballast.StageNone, Digest: someDigest, Metadata: ballast.Metadata{Tags: []string{"a"}, Metrics: map[string]float64{"x": 0.5}}, Revision: 1}
	var out ballast.VersionInfo
	if err := ballast.StrictUnmarshal(must(json.Marshal(in)), &out); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%+v", out), fmt.Sprintf("%+v", in); got != want {
		t.Error(cmp.Diff(want, got))
	}
}
