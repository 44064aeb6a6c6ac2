package api

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// confined compares two registries by tokens that are for some names of a scope: in one the scope has other names too, in
// the other it has these alone.
type confined struct {
	full, bare *tenancy
	hidden     subject // in full alone
	tokens     map[ballast.Role][2]string
	report     func(row, format string, args ...any)
}

// both is a name that global has, and in the fuller registry the scope too.
const both = "hidden-in-acme"

func newConfined(t *testing.T, breaks func(*memory) Service, report func(string, string, ...any)) *confined {
	t.Helper()
	x := &confined{
		full: newTenancy(t, breaks, acme, ballast.Global), bare: newTenancy(t, breaks, acme, ballast.Global),
		tokens: map[ballast.Role][2]string{}, report: report,
	}
	for _, role := range roles[:3] {
		grant := "acme::Subject*=" + role.String()
		x.tokens[role] = [2]string{x.full.m.token(t, "confined", grant).Token, x.bare.m.token(t, "confined", grant).Token}
	}
	x.full.publishBoth(ballast.Global)
	x.bare.publishBoth(ballast.Global)
	x.full.publishBoth(acme)
	x.hidden = x.full.subject(acme, "hidden")
	x.full.m.settle(t)
	x.bare.m.settle(t)
	return x
}

// publishBoth makes a name that is served, has a champion and is in production.
func (w *tenancy) publishBoth(scope ballast.Scope) {
	admin := w.admins[scope]
	w.m.publish(w.t, admin, both+":1", ballast.Metadata{}, weightFiles("both in "+scope.String()))
	w.m.point(w.t, admin, both+"@champion")
	own := engine.Own{Ref: must(ballast.ParseRef(both + ":1"))}
	if _, err := w.m.Promote(w.t.Context(), w.m.principal(w.t, admin), own, ""); err != nil {
		w.t.Fatal(err)
	}
}

// varies is what differs from one registry, or from one moment, to another.
var varies = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"|"[0-9a-f]{8}-[0-9a-f-]{27}"|"(id|cursor|before|after|revision|token)":("[^"]*"|\d+)|(?m)^(Etag|Location|Content-Length):.*$`)

func alike(a answer) string { return varies.ReplaceAllString(plain(a), "…") }

// ask sends a request to both registries and holds the answers to each other. want is the code that the one with more must
// answer; nil: whatever is answered.
func (x *confined) ask(row string, role ballast.Role, want *ballast.Code, method, path, body string) {
	auth := x.tokens[role]
	got := x.full.send(method, path, body, "Authorization", "Bearer "+auth[0])
	alone := x.bare.send(method, path, body, "Authorization", "Bearer "+auth[1])
	what := fmt.Sprintf("%s %s %s as %s", method, path, body, role)
	if code := codeOf(got); want != nil && code != *want {
		x.report(row, "%s: %d %q, want %q: %s", what, got.StatusCode, code, *want, got.body)
	}
	if diff := gocmp.Diff(alike(alone), alike(got)); diff != "" {
		x.report(row, "%s tells of other names (-without +with):\n%s", what, diff)
	}
}

// namesOne reports whether a row is about one name.
func (r tenancyRow) namesOne() bool {
	return r.names == aModel || r.names == anUpload || r.names == anImport || r.names == aScope && r.body != nil
}

// others sends the request of each row about a name that the token is not for, or about none.
func (x *confined) others(rows []tenancyRow) {
	notFound := ballast.CodeNotFound
	before := x.full.m.contents(x.full.t)
	for _, r := range rows {
		for role := range x.tokens {
			want, s := &notFound, x.hidden
			if !r.namesOne() {
				code := r.want(caller{acme, role}, acme)
				if r.names == aQuota { // what is used of it is used by all names together
					code = ballast.CodeDenied
				}
				want, s = &code, x.full.standing[acme]
			}
			method, path, body := r.request(s, true)
			x.ask(r.route, role, want, method, path, body)
			if changed := changes(before, x.full.m.contents(x.full.t)); len(changed) > 0 {
				x.report(r.route, "%s %s as %s changed %q", method, path, role, changed)
				before = x.full.m.contents(x.full.t)
			}
		}
	}
}

// own sends the request of each row about a name that the token is for: the answer is that to one who is not confined.
func (x *confined) own(rows []tenancyRow) {
	for _, r := range rows {
		if !r.namesOne() {
			continue
		}
		for role, auth := range x.tokens {
			want, s := r.want(caller{acme, role}, acme), x.full.standing[acme]
			if r.changes() && want == "" {
				x.full.made++
				s = x.full.subject(acme, fmt.Sprintf("subject-%d", x.full.made))
			}
			method, path, body := r.request(s, true)
			if want == "" && strings.HasSuffix(r.route, "/restore") { // only what was deleted comes back
				x.full.send("DELETE", strings.TrimSuffix(path, "/restore"), "", "Authorization", "Bearer "+auth[0])
			}
			a := x.full.send(method, path, body, "Authorization", "Bearer "+auth[0])
			if code := codeOf(a); code != want {
				x.report(r.route, "%s %s %s as %s of its own names: %d %q, and %q to who is not confined: %s", method, path, body, role, a.StatusCode, code, want, a.body)
			}
		}
	}
}

// mention sends requests that name what is not there for the token beside what is.
func (x *confined) mention() {
	const mine = "/v1/models/acme::subject"
	digest := x.full.digestOf(acme, "hidden")
	upload := x.full.m.open(x.full.t, x.tokens[ballast.Maintainer][0], "subject-of-base:1")
	for _, role := range roles[:3] {
		for _, m := range [][3]string{
			{"GET", "/v1/models/" + both, ""},
			{"GET", "/v1/models/" + both + "/versions", ""},
			{"GET", "/v1/models/" + both + "/versions/latest", ""},
			{"GET", "/v1/models/" + both + "/versions/@champion", ""},
			{"GET", "/v1/models/" + both + "/versions/@production", ""},
			{"HEAD", "/v1/models/" + both + "/versions/1/files/text", ""},
			{"GET", "/v1/models/hidden", ""},
			{"GET", "/v1/models/hidden/versions/" + digest + "/files?urls=true", ""},
			{"GET", "/v1/models/acme::hidden/versions/" + digest, ""},
			{"GET", mine + "/versions/" + digest, ""},
			{"GET", mine + "/versions?base=acme::hidden:1", ""},
			{"GET", "/v1/versions?base=acme::hidden@champion", ""},
			{"GET", "/v1/models", ""},
			{"GET", "/v1/models?limit=1", ""},
			{"GET", "/v1/models?prefix=hidden", ""},
			{"GET", "/v1/models?scope=acme&prefix=hid", ""},
			{"GET", "/v1/versions?status=all", ""},
			{"GET", "/v1/versions?order=newest&status=all", ""},
			{"GET", "/v1/versions?order=oldest&limit=2&scope=acme", ""},
			{"GET", "/v1/events?limit=1000", ""},
			{"GET", "/v1/imports", ""},
			{"POST", mine + "/versions/1/copy", `{"name":"hidden","version":"9"}`},
			{"POST", "/v1/models/acme::hidden/versions/1/copy", `{"name":"subject-copied","version":"1"}`},
			{"DELETE", "/v1/models/acme::hidden/versions/1?if_exists=true", ""},
			{"POST", "/v1/uploads", `{"name":"` + both + `","version":"9","attempt":"0123456789abcdef"}`},
			{"POST", "/v1/uploads", `{"name":"hidden-open","version":"1","attempt":"0123456789abcdef"}`},
			{"POST", "/v1/imports", `{"source":"inbox:model/","name":"subject-based","version":"1","metadata":{"base_model":"acme::hidden:1"}}`},
		} {
			x.ask(m[0]+" "+m[1], role, nil, m[0], m[1], m[2])
		}
	}
	a := x.full.send("POST", "/v1/uploads/"+upload+"/commit", `{"files":[],"metadata":{"base_model":"acme::hidden:1"}}`, "Authorization", "Bearer "+x.tokens[ballast.Maintainer][0])
	if code := codeOf(a); code != ballast.CodePrecondition {
		x.report("base_model", "a base that is not there for the token: %d %s", a.StatusCode, a.body)
	}
}

func (w *tenancy) digestOf(scope ballast.Scope, name string) string {
	v, err := w.m.Version(w.t.Context(), w.m.principal(w.t, w.admins[scope]), ballast.Ref{Name: must(ballast.ParseName(name)), Version: one})
	if err != nil {
		w.t.Fatal(err)
	}
	return v.Digest.String()
}

// TestNamesConfine: to a token that is for some names of a scope the others are not there, on every route and byte for byte;
// what it is for it may do as one who is not confined.
func TestNamesConfine(t *testing.T) {
	x := newConfined(t, sound, func(_, format string, args ...any) { t.Errorf(format, args...) })
	x.others(tenancyRows())
	x.mention()
	x.own(tenancyRows())
}

// TestNamesConfineNotices is the control: a registry that forgets which names a token is for is noticed on each route
// that names something, and by each list.
func TestNamesConfineNotices(t *testing.T) {
	found := map[string]bool{}
	x := newConfined(t, func(m *memory) Service { return forgetsNames{m.Engine} }, func(row, _ string, _ ...any) { found[row] = true })
	x.others(tenancyRows())
	x.mention()
	for _, r := range tenancyRows() {
		if r.names <= anImport && !found[r.route] || r.names == aList && !found[r.route] || r.route == "GET /v1/events" && !found[r.route] {
			t.Errorf("%s: a token that is not confined goes unnoticed", r.route)
		}
	}
	if !found["base_model"] {
		t.Error("a base that is not there for the token goes unnoticed")
	}
}

// forgetsNames takes each grant for all names of its scope.
type forgetsNames struct{ *engine.Engine }

func (s forgetsNames) Authenticate(c ctx, token ballast.Secret) (principal, error) {
	p, err := s.Engine.Authenticate(c, token)
	var all []ballast.Grant
	for _, g := range p.Grants {
		g.Names = ballast.Names{}
		all = append(all, g)
	}
	p.Grants = all
	return p, err
}

// TestPasswords: a token is taken as the password of anybody, and of nothing else.
func TestPasswords(t *testing.T) {
	f := newFace(t, &stub{})
	ask := func(set func(*http.Request)) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/v1/whoami", nil)
		if err != nil {
			t.Fatal(err)
		}
		set(req)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("WWW-Authenticate"); strings.Contains(got, "Basic") {
			t.Errorf("a browser would ask for a password: %q", got)
		}
		return resp.StatusCode
	}
	for name, c := range map[string]struct {
		user, password string
		want           int
	}{
		"anybody": {"ci", goodToken, 200}, "nobody": {"", goodToken, 200}, "hf": {"x", "hf_" + goodToken, 200}, "colons": {"a", "b:" + goodToken, 401},
		"the token as user": {goodToken, "", 401}, "the token as both": {goodToken, goodToken, 200}, "none": {"ci", "", 401}, "another": {"ci", goodToken + "x", 401},
	} {
		if got := ask(func(r *http.Request) { r.SetBasicAuth(c.user, c.password) }); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	for _, header := range []string{"Basic", "Basic ", "Basic !", "basic " + goodToken, "Digest " + goodToken, "Bearer" + goodToken} {
		if got := ask(func(r *http.Request) { r.Header.Set("Authorization", header) }); got != 401 {
			t.Errorf("%q: %d", header, got)
		}
	}
	if strings.Contains(f.log.String(), goodToken) {
		t.Error("the log holds a token")
	}
}
