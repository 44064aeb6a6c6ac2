package hostile_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast/testenv"
	"github.com/ballast-registry/ballast/testenv/hostile"
)

// besiege fills a registry with a victim and an attacker. front is where requests go, when that is not the registry itself.
func besiege(t *testing.T, r *registry, front string) *hostile.World {
	t.Helper()
	return hostile.New(t, hostile.Options{
		URL: front, Admin: r.admin(t), Drop: func(key string, body []byte) { plant(t, r.store, key, body) },
	})
}

// attacks are those on both faces.
func attacks() []hostile.Attack {
	all := append(hostile.NativeAttacks(), hostile.HubAttacks()...)
	return append(append(all, hostile.CraftedAttacks(hostile.Native)...), hostile.CraftedAttacks(hostile.Hub)...)
}

// TestTenant sends every attack on both faces, and on the listener below them, to the real binary. Afterwards the victim has
// what it had, the log has no line that somebody else wrote, and every invariant holds. What crafted texts become does not
// depend on the store: they are sent where one is a file system.
func TestTenant(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		r := serve(t, s, t.TempDir())
		w := besiege(t, r, r.url)
		for _, a := range attacks() {
			if s.Server != nil || !strings.HasPrefix(a.Group, "crafted") {
				t.Run(a.Title(), func(t *testing.T) { w.Try(a, t.Errorf) })
			}
		}
		for _, a := range hostile.Smuggles() {
			t.Run(a.Title(), func(t *testing.T) { w.TrySmuggle(a, t.Errorf) })
		}
		w.Verify(t.Errorf)
		if log := r.log.String(); strings.Contains(log, "\n"+hostile.Forged) || strings.Contains(log, "\r") || strings.Contains(log, "\x1b") {
			t.Error("the log has a line, or an escape, of the attacker's")
		}
		r.stop(t)
	})
}

// TestTenantNotices is the control: before the same binary stands a proxy that lets some requests in as the victim, or as
// nobody would be.
func TestTenantNotices(t *testing.T) {
	t.Parallel()
	s := testenv.Embedded(t)
	r := serve(t, s, t.TempDir())
	var swap func(*http.Request) // what is wrong, once the world is made
	to, err := url.Parse(r.url)
	check(t, err)
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(to)
		p.Out.Host = to.Host
		if swap != nil {
			swap(p.Out)
		}
	}})
	t.Cleanup(front.Close)
	w := besiege(t, r, front.URL)
	asVictim := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+string(w.Token())) }
	for name, c := range map[string]struct {
		swap func(*http.Request)
		face hostile.Face
		want string
	}{
		"everybody is the victim": {asVictim, hostile.Native, "shows what only the victim wrote"},
		"whoever reads files is the victim": {func(r *http.Request) {
			if strings.Contains(r.URL.Path, "/resolve/") {
				asVictim(r)
			}
		}, hostile.Hub, "signs outside of the caller's scopes"},
		"whoever has an id is the victim": {func(r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v1/uploads/") {
				asVictim(r)
			}
		}, hostile.Native, "is not refused"},
		"everybody is somebody": {func(r *http.Request) {
			if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer bal_") {
				asVictim(r)
			}
		}, hostile.Native, "is let in"},
	} {
		t.Run(name, func(t *testing.T) {
			swap = c.swap
			var found strings.Builder
			for _, a := range append(hostile.NativeAttacks(), hostile.HubAttacks()...) {
				if a.Face == c.face && (a.Method == http.MethodGet || strings.HasSuffix(a.Path, "/blobs")) && !strings.Contains(found.String(), c.want) {
					w.Try(a, func(format string, args ...any) { fmt.Fprintf(&found, format+"\n", args...) })
				}
			}
			if !strings.Contains(found.String(), c.want) {
				t.Errorf("reported %.500q, want %q", found.String(), c.want)
			}
		})
	}
	swap = nil
}
