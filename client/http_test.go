package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// registry serves h and returns a client of it.
func registry(t *testing.T, h http.HandlerFunc, o client.Options) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	o.URL = srv.URL
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func problem(w http.ResponseWriter, e *ballast.Error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(e.Code.Status())
	_ = json.NewEncoder(w).Encode(e)
}

func ref(t *testing.T, s string) ballast.Ref {
	t.Helper()
	r, err := ballast.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryCodeCrossesTheWire(t *testing.T) {
	for _, code := range ballast.Codes() {
		want := &ballast.Error{Code: code, Detail: "what, and what to do", RequestID: "r-1", Expected: ballast.EmptyDigest, RetryAfter: 0.001}
		c := registry(t, func(w http.ResponseWriter, _ *http.Request) { problem(w, want) }, client.Options{Tries: 2})
		_, err := c.Whoami(t.Context())
		var got *ballast.Error
		if !errors.As(err, &got) || got.Code != code || got.Detail != want.Detail || got.RequestID != "r-1" || got.Expected != want.Expected || got.Status != code.Status() {
			t.Errorf("%s: %#v", code, got)
		}
	}
}

func TestAnswersOfOthersGetACodeToo(t *testing.T) {
	cases := map[int]ballast.Code{
		401: ballast.CodeUnauthenticated, 403: ballast.CodeDenied, 404: ballast.CodeInvalid, 410: ballast.CodeInvalid, 413: ballast.CodeTooLarge,
		418: ballast.CodeInvalid, 500: ballast.CodeInternal, 502: ballast.CodeUnavailable, 504: ballast.CodeUnavailable,
		200: ballast.CodeUnavailable, 302: ballast.CodeInvalid,
	}
	for status, code := range cases {
		c := registry(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://login.example.com/?back")
			w.WriteHeader(status)
			fmt.Fprint(w, "<html>")
		}, client.Options{Tries: 1})
		if _, err := c.Whoami(t.Context()); ballast.CodeOf(err) != code {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestNoAnswerIsUnavailable(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	url := srv.URL
	srv.Close()
	c, err := client.New(client.Options{URL: url, Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Whoami(t.Context()); ballast.CodeOf(err) != ballast.CodeUnavailable || !strings.Contains(err.Error(), "check the URL") {
		t.Errorf("error %v", err)
	}
}

func TestRepeatsWhatMayBeRepeated(t *testing.T) {
	faults := map[string]http.HandlerFunc{
		"busy": func(w http.ResponseWriter, _ *http.Request) {
			problem(w, &ballast.Error{Code: ballast.CodeBusy, RetryAfter: 0.001})
		},
		"rate": func(w http.ResponseWriter, _ *http.Request) {
			problem(w, &ballast.Error{Code: ballast.CodeRateLimited})
		},
		"unavailable": func(w http.ResponseWriter, _ *http.Request) {
			problem(w, &ballast.Error{Code: ballast.CodeUnavailable})
		},
		"bad gateway": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"cut":         func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			c := registry(t, func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) < 3 {
					fault(w, r)
					return
				}
				fmt.Fprint(w, `{"id":"u1"}`)
			}, client.Options{})
			u, err := c.CreateUpload(t.Context(), ballast.CreateUpload{})
			if err != nil || u.ID != "u1" || calls.Load() != 3 {
				t.Errorf("%v, %v after %d calls", u.ID, err, calls.Load())
			}
		})
	}
}

func TestDoesNotMintASecondToken(t *testing.T) {
	var calls atomic.Int32
	c := registry(t, func(http.ResponseWriter, *http.Request) {
		calls.Add(1)
		panic(http.ErrAbortHandler)
	}, client.Options{})
	if _, err := c.CreateToken(t.Context(), ballast.CreateToken{}); ballast.CodeOf(err) != ballast.CodeUnavailable || calls.Load() != 1 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

func TestARemovalWhoseAnswerWasLostIsDone(t *testing.T) {
	var calls atomic.Int32
	c := registry(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		problem(w, &ballast.Error{Code: ballast.CodeNotFound})
	}, client.Options{})
	if err := c.RevokeToken(t.Context(), "t1"); err != nil {
		t.Errorf("the removal that was done: %v", err)
	}
	if err := c.RevokeToken(t.Context(), "t2"); ballast.CodeOf(err) != ballast.CodeNotFound {
		t.Errorf("a token that is not there: %v", err)
	}
}

func TestWaitsAsLongAsItIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		c, err := client.New(client.Options{URL: "http://registry.test", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			rec := httptest.NewRecorder()
			if calls++; calls == 1 {
				rec.Header().Set("Retry-After", "7")
				problem(rec, &ballast.Error{Code: ballast.CodeUnavailable, Detail: "busy"})
			} else {
				fmt.Fprint(rec, `{}`)
			}
			return rec.Result(), nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := c.Whoami(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 7*time.Second || d > 10*time.Second {
			t.Errorf("waited %v", d)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestACancelledCallSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := registry(t, func(http.ResponseWriter, *http.Request) {
		cancel()
		panic(http.ErrAbortHandler)
	}, client.Options{})
	if _, err := c.Whoami(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestTokenFileIsReadForEachRequest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	var seen []string
	c := registry(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		fmt.Fprint(w, `{}`)
	}, client.Options{Token: "ignored", TokenSource: client.TokenFile(file)})
	for _, token := range []string{"one\n", "two"} {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Whoami(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Bearer one", "Bearer two", ""}; !slices.Equal(seen, want) {
		t.Errorf("sent %q", seen)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Whoami(t.Context()); ballast.CodeOf(err) != ballast.CodeUnauthenticated {
		t.Errorf("without the file: %v", err)
	}
}

func TestTokenDoesNotShowItself(t *testing.T) {
	const secret = "bal_1_secret"
	for _, s := range []string{fmt.Sprint(client.Token(secret)), fmt.Sprintf("%#v %+v", client.Options{Token: secret}, client.Options{Token: secret})} {
		if strings.Contains(s, "secret") {
			t.Errorf("shown: %s", s)
		}
	}
}

func TestPathsAreEscapedSegmentBySegment(t *testing.T) {
	var got []string
	c := registry(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.RequestURI)
		if strings.Contains(r.RequestURI, "/files/") {
			w.Header().Set("Location", "http://store.test/x?sig=1")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		fmt.Fprint(w, `{}`)
	}, client.Options{})
	ctx := t.Context()
	model := ref(t, "acme::llama/tiny:1.2.0-rc.1")
	alias, err := ballast.ParseAlias("champion")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Model(ctx, model)
	_, _ = c.Version(ctx, model)
	_, _ = c.Version(ctx, ref(t, "tiny@champion"))
	_, _ = c.Version(ctx, ref(t, "tiny"))
	_, _ = c.FilesPage(ctx, model, client.ListFiles{URLs: true, Parts: true, Limit: 7, Cursor: "a/b"})
	sr, err := c.FileRequest(ctx, model, "sub dir/100%?.bin")
	if err != nil || sr.URL != "http://store.test/x?sig=1" {
		t.Errorf("file request %v, %v", sr, err)
	}
	_, _ = c.SetAlias(ctx, model, alias, model.Version, 3)
	_, _ = c.Upload(ctx, "u/1", 30*time.Second)
	want := []string{
		"GET /v1/models/acme::llama/tiny",
		"GET /v1/models/acme::llama/tiny/versions/1.2.0-rc.1",
		"GET /v1/models/tiny/versions/@champion",
		"GET /v1/models/tiny/versions/latest",
		"GET /v1/models/acme::llama/tiny/versions/1.2.0-rc.1/files?cursor=a%2Fb&limit=7&parts=true&urls=true",
		"GET /v1/models/acme::llama/tiny/versions/1.2.0-rc.1/files/sub%20dir/100%25%3F.bin",
		"PUT /v1/models/acme::llama/tiny/aliases/champion",
		"GET /v1/uploads/u%2F1?wait=30s",
	}
	if !slices.Equal(got, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestListsFollowCursorsAndStopWhenTheyStandStill(t *testing.T) {
	var pages atomic.Int32
	c := registry(t, func(w http.ResponseWriter, r *http.Request) {
		cursor := r.URL.Query().Get("cursor")
		pages.Add(1)
		_ = json.NewEncoder(w).Encode(ballast.TokensPage{Tokens: []ballast.TokenInfo{{ID: "after-" + cursor}}, Cursor: map[string]string{"": "a", "a": "b", "b": "b"}[cursor]})
	}, client.Options{})
	var ids []string
	var last error
	for token, err := range c.Tokens(t.Context()) {
		if last = err; err == nil {
			ids = append(ids, token.ID)
		}
	}
	if want := []string{"after-", "after-a", "after-b"}; !slices.Equal(ids, want) || ballast.CodeOf(last) != ballast.CodeInternal || pages.Load() != 3 {
		t.Errorf("%q, %v, %d pages", ids, last, pages.Load())
	}
}

func TestURLIsChecked(t *testing.T) {
	for _, bad := range []string{"", "models.example.com", "ftp://x", "http://", "https://user:pw@x", "http://x/?a=1"} {
		if _, err := client.New(client.Options{URL: bad}); ballast.CodeOf(err) != ballast.CodeInvalid || strings.Contains(fmt.Sprint(err), "pw") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	c, err := client.New(client.Options{URL: "https://example.com/models/"})
	if err != nil || c.URL() != "https://example.com/models" {
		t.Errorf("%v, %v", c, err)
	}
}

// TestTokenThatEndedIsReadAgain: a file whose token was replaced while a request was on its way is read again, once.
func TestTokenThatEndedIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Error(err)
		}
	}
	var seen []string
	replace := func() { write("two") }
	c := registry(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		replace()
		if r.Header.Get("Authorization") == "Bearer two" {
			fmt.Fprint(w, `{}`)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	}, client.Options{TokenSource: client.TokenFile(file)})
	write("one")
	if _, err := c.Whoami(t.Context()); err != nil || !slices.Equal(seen, []string{"Bearer one", "Bearer two"}) {
		t.Errorf("sent %q, %v", seen, err)
	}
	seen, replace = nil, func() {}
	write("old")
	if _, err := c.Whoami(t.Context()); ballast.CodeOf(err) != ballast.CodeUnauthenticated || len(seen) != 1 {
		t.Errorf("one that stays: sent %q, %v", seen, err)
	}
	seen, replace = nil, func() { write(fmt.Sprint(len(seen))) }
	if _, err := c.Whoami(t.Context()); ballast.CodeOf(err) != ballast.CodeUnauthenticated || len(seen) != 2 {
		t.Errorf("one that is replaced by another bad one: sent %q, %v", seen, err)
	}
}
