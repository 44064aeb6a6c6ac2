package apitest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// reports is a Reporter that keeps what it is told.
type reports []string

func (*reports) Helper() {}

func (r *reports) Errorf(format string, args ...any) { *r = append(*r, fmt.Sprintf(format, args...)) }

// canned is a handler with one answer. The header is written as name, value, …
type canned struct {
	status int
	header []string
	body   string
}

func (c canned) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for i := 0; i < len(c.header); i += 2 {
		w.Header().Set(c.header[i], c.header[i+1])
	}
	if c.status != 0 {
		w.WriteHeader(c.status)
	}
	io.WriteString(w, c.body)
}

const (
	modelPath = "/v1/models/llama/tiny"
	model     = `{"scope":"acme","name":"llama/tiny","versions":1,"updated_at":"2026-11-22T08:00:00.000000Z"}`
	filePath  = modelPath + "/versions/1/files/a/b"
	fileETag  = `"b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"`
	notFound  = `{"title":"Not Found","status":404,"code":"not_found","detail":"no","request_id":"1"}`
)

// asJSON and asProblem are headers of good answers.
func asJSON() []string    { return []string{"Content-Type", "application/json", "ETag", `"x"`} }
func asProblem() []string { return []string{"Content-Type", problemType} }

func TestDescribedAnswersPass(t *testing.T) {
	for name, c := range map[string]struct {
		method, path string
		answer       canned
	}{
		"a read":                {"GET", modelPath, canned{200, asJSON(), model}},
		"without WriteHeader":   {"GET", modelPath, canned{0, asJSON(), model}},
		"HEAD of a read":        {"HEAD", modelPath, canned{200, asJSON(), ""}},
		"a refusal":             {"GET", modelPath, canned{404, asProblem(), notFound}},
		"an encoded name":       {"GET", "/v1/models/acme%3A%3Allama%2Ftiny", canned{200, asJSON(), model}},
		"not modified":          {"GET", modelPath, canned{304, asJSON(), ""}},
		"a redirect":            {"GET", filePath, canned{307, []string{"Location", "http://store"}, ""}},
		"HEAD of a file":        {"HEAD", filePath, canned{200, []string{"ETag", fileETag, "Accept-Ranges", "bytes"}, ""}},
		"a probe":               {"GET", "/healthz", canned{200, asJSON(), `{"status":"ok"}`}},
		"OPTIONS":               {"OPTIONS", modelPath, canned{204, []string{"Allow", "GET, HEAD, OPTIONS"}, ""}},
		"the refusal of a path": {"GET", "/v1/nothing", canned{404, asProblem(), notFound}},
	} {
		if got := sent(c.method, c.path, c.answer); len(got) > 0 {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestUndescribedAnswersAreReported is the control: the validator is able to fail.
func TestUndescribedAnswersAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		method, path string
		answer       canned
		want         string
	}{
		"a field":                {"GET", modelPath, canned{200, asJSON(), strings.Replace(model, "{", `{"secret":1,`, 1)}, "secret"},
		"a field of a refusal":   {"GET", modelPath, canned{404, asProblem(), strings.Replace(notFound, "{", `{"stack":"…",`, 1)}, "stack"},
		"a field of a list":      {"GET", "/v1/models", canned{200, asJSON(), `{"models":[` + strings.Replace(model, "{", `{"secret":1,`, 1) + `]}`}, "secret"},
		"a lacking field":        {"GET", modelPath, canned{200, asJSON(), `{"scope":"acme","name":"llama/tiny","versions":1}`}, "updated_at"},
		"another type":           {"GET", modelPath, canned{200, asJSON(), strings.Replace(model, ":1", `:"1"`, 1)}, "versions"},
		"another constant":       {"GET", "/healthz", canned{200, asJSON(), `{"status":"ko"}`}, "ok"},
		"no JSON":                {"GET", modelPath, canned{200, asJSON(), "{"}, "decode"},
		"a status":               {"GET", modelPath, canned{202, asJSON(), model}, "status"},
		"a status without body":  {"GET", modelPath, canned{307, []string{"Location", "/"}, ""}, "status"},
		"a status of HEAD":       {"HEAD", modelPath, canned{202, asJSON(), ""}, "status"},
		"a code":                 {"GET", modelPath, canned{404, asProblem(), strings.Replace(notFound, "not_found", "teapot", 1)}, "code"},
		"a refusal without id":   {"GET", modelPath, canned{404, asProblem(), strings.Replace(notFound, `,"request_id":"1"`, "", 1)}, "request_id"},
		"a media type":           {"GET", modelPath, canned{404, []string{"Content-Type", "text/plain"}, notFound}, "text/plain"},
		"no ETag":                {"GET", modelPath, canned{200, asJSON()[:2], model}, "ETag"},
		"no ETag of 304":         {"GET", modelPath, canned{304, nil, ""}, "ETag"},
		"no ETag of HEAD":        {"HEAD", modelPath, canned{200, asJSON()[:2], ""}, "ETag"},
		"another ETag of HEAD":   {"HEAD", filePath, canned{200, []string{"ETag", `"x"`}, ""}, "ETag"},
		"a redirect's body":      {"GET", filePath, canned{307, []string{"Location", "http://store"}, "bytes"}, "body"},
		"a route":                {"GET", "/v1/nothing", canned{200, asJSON(), "{}"}, "operation"},
		"a method":               {"POST", modelPath, canned{200, asJSON(), model}, "operation"},
		"OPTIONS without Allow":  {"OPTIONS", modelPath, canned{204, nil, ""}, "operation"},
		"a route's text refusal": {"GET", "/v1/nothing", canned{404, []string{"Content-Type", "text/plain"}, "no"}, "text/plain"},
		"a route's refusal":      {"GET", "/v1/nothing", canned{404, asProblem(), `{"code":"not_found"}`}, "detail"},
		"a route's open refusal": {"GET", "/v1/nothing", canned{404, asProblem(), strings.Replace(notFound, "{", `{"stack":"…",`, 1)}, "stack"},
	} {
		if got := sent(c.method, c.path, c.answer); len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%s: reported %q, want one report of %q", name, got, c.want)
		}
	}
}

// sent is what is reported of one request.
func sent(method, path string, c canned) (got reports) {
	Validate(&got, c).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
	return got
}

// TestAnswersPassThrough: the client sees what the handler wrote.
func TestAnswersPassThrough(t *testing.T) {
	want := canned{404, asProblem(), notFound}
	srv := httptest.NewServer(Validate(t, want))
	defer srv.Close()
	resp, err := http.Get(srv.URL + modelPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want.status || string(body) != want.body || resp.Header.Get("Content-Type") != problemType {
		t.Errorf("%d %s, %v", resp.StatusCode, body, err)
	}
}

// TestProxy: what a registry elsewhere answers goes through as it is, and is reported when it is not as described.
func TestProxy(t *testing.T) {
	for name, c := range map[string]struct {
		answer canned
		want   string
	}{
		"described": {canned{404, asProblem(), notFound}, ""}, "not described": {canned{200, asJSON(), strings.Replace(model, "{", `{"secret":1,`, 1)}, "secret"},
	} {
		srv := httptest.NewServer(c.answer)
		defer srv.Close()
		to := &recording{T: t}
		resp, err := http.Get(Proxy(to, srv.URL) + modelPath)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.answer.status || string(body) != c.answer.body {
			t.Errorf("%s: %d %s, %v", name, resp.StatusCode, body, err)
		}
		to.end() // an answer is looked at once it is sent
		if got := strings.Join(to.reports, "\n"); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: reported %q, want %q", name, got, c.want)
		}
	}
}

// TestProxyOfNobody: a registry that is gone looks gone.
func TestProxyOfNobody(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	resp, err := http.Get(Proxy(t, srv.URL) + modelPath)
	if err == nil {
		resp.Body.Close()
		t.Errorf("answered %d", resp.StatusCode)
	}
}

// recording is a test that keeps what it is told, until it ends.
type recording struct {
	*testing.T
	reports
	cleanups []func()
}

func (*recording) Helper() {}

func (r *recording) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recording) end() {
	for _, f := range r.cleanups {
		f()
	}
}

func (r *recording) Errorf(format string, args ...any) { r.reports.Errorf(format, args...) }
