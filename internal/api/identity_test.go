package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// issued is an identity that knows one token, and of another cannot say.
type issued struct{}

func (issued) IsToken(token ballast.Secret) bool { return strings.Count(token.Reveal(), ".") == 2 }

func (issued) Authenticate(_ context.Context, token ballast.Secret) (engine.Principal, error) {
	switch token {
	case "good.of.them":
		return engine.Principal{ID: "oidc:issuer.example#robot", Name: "oidc:robot", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Writer}}}, nil
	case "who.knows.it":
		e := ballast.Errorf(ballast.CodeUnavailable, "the issuer does not answer")
		e.RetryAfter = 2
		return engine.Principal{}, e
	}
	return engine.Principal{}, ballast.Errorf(ballast.CodeUnauthenticated, "not good")
}

// TestTokensOfIssuers: a token goes to who knows tokens of its form, and what cannot be known is neither yes nor no.
func TestTokensOfIssuers(t *testing.T) {
	f := newFaceWith(t, &stub{}, Options{Identity: issued{}})
	for token, want := range map[string]ballast.Code{
		"good.of.them": "", "hf_good.of.them": "", "bad.of.them": ballast.CodeUnauthenticated, "who.knows.it": ballast.CodeUnavailable,
		goodToken: "", "hf_" + goodToken: "", "good.of.them.": ballast.CodeUnauthenticated, "good.of": ballast.CodeUnauthenticated,
	} {
		a := f.send(http.MethodGet, "/v1/whoami", "", "Authorization", "Bearer "+token)
		if got := codeOf(a); got != want {
			t.Errorf("%s: %q, want %q", token, got, want)
		}
		if want == ballast.CodeUnavailable && a.Header.Get("Retry-After") != "2" {
			t.Errorf("%s: when to try again: %q", token, a.Header)
		}
		if issuers := strings.HasSuffix(token, "good.of.them"); issuers != strings.Contains(string(a.body), "oidc:issuer.example#robot") {
			t.Errorf("%s is %s", token, a.body)
		}
	}
	if log := f.log.String(); strings.Contains(log, "of.them") || !strings.Contains(log, `"principal":"oidc:issuer.example#robot"`) {
		t.Errorf("the log: %s", log)
	}
	newFace(t, &stub{}).send(http.MethodGet, "/v1/whoami", "", "Authorization", "Bearer good.of.them").problem(t, ballast.CodeUnauthenticated)
}

// anonymously are the routes that may be read without a token.
var anonymously = []string{
	"GET /v1/models", "GET /v1/versions", "GET /v1/models/{name}", "GET /v1/models/{name}/versions",
	"GET " + versionPath, "GET " + versionPath + "/files", "GET " + versionPath + "/files/{path}", "HEAD " + versionPath + "/files/{path}",
	"GET " + versionPath + "/tensors/{path}", "GET " + versionPath + "/children",
	"GET /v1/models/{name}/production", "GET /v1/models/{name}/aliases", "GET /v1/tasks", "GET /v1/store", "GET /v1/whoami",
	"GET /healthz", "GET /readyz", "GET /openapi.yaml",
}

// wantAnonymous is what who has no token is told.
func (r tenancyRow) wantAnonymous(scope ballast.Scope) ballast.Code {
	switch {
	case !slices.Contains(anonymously, r.route):
		return ballast.CodeUnauthenticated
	case r.names == aModel && scope != ballast.Global:
		return ballast.CodeNotFound
	}
	return ""
}

// anonymousTenancy is a registry that lets who has no token read what is global.
func anonymousTenancy(t *testing.T, scopes ...ballast.Scope) *tenancy {
	t.Helper()
	w := newTenancy(t, sound, scopes...)
	w.face = newFaceWith(t, w.m.Engine, Options{AnonymousRead: true})
	return w
}

// TestAnonymousMatrix sends the request of every row without a token, about what is in each scope: global is read, nothing
// is changed, and nothing else is told of.
func TestAnonymousMatrix(t *testing.T) {
	w := anonymousTenancy(t, acme, them, ballast.Global)
	w.m.settle(t)
	before := w.m.contents(t)
	for _, r := range tenancyRows() {
		for _, scope := range []ballast.Scope{acme, them, ballast.Global} {
			for _, qualified := range []bool{true, false} {
				want := r.wantAnonymous(scope)
				if !qualified { // the anonymous are at home in global
					want = r.wantAnonymous(ballast.Global)
				}
				method, path, body := r.request(w.standing[scope], qualified)
				a := w.as(nobody, method, path, body)
				cell := fmt.Sprintf("%s %s %s", method, path, body)
				if got := codeOf(a); got != want {
					t.Errorf("%s: %d %q, want %q: %s", cell, a.StatusCode, got, want, a.body)
				}
				if r.hasHead() {
					if head := w.as(nobody, http.MethodHead, path, ""); head.StatusCode != a.StatusCode {
						t.Errorf("%s: HEAD answers %d, GET %d", cell, head.StatusCode, a.StatusCode)
					}
				}
				if want == "" && r.names != nothing && (tellsOf(a, acme) || tellsOf(a, them)) {
					t.Errorf("%s tells of a tenant: %s", cell, a.body)
				}
			}
		}
	}
	if changed := changes(before, w.m.contents(t)); len(changed) > 0 {
		t.Errorf("changed %q", changed)
	}
	var who ballast.Whoami
	if err := json.Unmarshal(w.as(nobody, "GET", "/v1/whoami", "").body, &who); err != nil || who.ID != "anonymous" || who.Scope != ballast.Global || len(who.Grants) != 1 || who.Grants[0].Role != ballast.Reader {
		t.Errorf("whoami: %+v, %v", who, err)
	}
	w.as(nobody, "GET", "/v1/models/none", "").problem(t, ballast.CodeNotFound)
	w.as(nobody, "GET", "/v1/nothing", "").problem(t, ballast.CodeUnauthenticated)
	w.as(nobody, "POST", "/v1/nothing", "").problem(t, ballast.CodeUnauthenticated)
}

// TestAnonymousAndAbsentAreOne: what a tenant has reads to who has no token as what nobody has, byte for byte.
func TestAnonymousAndAbsentAreOne(t *testing.T) {
	full, bare := anonymousTenancy(t, ballast.Global, them), anonymousTenancy(t, ballast.Global)
	for _, r := range tenancyRows() {
		if r.names == oneself || r.names == nothing {
			continue
		}
		method, path, body := r.request(full.standing[them], true)
		there, absent := plain(full.as(nobody, method, path, body)), plain(bare.as(nobody, method, path, body))
		if diff := gocmp.Diff(absent, there); diff != "" {
			t.Errorf("%s %s %s tells what is there (-absent +another's):\n%s", method, path, body, diff)
		}
	}
}

// TestWrongCredentialsAreNotNone: who sends anything in the place of a token is not let in as somebody without one.
func TestWrongCredentialsAreNotNone(t *testing.T) {
	const path = "/v1/models/subject"
	w := anonymousTenancy(t, ballast.Global)
	w.as(nobody, "GET", path, "").wantStatus(t, http.StatusOK)
	for _, headers := range [][]string{
		{""}, {" "}, {"Bearer"}, {"Bearer "}, {"Bearer wrong"}, {"bearer bal_0123456789_0123456789"}, {"Basic dTpw"}, {"Basic"}, {"Digest x"}, {"wrong"},
		{"Bearer a.b.c"}, {"Bearer hf_"}, {"Bearer wrong", "Bearer wrong"}, {"Bearer " + w.m.admin, "Bearer " + w.m.admin},
	} {
		req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, nil))
		req.Header["Authorization"] = headers
		resp := must(http.DefaultTransport.RoundTrip(req))
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: %d", headers, resp.StatusCode)
		}
	}
}

// TestAnonymousGuest: the guest is told that it is nobody in particular.
func TestAnonymousGuest(t *testing.T) {
	for on, want := range map[bool]int{true: http.StatusTeapot, false: http.StatusUnauthorized} {
		g := &guest{}
		srv := httptest.NewServer(New(&stub{}, Options{Guest: g, AnonymousRead: on}))
		t.Cleanup(srv.Close)
		req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/x", nil))
		resp := must(http.DefaultTransport.RoundTrip(req))
		_ = resp.Body.Close()
		if resp.StatusCode != want || on != slices.Equal(g.served, []string{"anonymous /x"}) {
			t.Errorf("%v: %d, %q", on, resp.StatusCode, g.served)
		}
	}
}
