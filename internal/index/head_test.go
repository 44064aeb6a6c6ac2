package index_test

import (
	"errors"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// heads are references to versions in every state, and to one that is served no more for its base.
func (w *world) heads() []string {
	w.publish("acme::base::1", "base")
	w.publishOn("acme::base::1", "acme::m::1", "one")
	w.publish("acme::m::2", "two")
	w.publish("acme::m::3.0.1-rc.1", "three")
	_, err := w.setAlias("champion", "2", nil)
	w.ok(err)
	w.promote("acme::m::2")
	w.publish("acme::gone::1", "gone")
	w.retire("acme::gone::1")
	w.publish("acme::dead::1", "dead")
	w.delete("acme::dead::1")
	w.seal("acme::m::9", "nine")
	w.publish("acme::old::1", "old")
	w.publishOn("acme::old::1", "acme::child::1", "child")
	w.retire("acme::old::1")
	return []string{"m", "m:1", "m:2", "m:3.0.1-rc.1", "m@champion", "m@production", "m@none", "gone", "gone:1", "dead:1", "m:9", "child", "child:1", "absent"}
}

func (w *world) wantHeads(refs []string) {
	w.t.Helper()
	for _, text := range refs {
		ref := must(ballast.ParseRef(text))
		for _, l := range []index.Lookup{reader, {Scopes: reader.Scopes, Retired: true}, {Scopes: reader.Scopes, SeesSealed: func(ballast.Scope) bool { return true }}} {
			v, err := w.Resolve(w.ctx, l, ref)
			h, headErr := w.ResolveHead(w.ctx, l, ref)
			if (err == nil) != (headErr == nil) || err != nil && err.Error() != headErr.Error() {
				w.t.Errorf("%s: %v, head %v", text, err, headErr)
			}
			if err == nil && (h.Scope != v.Scope || h.Status != v.Status || h.Digest != v.Digest) {
				w.t.Errorf("%s: head %+v of %+v", text, h, v)
			}
		}
	}
}

// TestHeadsSayWhatTheWholeSays, and the same refusals come of them.
func TestHeadsSayWhatTheWholeSays(t *testing.T) {
	w := newWorld(t, index.NewMem())
	refs := w.heads()
	w.wantHeads(refs)
	if n := w.DropHeads(w.ctx); n < 8 {
		t.Fatalf("%d values had a head", n)
	}
	w.wantHeads(refs) // values from before there were heads
}

// TestAHeadOfAnotherIsDamage: a value whose checksum is right and whose head belongs to something else is not believed
// when it is read whole.
func TestAHeadOfAnotherIsDamage(t *testing.T) {
	w := newWorld(t, index.NewMem())
	a, b := w.publish("acme::a::1", "a"), w.publish("acme::b::1", "b")
	w.ok(w.SwapHeads(w.ctx, index.VersionKey(a.Key()), index.VersionKey(b.Key())))
	for _, v := range []index.Version{a, b} {
		if _, err := w.Version(w.ctx, v.Key()); !errors.Is(err, index.ErrCorrupt) {
			t.Errorf("%s: %v", v.Key(), err)
		}
	}
}

func FuzzOpenHead(f *testing.F) {
	for _, s := range []string{"", "\x01", "\x01\x00{}", "\x01\x05r", `{"schema":1,"value":{}}`, "\x01\x21r01234567890123456789012345678901{}", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		head, err := index.OpenHead(b)
		if err != nil && !unreadable(err) && ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%q: %v", b, err)
		}
		if err == nil && head.Status == "" && b[0] != 0x7B { // JSON without a status is the business of its own decoder
			t.Errorf("%q: no status", b)
		}
	})
}
