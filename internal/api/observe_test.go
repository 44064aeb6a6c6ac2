package api

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var discard = slog.New(slog.DiscardHandler)

// lastLog is the log's last line.
func (f *face) lastLog(t *testing.T) map[string]any {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(f.log.String()), "\n")
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		t.Fatalf("%v: %q", err, lines)
	}
	return line
}

func TestAccessLog(t *testing.T) {
	f := newFace(t, &stub{})
	a := f.send("GET", "/v1/models/llama/tiny/versions/1", "")
	line := f.lastLog(t)
	for key, want := range map[string]any{
		"msg": "request", "level": "INFO", "method": "GET", "route": "/v1/models/{name}/versions/{ref}",
		"path": "/v1/models/llama/tiny/versions/1", "status": 200.0, "principal": samplePrincipal.ID, "remote": "127.0.0.1",
		"request_id": a.Header.Get("X-Request-Id"), "bytes": float64(len(a.body)),
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	f := newFace(t, &stub{})
	for sent, kept := range map[string]bool{"": false, "abc-1.2_3": true, "a b": false, "ä": false, strings.Repeat("a", 65): false, "bal_0123456789_" + strings.Repeat("a", 46): false} {
		got := f.send("GET", "/healthz", "", "X-Request-Id", sent).Header.Get("X-Request-Id")
		if got == "" || (got == sent) != kept {
			t.Errorf("sent %q, got %q", sent, got)
		}
	}
}

// TestNewRequestIDs are UUIDs of version 7, in the order of their milliseconds, and no two alike.
func TestNewRequestIDs(t *testing.T) {
	now, seen := time.UnixMilli(1<<41+12345), map[string]bool{}
	for range 1000 {
		text := newRequestID(now)
		id, err := uuid.Parse(text)
		if err != nil || id.Version() != 7 || id.Variant() != uuid.RFC4122 || seen[text] {
			t.Fatalf("%s: %v, version %d, %s, seen before: %t", text, err, id.Version(), id.Variant(), seen[text])
		}
		if at := time.Unix(id.Time().UnixTime()); !at.Equal(now) {
			t.Fatalf("%s: of %s, want %s", text, at, now)
		}
		seen[text] = true
	}
	if early, late := newRequestID(now), newRequestID(now.Add(time.Millisecond)); early >= late {
		t.Errorf("%s is not before %s", early, late)
	}
}

// TestTokensInPathsAreNotLogged, wherever somebody pasted one.
func TestTokensInPathsAreNotLogged(t *testing.T) {
	f := newFace(t, &stub{}) // whose log is read for tokens
	token := "bal_0123456789_" + strings.Repeat("a", 46)
	for _, path := range []string{"/v1/models/" + token, "/v1/models/tiny/versions/1/files/" + token, "/" + token, "/v1/uploads/" + token, "/v1/models/acme::" + token + "::1", "/v1/whoami?token=" + token} {
		f.send("GET", path, "", "User-Agent", token, "X-Request-Id", token)
	}
	if log := f.log.String(); strings.Count(log, "bal_0123456789_…") < 4 || strings.Contains(log, "aaaa") {
		t.Errorf("the log has %s", log)
	}
}

func TestMetrics(t *testing.T) {
	f := newFace(t, &stub{})
	f.send("GET", "/v1/models/a", "")
	f.send("GET", "/v1/models/a/b", "")
	f.send("GET", "/v1/models/a/b/c/d/e", "")
	f.send("GET", "/v1/whoami", "", "Authorization", "")
	f.send("BREW", "/v1/whoami", "")
	want := `
# HELP ballast_http_requests_total Requests answered, by route, method and HTTP status.
# TYPE ballast_http_requests_total counter
ballast_http_requests_total{code="200",method="GET",route="/v1/models/{name}"} 2
ballast_http_requests_total{code="401",method="GET",route="/v1/whoami"} 1
ballast_http_requests_total{code="404",method="GET",route="unmatched"} 1
ballast_http_requests_total{code="405",method="other",route="/v1/whoami"} 1
`
	if err := testutil.GatherAndCompare(f.registry, strings.NewReader(want), "ballast_http_requests_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(f.registry, "ballast_http_request_duration_seconds"); err != nil || n != 4 {
		t.Errorf("%d series of latency, %v", n, err)
	}
}
