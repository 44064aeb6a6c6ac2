package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// TestAnEndThatTheStoreDoesNotTake is answered 202 and holds all the same. Once the store takes the record, the same
// request is answered as done, and the feed tells of it with the revision that it made.
func TestAnEndThatTheStoreDoesNotTake(t *testing.T) {
	m := newMemory(t, engine.Limits{CommitWait: 20 * time.Millisecond})
	f := newFace(t, m)
	f.token = m.token(t, "lead", "acme=maintainer").Token
	m.publish(t, f.token, "m:1", ballast.Metadata{}, map[string]string{"w": weights})
	m.settle(t)

	const at = "/v1/models/m/versions/1"
	refuse := func() {
		for n := range 1000 { // more often than it is tried until Heal
			m.store.Fail(objstoretest.OpPut, 1+n, objstore.ErrUnavailable, false)
		}
	}
	refuse()
	v := decode[ballast.VersionInfo](t, f.send("POST", at+"/retire", "").wantStatus(t, http.StatusAccepted))
	if v.Status != ballast.StatusRetired || v.Revision != 2 {
		t.Errorf("retired %+v", v)
	}
	f.send("GET", at, "").problem(t, ballast.CodeRetired)
	f.send("PATCH", at, patchBody("description", `"why"`)).wantStatus(t, http.StatusOK)
	m.store.Heal()
	until(t, http.StatusOK, func() answer { return f.send("POST", at+"/retire", "") })

	refuse()
	v = decode[ballast.VersionInfo](t, f.send("DELETE", at, "").wantStatus(t, http.StatusAccepted))
	if v.Status != ballast.StatusDeleted {
		t.Errorf("deleted %+v", v)
	}
	f.send("GET", at+"?include=retired", "").problem(t, ballast.CodeNotFound)
	m.store.Heal()
	until(t, http.StatusNoContent, func() answer { return f.send("DELETE", at, "") })

	for _, e := range decode[ballast.EventsPage](t, f.send("GET", "/v1/events", "").wantStatus(t, http.StatusOK)).Events {
		if e.Kind == ballast.EventRetired && (e.Before != 1 || e.After != 2) {
			t.Errorf("the retirement made revision %d from %d", e.After, e.Before)
		}
	}
}

// until repeats a request until it is answered with a status.
func until(t *testing.T, status int, send func() answer) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		a := send()
		if a.StatusCode == status {
			return
		}
		if time.Now().After(deadline) {
			a.wantStatus(t, status)
		}
	}
}
