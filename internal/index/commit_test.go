package index_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// publishAs publishes a version with a manifest of a chosen digest.
func (w *world) publishAs(target string, manifest digest.Digest) {
	w.t.Helper()
	u := w.open(target)
	file := w.sent(u, "a file")
	w.ask(u, index.Want{Digest: manifest, Size: 7, Method: ballast.MethodPut})
	w.ok(w.StoredByPut(w.ctx, u.Scope, []index.Found{{Digest: manifest, Size: 7, ETag: "e"}}))
	u, err := w.Accept(w.ctx, u.ID, index.Accepted{Manifest: manifest, ManifestSize: 7, Files: 1, Size: 6})
	w.ok(err)
	w.ok(w.Reference(w.ctx, u.ID, []digest.Digest{file}, true))
	v, err := w.Seal(w.ctx, u.ID, record)
	w.ok(err)
	_, err = w.Ready(w.ctx, v.Key())
	w.ok(err)
}

func TestFindCommit(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		commit := strings.Repeat("ab", 20)
		one := digest.NewDigestFromEncoded(digest.SHA256, commit+strings.Repeat("0", 24))
		two := digest.NewDigestFromEncoded(digest.SHA256, commit+strings.Repeat("0", 23)+"1")
		want := func(answer string) {
			t.Helper()
			found, err := w.FindCommit(w.ctx, reader.Scopes, name("M"), commit)
			got := string(ballast.CodeOf(err))
			if err == nil {
				got = w.resolve(reader, found.String())
			}
			if got != answer {
				t.Errorf("got %s, want %s", got, answer)
			}
		}
		want("not_found")
		w.publishAs("global::m::1", one)
		want("m::1")
		w.publishAs("acme::m-2::1", two) // another name's
		w.publishAs("acme::m::1", one)
		w.publishAs("acme::m::2", one)
		want("acme::m::2")
		w.ok(w.SetStatus(w.ctx, vkey("acme::m::2"), ballast.StatusRetired))
		want("acme::m::1")
		w.publishAs("acme::m::3", two)
		want("conflict")
		w.ok(w.SetStatus(w.ctx, vkey("acme::m::1"), ballast.StatusRetired))
		want("conflict")
	})
}
