package hub

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzMatch: whatever the path, a route gets words that are UTF-8 and hold no NUL, and that spell the path again.
func FuzzMatch(f *testing.F) {
	for _, path := range []string{"/a/b/resolve/refs%2Fpr%2F1/x/y", "/api/models/a/b/tree/main/a%2Fb", "/a/resolve/resolve/x", "/api/models/a/b", "//", "/%00", "/a.git/info/lfs/objects/batch"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			f.Add(method, path)
		}
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" || u.Opaque != "" {
			return
		}
		found, at, err := match(&http.Request{Method: method, URL: u})
		if err != nil {
			return
		}
		again := strings.NewReplacer("{repo}", at.repo, "{rev}", at.rev, "{path}", at.path).Replace(found.path)
		if again != u.Path {
			t.Errorf("%s takes %q for %q", found.path, u.Path, again)
		}
		if words := at.repo + at.rev + at.path; !utf8.ValidString(words) || strings.Contains(words, "\x00") {
			t.Errorf("%q: %q", path, words)
		}
	})
}
