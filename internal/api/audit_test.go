package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/testenv/canary"
)

// TestNoBytesWithoutALine sends the request of every row of the tenancy table, as everybody: each answer that holds signed
// URLs or was to hold them has one line, which says so, and each that was refused for who asked.
func TestNoBytesWithoutALine(t *testing.T) {
	w := newAudited(t, sound)
	seen := w.walk()
	wrong := w.judge(t)
	for _, what := range wrong {
		t.Error(what)
	}
	if n := canary.Lines(); n < 1000 { // newFace reads each for secrets
		t.Errorf("control: %d lines of the log were read", n)
	}
	if seen["signed"] < 25 || seen["refused"] < 200 || seen["bytes refused"] < 40 {
		t.Errorf("control: the walk saw %v", seen)
	}
}

// TestUnlinedBytesAreNoticed is the control: a service whose calls the record does not reach is told of.
func TestUnlinedBytesAreNoticed(t *testing.T) {
	w := newAudited(t, func(m *memory) Service { return unrecorded{m.Engine} })
	w.walk()
	if wrong := w.judge(t); len(wrong) < 20 || !strings.Contains(strings.Join(wrong, "\n"), "signed URLs") {
		t.Errorf("of signed URLs without a line this was said: %q", wrong)
	}
}

// unrecorded forgets the request's record.
type unrecorded struct{ *engine.Engine }

func (u unrecorded) Files(_ context.Context, p engine.Principal, ref ballast.Ref, l engine.ListFiles) (ballast.FilesPage, error) {
	return u.Engine.Files(context.Background(), p, ref, l)
}

func (u unrecorded) File(_ context.Context, p engine.Principal, ref ballast.Ref, path string) (ballast.FileInfo, error) {
	return u.Engine.File(context.Background(), p, ref, path)
}

// TestARouteThatSaysNothingHasItsLine: a route that hands out a signed URL without a word to the audit, as one that is added
// later might, is written down by whom the URL was signed.
func TestARouteThatSaysNothingHasItsLine(t *testing.T) {
	m := newMemory(t, engine.Limits{})
	f := newFace(t, talkative{m})
	f.token = m.token(t, "ci", "acme=writer").Token
	m.publish(t, f.token, "m:1", ballast.Metadata{}, map[string]string{"w": weights})
	a := f.send("GET", "/v1/models/m/versions/latest", "").wantStatus(t, http.StatusOK)
	if !strings.Contains(string(a.body), "X-Amz-Signature") {
		t.Fatalf("control: no URL in %s", a.body)
	}
	for _, line := range f.audit.Lines(t) {
		if line.RequestID == a.Header.Get("X-Request-Id") {
			if line.Action != ballast.AuditRead || line.URLs != 1 || line.Key != "acme::m::1" || line.By != "ci@acme" {
				t.Errorf("the line is %+v", line)
			}
			return
		}
	}
	t.Error("it has no line")
}

// talkative puts a signed URL where none is expected.
type talkative struct{ *memory }

func (s talkative) Version(ctx context.Context, p engine.Principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	v, err := s.memory.Version(ctx, p, ref)
	if err != nil {
		return v, err
	}
	f, err := s.File(ctx, p, ref, "w")
	if err == nil {
		v.Metadata.Description = f.Request.URL
	}
	return v, err
}

// audited is a registry of three scopes, and what it answered.
type audited struct {
	*tenancy
	answers []audited1
}

type audited1 struct {
	answer
	asks bool // for bytes
}

func newAudited(t *testing.T, breaks func(*memory) Service) *audited {
	return &audited{tenancy: newTenancy(t, breaks, acme, them, ballast.Global)}
}

// walk sends everything that does not change what the rest is about, and says how much of what it saw.
func (w *audited) walk() map[string]int {
	seen := map[string]int{}
	for _, r := range tenancyRows() {
		for _, c := range callers() {
			for _, scope := range []ballast.Scope{acme, them, ballast.Global} {
				if r.want(c, scope) == "" && r.changes() && !strings.HasSuffix(r.route, "/blobs") {
					continue
				}
				method, path, body := r.request(w.standing[scope], true)
				asks := strings.Contains(path, "/files/") && method == "GET" || strings.Contains(path, "urls=true") || strings.HasSuffix(path, "/blobs")
				a := audited1{w.as(c, method, path, body), asks}
				w.answers = append(w.answers, a)
				switch {
				case a.signed() > 0:
					seen["signed"]++
				case a.StatusCode >= 400 && a.StatusCode != http.StatusUnauthorized && asks:
					seen["bytes refused"]++
				case a.StatusCode >= 400:
					seen["refused"]++
				}
			}
		}
	}
	return seen
}

// signed counts the signed URLs in an answer.
func (a audited1) signed() int {
	return strings.Count(a.Header.Get("Location")+string(a.body), "X-Amz-Signature=")
}

// judge ends the audit and says where it differs from what was answered.
func (w *audited) judge(t *testing.T) (wrong []string) {
	lines := map[string][]ballast.AuditEntry{}
	for _, line := range w.audit.Lines(t) {
		lines[line.RequestID] = append(lines[line.RequestID], line)
	}
	for _, a := range w.answers {
		id, got := a.Header.Get("X-Request-Id"), ballast.AuditEntry{}
		say := func(what string) {
			wrong = append(wrong, fmt.Sprintf("%s %s: %d with %d signed URLs: %s: %+v", a.Request.Method, a.Request.URL, a.StatusCode, a.signed(), what, got))
		}
		if len(lines[id]) > 1 {
			say("more than one line")
			continue
		}
		if len(lines[id]) == 1 {
			got = lines[id][0]
		}
		code := codeOf(a.answer)
		want := ballast.AuditAction("")
		switch {
		case code == ballast.CodeUnauthenticated:
			want = ballast.AuditAuth
		case a.asks && a.Request.Method == "POST":
			want = ballast.AuditWrite
		case a.asks:
			want = ballast.AuditRead
		case code == ballast.CodeDenied && a.Request.Method != "HEAD", code == ballast.CodeNotFound && a.Request.Method != "GET" && a.Request.Method != "HEAD":
			want = ballast.AuditRefused
		}
		if code == ballast.CodeNotFound && a.Request.Method == "GET" && want == "" { // of a version, not of a list
			want = got.Action
		}
		switch {
		case got.Action != want || want == ballast.AuditRefused && code == "":
			say(fmt.Sprintf("want the action %q", want))
		case want == "":
		case got.Status != a.StatusCode || got.Code != code || got.URLs != a.signed():
			say("another outcome")
		case got.Remote != "127.0.0.1" || got.Agent == "" || !strings.HasPrefix(got.Request, a.Request.Method+" /v1/"):
			say("from nowhere")
		case (got.By == "") != (want == ballast.AuditAuth):
			say("by nobody")
		case a.signed() > 0 && (got.Bytes == 0 || got.Scope.IsZero() || got.Key == "" || got.Path+string(got.Digest) == "" && got.URLs == 1):
			say("about nothing")
		}
	}
	return wrong
}

// TestAuditIsOfItsScope: an admin of a tenant reads what is about its tenant and nothing of another's, a global one all;
// not even a cursor tells how much is written about others.
func TestAuditIsOfItsScope(t *testing.T) {
	w := newTenancy(t, sound, acme, them, ballast.Global)
	for _, scope := range []ballast.Scope{acme, them} {
		for range 7 {
			w.send("GET", "/v1/models/subject/versions/1/files/w.safetensors", "", "Authorization", "Bearer "+w.admins[scope]).wantStatus(t, http.StatusTemporaryRedirect)
		}
		// A stranger to a scope is refused, and only its own admin reads of it.
		w.send("GET", "/v1/models/"+map[ballast.Scope]string{acme: "them", them: "acme"}[scope]+"::subject/versions/1/files/w.safetensors", "", "Authorization", "Bearer "+w.admins[scope]).problem(t, ballast.CodeNotFound)
	}
	w.send("GET", "/v1/models/subject", "", "Authorization", "").problem(t, ballast.CodeUnauthenticated)
	w.audit.Lines(t) // all is written
	limit := 3
	list := func(token, query string) (all []ballast.AuditEntry) {
		t.Helper()
		for cursor := ""; ; {
			page := decode[ballast.AuditPage](t, w.send("GET", fmt.Sprintf("/v1/audit?limit=%d", limit)+query+cursor, "", "Authorization", "Bearer "+token).wantStatus(t, http.StatusOK))
			if all = append(all, page.Entries...); page.Cursor == "" || len(all) > 10_000 {
				return all
			}
			cursor = "&cursor=" + page.Cursor
		}
	}
	everything := list(w.admins[ballast.Global], "")
	if !slices.IsSortedFunc(everything, func(a, b ballast.AuditEntry) int { return b.At.Compare(a.At.Time) }) {
		t.Error("not the newest first")
	}
	limit = 1000
	if whole := list(w.admins[ballast.Global], ""); !slices.EqualFunc(everything, whole, func(a, b ballast.AuditEntry) bool {
		return a.At == b.At && a.RequestID == b.RequestID && a.Key == b.Key
	}) {
		t.Errorf("in pages of 3 there are %d entries, in one %d, or they are others", len(everything), len(whole))
	}
	limit = 3
	kinds := map[ballast.AuditAction]int{}
	for _, e := range everything {
		kinds[e.Action]++
	}
	if kinds[ballast.AuditRead] != 16 || kinds[ballast.AuditAuth] != 1 || kinds[ballast.AuditAction(ballast.EventReady)] < 9 {
		t.Errorf("an admin of global sees %v", kinds)
	}
	for scope, other := range map[ballast.Scope]ballast.Scope{acme: them, them: acme} {
		var want []ballast.AuditEntry
		for _, e := range everything {
			if e.Scope == scope {
				want = append(want, e)
			}
		}
		got := list(w.admins[scope], "")
		if len(got) != len(want) || len(got) < 10 {
			t.Errorf("%s: %d entries, want %d", scope, len(got), len(want))
		}
		for _, e := range got {
			if e.Scope != scope || e.By == "owner@"+other.String() || strings.Contains(e.Key, other.String()+"::") {
				t.Errorf("%s reads of %s: %+v", scope, other, e)
			}
		}
		pulls := list(w.admins[scope], "&model=subject:1&action=bytes.read&who=owner")
		if len(pulls) != 7 {
			t.Errorf("%s: %d pulls of subject:1", scope, len(pulls))
		}
	}
}
