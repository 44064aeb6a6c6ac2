package hub_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hub"
)

// TestLinksNameTheServiceAsItIsReached: by its public URL, with a path if that has one, else as the request does.
func TestLinksNameTheServiceAsItIsReached(t *testing.T) {
	r := newRig(t, nil, nil)
	token := r.token("acme=writer")
	commit := r.publish(token, "tiny:1", ballast.Metadata{}, map[string]string{"a b/x.bin": "1", "a b/y.bin": "2"})
	for public, base := range map[string]string{
		"": "http://registry.example:8080", "https://models.example/": "https://models.example", "https://example/models": "https://example/models",
	} {
		req := httptest.NewRequest(http.MethodGet, "http://registry.example:8080/api/models/tiny/tree/main/a%20b?limit=1&recursive=true", nil)
		w := httptest.NewRecorder()
		if err := hub.New(r.Engine, hub.Options{PublicURL: public}).Serve(w, req, r.principal(token)); err != nil {
			t.Fatal(err)
		}
		want := "<" + base + "/api/models/tiny/tree/" + commit + `/a%20b?cursor=1&limit=1&recursive=true>; rel="next"`
		if got := w.Header().Get("Link"); got != want {
			t.Errorf("%s: %s, want %s", public, got, want)
		}
	}
}

// TestHostileRequests are refused, and tell nothing.
func TestHostileRequests(t *testing.T) {
	r := newRig(t, nil, nil)
	r.publish(r.token("acme=writer"), "tiny:1", ballast.Metadata{}, files("one"))
	reader := r.token("acme=reader")
	for path, status := range map[string]int{
		"/tiny/resolve/main/..%2F..%2Fetc": 404, "/tiny/resolve/main/sub/../config.json": 404, "/tiny/resolve//config.json": 404,
		"/tiny/resolve/main%00/config.json": 400, "/tiny/resolve/main/%ff": 400, "//tiny/resolve/main/config.json": 404,
		"/acme::tiny/resolve/main/config.json": 404, "/global::tiny/resolve/main/config.json": 404, "/a/b/c/resolve/main/x": 404, "/tiny/resolve/main": 404,
		"/api/models/tiny/tree/main?cursor=-1": 400, "/api/models/tiny/tree/main?cursor=99": 400, "/api/models/tiny/tree/main?limit=0": 400,
		"/api/models?" + strings.Repeat("filter=x&", 33): 400, "/api/models?pipeline_tag=x&" + strings.Repeat("filter=x&", 32): 400,
		"/api/models?limit=x": 400, "/api/models?cursor=!": 400, "/api/telemetry/x": 404, "/api/models/tiny/tree/main/config.json": 404,
		"/tiny/resolve/" + strings.Repeat("9", 5000) + "/x": 404,
	} {
		resp, body := r.ask(reader, http.MethodGet, path)
		if resp.StatusCode != status || !strings.HasPrefix(body, `{"error":"`) || strings.Contains(body, "panic") {
			t.Errorf("%s: %d %.200s, want %d", path, resp.StatusCode, body, status)
		}
	}
}
