package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// TestNotYoursAndAbsentAreOne asks two registries the same: in one another tenant has what is asked for, in the other
// nobody has. The answers are equal, byte for byte, on every route that names something, in its path or in its body.
func TestNotYoursAndAbsentAreOne(t *testing.T) {
	newTwins(t, sound, t.Errorf).compare(tenancyRows())
}

// twins are two registries that differ in what another tenant has.
type twins struct {
	full, bare *tenancy
	report     func(string, ...any)
}

func newTwins(t *testing.T, breaks func(*memory) Service, report func(string, ...any)) *twins {
	t.Helper()
	w := &twins{
		full: newTenancy(t, breaks, acme, ballast.Global, them), bare: newTenancy(t, breaks, acme, ballast.Global),
		report: report,
	}
	w.full.subject(them, "only-theirs")
	return w
}

func (w *twins) compare(rows []tenancyRow) {
	theirs := w.full.standing[them]
	for _, r := range rows {
		if r.names == oneself || r.names == nothing {
			continue
		}
		method, path, body := r.request(theirs, true)
		w.ask(method, path, body)
		if r.hasHead() {
			w.ask(http.MethodHead, path, "")
		}
	}
	for _, m := range w.mentions() {
		w.ask(m[0], m[1], m[2])
	}
}

// mentions are requests about something of the caller's own that name another's all the same.
func (w *twins) mentions() [][3]string {
	const mine = "/v1/models/acme::subject"
	digest := w.full.digest(them)
	return [][3]string{
		{"GET", mine + "/versions/" + digest, ""},
		{"GET", mine + "/versions/" + digest + "/files?urls=true", ""},
		{"GET", "/v1/models/subject/versions/" + digest + "/files/text", ""},
		{"GET", "/v1/models/them::subject/versions/" + digest, ""},
		{"GET", "/v1/models/them::subject/versions/latest/files?urls=true", ""},
		{"GET", "/v1/models/them::subject/versions/@champion", ""},
		{"GET", "/v1/models/them::subject/versions/@production/files/text", ""},
		{"GET", "/v1/models/them::subject/versions?status=all", ""},
		{"GET", mine + "/versions?base=them::subject:1", ""},
		{"GET", "/v1/versions?base=them::subject:1", ""},
		{"GET", "/v1/versions?base=them::subject@champion", ""},
		{"GET", "/v1/models?scope=them&prefix=sub", ""},
		{"GET", "/v1/versions?scope=them&order=newest&status=all", ""},
		{"GET", "/v1/models?prefix=only-theirs", ""},
		{"GET", "/v1/models/only-theirs", ""},
		{"GET", "/v1/models/only-theirs/versions/1", ""},
		{"POST", "/v1/models/acme::subject/versions/1/copy", `{"scope":"them","name":"subject","version":"1"}`},
		{"POST", "/v1/models/them::subject/versions/" + digest + "/copy", `{"name":"copied","version":"1"}`},
		{"DELETE", "/v1/models/them::subject/versions/1?if_exists=true", ""},
		{"DELETE", "/v1/models/them::only-theirs/versions/1?if_exists=true", ""},
	}
}

func (w *tenancy) digest(scope ballast.Scope) string {
	v, err := w.m.Version(w.t.Context(), w.m.principal(w.t, w.admins[scope]), ballast.Ref{Name: must(ballast.ParseName("subject")), Version: one})
	if err != nil {
		w.t.Fatal(err)
	}
	return v.Digest.String()
}

// ask sends a request to both as everybody for whom the other tenant's things are none of their business.
func (w *twins) ask(method, path, body string) {
	for _, c := range callers()[2:] {
		if !c.hearsNothingOf(them) {
			continue
		}
		there, absent := plain(w.full.as(c, method, path, body)), plain(w.bare.as(c, method, path, body))
		if diff := gocmp.Diff(absent, there); diff != "" {
			w.report("%s %s %s by %s tells what is there from what is not (-absent +another's):\n%s", method, path, body, c, diff)
		}
	}
}

// plain is an answer without what differs from one request to the next.
func plain(a answer) string {
	header := a.Header.Clone()
	id := header.Get("X-Request-Id")
	header.Del("X-Request-Id")
	header.Del("Date")
	var b bytes.Buffer
	fmt.Fprintln(&b, a.StatusCode)
	if err := header.Write(&b); err != nil {
		panic(err) // a buffer takes everything
	}
	b.WriteString(strings.ReplaceAll(string(a.body), id, "ID"))
	return b.String()
}

// TestTheBytesOfOthersAreNotKnown: whoever knows the digest of another tenant's file is asked to send the bytes like
// anybody, and cannot publish it without.
func TestTheBytesOfOthersAreNotKnown(t *testing.T) {
	w := newTenancy(t, sound, acme, them)
	c := caller{acme, ballast.Writer}
	id := w.m.open(t, w.tokens[c], "mine:1")
	for content, want := range map[string]ballast.BlobState{
		"subject of acme, 1": ballast.BlobVerified,
		"subject of them, 1": ballast.BlobMissing,
		"nobody's":           ballast.BlobMissing,
	} {
		at := "/v1/uploads/" + id
		a := decode[ballast.BlobsResponse](t, w.as(c, "POST", at+"/blobs", blobsBody(blob(content))).wantStatus(t, http.StatusOK)).Blobs[0]
		if a.State != want || (a.Request != nil) != (want == ballast.BlobMissing) {
			t.Errorf("%q is %s", content, a.State)
		}
		if want == ballast.BlobMissing {
			w.as(c, "POST", at+"/commit", commitBody(file(`"w"`, content))).problem(t, ballast.CodeMissing)
		}
	}
}

// TestTenancyChecksReport is the control: a face that is wrong in one way, and a table that is, are reported.
func TestTenancyChecksReport(t *testing.T) {
	for name, c := range map[string]struct {
		route  string
		breaks func(*memory) Service
		matrix string // what the matrix reports, if it can see this
		twins  string // and the comparison
	}{
		"another code":    {"GET /v1/models/{name}", func(m *memory) Service { return deniesWhatIsThere{m.Engine} }, `"denied", want "not_found"`, `"code":"denied"`},
		"another message": {"GET /v1/models/{name}", func(m *memory) Service { return saysWhatIsThere{m.Engine} }, "", "not yours"},
		"another header":  {"GET /v1/models/{name}", func(m *memory) Service { return hintsWhatIsThere{m.Engine} }, "", "Retry-After"},
		"another's id":    {"GET /v1/uploads/{id}", func(m *memory) Service { return deniesUploads{m.Engine} }, `"denied", want "not_found"`, `"code":"denied"`},
		"too weak a role": {versionPromote, func(m *memory) Service { return promotesForAnybody{m.Engine} }, `200 "", want "denied"`, ""},
		"a refused change": {"PUT /v1/models/{name}/aliases/{alias}", func(m *memory) Service {
			return changesAndRefuses{m.Engine}
		}, "changed", ""},
		"a list of others'":  {"GET /v1/models", func(m *memory) Service { return listsAll{m.Engine} }, "shows what is in", ""},
		"everybody's events": {"GET /v1/events", func(m *memory) Service { return hearsAll{m.Engine} }, "shows what is in", ""},
		"nobody is somebody": {"GET /v1/models/{name}", func(m *memory) Service { return letsIn{m.Engine} }, `want "unauthenticated"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var rows []tenancyRow
			for _, r := range tenancyRows() {
				if r.route == c.route {
					rows = append(rows, r)
				}
			}
			reports := func(check func(report func(string, ...any)), want string) {
				var found []string
				check(func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) })
				if all := strings.Join(found, "\n"); !strings.Contains(all, want) || (all == "") != (want == "") {
					t.Errorf("reported %.500q, want %q", all, want)
				}
			}
			reports(func(report func(string, ...any)) {
				newMatrix(t, c.breaks, report).walk(rows)
			}, c.matrix)
			reports(func(report func(string, ...any)) { newTwins(t, c.breaks, report).compare(rows) }, c.twins)
		})
	}
	if missing := uncovered(tenancyRows()[1:]); len(missing) != 1 || missing[0] != "no row says who may send POST /v1/uploads" {
		t.Errorf("a route without a row: %q", missing)
	}
	if missing := uncovered(append(tenancyRows(), tenancyRow{route: "GET /v1/gone"})); len(missing) != 1 {
		t.Errorf("a row without a route: %q", missing)
	}
}

const versionPromote = "POST /v1/models/{name}/versions/{ref}/promote"

// Services that are wrong in one way each.
type (
	deniesWhatIsThere  struct{ *engine.Engine }
	saysWhatIsThere    struct{ *engine.Engine }
	hintsWhatIsThere   struct{ *engine.Engine }
	deniesUploads      struct{ *engine.Engine }
	promotesForAnybody struct{ *engine.Engine }
	changesAndRefuses  struct{ *engine.Engine }
)

// asOwner is somebody who may do everything in a scope.
func asOwner(scope ballast.Scope) principal {
	return principal{Name: "owner", Grants: []ballast.Grant{{Scope: scope, Role: ballast.Admin}}}
}

// hidden returns the refusal of a name, and whether somebody has it.
func hidden(c ctx, e *engine.Engine, p principal, scope ballast.Scope, name ballast.Name) (m ballast.ModelInfo, there bool, err error) {
	if m, err = e.Model(c, p, scope, name); err != nil {
		_, hidden := e.Model(c, asOwner(scope), scope, name)
		there = hidden == nil
	}
	return m, there, err
}

func (s deniesWhatIsThere) Model(c ctx, p principal, scope ballast.Scope, name ballast.Name) (ballast.ModelInfo, error) {
	m, there, err := hidden(c, s.Engine, p, scope, name)
	if there {
		err = ballast.Errorf(ballast.CodeDenied, "not yours")
	}
	return m, err
}

func (s saysWhatIsThere) Model(c ctx, p principal, scope ballast.Scope, name ballast.Name) (ballast.ModelInfo, error) {
	m, there, err := hidden(c, s.Engine, p, scope, name)
	if there {
		err = ballast.Errorf(ballast.CodeNotFound, "not yours")
	}
	return m, err
}

func (s hintsWhatIsThere) Model(c ctx, p principal, scope ballast.Scope, name ballast.Name) (ballast.ModelInfo, error) {
	m, there, err := hidden(c, s.Engine, p, scope, name)
	if there {
		hint := *ballast.AsError(err)
		hint.RetryAfter = 1
		err = &hint
	}
	return m, err
}

func (s deniesUploads) Upload(c ctx, p principal, id string, wait time.Duration) (ballast.Upload, error) {
	u, err := s.Engine.Upload(c, p, id, wait)
	if ballast.CodeOf(err) != ballast.CodeNotFound {
		return u, err
	}
	for _, scope := range []ballast.Scope{acme, them, ballast.Global} {
		if _, hidden := s.Engine.Upload(c, asOwner(scope), id, 0); hidden == nil {
			err = ballast.Errorf(ballast.CodeDenied, "this needs a role")
		}
	}
	return u, err
}

func (s promotesForAnybody) Promote(c ctx, p principal, own engine.Own, reason string) (ballast.VersionInfo, error) {
	scope := own.Ref.Scope
	if scope.IsZero() {
		scope = p.Home()
	}
	if p.Role(scope) > ballast.NoRole {
		p = asOwner(scope)
	}
	return s.Engine.Promote(c, p, own, reason)
}

func (s changesAndRefuses) SetAlias(c ctx, p principal, scope ballast.Scope, name ballast.Name, alias ballast.Alias, v ballast.Version, ifMatch *int64) (ballast.AliasInfo, error) {
	a, err := s.Engine.SetAlias(c, p, scope, name, alias, v, ifMatch)
	if err != nil && !scope.IsZero() {
		_, _ = s.Engine.SetAlias(c, asOwner(scope), scope, name, alias, v, ifMatch)
	}
	return a, err
}

// TestCallersSideBySide: who asks is of the request, and not of the one before or beside it.
func TestCallersSideBySide(t *testing.T) {
	w := newTenancy(t, sound, acme, them, ballast.Global)
	var all sync.WaitGroup
	for _, c := range callers()[2:] {
		all.Go(func() {
			for range 20 {
				a := w.as(c, "GET", "/v1/whoami", "")
				var who ballast.Whoami
				if err := json.Unmarshal(a.body, &who); err != nil || who.Scope != c.home || len(who.Grants) != 1 || who.Grants[0].Role != c.role {
					t.Errorf("%s is %s, %v", c, a.body, err)
				}
				var v ballast.VersionInfo
				a = w.as(c, "GET", "/v1/models/subject/versions/1", "")
				if err := json.Unmarshal(a.body, &v); err != nil || v.Scope != c.home {
					t.Errorf("%s reads %s, %v", c, a.body, err)
				}
			}
		})
	}
	all.Wait()
}
