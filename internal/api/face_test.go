package api

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/docs"
)

// face is a running server in front of a service, and the description that its answers are held to.
type face struct {
	t        *testing.T
	url      string
	token    string
	log      *lockedBuffer
	registry *prometheus.Registry
	doc      *description
}

// lockedBuffer is a log that the server writes while a test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newFace(t *testing.T, service Service) *face {
	t.Helper()
	f := &face{t: t, token: goodToken, log: &lockedBuffer{}, registry: prometheus.NewRegistry(), doc: loadDescription(t)}
	log := slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	clock := func() time.Time { return sampleTime.Time }
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = NewServer(New(service, Options{Logger: log, Registerer: f.registry, Version: "0.0.0-test", Clock: clock}), log)
	srv.Start()
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body []byte
}

// send sends a request with the face's token, JSON as its content type, and headers given as name, value, … over these;
// an empty value removes one. It follows no redirect, and holds the answer to the description.
func (f *face) send(method, path, body string, headers ...string) answer {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.token)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.doc.check(req, resp, got); err != nil {
		f.t.Errorf("%s %s: %d: not as docs/openapi.yaml says: %v\n%s", method, path, resp.StatusCode, err, got)
	}
	return answer{resp, got}
}

// wantStatus fails unless the answer has the status.
func (a answer) wantStatus(t *testing.T, want int) answer {
	t.Helper()
	if a.StatusCode != want {
		t.Fatalf("%s %s: status %d, want %d: %s", a.Request.Method, a.Request.URL, a.StatusCode, want, a.body)
	}
	return a
}

// problem decodes a problem document and fails unless it has the code and, in both places, its status.
func (a answer) problem(t *testing.T, want ballast.Code) *ballast.Error {
	t.Helper()
	a.wantStatus(t, want.Status())
	var e ballast.Error
	if err := json.Unmarshal(a.body, &e); err != nil {
		t.Fatalf("%s: %v: %s", a.Request.URL, err, a.body)
	}
	if e.Code != want || e.Status != a.StatusCode {
		t.Fatalf("%s: code %q status %d, want %q: %s", a.Request.URL, e.Code, e.Status, want, a.body)
	}
	return &e
}

// description is docs/openapi.yaml with a way from a request to its operation.
type description struct {
	doc   *openapi3.T
	paths []describedPath
}

type describedPath struct {
	template string
	match    *regexp.Regexp
}

// parseDescription takes a while under the race detector, so it is done once.
var parseDescription = sync.OnceValues(func() (*openapi3.T, error) {
	return openapi3.NewLoader().LoadFromData([]byte(docs.OpenAPI()))
})

func loadDescription(t *testing.T) *description {
	t.Helper()
	doc, err := parseDescription()
	if err != nil {
		t.Fatal(err)
	}
	d := &description{doc: doc}
	shapes := strings.NewReplacer("{name}", `[^/]+(/[^/]+)?`, "{path}", `.+`, "{id}", `[^/]+`, "{ref}", `[^/]+`, "{alias}", `[^/]+`)
	for template := range doc.Paths.Map() {
		d.paths = append(d.paths, describedPath{template, regexp.MustCompile("^" + shapes.Replace(template) + "$")})
	}
	// The most literal path first: /v1/models/{name}/versions before /v1/models/{name}.
	slices.SortFunc(d.paths, func(a, b describedPath) int { return strings.Count(b.template, "/") - strings.Count(a.template, "/") })
	return d
}

func (d *description) operation(r *http.Request) (*openapi3.Operation, string) {
	for _, p := range d.paths {
		if !p.match.MatchString(r.URL.Path) {
			continue
		}
		item := d.doc.Paths.Value(p.template)
		op := item.GetOperation(r.Method)
		if op == nil && r.Method == http.MethodHead {
			op = item.Get
		}
		return op, p.template
	}
	return nil, ""
}

// check holds an answer to the description. A route that is not described may only be refused.
func (d *description) check(r *http.Request, resp *http.Response, body []byte) error {
	op, template := d.operation(r)
	if op == nil {
		return d.checkProblem(resp, body)
	}
	if resp.StatusCode == http.StatusRequestEntityTooLarge && op.RequestBody == nil {
		return nil
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r,
		Route:   &routers.Route{Spec: d.doc, Path: template, PathItem: d.doc.Paths.Value(template), Method: r.Method, Operation: op},
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	out.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(r.Context(), out); err != nil {
		return err
	}
	return checkUnvalidated(op, r, resp)
}

// checkUnvalidated looks at what the validator lets through unread: redirects, 304 and answers to HEAD.
func checkUnvalidated(op *openapi3.Operation, r *http.Request, resp *http.Response) error {
	described := op.Responses.Status(resp.StatusCode)
	if described == nil {
		return &openapi3filter.ResponseError{Reason: "status is not described"}
	}
	for name, h := range described.Value.Headers {
		if h.Value.Required && resp.Header.Get(name) == "" {
			return &openapi3filter.ResponseError{Reason: "header " + name + " is missing"}
		}
	}
	return nil
}

func (d *description) checkProblem(resp *http.Response, body []byte) error {
	if resp.StatusCode < 400 && resp.Request.Method != http.MethodOptions {
		return &openapi3filter.ResponseError{Reason: "an operation that is not described succeeded"}
	}
	var v any
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return d.doc.Components.Schemas["Problem"].Value.VisitJSON(v, openapi3.EnableJSONSchema2020())
}
