package api

import (
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/hub"
	"github.com/ballast-registry/ballast/testenv/hostile"
)

// besieged is the face before a real engine on stores in memory, with a victim and an attacker.
type besieged struct {
	*hostile.World
	t      *testing.T
	m      *memory
	log    *lockedBuffer
	before map[string]string // what index and bucket hold of the victim's
}

// broken is a service that becomes another one once the registry is filled.
type broken struct{ Service }

// besiege fills a registry with both faces. From then on its service is broken, and its face doctored, by what is not nil.
func besiege(t *testing.T, breaks func(*memory) Service, doctor func(http.Handler) http.Handler) besieged {
	t.Helper()
	m := newMemory(t, engine.Limits{})
	m.store.Serve(t)
	b := &broken{m.Engine}
	w := besieged{t: t, m: m, log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	sound := New(b, Options{Logger: log, Guest: hub.New(m.Engine, hub.Options{})})
	handler := sound
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }), log)
	srv.Start()
	t.Cleanup(srv.Close)
	w.World = hostile.New(t, hostile.Options{URL: srv.URL, Admin: client.Token(m.admin), Drop: func(key string, body []byte) { m.store.Plant(key, body) }})
	m.settle(t)
	w.before = w.ofVictim()
	if breaks != nil {
		b.Service = breaks(m)
	}
	if doctor != nil {
		handler = doctor(sound)
	}
	return w
}

func (w besieged) ofVictim() map[string]string {
	all := w.m.contents(w.t)
	maps.DeleteFunc(all, func(key, value string) bool { return !strings.Contains(key+value, hostile.Victim) })
	return all
}

// ours is what may lie in the bucket.
var ours = regexp.MustCompile(`^index/owner\.json$|^(global|tenants/(acme|acme-labs|victim-co))/(blobs/sha256/[0-9a-f]{2}/[0-9a-f]{64}|models/[a-z0-9_./-]+/versions/[a-z0-9.-]+/\d{8}\.json|inbox/canary/.+)$`)

// verify reports what the victim lost, what else of it changed, and what lies where nothing should.
func (w besieged) verify(report func(string, ...any)) {
	w.Verify(report)
	for _, key := range changes(w.before, w.ofVictim()) {
		report("changed of the victim's: %s", key)
	}
	for _, key := range w.m.store.Keys("") {
		if !ours.MatchString(key) {
			report("in the bucket lies %q", key)
		}
	}
}

// TestHostileTenant sends every attack of the native face, as everybody whose business it is not.
func TestHostileTenant(t *testing.T) {
	w := besiege(t, nil, nil)
	for _, a := range append(hostile.NativeAttacks(), hostile.CraftedAttacks(hostile.Native)...) {
		t.Run(a.Title(), func(t *testing.T) { w.Try(a, t.Errorf) })
	}
	w.verify(t.Errorf)
}
