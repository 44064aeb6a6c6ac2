// Package apitest holds the answers of the HTTP face to docs/openapi.yaml: [Validate] wraps the handler of a test's
// server, and [Proxy] stands before a registry that runs in another process, so that whatever the test asks, each answer
// is held to the description.
//
// It is stricter than a client should be: a field, a status, a media type or a route that is not described is reported,
// because a reader of the description cannot know of it.
package apitest

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
)

// Reporter is the part of testing.TB that hears of answers which are not as described.
type Reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// Validate returns h with each of its answers held to the description. An answer that the handler aborts is not looked
// at.
func Validate(t Reporter, h http.Handler) http.Handler {
	d, err := Load()
	if err != nil {
		t.Helper()
		t.Errorf("%v", err)
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w}
		h.ServeHTTP(rec, r)
		if rec.status == 0 {
			rec.WriteHeader(http.StatusOK)
		}
		if err := d.Check(r, rec.status, rec.header, rec.body.Bytes()); err != nil {
			t.Errorf("%s %s: %d: not as docs/openapi.yaml says: %v\n%.1000s", r.Method, r.URL, rec.status, err, rec.body.Bytes())
		}
	})
}

// Proxy starts a proxy before the registry at target, until the test ends, and returns its URL. It passes everything on
// unchanged and holds each answer of the native face to the description; where the registry breaks a connection, so does it.
func Proxy(t interface {
	Reporter
	Cleanup(func())
}, target string) string {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Errorf("apitest: %v", err)
		return target
	}
	// A connection a request: a pooled one that the registry closed would look like a failure.
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	forward := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	native := Validate(t, forward)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.Path; strings.HasPrefix(path, "/v1/") || path == "/healthz" || path == "/readyz" || path == "/openapi.yaml" {
			native.ServeHTTP(w, r)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	// A registry's host name is another one than its store's.
	return strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
}

// recorder keeps a copy of an answer on its way to the client.
type recorder struct {
	http.ResponseWriter
	status int         // 0 until the answer has begun
	header http.Header // as it was when the answer began
	body   bytes.Buffer
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status, w.header = status, w.Header().Clone()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.body.Write(b)
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
