package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// guest notes whom it serves.
type guest struct{ served []string }

func (g *guest) Serve(w http.ResponseWriter, r *http.Request, p engine.Principal) error {
	g.served = append(g.served, p.ID+" "+r.URL.Path)
	switch r.URL.Path {
	case "/panic":
		panic("a defect")
	case "/refused":
		return ballast.Errorf(ballast.CodeRetired, "no more")
	}
	w.WriteHeader(http.StatusTeapot)
	return nil
}

func (g *guest) Refuse(w http.ResponseWriter, _ *http.Request, e *ballast.Error) {
	w.WriteHeader(e.Status)
	_, _ = w.Write([]byte("refused: " + e.Detail))
}

func (g *guest) Template(*http.Request) string { return "/guest" }

// TestGuest: it gets what is none of this face's own, from those who have a token, and its defects stay its own.
func TestGuest(t *testing.T) {
	g := &guest{}
	log := &lockedBuffer{}
	f := &face{t: t, token: "hf_" + goodToken, log: log}
	srv := httptest.NewServer(New(&stub{}, Options{Guest: g}))
	t.Cleanup(srv.Close)
	f.url = srv.URL
	for path, want := range map[string]struct {
		status int
		served bool
	}{
		"/acme/tiny/resolve/main/x": {http.StatusTeapot, true}, "/": {http.StatusTeapot, true}, "/v1x": {http.StatusTeapot, true}, "/healthz/x": {http.StatusTeapot, true},
		"/refused": {http.StatusGone, true}, "/panic": {http.StatusInternalServerError, true},
		"/v1/whoami": {http.StatusOK, false}, "/v1": {http.StatusNotFound, false}, "/v1/nothing": {http.StatusNotFound, false}, "/healthz": {http.StatusOK, false},
	} {
		g.served = nil
		a := f.send(http.MethodGet, path, "").wantStatus(t, want.status)
		if served := len(g.served) == 1; served != want.served {
			t.Errorf("%s: served %q", path, g.served)
		}
		if want.status > 500 || want.status == http.StatusGone {
			if !strings.HasPrefix(string(a.body), "refused: ") {
				t.Errorf("%s: %s", path, a.body)
			}
		}
		if a.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s has no request id", path)
		}
	}
	g.served = nil
	a := f.send(http.MethodGet, "/x", "", "Authorization", "").wantStatus(t, http.StatusUnauthorized)
	if len(g.served) != 0 || !strings.HasPrefix(string(a.body), "refused: ") {
		t.Errorf("without a token: served %q, %s", g.served, a.body)
	}
}
