package hub_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/hub"
	"github.com/ballast-registry/ballast/testenv/hostile"
)

// besiege fills a registry with a victim and an attacker. What wraps it leaks for others than the victim only, so that the
// world can be made.
func besiege(t *testing.T, wrap func(*engine.Engine) hub.Service, doctor func(http.Handler) http.Handler) *hostile.World {
	t.Helper()
	r := newRig(t, wrap, doctor)
	return hostile.New(t, hostile.Options{URL: r.url, Admin: client.Token(r.adminToken), Drop: func(key string, body []byte) { r.store.Plant(key, body) }})
}

// TestHostileTenant sends every attack of this face, as everybody whose business it is not.
func TestHostileTenant(t *testing.T) {
	w := besiege(t, nil, nil)
	for _, a := range append(hostile.HubAttacks(), hostile.CraftedAttacks(hostile.Hub)...) {
		t.Run(a.Title(), func(t *testing.T) { w.Try(a, t.Errorf) })
	}
	w.Verify(t.Errorf)
}

// TestHostileTenantNotices is the control: a face that is wrong in one way fails the attacks of a group.
func TestHostileTenantNotices(t *testing.T) {
	victim := engine.Principal{ID: "x", Name: "x", Grants: []ballast.Grant{{Scope: must(ballast.ParseScope(hostile.Victim)), Role: ballast.Reader}}}
	for name, c := range map[string]struct {
		wrap   func(*engine.Engine) hub.Service
		doctor func(http.Handler) http.Handler
		group  string // of attacks
		want   string // in a report
	}{
		"every snapshot":       {wrap: func(e *engine.Engine) hub.Service { return leakySnapshots{leaky{e, victim}} }, group: "another's file", want: "is not refused"},
		"every model":          {wrap: func(e *engine.Engine) hub.Service { return leakyModels{leaky{e, victim}} }, group: "another's model", want: "tells what is there"},
		"every revision":       {wrap: func(e *engine.Engine) hub.Service { return leakySnapshots{leaky{e, victim}} }, group: "another's revision", want: "is not refused"},
		"every list":           {wrap: func(e *engine.Engine) hub.Service { return leakyLists{leaky{e, victim}} }, group: "another's in a list", want: "tells what is there"},
		"everybody's":          {wrap: func(e *engine.Engine) hub.Service { return leakyLists{leaky{e, victim}} }, group: "one's own lists", want: "names the victim"},
		"a hint":               {wrap: func(e *engine.Engine) hub.Service { return hints{leaky{e, victim}} }, group: "another's revision", want: "tells what is there"},
		"a commit of anybody":  {wrap: func(e *engine.Engine) hub.Service { return leakyCommits{leaky{e, victim}} }, group: "another's revision", want: "tells what is there"},
		"a change is accepted": {doctor: accepts, group: "another's model, changed", want: "is not refused"},
		"decoded twice":        {doctor: decodesTwice, group: "crafted: a repository", want: "no answer"},
		"a folded name":        {doctor: folds, group: "crafted: a repository", want: "is not refused"},
		"a cut name":           {doctor: cutsAtNUL, group: "crafted: a repository", want: "is not refused"},
		"a normalised name":    {doctor: cleans, group: "crafted: a repository", want: "is not refused"},
	} {
		t.Run(name, func(t *testing.T) {
			w := besiege(t, c.wrap, c.doctor)
			var found []string
			for _, a := range append(hostile.HubAttacks(), hostile.CraftedAttacks(hostile.Hub)...) {
				if a.Group == c.group {
					w.Try(a, func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) })
				}
			}
			if all := strings.Join(found, "\n"); !strings.Contains(all, c.want) {
				t.Errorf("reported %.500q, want %q", all, c.want)
			}
		})
	}
}

// hints answers retry later for what somebody has.
type hints struct{ leaky }

func (l hints) Snapshot(ctx context.Context, p engine.Principal, ref ballast.Ref) (engine.Snapshot, error) {
	s, err := l.leaky.Snapshot(ctx, p, ref)
	if err != nil {
		if _, there := l.leaky.Snapshot(ctx, l.all, ref); there == nil {
			err = ballast.Errorf(ballast.CodeBusy, "in a moment")
		}
	}
	return s, err
}

type leakyCommits struct{ leaky }

func (l leakyCommits) AtCommit(ctx context.Context, p engine.Principal, name ballast.Name, digits string) (ballast.Ref, error) {
	if ref, err := l.leaky.AtCommit(ctx, p, name, digits); err == nil {
		return ref, nil
	}
	if _, err := l.leaky.AtCommit(ctx, l.all, name, digits); err == nil {
		return ballast.Ref{}, ballast.Errorf(ballast.CodeDenied, "not yours")
	}
	return ballast.Ref{}, ballast.Errorf(ballast.CodeNotFound, "no such commit")
}

// doctored is a face that changes requests before it looks at them.
func doctored(change func(*http.Request)) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, "/v1") {
				change(r)
			}
			h.ServeHTTP(w, r)
		})
	}
}

func onPath(change func(path string) string) func(http.Handler) http.Handler {
	return doctored(func(r *http.Request) { r.URL.Path, r.URL.RawPath = change(r.URL.Path), "" })
}

func decodesTwice(h http.Handler) http.Handler {
	return onPath(func(path string) string {
		decoded, err := url.PathUnescape(path)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		return decoded
	})(h)
}

func folds(h http.Handler) http.Handler {
	return onPath(func(path string) string { return strings.ToLower(strings.ToUpper(path)) })(h)
}

func cleans(h http.Handler) http.Handler { return onPath(path.Clean)(h) }

func cutsAtNUL(h http.Handler) http.Handler {
	return onPath(func(path string) string {
		before, after, _ := strings.Cut(path, "\x00")
		_, rest, _ := strings.Cut(after, "/")
		if rest != "" {
			before += "/" + rest
		}
		return before
	})(h)
}

// accepts takes whatever is to be changed.
func accepts(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/commit/") && r.Method == http.MethodPost {
			r.Method = http.MethodGet
			r.URL.Path, r.URL.RawPath = "/api/whoami-v2", ""
		}
		h.ServeHTTP(w, r)
	})
}
