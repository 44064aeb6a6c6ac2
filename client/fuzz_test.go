package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

// FuzzFilter: a pattern is refused, or selects as path.Match says of the path, its last segment or a folder of it.
func FuzzFilter(f *testing.F) {
	for _, s := range [][2]string{
		{"*.safetensors", "a/b.safetensors"}, {"onnx", "onnx/a/b"}, {"onnx/*", "onnx/a"}, {"onnx/", "onnx/a"}, {"/", "a"}, {"[", "a"}, {"[a-", "a"}, {`a\`, "a"}, {`a\/`, "a"},
		{"*", "a"}, {"a/[", "a/b"}, {"**/x", "a/b/x"}, {strings.Repeat("*a", 100), strings.Repeat("a", 300)}, {"", "a"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, rel string) {
		if ballast.CheckPath(rel) != nil {
			return
		}
		match, err := newFilter([]string{pattern}, []string{pattern})
		if err != nil {
			if ballast.CodeOf(err) != ballast.CodeInvalid {
				t.Errorf("%q is refused with %v", pattern, err)
			}
			return
		}
		want, whole := false, strings.TrimSuffix(pattern, "/")
		for i := 0; i <= len(rel); i++ {
			if i < len(rel) && rel[i] != '/' {
				continue
			}
			subject := rel[:i]
			if !strings.Contains(pattern, "/") {
				subject = path.Base(subject)
			}
			ok, err := path.Match(whole, subject)
			if err != nil {
				t.Fatalf("%q was taken for a pattern: %v", pattern, err)
			}
			want = want || ok
		}
		if match.includes(rel) != want || match.excludes(rel) != want {
			t.Errorf("%q includes %q: %t, excludes it: %t, want %t", pattern, rel, match.includes(rel), match.excludes(rel), want)
		}
	})
}

// FuzzProblem: whatever is answered in the place of a problem document becomes an error with a code that can be shown,
// written as JSON and waited for.
func FuzzProblem(f *testing.F) {
	for _, s := range []string{
		`{"code":"not_found","detail":"no"}`, `{"code":"busy","detail":"d","retry_after":1.5}`, `{"code":"busy","retry_after":-1}`, `{"code":"busy","retry_after":1e300}`, `{"code":""}`, `{"status":200,"code":"x"}`,
		`{"code":1}`, `[]`, `null`, ``, `<html>`, `{"code":"conflict","holder":{"upload":"u","expires_at":"2026-11-22T08:00:00+01:00"}}`, `{"code":"missing","missing":["x"]}`,
	} {
		for _, after := range []string{"", "3", "NaN", "Inf", "1e300", "-1", "0x1p10"} {
			f.Add(404, "application/problem+json", after, []byte(s))
		}
		f.Add(503, "text/html", "", []byte(s))
	}
	c, err := New(Options{URL: "http://registry"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, kind, after string, body []byte) {
		if status < 400 || status > 599 {
			return
		}
		e := c.problem(call{method: "GET", path: "/v1/models"}, &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}, "Retry-After": {after}}}, body)
		if e.Code == "" || e.Status != status || e.Retry() < 0 {
			t.Errorf("%d %q %q %q is %+v, to be tried after %s", status, kind, after, body, e, e.Retry())
		}
		if _, err := json.Marshal(e); err != nil {
			t.Errorf("%d %q %q %q cannot be written: %v", status, kind, after, body, err)
		}
	})
}

var leadingZeros = regexp.MustCompile(`([ /-])0+(\d)`)

// FuzzCheckRange: an answer of the store is taken for a range only when it says that it is just that one.
func FuzzCheckRange(f *testing.F) {
	for _, s := range []string{"", "bytes 5-9/10", "bytes 5-7/10", "bytes 05-007/10", "bytes 0-9/10", "bytes 5-9/*", "bytes */10", "bytes 5-9/10x", "bytes -5-9/10", "bytes 5-99999999999999999999/10", "items 5-9/10"} {
		f.Add(206, s, int64(5), int64(5), int64(10), int64(10))
		f.Add(206, s, int64(3), int64(5), int64(8), int64(10))
		f.Add(200, s, int64(10), int64(0), int64(10), int64(10))
	}
	f.Fuzz(func(t *testing.T, status int, contentRange string, length, offset, end, size int64) {
		if status < 200 || status > 299 || offset < 0 || offset >= end || end > size {
			return
		}
		resp := &http.Response{StatusCode: status, Header: http.Header{"Content-Range": {contentRange}}, ContentLength: length, Body: io.NopCloser(strings.NewReader(""))}
		if err := checkRange(resp, offset, end, size); err != nil {
			if !errors.Is(err, errSilent) && ballast.CodeOf(err) != ballast.CodeIntegrity {
				t.Errorf("refused with %v", err)
			}
			return
		}
		whole := offset == 0 && end == size
		says := leadingZeros.ReplaceAllString(contentRange, "$1$2") // RFC 9110, 14.4, has numbers as any digits
		if status != http.StatusPartialContent && !whole || status == http.StatusPartialContent && says != fmt.Sprintf("bytes %d-%d/%d", offset, end-1, size) {
			t.Errorf("%d %q passes as the bytes from %d to %d of %d", status, contentRange, offset, end, size)
		}
	})
}

// FuzzStoreError: whatever the store sends with a refusal is read in bounds and told with the status.
func FuzzStoreError(f *testing.F) {
	for _, s := range []string{
		`<Error><Code>AccessDenied</Code><Message>no</Message></Error>`, `<Error><Status>200</Status><Code>a`, `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><Error><Code>&a;</Code></Error>`,
		``, `{}`, `<html></html>`, "<Error><Code>\x1b[2J</Code></Error>", strings.Repeat("<a>", 10_001), `<Error><Message>` + strings.Repeat("m", 70_000),
	} {
		f.Add(403, []byte(s))
		f.Add(503, []byte(s))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 300 || status > 599 {
			return
		}
		srv := roundTripper(func() *http.Response {
			w := httptest.NewRecorder()
			w.WriteHeader(status)
			_, _ = w.Write(body)
			return w.Result()
		})
		c, err := New(Options{URL: "http://registry", Transport: srv})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.roundTrip(t.Context(), ballast.SignedRequest{Method: "GET", URL: "http://store/?X-Amz-Signature=secret"}, http.NoBody, 0, nil)
		var e *storeError
		if !errors.As(err, &e) || e.Status != status {
			t.Fatalf("%d %q is %v", status, body, err)
		}
		if strings.Contains(e.Error(), "secret") && !strings.Contains(string(body), "secret") || len(e.Error()) > 66<<10 {
			t.Errorf("%d %.100q is told as %d bytes", status, body, len(e.Error()))
		}
	})
}

type roundTripper func() *http.Response

func (f roundTripper) RoundTrip(*http.Request) (*http.Response, error) { return f(), nil }

// FuzzParseBase: a registry's URL is one that calls can be put behind, without credentials in it.
func FuzzParseBase(f *testing.F) {
	for _, s := range []string{"http://localhost:8080", "https://models.example.com/ballast/", "http://u:p@h", "https//u:p@h", "ftp://u:p@h?x", "http://u:p@h:x", "h", "ftp://h", "http://h?x", "http://h#x", "http://", "http://h//", "http://[::1]:80", "HTTP://h", "http://h\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		base, err := parseBase(s)
		if err != nil {
			if ballast.CodeOf(err) != ballast.CodeInvalid || strings.Contains(err.Error(), "@") {
				t.Errorf("%q is refused with %v", s, err)
			}
			return
		}
		again, err := parseBase(base)
		r, reqErr := http.NewRequest(http.MethodGet, base+"/v1/models", nil)
		if err != nil || again != base || reqErr != nil || r.URL.User != nil || r.URL.RawQuery != "" || !strings.HasSuffix(r.URL.Path, "/v1/models") {
			t.Errorf("%q is the registry %q, then %q, %v; a call goes to %v, %v", s, base, again, err, r, reqErr)
		}
	})
}
