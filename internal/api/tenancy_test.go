package api

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

var them = must(ballast.ParseScope("them"))

// caller is a token of one grant. Without a role it is nobody, who has no token, or a stranger, whose token is not known.
type caller struct {
	home ballast.Scope
	role ballast.Role
}

func (c caller) principal() engine.Principal {
	return engine.Principal{Grants: []ballast.Grant{{Scope: c.home, Role: c.role}}}
}

func (c caller) String() string {
	switch c {
	case nobody:
		return "nobody"
	case stranger:
		return "a stranger"
	}
	return c.home.String() + "=" + c.role.String()
}

var (
	nobody   caller
	stranger = caller{home: acme}
)

var roles = []ballast.Role{ballast.Reader, ballast.Writer, ballast.Maintainer, ballast.Admin}

func callers() []caller {
	all := []caller{nobody, stranger}
	for _, home := range []ballast.Scope{acme, ballast.Global} {
		for _, role := range roles {
			all = append(all, caller{home, role})
		}
	}
	return all
}

// subject is one of each thing that a request can name, in one scope.
type subject struct {
	scope                          ballast.Scope
	name, upload, importing, token string
}

// tenancy is a registry of three scopes, in each of which a subject of the same name stands.
type tenancy struct {
	*face
	m        *memory
	t        *testing.T
	admins   map[ballast.Scope]string // tokens
	tokens   map[caller]string
	standing map[ballast.Scope]subject
	made     int
}

func newTenancy(t *testing.T, breaks func(*memory) Service, scopes ...ballast.Scope) *tenancy {
	t.Helper()
	m := newMemory(t, engine.Limits{OpenImports: 1000})
	w := &tenancy{
		face: newFace(t, breaks(m)), m: m, t: t, admins: map[ballast.Scope]string{ballast.Global: m.admin},
		tokens: map[caller]string{}, standing: map[ballast.Scope]subject{},
	}
	for _, scope := range scopes {
		if scope != ballast.Global {
			w.admins[scope] = m.token(t, "owner", scope.String()+"=admin").Token
		}
		w.standing[scope] = w.subject(scope, "subject")
	}
	for _, c := range callers()[2:] {
		w.tokens[c] = m.token(t, "caller", c.String()).Token
	}
	return w
}

func sound(m *memory) Service { return m }

// subject makes one: three versions, the second in production after the first, a champion, an open upload, an import that
// does not get on, a token; and what can be imported in the inbox.
func (w *tenancy) subject(scope ballast.Scope, name string) subject {
	admin := w.admins[scope]
	w.m.store.Plant(scope.Path()+"/inbox/held/w", []byte("w"))
	w.m.store.Plant(scope.Path()+"/inbox/model/w", []byte("w"))
	p := w.m.principal(w.t, admin)
	for i := range 3 {
		w.m.publish(w.t, admin, fmt.Sprintf("%s:%d", name, i+1), ballast.Metadata{}, weightFiles(fmt.Sprintf("%s of %s, %d", name, scope, i)))
		if i < 2 {
			own := engine.Own{Ref: must(ballast.ParseRef(fmt.Sprintf("%s:%d", name, i+1)))}
			if _, err := w.m.Promote(w.t.Context(), p, own, ""); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.m.point(w.t, admin, name+"@champion")
	s := subject{scope: scope, name: name, upload: w.m.open(w.t, admin, name+"-open:1")}
	s.importing = w.m.importing(w.t, admin, "inbox:held/", name+"-importing:1")
	s.token = w.m.token(w.t, "subject", scope.String()+"=reader").ID
	return s
}

// weightFiles is a file of safetensors that holds no tensor but says what it is of, and a text.
func weightFiles(of string) map[string]string {
	header := fmt.Sprintf(`{"__metadata__":{"of":%q}}`, of)
	return map[string]string{"w.safetensors": string(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))) + header, "text": of}
}

// request writes the request of a row about a subject; unqualified names leave the scope to the caller's own.
func (r tenancyRow) request(s subject, qualified bool) (method, path, body string) {
	method, path, _ = strings.Cut(r.route, " ")
	name, id := s.name, s.upload
	if qualified {
		name = s.scope.String() + "::" + name
	}
	switch r.names {
	case aToken:
		id = s.token
	case anImport:
		id = s.importing
	}
	path = strings.NewReplacer("{id}", id, "{name}", name, "{ref}", "3", "{path}", "w.safetensors", "{alias}", "champion", "{task}", "claim-triage", "{scope}", s.scope.String()).Replace(path)
	if strings.Contains(r.query, "%s") {
		path += fmt.Sprintf(r.query, s.scope)
	} else {
		path += r.query
	}
	if r.body != nil {
		body = r.body(s.scope.String(), s.name)
	}
	return method, path, body
}

func (r tenancyRow) changes() bool {
	return !strings.HasPrefix(r.route, "GET ") && !strings.HasPrefix(r.route, "HEAD ")
}

// hasHead says whether a GET answers HEAD alike; that of a file is a route of its own.
func (r tenancyRow) hasHead() bool {
	return strings.HasPrefix(r.route, "GET ") && !strings.Contains(r.route, "{path}")
}

func (w *tenancy) as(c caller, method, path, body string) answer {
	header := "Bearer " + w.tokens[c]
	switch c {
	case nobody:
		header = ""
	case stranger:
		header = "Bearer bal_0123456789_0123456789"
	}
	return w.send(method, path, body, "Authorization", header)
}

// codeOf is the code of a refusal; of one without a body, which HEAD gives, that of its status.
func codeOf(a answer) ballast.Code {
	var e ballast.Error
	if a.StatusCode < http.StatusBadRequest {
		return ""
	}
	if json.Unmarshal(a.body, &e) == nil {
		return e.Code
	}
	for _, code := range []ballast.Code{ballast.CodeUnauthenticated, ballast.CodeDenied, ballast.CodeNotFound} {
		if code.Status() == a.StatusCode {
			return code
		}
	}
	return ballast.CodeInternal
}

// matrix sends what is to be refused, and what only reads, to a registry that must stay as it is, and what is to change
// something to another, where each request has a subject of its own.
type matrix struct {
	still, scratch *tenancy
	before         map[string]string // what still holds in index and bucket
	report         func(format string, args ...any)
}

func newMatrix(t *testing.T, breaks func(*memory) Service, report func(string, ...any)) *matrix {
	t.Helper()
	x := &matrix{still: newTenancy(t, breaks, acme, them, ballast.Global), scratch: newTenancy(t, breaks, acme, them, ballast.Global), report: report}
	x.still.m.settle(t)
	x.before = x.still.m.contents(t)
	return x
}

func (x *matrix) walk(rows []tenancyRow) {
	for _, r := range rows {
		for _, c := range callers() {
			for _, scope := range []ballast.Scope{acme, them, ballast.Global} {
				x.cell(r, c, scope, true)
			}
			if r.names == aModel && c.role != ballast.NoRole {
				x.cell(r, c, c.home, false)
			}
		}
	}
}

// cell sends one request of the matrix and holds its answer, and what it leaves, to the row.
func (x *matrix) cell(r tenancyRow, c caller, scope ballast.Scope, qualified bool) {
	want, w := r.want(c, scope), x.still
	s := w.standing[scope]
	if want == "" && r.changes() {
		w = x.scratch
		w.made++
		s = w.subject(scope, fmt.Sprintf("subject-%d", w.made))
	}
	method, path, body := r.request(s, qualified)
	if want == "" && strings.HasSuffix(r.route, "/restore") { // only what was deleted comes back
		w.as(c, "DELETE", strings.TrimSuffix(path, "/restore"), "")
	}
	a := w.as(c, method, path, body)
	cell := fmt.Sprintf("%s %s %s by %s", method, path, body, c)
	if got := codeOf(a); got != want {
		x.report("%s: %d %q, want %q: %s", cell, a.StatusCode, got, want, a.body)
	}
	if changed := changes(x.before, x.still.m.contents(w.t)); len(changed) > 0 {
		x.report("%s changed %q", cell, changed)
		x.before = x.still.m.contents(w.t)
	}
	if r.hasHead() {
		if head := w.as(c, http.MethodHead, path, ""); head.StatusCode != a.StatusCode {
			x.report("%s: HEAD answers %d, GET %d", cell, head.StatusCode, a.StatusCode)
		}
	}
	if (r.names == aList || r.names == oneself) && c.hearsNothingOf(scope) && tellsOf(a, scope) {
		x.report("%s: shows what is in %s: %s", cell, scope, a.body)
	}
}

// hearsNothingOf says whether a scope is none of a caller's business; an admin of global hears of everybody's tokens.
func (c caller) hearsNothingOf(scope ballast.Scope) bool {
	return c.principal().Role(scope) == ballast.NoRole && c != caller{ballast.Global, ballast.Admin}
}

func tellsOf(a answer, scope ballast.Scope) bool {
	text := string(a.body)
	return strings.Contains(text, `"`+scope.String()+`"`) || strings.Contains(text, scope.String()+"::") || strings.Contains(text, "@"+scope.String())
}

// TestTenancyMatrix sends the request of every row, as every role of a tenant and of global, as nobody and as a stranger,
// about what is the caller's own, another tenant's and global. A refused request changes nothing.
func TestTenancyMatrix(t *testing.T) {
	for _, missing := range uncovered(tenancyRows()) {
		t.Error(missing)
	}
	newMatrix(t, sound, t.Errorf).walk(tenancyRows())
}

// uncovered names the routes that no row is about, and the rows that are about none.
func uncovered(rows []tenancyRow) (missing []string) {
	routes := map[string]bool{}
	for _, r := range (&server{}).routes() {
		routes[r.method+" "+r.path] = false
	}
	for _, r := range rows {
		if _, ok := routes[r.route]; !ok {
			missing = append(missing, "no such route: "+r.route)
		}
		routes[r.route] = true
	}
	for _, route := range slices.Sorted(maps.Keys(routes)) {
		if !routes[route] {
			missing = append(missing, "no row says who may send "+route)
		}
	}
	return missing
}
