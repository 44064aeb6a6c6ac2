package index_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// TestTokenOfBefore: a token that an earlier program stored, without names, an end or a rotation, is what it was: one for
// whole scopes that is good until it is revoked.
func TestTokenOfBefore(t *testing.T) {
	const stored = `{"schema":1,"value":{"id":"3f9c2a71Qx","name":"ci","hash":"AQID","grants":[{"scope":"acme","role":"writer"},{"scope":"global","role":"admin"}],` +
		`"created_by":"root@global","created_at":"2026-11-22T08:00:00.000000Z"}}`
	onBoth(t, func(t *testing.T, w *world) {
		w.ok(w.PutRaw(w.ctx, []byte("T3f9c2a71Qx\x00"), []byte(stored)))
		want := index.Token{
			ID: "3f9c2a71Qx", Name: "ci", Hash: []byte{1, 2, 3}, CreatedBy: "root@global", CreatedAt: ballast.At(time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)),
			Grants: []ballast.Grant{{Scope: acme, Role: ballast.Writer}, {Scope: ballast.Global, Role: ballast.Admin}},
		}
		got, ok, err := w.Token(w.ctx, "3f9c2a71Qx")
		if err != nil || !ok || fmt.Sprint(got) != fmt.Sprint(want) || got.Expired(w.clock.AddDate(1000, 0, 0)) || !got.OverlapUntil(w.clock).IsZero() {
			t.Errorf("got %+v, %t, %v", got, ok, err)
		}
		w.want(ballast.CodePrecondition, w.DeleteToken(w.ctx, want.ID, "t")) // it counts as an admin for good
		w.ok(w.PutToken(w.ctx, want))
		now, err := w.Raw(w.ctx, []byte("T3f9c2a71Qx\x00"))
		if err != nil || string(now) != stored {
			t.Errorf("stored anew it reads\n%s, %v, and was\n%s", now, err, stored)
		}
		rotated, err := w.RotateToken(w.ctx, want.ID, []byte{4}, time.Hour, "t")
		if err != nil || len(rotated.Replaced) != 1 || !bytes.Equal(rotated.Replaced[0].Hash, want.Hash) || rotated.OverlapUntil(w.clock) != ballast.At(w.clock.Add(time.Hour)) {
			t.Errorf("rotated %+v, %v", rotated, err)
		}
	})
}

// TestUsesOfTokens are noted for tokens that are there, and go with them.
func TestUsesOfTokens(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		uses := map[string]ballast.Time{"nobody": ballast.At(w.clock)}
		for i := range index.MaxUses - 1 {
			id := fmt.Sprintf("token-%04d", i)
			w.ok(w.PutToken(w.ctx, index.Token{ID: id, Name: "n", Hash: []byte{1}, Grants: []ballast.Grant{{Scope: acme, Role: ballast.Writer}}}))
			uses[id] = ballast.At(w.clock.Add(time.Duration(i) * time.Second))
		}
		w.ok(w.UsedTokens(w.ctx, uses))
		w.wantKeys('x', index.MaxUses-1)
		page, _, err := w.Tokens(w.ctx, "", 10, func(index.Token) bool { return true })
		w.ok(err)
		for _, tok := range page {
			at, err := w.LastUse(w.ctx, tok.ID)
			if err != nil || tok.LastUsed != uses[tok.ID] || at != uses[tok.ID] {
				t.Errorf("%s was used at %v, %v, %v", tok.ID, tok.LastUsed, at, err)
			}
		}
		w.ok(w.DeleteToken(w.ctx, page[0].ID, "t"))
		w.wantKeys('x', index.MaxUses-2)
		_, err = w.RotateToken(w.ctx, page[0].ID, []byte{2}, 0, "t")
		if !errors.Is(err, index.ErrNotFound) {
			t.Errorf("rotating what is gone: %v", err)
		}
	})
}
