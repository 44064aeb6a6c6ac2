package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

// TestTagsOfOthersAreKept: somebody adds a tag between the look at a version and its change. The change is made anew from
// what is there then.
func TestTagsOfOthersAreKept(t *testing.T) {
	held, revision, patches := []string{"a"}, 3, 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			if patches++; patches == 1 {
				held, revision = append(held, "theirs"), 4
			}
			if r.Header.Get("If-Match") != fmt.Sprintf(`"%d"`, revision) || !strings.HasSuffix(r.URL.Path, "/versions/7") {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusPreconditionFailed)
				_ = json.NewEncoder(w).Encode(ballast.Error{Code: ballast.CodePrecondition, Detail: "another revision"})
				return
			}
			var body struct{ Metadata struct{ Tags []string } }
			b, err := io.ReadAll(r.Body)
			if err != nil || json.Unmarshal(b, &body) != nil {
				t.Errorf("%v: %s", err, b)
			}
			held, revision = body.Metadata.Tags, revision+1
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"key": "acme::m::7", "scope": "acme", "name": "m", "version": "7", "revision": revision, "metadata": map[string]any{"tags": held},
		})
	}))
	defer srv.Close()
	env := func(name string) string { return map[string]string{envURL: srv.URL, envToken: "bal_x"}[name] }
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"set", "m", "--tag", "ours", "--untag", "a"}, env, strings.NewReader(""), &stdout, &stderr)
	if code != exitDone || !slices.Equal(held, []string{"theirs", "ours"}) || patches != 2 {
		t.Errorf("exit code %d, %q after %d changes, %s", code, held, patches, stderr.String())
	}
}
