package api

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// TestACopyHasALineWhereItCameFrom: whoever copies a version out of a scope reads it.
func TestACopyHasALineWhereItCameFrom(t *testing.T) {
	m := newMemory(t, engine.Limits{})
	f := newFace(t, m)
	owner := m.token(t, "owner", "acme=writer").Token
	m.publish(t, owner, "secret:1", ballast.Metadata{}, weightFiles("secret"))
	thief := m.token(t, "thief", "them=writer", "acme=reader").Token
	a := f.send("POST", "/v1/models/acme::secret/versions/1/copy", `{"scope":"them","name":"stolen","version":"1"}`, "Authorization", "Bearer "+thief).wantStatus(t, http.StatusOK)
	for _, line := range f.audit.Lines(t) {
		if line.RequestID == a.Header.Get("X-Request-Id") {
			if line.Action != ballast.AuditRead || line.Key != "acme::secret::1" || line.Scope != acme || line.By != "thief@them" || line.Bytes == 0 {
				t.Errorf("the line is %+v", line)
			}
			return
		}
	}
	t.Error("the copy has no line")
}

// TestAnAnswerDoesNotOutliveItsToken: a poll that waits while its token is revoked is answered nothing.
func TestAnAnswerDoesNotOutliveItsToken(t *testing.T) {
	m := newMemory(t, engine.Limits{})
	f := newFace(t, m)
	owner := m.token(t, "owner", "acme=writer").Token
	m.publish(t, owner, "m:1", ballast.Metadata{}, weightFiles("m"))
	reader := m.token(t, "reader", "acme=reader")
	answers := make(chan answer, 1)
	go func() {
		answers <- f.send("GET", "/v1/events?after=now&wait=50s", "", "Authorization", "Bearer "+reader.Token)
	}()
	time.Sleep(500 * time.Millisecond) // were it later than the revocation, the answer would be the same
	if err := m.RevokeToken(t.Context(), m.principal(t, m.admin), reader.ID); err != nil {
		t.Fatal(err)
	}
	m.point(t, owner, "m@champion")
	if a := <-answers; a.StatusCode != http.StatusUnauthorized || strings.Contains(string(a.body), "champion") {
		t.Errorf("answered %d %s", a.StatusCode, a.body)
	}
}

// TestUserNamesAreNoCredentials: a token is the same one whatever user name stands beside it.
func TestUserNamesAreNoCredentials(t *testing.T) {
	from := netip.MustParsePrefix("192.0.2.1/32")
	of := func(user, token string) [32]byte {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if user != "" {
			r.SetBasicAuth(user, token)
		}
		return credentialsOf(from, r)
	}
	if of("a", "x") != of("b", "x") || of("a", "x") != of("", "x") || of("a", "x") == of("a", "y") {
		t.Error("they are told apart by the user name, or not by the token")
	}
}

// TestTheAnonymousTakeTurnsOfTheirOwn: who has a token for global does not wait for those without.
func TestTheAnonymousTakeTurnsOfTheirOwn(t *testing.T) {
	global := engine.Principal{ID: "g", Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Reader}}}
	if engine.Anonymous().Turn() == global.Turn() || global.Turn() != ballast.Global {
		t.Error("they wait in one line")
	}
}
