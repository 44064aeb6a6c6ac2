package api

import (
	"encoding/json"
	"net/http"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// TestChangesReachTheService: what a request says arrives, no more and no less, and the answer has the next If-Match.
func TestChangesReachTheService(t *testing.T) {
	const at = "/v1/models/llama/tiny/versions/1"
	three := int64(3)
	exact := ballast.Ref{Name: tiny, Version: one}
	for name, c := range map[string]struct {
		method, path, body string
		header             []string
		want               []any
		status, pending    int
	}{
		"metadata": {"PATCH", at, `{"metadata":{"task":"ner","backend":null}}`, nil, []any{
			engine.Own{Ref: exact}, ballast.PatchVersion{Metadata: map[string]json.RawMessage{"task": json.RawMessage(`"ner"`), "backend": json.RawMessage(`null`)}},
		}, 200, 200},
		"stage": {"PATCH", at, `{"stage":"staged"}`, []string{"If-Match", `"3"`}, []any{engine.Own{Ref: exact, IfMatch: &three}, ballast.PatchVersion{Stage: ballast.StageStaged}}, 200, 200},
		"latest": {
			"PATCH", "/v1/models/acme::llama/tiny/versions/latest", `{"metadata":{}}`, nil,
			[]any{engine.Own{Ref: ballast.Ref{Scope: acme, Name: tiny}}, ballast.PatchVersion{Metadata: map[string]json.RawMessage{}}}, 200, 200,
		},
		"promote":            {"POST", at + "/promote", `{"reason":"better"}`, []string{"If-Match", `"3"`}, []any{engine.Own{Ref: exact, IfMatch: &three}, "better"}, 200, 200},
		"promote without":    {"POST", at + "/promote", "", []string{"Content-Type", ""}, []any{engine.Own{Ref: exact}, ""}, 200, 200},
		"rollback":           {"POST", "/v1/models/llama/tiny/rollback", `{"reason":"worse"}`, nil, []any{ballast.Scope{}, tiny, "worse"}, 200, 200},
		"rollback elsewhere": {"POST", "/v1/models/acme::llama/tiny/rollback", `{"reason":"worse"}`, nil, []any{acme, tiny, "worse"}, 200, 200},
		"retire":             {"POST", at + "/retire", "", nil, []any{engine.Own{Ref: exact}}, 200, 202},
		"retire with a body": {"POST", at + "/retire", "{}", []string{"If-Match", `"3"`}, []any{engine.Own{Ref: exact, IfMatch: &three}}, 200, 202},
		"restore":            {"POST", at + "/restore", "{}", []string{"If-Match", `"3"`}, []any{engine.Own{Ref: exact, IfMatch: &three}}, 200, 202},
		"delete":             {"DELETE", at, "", nil, []any{engine.Own{Ref: exact}}, 204, 202},
		"delete if exists":   {"DELETE", at + "?if_exists=true", "", []string{"If-Match", `"3"`}, []any{engine.Own{Ref: exact, IfMatch: &three, IfExists: true}}, 204, 202},
	} {
		for _, pending := range []bool{false, true} {
			s := &stub{pending: pending}
			f := newFace(t, s)
			want := c.status
			if pending {
				want = c.pending
			}
			a := f.send(c.method, c.path, c.body, c.header...).wantStatus(t, want)
			if diff := gocmp.Diff(c.want, s.last, comparable); diff != "" {
				t.Errorf("%s reached the service as (-want +got):\n%s", name, diff)
			}
			if want != http.StatusNoContent && (a.Header.Get("ETag") != `"3"` || a.Header.Get("Cache-Control") != "no-store") {
				t.Errorf("%s: %v", name, a.Header)
			}
		}
	}
}

func TestRefusedChanges(t *testing.T) {
	s := &stub{}
	f := newFace(t, s)
	const at = "/v1/models/llama/tiny/versions/1"
	for _, r := range []badRequest{
		{method: "PATCH", path: at, body: ""},
		{method: "PATCH", path: at, body: "{}"},
		{method: "PATCH", path: at, body: "null"},
		{method: "PATCH", path: at, body: `{"metadata":null}`},
		{method: "PATCH", path: at, body: `{"metadata":[]}`},
		{method: "PATCH", path: at, body: `{"stage":""}`},
		{method: "PATCH", path: at, body: `{"stage":"Production"}`},
		{method: "PATCH", path: at, body: `{"status":"ready"}`},
		{method: "PATCH", path: at, body: `{"metadata":{}}`, header: []string{"If-Match", "3"}},
		{method: "POST", path: at + "/promote", body: `{"reason":1}`},
		{method: "POST", path: at + "/promote", body: `{"why":"better"}`},
		{method: "POST", path: at + "/promote", header: []string{"If-Match", "*"}},
		{method: "POST", path: "/v1/models/llama/tiny/rollback"},
		{method: "POST", path: "/v1/models/llama/tiny/rollback", body: `{"reason":"worse"}`, header: []string{"If-Match", `"3"`}},
		{method: "POST", path: at + "/retire", body: `{"reason":"old"}`},
		{method: "POST", path: at + "/retire", body: `[]`},
		{method: "DELETE", path: at + "?if_exists=1"},
		{method: "DELETE", path: at + "?force=true"},
	} {
		f.send(r.method, r.path, r.body, r.header...).problem(t, ballast.CodeInvalid)
	}
	if s.last != nil {
		t.Errorf("a refused change reached the service: %v", s.last)
	}
}
