package engine_test

import (
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// The last token that administers global cannot be revoked, by whomever: nobody could mint another.
func TestTheLastAdminStays(t *testing.T) {
	r := newRig(t, memStore(t))
	var secret ballast.Secret
	must(r.EnsureAdmin(t.Context(), func(token string) error { secret = ballast.Secret(token); return nil }))
	first := must(r.Authenticate(t.Context(), secret))
	must(r.CreateToken(t.Context(), first, ballast.CreateToken{Grants: []ballast.Grant{{Scope: acme, Role: ballast.Admin}}}))
	must(r.CreateToken(t.Context(), first, ballast.CreateToken{Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Maintainer}}}))
	wantCode(t, r.RevokeToken(t.Context(), first, first.ID), ballast.CodePrecondition)
	second := must(r.CreateToken(t.Context(), first, ballast.CreateToken{Grants: []ballast.Grant{{Scope: acme, Role: ballast.Reader}, {Scope: ballast.Global, Role: ballast.Admin}}}))
	if err := r.RevokeToken(t.Context(), first, first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(t.Context(), secret); ballast.CodeOf(err) != ballast.CodeUnauthenticated {
		t.Errorf("the first token: %v", err)
	}
	heir := must(r.Authenticate(t.Context(), second.Token))
	wantCode(t, r.RevokeToken(t.Context(), heir, heir.ID), ballast.CodePrecondition)
}

// Whoever waits has an answer at once when the service is about to stop.
func TestHurryEndsWaits(t *testing.T) {
	r := newRig(t, memStore(t))
	u := must(r.open(t, writer, "m:1"))
	began := time.Now()
	time.AfterFunc(20*time.Millisecond, r.Hurry)
	if got := must(r.Upload(t.Context(), writer, u.ID, engine.MaxWait)); got.Status != ballast.UploadPending {
		t.Errorf("the upload is %s", got.Status)
	}
	if page := must(r.Events(t.Context(), writer, engine.NewestEvent, 10, engine.MaxWait)); len(page.Events) > 0 {
		t.Errorf("heard %+v", page.Events)
	}
	if time.Since(began) >= engine.MaxWait {
		t.Error("they waited to the end")
	}
}
