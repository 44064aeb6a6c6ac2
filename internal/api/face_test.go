package api

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/api/apitest"
	"github.com/ballast-registry/ballast/internal/audit/audittest"
	"github.com/ballast-registry/ballast/testenv/canary"
)

// face is a running server in front of a service. Each of its answers is held to docs/openapi.yaml.
type face struct {
	t        *testing.T
	url      string
	token    string
	log      *lockedBuffer
	registry *prometheus.Registry
	audit    *audittest.Audit
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
	return newFaceWith(t, service, Options{})
}

// newFaceWith starts one with an identity, and with what the anonymous may.
func newFaceWith(t *testing.T, service Service, opt Options) *face {
	t.Helper()
	f := &face{t: t, token: goodToken, log: &lockedBuffer{}, registry: prometheus.NewRegistry()}
	log := slog.New(slog.NewJSONHandler(canary.Reader(t, f.log), &slog.HandlerOptions{Level: slog.LevelDebug}))
	clock := func() time.Time { return sampleTime.Time }
	f.audit = audittest.Open(t, linesOf(t, service))
	srv := httptest.NewUnstartedServer(nil)
	opt.Logger, opt.Audit, opt.Registerer, opt.Version, opt.Clock = log, f.audit.Log, f.registry, "0.0.0-test", clock
	h := New(service, opt)
	srv.Config = NewServer(apitest.Validate(t, h), log)
	srv.Start()
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

// linesOf is the folder of the audit that a service reads, or another one.
func linesOf(t *testing.T, service Service) string {
	if m, ok := service.(interface{ keepsLines() string }); ok {
		return m.keepsLines()
	}
	return t.TempDir()
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body []byte
}

// send sends a request with the face's token, JSON as its content type, and headers given as name, value, … over these;
// an empty value removes one. It follows no redirect.
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
