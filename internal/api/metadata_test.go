package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// everyField is metadata with every field, and in it whatever JSON can say that a careless hand would lose: numbers
// beyond a float64, null, the order of members, letters beyond ASCII and what HTML would escape. %s is the base.
const everyField = `{"model_type":"llm","task":"text-generation","backend":"vllm","architecture":"LlamaForCausalLM","base_model":%q,
 "description":"# Größe\n\n\t<b>&amp; 大</b> 😀","registered_by":"ci@example.org","tags":["eu","two words","大"],
 "metrics":{"validation_accuracy":0.9123456789012345,"test_accuracy":1e-300,"loss":-0.1,"steps":9007199254740991},
 "input_dim":9007199254740993,"output_dim":0,"num_parameters":9223372036854775807,"num_training_examples":-1,
 "dataset_id":"ds/1","config_hash":"b5bb9d80",
 "config":{"z":null,"a":[1,1.0,1e2,12345678901234567890.10,-0],"nested":{"":{"":[]}},"text":"\u0000\ud83d\ude00<>&"},
 "extra":[true,0.1000,1e400,100000000000000000000000000]}`

// TestMetadataRoundTrip: what is said of a version comes back as it was said, to the digit, in an answer, in a list, of a
// copy, and after a change of something else.
func TestMetadataRoundTrip(t *testing.T) {
	m := newMemory(t, engine.Limits{})
	f := newFace(t, m)
	f.token = m.token(t, "ci", "acme=writer").Token
	m.publish(t, f.token, "base:1", ballast.Metadata{}, map[string]string{"w": weights})
	said := fmt.Sprintf(everyField, "acme::base::1")
	at := f.send("POST", "/v1/uploads", `{"name":"m","version":"1","attempt":"0123456789abcdef"}`).wantStatus(t, http.StatusCreated).Header.Get("Location")
	m.sendTo(t, f.send("POST", at+"/blobs", blobsBody(blob(offered))), offered)
	f.send("POST", at+"/commit", describedBody(said)).wantStatus(t, http.StatusOK)
	m.settle(t)

	want := tree(t, said)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[ballast.Metadata]()) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); want[name] == nil {
			t.Errorf("%s is not among what is tried", name)
		}
	}
	compare := func(what string, got any) {
		t.Helper()
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-said +got)\n%s", what, diff)
		}
	}
	metadata := func(a answer) any { return tree(t, string(a.wantStatus(t, http.StatusOK).body))["metadata"] }
	compare("read", metadata(f.send("GET", "/v1/models/m/versions/1", "")))
	list := tree(t, string(f.send("GET", "/v1/models/m/versions", "").wantStatus(t, http.StatusOK).body))["versions"].([]any)
	compare("listed", list[0].(map[string]any)["metadata"])
	compare("copied", metadata(f.send("POST", "/v1/models/m/versions/1/copy", `{"name":"n","version":"1"}`)))
	compare("patched", metadata(f.send("PATCH", "/v1/models/m/versions/1", patchBody("description", string(must(json.Marshal(want["description"])))))))
	patched := metadata(f.send("PATCH", "/v1/models/m/versions/1", patchBody("backend", `"onnx"`))).(map[string]any)
	want["backend"] = "onnx"
	compare("another field patched", patched)

	patched["num_parameters"] = json.Number("9223372036854775806")
	if gocmp.Equal(want, any(patched)) {
		t.Error("control: another last digit is not seen")
	}
}

// tree is JSON with its numbers as they are written.
func tree(t *testing.T, text string) (v map[string]any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// TestAVersionWithoutFiles is ready at once and read like any other; what asks for bytes is told that there are none.
func TestAVersionWithoutFiles(t *testing.T) {
	m := newMemory(t, engine.Limits{})
	f := newFace(t, m)
	f.token = m.token(t, "ci", "acme=maintainer").Token
	at := f.send("POST", "/v1/uploads", `{"name":"m","version":"1","attempt":"0123456789abcdef"}`).wantStatus(t, http.StatusCreated).Header.Get("Location")
	f.send("POST", at+"/commit", `{"files":[],"metadata":{"task":"ner"}}`).wantStatus(t, http.StatusOK)
	const version = "/v1/models/m/versions/1"
	if v := decode[ballast.VersionInfo](t, f.send("GET", version, "").wantStatus(t, http.StatusOK)); v.Status != ballast.StatusReady || v.Files != 0 || v.Metadata.Task != "ner" {
		t.Errorf("it is %+v", v)
	}
	if e := f.send("GET", version+"/files?urls=true", "").problem(t, ballast.CodePrecondition); !strings.Contains(e.Detail, "acme::m::1 has no files") {
		t.Errorf("refused with %q", e.Detail)
	}
	f.send("GET", version+"/files", "").wantStatus(t, http.StatusOK)
	f.send("GET", version+"/files/w", "").problem(t, ballast.CodeNotFound)
	f.send("POST", version+"/copy", `{"name":"n","version":"1"}`).wantStatus(t, http.StatusOK)
	f.send("POST", version+"/promote", "").wantStatus(t, http.StatusOK)
	f.send("POST", version+"/retire", "").wantStatus(t, http.StatusOK)
	f.send("GET", version+"/files?urls=true", "").problem(t, ballast.CodeRetired)
}
