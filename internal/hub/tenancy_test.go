package hub_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/hub"
)

// row says what a route is asked about, and so who may ask it.
type row int

const (
	aModel     row = iota // readers of the name's scope, when that is their own or global
	aList                 // everybody, and it shows nobody what is not theirs
	oneself               // everybody with a token
	notHere               // the same refusal for everybody with a token
	noSuchKind            // the same, of what this registry has none
)

// tenancyRows is the matrix: each route has a row.
func tenancyRows() map[string]row {
	const model = "/api/models/{repo}"
	rows := map[string]row{
		"GET /{repo}/resolve/{rev}/{path}": aModel, "GET /{repo}/raw/{rev}/{path}": aModel,
		"GET " + model: aModel, "GET " + model + "/revision/{rev}": aModel, "GET " + model + "/tree/{rev}": aModel,
		"GET " + model + "/tree/{rev}/{path}": aModel, "POST " + model + "/paths-info/{rev}": aModel,
		"GET " + model + "/commits/{rev}": aModel, "GET " + model + "/refs": aModel, "GET " + model + "/auth-check": aModel,
		"GET /api/models": aList, "GET /api/whoami-v2": oneself,
	}
	for _, route := range []string{
		"POST /api/repos/create", "POST /api/repos/move", "POST /api/validate-yaml", "POST /{repo}/info/lfs/objects/batch",
		"POST " + model + "/preupload/{rev}", "POST " + model + "/commit/{rev}", "POST " + model + "/branch/{rev}",
		"POST " + model + "/tag/{rev}", "POST " + model + "/super-squash/{rev}", "POST " + model + "/discussions",
		"POST " + model + "/lfs-files/duplicate", "DELETE /api/repos/delete", "DELETE " + model + "/branch/{rev}",
		"DELETE " + model + "/tag/{rev}", "PUT " + model + "/settings", "GET " + model + "/auth-check/write",
		"GET " + model + "/xet-read-token/{rev}", "GET " + model + "/xet-write-token/{rev}",
	} {
		rows[route] = notHere
	}
	for _, kind := range []string{"datasets", "spaces"} {
		rows["GET /"+kind+"/{path}"], rows["GET /api/"+kind+"/{path}"] = noSuchKind, noSuchKind
	}
	return rows
}

// tenancy is a registry with one model in each of three scopes.
type tenancy struct {
	*rig
	report func(format string, args ...any)
}

func newTenancy(t *testing.T, wrap func(*engine.Engine) hub.Service, report func(string, ...any)) tenancy {
	t.Helper()
	w := tenancy{newRig(t, wrap, nil), report}
	for _, scope := range []string{"acme", "them", "global"} {
		w.publish(w.token(scope+"=admin"), "org/in-"+scope+":1", ballast.Metadata{}, map[string]string{"sub/config.json": scope})
	}
	return w
}

// answer is what a client can tell of one: the status, all headers that are not new each time, and the body.
func (w tenancy) answer(token, method, path string) (status int, text string) {
	req := must(http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader("paths=sub/config.json")))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp := must(http.DefaultTransport.RoundTrip(req))
	defer resp.Body.Close()
	for _, name := range []string{"Date", "X-Request-Id"} {
		resp.Header.Del(name)
	}
	return resp.StatusCode, fmt.Sprintf("%d %v %s", resp.StatusCode, resp.Header, must(io.ReadAll(resp.Body)))
}

// callers maps a token's grants to the scopes whose models it reads here.
var callers = map[string][]string{
	"acme=reader": {"acme", "global"}, "acme=writer": {"acme", "global"}, "acme=maintainer": {"acme", "global"}, "acme=admin": {"acme", "global"},
	"global=reader": {"global"}, "global=admin": {"global"},
	"acme=reader them=admin": {"acme", "global"}, // what is granted beside one's own takes a full key, which is no repository's id
}

func (w tenancy) walk() {
	for route, kind := range tenancyRows() {
		method, form, _ := strings.Cut(route, " ")
		methods := []string{method}
		if method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		for _, method := range methods {
			for grants, reads := range callers {
				w.cells(kind, method, form, w.token(strings.Fields(grants)...), grants, reads)
			}
			for _, token := range []string{"", "hf_bal_0123456789_0123456789"} {
				if status, text := w.answer(token, method, pathOf(form, "org/in-acme")); status != http.StatusUnauthorized {
					w.report("%s with %q: %s", route, token, text)
				}
			}
		}
	}
}

func pathOf(form, repo string) string {
	path := "sub/config.json"
	if strings.Contains(form, "/tree/") {
		path = "sub"
	}
	return strings.NewReplacer("{repo}", repo, "{rev}", "1", "{path}", path).Replace(form)
}

func (w tenancy) cells(kind row, method, form, token, grants string, reads []string) {
	_, absent := w.answer(token, method, pathOf(form, "org/absent"))
	for _, scope := range []string{"acme", "them", "global"} {
		status, text := w.answer(token, method, pathOf(form, "org/in-"+scope))
		cell := fmt.Sprintf("%s %s in %s by %s: %s", method, form, scope, grants, text)
		switch {
		case kind == aModel && slices.Contains(reads, scope) || kind == oneself || kind == aList:
			if status != http.StatusOK {
				w.report("refused: %s", cell)
			}
		case kind == noSuchKind && status != http.StatusNotFound, kind == notHere && status != http.StatusNotImplemented:
			w.report("status: %s", cell)
		case strings.ReplaceAll(text, "in-"+scope, "absent") != lengthOf(absent, text):
			w.report("tells it from what is absent: %s\n%s", cell, absent)
		}
		if kind == aList && method == http.MethodGet && strings.Contains(text, "in-"+scope) != slices.Contains(reads, scope) {
			w.report("lists: %s", cell)
		}
	}
}

// lengthOf gives an answer the Content-Length of another, whose name is longer or shorter by a few letters.
func lengthOf(absent, other string) string {
	cut := func(s string) (before, length, after string) {
		before, rest, _ := strings.Cut(s, "Content-Length:[")
		length, after, _ = strings.Cut(rest, "]")
		return before, length, after
	}
	before, _, after := cut(absent)
	_, length, _ := cut(other)
	if length == "" {
		return absent
	}
	return before + "Content-Length:[" + length + "]" + after
}

// TestTenancyMatrix sends the request of each route as every role of a tenant and of global, as nobody and as a
// stranger, about what is the caller's own, another tenant's and global. What is not theirs reads as what nobody has.
func TestTenancyMatrix(t *testing.T) {
	rows := tenancyRows()
	for _, route := range hub.Routes() {
		if _, ok := rows[route]; !ok {
			t.Errorf("no row says who may send %s", route)
		}
		delete(rows, route)
	}
	for route := range rows {
		t.Errorf("no such route: %s", route)
	}
	newTenancy(t, nil, t.Errorf).walk()
}

// leaky looks references up as somebody who may read everything.
type leaky struct {
	*engine.Engine
	all engine.Principal
}

func newLeaky(e *engine.Engine) hub.Service {
	them := ballast.Grant{Scope: must(ballast.ParseScope("them")), Role: ballast.Reader}
	return leaky{e, engine.Principal{ID: "x", Grants: []ballast.Grant{them}}}
}

// TestTenancyMatrixNotices: a service that leaks by one of its calls is noticed.
func TestTenancyMatrixNotices(t *testing.T) {
	for name, wrap := range map[string]func(*engine.Engine) hub.Service{
		"snapshots": func(e *engine.Engine) hub.Service { return leakySnapshots{newLeaky(e).(leaky)} },
		"models":    func(e *engine.Engine) hub.Service { return leakyModels{newLeaky(e).(leaky)} },
		"lists":     func(e *engine.Engine) hub.Service { return leakyLists{newLeaky(e).(leaky)} },
	} {
		var found int
		newTenancy(t, wrap, func(string, ...any) { found++ }).walk()
		if found == 0 {
			t.Errorf("a leak by %s goes unnoticed", name)
		}
	}
}
