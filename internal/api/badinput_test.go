package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// badRequest is a request that must be refused. {u} in its path stands for an open upload.
type badRequest struct {
	method, path, body string
	header             []string
	code               ballast.Code // invalid when left out
}

// contents of the files that the tests publish and offer.
const (
	weights = "weights"
	offered = "offered"
)

// TestBadInput sends every kind of malformed input to the real engine: each is refused with a code, and neither the
// index nor the bucket is different afterwards. What is tested is the table in badinput_table_test.go.
func TestBadInput(t *testing.T) {
	m := newMemory(t, engine.Limits{})
	f := newFace(t, m)
	f.token = m.token(t, "ci", "acme=admin").Token
	m.publish(t, f.token, "m:1", ballast.Metadata{}, map[string]string{"w": weights})
	m.publish(t, f.token, "m:2", ballast.Metadata{}, map[string]string{"w": weights})
	f.send("PUT", "/v1/models/m/aliases/champion", `{"version":"1"}`).wantStatus(t, http.StatusOK)
	f.send("POST", "/v1/models/m/versions/1/promote", "").wantStatus(t, http.StatusOK)
	f.send("POST", "/v1/models/m/versions/2/promote", "").wantStatus(t, http.StatusOK)
	at := f.send("POST", "/v1/uploads", `{"name":"n","version":"1","attempt":"0123456789abcdef"}`).wantStatus(t, http.StatusCreated).Header.Get("Location")
	m.sendTo(t, f.send("POST", at+"/blobs", blobsBody(blob(offered))), offered)
	f.send("POST", at+"/blobs", blobsBody(blob(offered))).wantStatus(t, http.StatusOK)
	m.store.Plant("tenants/acme/inbox/m/w", []byte(weights))
	m.store.Plant("tenants/acme/inbox-not/w", []byte(weights))
	m.settle(t)

	id := strings.TrimPrefix(at, "/v1/uploads/")
	before, all := m.contents(t), badRequests()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name[:min(len(name), 80)], func(t *testing.T) {
			r := all[name]
			if r.code == "" {
				r.code = ballast.CodeInvalid
			}
			a := f.send(r.method, strings.Replace(r.path, "{u}", id, 1), r.body, r.header...)
			after := m.contents(t)
			if err := refused(a, r.code, changes(before, after)); err != nil {
				t.Error(err)
			}
			before = after
		})
	}
	t.Run("control", func(t *testing.T) { goodRequestsChange(t, m, f, at) })
}

// refused holds an answer to what bad input deserves: a problem document of class 4xx with the code, which does not repeat
// what was sent, and nothing changed.
func refused(a answer, code ballast.Code, changed []string) error {
	var e ballast.Error
	switch {
	case a.StatusCode < 400 || a.StatusCode > 499:
		return fmt.Errorf("answered %d: %.1000s", a.StatusCode, a.body)
	case len(a.body) > 4<<10:
		return fmt.Errorf("the answer repeats what was sent: %d bytes", len(a.body))
	case a.Header.Get("Content-Type") != "application/problem+json" || ballast.StrictUnmarshal(a.body, &e) != nil:
		return fmt.Errorf("no problem document: %s %s", a.Header.Get("Content-Type"), a.body)
	case e.Code != code || e.Status != a.StatusCode || code.Status() != a.StatusCode || e.Detail == "":
		return fmt.Errorf("%d with code %q, want %q: %s", a.StatusCode, e.Code, code, a.body)
	case len(changed) > 0:
		return fmt.Errorf("refused, and changed %q", changed)
	}
	return nil
}

// TestBadInputHasToBeRefused is a control: each way to be wrong about bad input is told.
func TestBadInputHasToBeRefused(t *testing.T) {
	const good = `{"title":"Bad Request","status":400,"code":"invalid","detail":"no","request_id":"1"}`
	for name, c := range map[string]struct {
		status  int
		kind    string
		body    string
		changed []string
		want    string
	}{
		"refused":          {400, "application/problem+json", good, nil, ""},
		"accepted":         {200, "application/json", `{}`, nil, "answered 200"},
		"a redirect":       {307, "application/problem+json", good, nil, "answered 307"},
		"broken":           {500, "application/problem+json", strings.Replace(good, "400", "500", 1), nil, "answered 500"},
		"text":             {400, "text/plain", "no", nil, "no problem document"},
		"an unknown field": {400, "application/problem+json", strings.Replace(good, "{", `{"stack":"…",`, 1), nil, "no problem document"},
		"another code":     {400, "application/problem+json", strings.Replace(good, "invalid", "denied", 1), nil, "want"},
		"another status":   {404, "application/problem+json", strings.Replace(good, "400", "404", 1), nil, "want"},
		"nothing to go by": {400, "application/problem+json", strings.Replace(good, `"no"`, `""`, 1), nil, "want"},
		"an echo":          {400, "application/problem+json", strings.Replace(good, `"no"`, quoted(strings.Repeat("a", mib)), 1), nil, "repeats"},
		"a change":         {400, "application/problem+json", good, []string{"index"}, "changed"},
	} {
		a := answer{&http.Response{StatusCode: c.status, Header: http.Header{"Content-Type": {c.kind}}}, []byte(c.body)}
		if err := refused(a, ballast.CodeInvalid, c.changed); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// goodRequestsChange is the control: the requests from which the bad ones differ in one thing are accepted, and each
// leaves its trace in the contents.
func goodRequestsChange(t *testing.T, m *memory, f *face, at string) {
	for _, r := range []badRequest{
		{"POST", "/v1/uploads", createBody("name", `"o"`), nil, ""},
		{"POST", "/v1/imports", importBody("name", `"imported"`), nil, ""},
		{"POST", at + "/blobs", blobsBody(blob("another")), nil, ""},
		{"POST", at + "/commit", commitBody(file(`"a/b"`, offered), file(`"a/c"`, offered)), nil, ""},
		{"PUT", "/v1/models/m/aliases/other", `{"version":"1"}`, nil, ""},
		{"DELETE", "/v1/models/m/aliases/champion", "", []string{"If-Match", `"1"`}, ""},
		{"PATCH", "/v1/models/m/versions/2", patchBody("task", `"ner"`), nil, ""},
		{"POST", "/v1/models/m/rollback", `{"reason":"worse"}`, nil, ""},
		{"POST", "/v1/models/m/versions/2/promote", `{"reason":"better"}`, nil, ""},
		{"POST", "/v1/models/m/versions/2/retire", `{}`, nil, ""},
		{"DELETE", "/v1/models/m/versions/2?if_exists=true", "", nil, ""},
		{"POST", "/v1/tokens", tokenBody(`"ci"`), nil, ""},
	} {
		before := m.contents(t)
		if a := f.send(r.method, r.path, r.body, r.header...); a.StatusCode >= 300 {
			t.Errorf("%s %s: %d %s", r.method, r.path, a.StatusCode, a.body)
		}
		if len(changes(before, m.contents(t))) == 0 {
			t.Errorf("%s %s left no trace", r.method, r.path)
		}
	}
}

// TestAnotherSize: bytes that are there under their digest are not there with a size that they don't have.
func TestAnotherSize(t *testing.T) {
	m := newMemory(t, engine.Limits{})
	f := newFace(t, m)
	f.token = m.token(t, "ci", "acme=writer").Token
	at := f.send("POST", "/v1/uploads", createBody("name", `"n"`)).wantStatus(t, http.StatusCreated).Header.Get("Location")
	m.sendTo(t, f.send("POST", at+"/blobs", blobsBody(blob(offered))), offered)
	lie := string(ballast.DigestOf([]byte(offered)))
	f.send("POST", at+"/blobs", blobsBody(blobOf(lie, 8))).problem(t, ballast.CodeIntegrity) // before anybody asked about it
	f.send("POST", at+"/blobs", blobsBody(blobOf(lie, 8))).problem(t, ballast.CodeInvalid)   // its size is known
	f.send("POST", at+"/blobs", blobsBody(blob(offered))).wantStatus(t, http.StatusOK)
	f.send("POST", at+"/commit", commitBody(fileOf(`"a"`, 8, lie[7:]))).problem(t, ballast.CodeIntegrity)
	if u := decode[ballast.Upload](t, f.send("GET", at, "")); u.Status != ballast.UploadFailed {
		t.Errorf("the upload is %s", u.Status)
	}
}

// The bodies are written as text, since most of them could not be encoded.

// createBody is a good body of POST /v1/uploads with one field in other JSON.
func createBody(field, value string) string {
	fields := map[string]json.RawMessage{"name": []byte(`"fresh"`), "version": []byte(`"1"`), "attempt": []byte(`"fedcba9876543210"`)}
	delete(fields, field)
	body, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(body[:len(body)-1]) + `,"` + field + `":` + value + `}`
}

func blob(content string) string {
	return blobOf(string(ballast.DigestOf([]byte(content))), len(content))
}

// blobOf is an entry of a blobs request; more is fields with their leading comma.
func blobOf(digest string, size any, more ...string) string {
	return `{"digest":"` + digest + `","size":` + text(size) + strings.Join(more, "") + `}`
}

func blobsBody(blobs ...string) string { return `{"blobs":[` + strings.Join(blobs, ",") + `]}` }

// file is an entry of a commit: path is JSON.
func file(path, content string) string {
	return fileOf(path, len(content), ballast.DigestOf([]byte(content)).Encoded())
}

func fileOf(path string, size any, sum string) string {
	return `{"path":` + path + `,"size":` + text(size) + `,"sha256":"` + sum + `"}`
}

func commitBody(files ...string) string { return `{"files":[` + strings.Join(files, ",") + `]}` }

// describedBody is a good commit with metadata.
func describedBody(metadata string) string {
	return `{"files":[` + file(`"a"`, offered) + `],"metadata":` + metadata + `}`
}

// patchBody is a change of one field of the metadata; value is JSON.
func patchBody(field, value string) string { return `{"metadata":{"` + field + `":` + value + `}}` }

func tokenBody(name string) string {
	return `{"name":` + name + `,"grants":[{"scope":"acme","role":"writer"}]}`
}

// text is a number, or JSON as it is.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
