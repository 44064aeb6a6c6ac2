package hub_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/hub"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// ask sends one request, follows no redirect and returns the answer with its body.
func (r *rig) ask(token, method, path string, headers ...string) (*http.Response, string) {
	r.t.Helper()
	req := must(http.NewRequestWithContext(r.t.Context(), method, r.url+path, nil))
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp := must(http.DefaultTransport.RoundTrip(req))
	defer resp.Body.Close()
	return resp, string(must(io.ReadAll(resp.Body)))
}

// TestWhoSendsTheBytes: the service sends what is empty, or small and no weight, with ranges; the store all else.
func TestWhoSendsTheBytes(t *testing.T) {
	r := newRig(t, nil, nil)
	large := strings.Repeat("x", engine.MaxContent+1)
	commit := r.publish(r.token("acme=writer"), "tiny:1", ballast.Metadata{}, map[string]string{
		"config.json": "0123456789", "empty.bin": "", "model.safetensors": "w", "large.json": large, "limit.json": large[1:],
	})
	reader := r.token("acme=reader")
	for _, c := range []struct {
		path, ranges string
		status       int
		body         string
		contentRange string
	}{
		{"config.json", "", 200, "0123456789", ""},
		{"config.json", "bytes=2-4", 206, "234", "bytes 2-4/10"},
		{"config.json", "bytes=-3", 206, "789", "bytes 7-9/10"},
		{"config.json", "bytes=10-", 416, "", "bytes */10"},
		{"empty.bin", "", 200, "", ""},
		{"empty.bin", "bytes=0-0", 200, "", "bytes */0"},
		{"empty.bin", "bytes=-1", 200, "", "bytes */0"},
		{"empty.bin", "bytes=0-0,-1", 200, "", "bytes */0"},
		{"limit.json", "bytes=0-0", 206, "x", fmt.Sprintf("bytes 0-0/%d", engine.MaxContent)},
		{"model.safetensors", "bytes=0-0", 302, "", ""},
		{"large.json", "", 302, "", ""},
	} {
		resp, body := r.ask(reader, http.MethodGet, "/tiny/resolve/main/"+c.path, "Range", c.ranges)
		h := resp.Header
		if resp.StatusCode != c.status || c.status != 416 && body != c.body || h.Get("Content-Range") != c.contentRange || h.Get("X-Repo-Commit") != commit {
			t.Errorf("%s %s: %d %v %.50q", c.path, c.ranges, resp.StatusCode, h, body)
		}
		if there := h.Get("Location"); (there != "") != (c.status == 302) || there != "" && h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: location %q, %q", c.path, there, h.Get("Cache-Control"))
		}
		head, _ := r.ask(reader, http.MethodHead, "/tiny/resolve/main/"+c.path)
		if head.StatusCode != 200 || head.Header.Get("Location") != "" || head.Header.Get("Accept-Ranges") != "bytes" || fmt.Sprint(head.ContentLength) != head.Header.Get("X-Linked-Size") {
			t.Errorf("HEAD %s: %d %v", c.path, head.StatusCode, head.Header)
		}
	}
}

// TestInlineBytesAreChecked: bytes that were changed in the bucket are not handed out, whether or not its ETag tells.
func TestInlineBytesAreChecked(t *testing.T) {
	r := newRig(t, nil, nil)
	r.publish(r.token("acme=writer"), "tiny:1", ballast.Metadata{}, map[string]string{"config.json": "0123456789"})
	key := ballast.BlobKey(must(ballast.ParseScope("acme")), ballast.DigestOf([]byte("0123456789")))
	become := func(body, etag string) func(*objstore.Object, []byte) []byte {
		return func(o *objstore.Object, _ []byte) []byte {
			if etag != "" {
				o.ETag = etag
			}
			return []byte(body)
		}
	}
	var good string
	r.store.Alter(key, func(o *objstore.Object, body []byte) []byte { good = o.ETag; return body })
	for _, etag := range []string{"", `"another"`} {
		r.store.Alter(key, become("012345678X", etag))
		if resp, body := r.ask(r.token("acme=reader"), http.MethodGet, "/tiny/resolve/main/config.json"); resp.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("ETag %q: %d %s", etag, resp.StatusCode, body)
		}
	}
	r.store.Alter(key, become("0123456789", good)) // the invariants are checked when the test ends
}

// TestResumeAfterTheURLExpired: a download that is cut at 30 %, and whose URL is no good any more, goes on.
func TestResumeAfterTheURLExpired(t *testing.T) {
	r := newRig(t, nil, nil)
	content := strings.Repeat("0123456789", 1000)
	r.publish(r.token("acme=writer"), "tiny:1", ballast.Metadata{}, map[string]string{"model.bin": content})
	reader := r.token("acme=reader")
	c := r.python(reader)
	m, err := c.Metadata(t.Context(), "tiny", "main", "model.bin")
	if err != nil {
		t.Fatal(err)
	}
	first, _ := r.ask(reader, http.MethodGet, "/tiny/resolve/main/model.bin")
	r.store.SetClock(func() time.Time { return time.Now().Add(2 * time.Hour) })
	if old := must(http.Get(first.Header.Get("Location"))); old.StatusCode != http.StatusForbidden {
		t.Fatalf("the URL still answers %d", old.StatusCode)
	}
	have := []byte(content[:3000])
	got, err := c.Resume(t.Context(), m, have)
	if err != nil || string(got) != content {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	m.Location = first.Header.Get("Location")
	if _, err := c.Resume(t.Context(), m, have); err == nil {
		t.Error("the expired URL itself can be resumed")
	}
}

// giant says that each file has 60 GB.
type giant struct{ *engine.Engine }

func (g giant) Snapshot(ctx context.Context, p engine.Principal, ref ballast.Ref) (engine.Snapshot, error) {
	s, err := g.Engine.Snapshot(ctx, p, ref)
	s.Files = append([]ballast.File{}, s.Files...)
	for i := range s.Files {
		s.Files[i].Size = 60e9
	}
	return s, err
}

// TestWhatDoesNotWorkIsSaid: clients that cannot have something are told so, in words.
func TestWhatDoesNotWorkIsSaid(t *testing.T) {
	r := newRig(t, func(e *engine.Engine) hub.Service { return giant{e} }, nil)
	r.publish(r.token("acme=writer"), "tiny:1", ballast.Metadata{}, map[string]string{"model.bin": "w"})
	reader := r.token("acme=reader")
	if _, err := r.python(reader).Metadata(t.Context(), "tiny", "main", "model.bin"); err == nil || !strings.Contains(err.Error(), "ballast pull") {
		t.Errorf("over 50 GB: %v", err)
	}
	rust := "unkown/None; hf-hub/0.4.3; rust/unknown"
	resp, body := r.ask(reader, http.MethodGet, "/tiny/resolve/main/model.bin", "User-Agent", rust)
	if resp.StatusCode != http.StatusNotImplemented || !strings.Contains(body, "sends its token on") || resp.Header.Get("Location") != "" {
		t.Errorf("Rust: %d %s", resp.StatusCode, body)
	}
	for _, path := range []string{"/api/repos/create", "/api/models/acme/tiny/preupload/main", "/api/validate-yaml", "/acme/tiny.git/info/lfs/objects/batch"} {
		resp, body := r.ask(reader, http.MethodPost, path)
		if resp.StatusCode != http.StatusNotImplemented || !strings.Contains(body, "ballast push") || !strings.Contains(resp.Header.Get("X-Error-Message"), "ballast push") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}

// TestVersionsOfOneDigest: they share a commit, which is served as long as one of them is.
func TestVersionsOfOneDigest(t *testing.T) {
	r := newRig(t, nil, nil)
	writer := r.token("acme=maintainer")
	commit := r.publish(writer, "tiny:1", ballast.Metadata{}, files("same"))
	if again := r.publish(writer, "tiny:2", ballast.Metadata{}, files("same")); again != commit {
		t.Fatalf("%s and %s", commit, again)
	}
	c := r.python(r.token("acme=reader"))
	for _, target := range []string{"tiny:1", "tiny:2"} {
		if got, err := c.Snapshot(t.Context(), "tiny", commit, false); err != nil || len(got) != len(files("same")) {
			t.Errorf("%d files, %v", len(got), err)
		}
		r.retire(writer, target)
		_, err := c.ModelInfo(t.Context(), "tiny", strings.TrimPrefix(target, "tiny:"))
		if got := refusal(t, err); got.Exception != "GatedRepoError" {
			t.Errorf("%s: %+v", target, got)
		}
	}
	_, err := c.ModelInfo(t.Context(), "tiny", commit)
	if got := refusal(t, err); got.Exception != "GatedRepoError" {
		t.Errorf("%+v", got)
	}
}
