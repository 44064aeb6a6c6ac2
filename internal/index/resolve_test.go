package index_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// resolve answers the key, or the code of the refusal.
func (w *world) resolve(l index.Lookup, ref string) string {
	w.t.Helper()
	v, err := w.Resolve(w.ctx, l, must(ballast.ParseRef(ref)))
	if err != nil {
		return string(ballast.CodeOf(err))
	}
	return v.Key().String()
}

var (
	reader = index.Lookup{Scopes: []ballast.Scope{acme, ballast.Global}}
	writer = index.Lookup{Scopes: reader.Scopes, SeesSealed: func(s ballast.Scope) bool { return s == acme }}
)

func TestResolveLatest(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		want := func(key string) {
			t.Helper()
			for _, ref := range []string{"m", "M:latest"} {
				if got := w.resolve(reader, ref); got != key {
					t.Errorf("%s is %s, want %s", ref, got, key)
				}
			}
		}
		want("not_found")
		w.publish("m::1", "global")
		want("m::1")
		w.seal("acme::m::9", "sealed")
		want("m::1")
		w.publish("acme::m::2.0.0-rc.1", "a")
		want("acme::m::2.0.0-rc.1")
		w.publish("acme::m::2.0.0-rc.2", "b")
		want("acme::m::2.0.0-rc.2")
		w.publish("acme::m::0.9.0", "c")
		want("acme::m::0.9.0")
		w.publish("acme::m::1.0.0", "d")
		want("acme::m::1.0.0")
		w.ok(w.Archive(w.ctx, vkey("acme::m::1.0.0")))
		want("acme::m::0.9.0")
		w.ok(w.SetStatus(w.ctx, vkey("acme::m::0.9.0"), ballast.StatusRetired))
		want("acme::m::2.0.0-rc.2")
		for _, k := range []string{"acme::m::2.0.0-rc.1", "acme::m::2.0.0-rc.2"} {
			w.ok(w.SetStatus(w.ctx, vkey(k), ballast.StatusDeleted))
		}
		want("not_found") // an archived one is left: retired is not the only reason
		w.ok(w.SetStatus(w.ctx, vkey("acme::m::1.0.0"), ballast.StatusRetired))
		want("retired")
		w.ok(w.SetStatus(w.ctx, vkey("acme::m::1.0.0"), ballast.StatusLost))
		want("not_found")
		for _, k := range []string{"acme::m::1.0.0", "acme::m::0.9.0"} {
			w.ok(w.SetStatus(w.ctx, vkey(k), ballast.StatusDeleted))
		}
		want("not_found") // and for good not the global one
		if got := w.resolve(index.Lookup{Scopes: []ballast.Scope{ballast.Global}}, "m"); got != "m::1" {
			t.Errorf("in global alone: %s", got)
		}
	})
}

// TestResolveExact crosses the state of the caller's own version with the presence of a global one.
func TestResolveExact(t *testing.T) {
	for own, want := range map[ballast.Status]struct{ reader, writer, byDigest string }{
		"":                    {"global", "global", "global"},
		ballast.StatusSealed:  {"not_found", "own", "global"},
		ballast.StatusReady:   {"own", "own", "own"},
		ballast.StatusRetired: {"retired", "retired", "retired"},
		ballast.StatusDeleted: {"not_found", "not_found", "not_found"},
		ballast.StatusLost:    {"integrity", "integrity", "integrity"},
	} {
		for _, global := range []bool{true, false} {
			t.Run(fmt.Sprintf("own %q, global %t", own, global), func(t *testing.T) {
				w := newWorld(t, index.NewMem())
				if global {
					w.publish("m::1", "x")
				}
				switch own {
				case "":
				case ballast.StatusSealed:
					w.seal("acme::m::1", "x")
				default:
					v := w.publish("acme::m::1", "x")
					if own != ballast.StatusReady {
						w.ok(w.SetStatus(w.ctx, v.Key(), own))
					}
				}
				expect := func(l index.Lookup, ref, want string) {
					t.Helper()
					switch {
					case want == "own":
						want = "acme::m::1"
					case want == "global" && global:
						want = "m::1"
					case want == "global":
						want = "not_found"
					}
					if got := w.resolve(l, ref); got != want {
						t.Errorf("%s: got %s, want %s", ref, got, want)
					}
				}
				for _, ref := range []string{"m:1", "M:1.0.0"} {
					expect(reader, ref, want.reader)
					expect(writer, ref, want.writer)
				}
				expect(reader, "m@"+sum("manifest of x").String(), want.byDigest)
				expect(reader, "m:2", "not_found")
				expect(reader, "n:1", "not_found")
				expect(reader, "m@"+sum("nothing").String(), "not_found")
			})
		}
	}
}

func TestResolveDigest(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ref := "m@" + sum("manifest of x").String()
		want := func(key string) {
			t.Helper()
			if got := w.resolve(reader, ref); got != key {
				t.Errorf("got %s, want %s", got, key)
			}
		}
		w.publish("acme::m::1", "x")
		w.publish("acme::m::3.0.0-rc", "x")
		w.publish("acme::m::2", "x")
		w.publish("acme::m::4", "y")
		want("acme::m::3.0.0-rc")
		w.ok(w.SetStatus(w.ctx, vkey("acme::m::3.0.0-rc"), ballast.StatusRetired))
		want("acme::m::2")
		w.ok(w.SetStatus(w.ctx, vkey("acme::m::2"), ballast.StatusDeleted))
		want("acme::m::1")
		w.ok(w.SetStatus(w.ctx, vkey("acme::m::1"), ballast.StatusDeleted))
		want("retired")
	})
}

func TestResolveAlias(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		want := func(l index.Lookup, key string) {
			t.Helper()
			if got := w.resolve(l, "m@champion"); got != key {
				t.Errorf("got %s, want %s", got, key)
			}
		}
		champion := must(ballast.ParseAlias("champion"))
		w.publish("m::1", "x")
		_, err := w.SetAlias(w.ctx, ballast.Global, name("m"), champion, version("1"), "ci", nil)
		w.ok(err)
		want(reader, "m::1")
		w.seal("acme::m::1", "y")
		want(reader, "m::1")
		_, err = w.Ready(w.ctx, vkey("acme::m::1"))
		w.ok(err)
		want(reader, "not_found") // the own name shadows the global one, aliases included
		_, err = w.SetAlias(w.ctx, acme, name("m"), champion, version("1"), "ci", nil)
		w.ok(err)
		want(reader, "acme::m::1")
		w.ok(w.SetStatus(w.ctx, vkey("acme::m::1"), ballast.StatusRetired))
		want(writer, "retired")
		w.ok(w.SetStatus(w.ctx, vkey("acme::m::1"), ballast.StatusDeleted))
		want(writer, "not_found")
	})
}

// TestARetiredBaseShutsItsChildren, by whatever reference, and does not change what latest chooses.
func TestARetiredBaseShutsItsChildren(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		base := w.publish("base::1", "b")
		w.publish("acme::m::1", "old")
		w.publishOn("base::1", "acme::m::2", "x")
		champion := must(ballast.ParseAlias("champion"))
		_, err := w.SetAlias(w.ctx, acme, name("m"), champion, version("2"), "ci", nil)
		w.ok(err)
		refs := []string{"m", "m:2", "m@champion", "m@" + sum("manifest of x").String()}
		for _, ref := range refs {
			if got := w.resolve(reader, ref); got != "acme::m::2" {
				t.Errorf("%s: got %s", ref, got)
			}
		}
		w.ok(w.SetStatus(w.ctx, base.Key(), ballast.StatusRetired))
		for _, ref := range refs {
			_, err := w.Resolve(w.ctx, reader, must(ballast.ParseRef(ref)))
			if e := w.want(ballast.CodeRetired, err); !strings.Contains(e.Detail, "base::1") {
				t.Errorf("%s: %s does not name the base", ref, e.Detail)
			}
		}
		if got := w.resolve(reader, "m:1"); got != "acme::m::1" {
			t.Errorf("a version without that base: %s", got)
		}
		w.publish("acme::m::1.5.0", "x")
		if got := w.resolve(reader, refs[3]); got != "acme::m::1.5.0" {
			t.Errorf("a twin without that base: %s", got)
		}
	})
}

// TestAbsentAndInvisibleReadAlike: what a caller may not see must not differ from what is not there.
func TestAbsentAndInvisibleReadAlike(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("other::secret::1", "x")
		w.seal("acme::secret::1", "y")
		for _, ref := range []string{"secret:1", "secret", "secret@champion", "secret@" + sum("manifest of x").String()} {
			_, err := w.Resolve(w.ctx, reader, must(ballast.ParseRef(ref)))
			there := w.want(ballast.CodeNotFound, err)
			absent := strings.Replace(ref, "secret", "absent", 1)
			_, err = w.Resolve(w.ctx, reader, must(ballast.ParseRef(absent)))
			if got := strings.Replace(w.want(ballast.CodeNotFound, err).Detail, "absent", "secret", 1); got != there.Detail {
				t.Errorf("%q against %q", there.Detail, got)
			}
		}
	})
}

func TestVersionByKey(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		v := w.seal("acme::m::1", "x")
		if got, err := w.Version(w.ctx, v.Key()); err != nil || got.Status != ballast.StatusSealed {
			t.Errorf("got %+v, %v", got, err)
		}
		if _, err := w.Version(w.ctx, vkey("acme::m::2")); !errors.Is(err, index.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}
