package ballast_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

func patch(t *testing.T, m ballast.Metadata, changes string) (ballast.Metadata, []string, error) {
	t.Helper()
	var c map[string]json.RawMessage
	if err := json.Unmarshal([]byte(changes), &c); err != nil {
		t.Fatal(err)
	}
	return m.Patched(c)
}

func described() ballast.Metadata {
	dim := int64(math.MaxInt64)
	return ballast.Metadata{
		ModelType: "llm", Task: "ner", Backend: "vllm", Architecture: "llama", BaseModel: "base::1", Description: "d", RegisteredBy: "r",
		Tags: []string{"a", "b"}, Metrics: map[string]float64{"validation_accuracy": 0.1, "loss": 5e-324}, InputDim: &dim, OutputDim: &dim,
		NumParameters: &dim, NumTrainingExamples: &dim, DatasetID: "x", ConfigHash: "y",
		Config: json.RawMessage(`{"lr":1.10,"n":12345678901234567890}`), Extra: json.RawMessage(`[1e400]`),
	}
}

// What is left out stays, field by field: a change of one leaves every other as it was.
func TestPatchLeavesWhatIsLeftOut(t *testing.T) {
	before := described()
	was := fields(t, before)
	for name := range was {
		if name == "base_model" {
			continue
		}
		after, changed, err := patch(t, before, fmt.Sprintf(`{%q:null}`, name))
		if err != nil || fmt.Sprint(changed) != "["+name+"]" {
			t.Errorf("%s: changed %v, %v", name, changed, err)
		}
		is := fields(t, after)
		if _, there := is[name]; there || len(is) != len(was)-1 {
			t.Errorf("null for %s leaves %v", name, is)
		}
		for other, value := range is {
			if string(value) != string(was[other]) {
				t.Errorf("null for %s changed %s to %s", name, other, value)
			}
		}
	}
	if len(was) != 17 {
		t.Fatalf("the test knows %d fields", len(was))
	}
}

func fields(t *testing.T, m ballast.Metadata) (all map[string]json.RawMessage) {
	t.Helper()
	b, err := json.Marshal(m)
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPatchMergesMetrics(t *testing.T) {
	m, changed, err := patch(t, described(), `{"metrics":{"loss":null,"f1":0.30000000000000004,"validation_accuracy":0.1}}`)
	if got := string(fields(t, m)["metrics"]); err != nil || got != `{"f1":0.30000000000000004,"validation_accuracy":0.1}` || len(changed) != 1 {
		t.Errorf("metrics %s, changed %v, %v", got, changed, err)
	}
	for changes, want := range map[string]string{
		`{"metrics":{"validation_accuracy":0.1}}`: "[]", `{"metrics":{}}`: "[]", `{"metrics":{"none":null}}`: "[]", `{}`: "[]",
		`{"tags":["a","b"],"description":"e"}`: "[description]", `{"config": {"n":12345678901234567890, "lr":1.1}}`: "[config]",
	} {
		if _, changed, err := patch(t, described(), changes); err != nil || fmt.Sprint(changed) != want {
			t.Errorf("%s: changed %v, %v", changes, changed, err)
		}
	}
}

// Numbers come back to the digit, those too that no float holds.
func TestPatchKeepsNumbers(t *testing.T) {
	const config = `{"a":1.10,"b":12345678901234567890123,"c":-0.0,"d":1e400}`
	m, _, err := patch(t, ballast.Metadata{}, `{"config":`+config+`,"num_parameters":9223372036854775807,"metrics":{"x":0.1}}`)
	got := fields(t, m)
	if err != nil || string(got["config"]) != config || string(got["num_parameters"]) != "9223372036854775807" || string(got["metrics"]) != `{"x":0.1}` {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestPatchRefuses(t *testing.T) {
	for changes, want := range map[string]ballast.Code{
		`{"base_model":"other::1"}`: ballast.CodeInvalid, `{"base_model":null}`: ballast.CodeInvalid,
		`{"Base_Model":"other::1","task":"ner"}`: ballast.CodeInvalid, // the decoder folds letters
		`{"Task":"ner"}`:                         ballast.CodeInvalid, `{"stage":"staged"}`: ballast.CodeInvalid, `{"colour":1}`: ballast.CodeInvalid,
		`{"task":"Juggling"}`: ballast.CodeInvalid, `{"metrics":[1]}`: ballast.CodeInvalid, `{"metrics":{"x":"high"}}`: ballast.CodeInvalid,
		`{"metrics":{"x":1e999}}`: ballast.CodeInvalid, `{"metrics":{"":1}}`: ballast.CodeInvalid, `{"num_parameters":1.5}`: ballast.CodeInvalid,
		`{"num_parameters":9223372036854775808}`: ballast.CodeInvalid, `{"tags":["a","a"]}`: ballast.CodeInvalid,
		`{"description":"` + strings.Repeat("x", ballast.MaxMetadataBytes) + `"}`: ballast.CodeTooLarge,
	} {
		if _, _, err := patch(t, described(), changes); ballast.CodeOf(err) != want {
			t.Errorf("%.60s: %v, want %s", changes, err, want)
		}
	}
}

// Half of the limit each is one too much together: the limit is on what comes out.
func TestPatchAddsUpToTheLimit(t *testing.T) {
	half := strings.Repeat("x", ballast.MaxMetadataBytes/2)
	m, _, err := patch(t, ballast.Metadata{}, `{"description":"`+half+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := patch(t, m, `{"extra":"`+half+`"}`); ballast.CodeOf(err) != ballast.CodeTooLarge {
		t.Errorf("got %v", err)
	}
}

func TestStages(t *testing.T) {
	for _, s := range ballast.Stages() {
		if got, err := ballast.ParseStage(string(s)); err != nil || got != s {
			t.Errorf("%s reads back as %q, %v", s, got, err)
		}
		for _, to := range s.Next() {
			if to == ballast.StageProduction || to == s {
				t.Errorf("%s can be moved to %s without a promotion", s, to)
			}
		}
	}
	for _, bad := range []string{"", "Production", "live"} {
		if _, err := ballast.ParseStage(bad); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
