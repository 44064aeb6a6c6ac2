package api

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
)

// contextOf is what a handler gets of a request.
func contextOf(r *http.Request) echo.Context { return echo.New().NewContext(r, httptest.NewRecorder()) }

// FuzzQuery: whatever stands behind the question mark, a list gets a limit, a cursor and a filter within their bounds, or
// the query is refused as invalid.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		"", "limit=1", "limit=1000&cursor=YQ&prefix=ll&scope=acme&wait=1s&urls=true", "limit=0", "limit=1001", "limit=%2B5", "limit=NaN", "limit=1&limit=2", "limt=1", "limit=%zz", "a;b", "wait=-1s", "wait=1e3s", "wait=9999999h",
		"scope=a::b", "scope=%00", "urls=TRUE", "cursor=" + strings.Repeat("a", maxCursorBytes+1), "prefix=%ff", "&&=&",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r := httptest.NewRequest(http.MethodGet, "/v1/models", nil)
		r.URL.RawQuery = raw
		q := queryOf(contextOf(r), "limit", "cursor", "prefix", "scope", "wait", "urls")
		limit, cursor, prefix, scope, wait := q.limit(), q.cursor(), q.prefix(), q.scope(), q.wait()
		q.flag("urls")
		if q.err != nil {
			if ballast.CodeOf(q.err) != ballast.CodeInvalid || len(q.err.Error()) > 1000 {
				t.Errorf("%.100q is refused with %d bytes: %v", raw, len(q.err.Error()), q.err)
			}
			return
		}
		if limit < 1 || limit > maxLimit || len(cursor) > maxCursorBytes || len(prefix) > maxPrefixBytes || strings.ContainsAny(prefix, ":\x00\n\x7f") || wait < 0 || wait > maxWait || scope.String() != r.URL.Query().Get("scope") {
			t.Errorf("%q is limit %d, cursor %q, prefix %q, scope %q, wait %s", raw, limit, cursor, prefix, scope, wait)
		}
	})
}

// FuzzIfMatch: If-Match is one revision in its one spelling, or refused.
func FuzzIfMatch(f *testing.F) {
	for _, s := range []string{`"3"`, `"0"`, `"9223372036854775807"`, `"9223372036854775808"`, `3`, `'3'`, "`3`", `"\x33"`, `"+3"`, `"-0"`, `"03"`, `W/"3"`, `"3", "4"`, `*`, `""`, ``, `"NaN"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest(http.MethodPut, "/v1/models/m/aliases/a", nil)
		r.Header.Set("If-Match", value)
		n, err := ifMatch(contextOf(r))
		if err != nil {
			if ballast.CodeOf(err) != ballast.CodeInvalid {
				t.Errorf("%q is refused with %v", value, err)
			}
			return
		}
		if n == nil || *n < 0 || value != strconv.Quote(strconv.FormatInt(*n, 10)) {
			t.Errorf("%q is the revision %v", value, n)
		}
	})
}

// FuzzID: what passes as an id is one that can stand in a key, a log and a path.
func FuzzID(f *testing.F) {
	for _, s := range []string{"u1", "0198c0de-0000-7000-8000-000000000000", "a.b_c", "", "a/b", "a\x00", "ä", strings.Repeat("a", 65), "a\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if isPlainID(s) && (s == "" || len(s) > 64 || strings.ContainsAny(s, "/\\:@ \x00\n\"") || strings.ToValidUTF8(s, "") != s) {
			t.Errorf("%q passes as an id", s)
		}
	})
}
