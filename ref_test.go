package ballast_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
)

const someDigest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func scope(s string) ballast.Scope     { return must(ballast.ParseScope(s)) }
func name(s string) ballast.Name       { return must(ballast.ParseName(s)) }
func version(s string) ballast.Version { return must(ballast.ParseVersion(s)) }
func alias(s string) ballast.Alias     { return must(ballast.ParseAlias(s)) }

func TestParseRef(t *testing.T) {
	for text, want := range map[string]ballast.Ref{
		"m":                             {Name: name("m")},
		"m:latest":                      {Name: name("m")},
		"m@latest":                      {Name: name("m")},
		"org/M":                         {Name: name("org/M")},
		"m:1":                           {Name: name("m"), Version: version("1")},
		"m:1.0.0-RC.1":                  {Name: name("m"), Version: version("1.0.0-RC.1")},
		"m@champion":                    {Name: name("m"), Alias: alias("champion")},
		"m@production":                  {Name: name("m"), Alias: ballast.ProductionAlias()},
		"acme::m@production":            {Scope: scope("acme"), Name: name("m"), Alias: ballast.ProductionAlias()},
		"m@" + someDigest:               {Name: name("m"), Digest: someDigest},
		"acme::m":                       {Scope: scope("acme"), Name: name("m")},
		"acme::m:2":                     {Scope: scope("acme"), Name: name("m"), Version: version("2")},
		"acme::org/m@champion":          {Scope: scope("acme"), Name: name("org/m"), Alias: alias("champion")},
		"global::m@" + someDigest:       {Scope: ballast.Global, Name: name("m"), Digest: someDigest},
		"acme::m::1":                    {Scope: scope("acme"), Name: name("m"), Version: version("1")},
		"global::m::1":                  {Scope: ballast.Global, Name: name("m"), Version: version("1")},
		"m::1":                          {Scope: ballast.Global, Name: name("m"), Version: version("1")},
		"org/m::1.0.0-a":                {Scope: ballast.Global, Name: name("org/m"), Version: version("1.0.0-a")},
		"1::2":                          {Scope: ballast.Global, Name: name("1"), Version: version("2")},
		"acme::5:latest":                {Scope: scope("acme"), Name: name("5")},
		strings.Repeat("a", 63) + "::m": {Scope: scope(strings.Repeat("a", 63)), Name: name("m")},
	} {
		if got, err := ballast.ParseRef(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, bad := range []string{"", ":", "@", "::", ":1", "@a", "m:", "m@", "m:@", "m:@a", "m:@latest", "m::", "::m", "m:v1", "m:0", "m@1", "m@main",
		"m@Production", "m:production", "m:a", "m@sha256:", "m@sha256:00", "m@sha512:" + someDigest[7:], "m@SHA256:" + someDigest[7:], "m:1:2",
		"m@a@b", "m@a:1", "m:1@a", "acme::", "ACME::m", "acme::m::", "acme::m::latest", "acme::m::@a", "a::b::c::1", "::m::1",
		"acme::::1", "acme::m:::1", "m :1", "m\n", "tokens", "acme::m/", "acme::m--n", "m@" + someDigest + "0"} {
		if got, err := ballast.ParseRef(bad); ballast.CodeOf(err) != ballast.CodeInvalid || got != (ballast.Ref{}) {
			t.Errorf("%q: got %+v, %v; want invalid", bad, got, err)
		}
	}
}

func TestKeyText(t *testing.T) {
	global := ballast.Key{Scope: ballast.Global, Name: name("org/M"), Version: version("1.0.0-RC")}
	own := ballast.Key{Scope: scope("acme"), Name: name("m"), Version: version("7")}
	if global.String() != "org/M::1.0.0-RC" || own.String() != "acme::m::7" {
		t.Errorf("%s, %s", global, own)
	}
	for text, want := range map[string]ballast.Key{"org/M::1.0.0-RC": global, "global::org/M::1.0.0-RC": global, "acme::m::7": own} {
		if got, err := ballast.ParseKey(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "m", "m:1", "acme::m", "acme::m:7", "global::m:7", "m@a", "acme::m@a", "acme::m::latest",
		"m@" + someDigest, "acme::m@" + someDigest, "acme::m::v1", "a::b::c::1"} {
		if got, err := ballast.ParseKey(bad); ballast.CodeOf(err) != ballast.CodeInvalid || got != (ballast.Key{}) {
			t.Errorf("%q: got %+v, %v; want invalid", bad, got, err)
		}
	}
}

func drawScope(t *rapid.T) ballast.Scope {
	return scope(rapid.OneOf(rapid.Just("global"), rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?`)).Draw(t, "scope"))
}

func drawName(t *rapid.T) ballast.Name {
	text := rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9_][A-Za-z0-9._-]{0,6}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,6})?`), rapid.StringMatching(`[1-9]{1,3}(\.0\.0)?`)).
		Filter(func(s string) bool { _, err := ballast.ParseName(s); return err == nil })
	return name(text.Draw(t, "name"))
}

func drawRef(t *rapid.T) ballast.Ref {
	r := ballast.Ref{Name: drawName(t)}
	if rapid.Bool().Draw(t, "scoped") {
		r.Scope = drawScope(t)
	}
	switch rapid.IntRange(0, 3).Draw(t, "selector") {
	case 1:
		r.Version = drawVersion(t, "version")
	case 2:
		r.Alias = alias(rapid.StringMatching(`[a-z][a-z0-9._-]{0,8}x`).Draw(t, "alias"))
	case 3:
		r.Digest = digest.Digest("sha256:" + rapid.StringMatching(`[0-9a-f]{64}`).Draw(t, "digest"))
	}
	return r
}

func TestRefsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRef(t)
		if got, err := ballast.ParseRef(r.String()); err != nil || got != r {
			t.Errorf("%q: got %+v, %v; want %+v", r, got, err, r)
		}
		if got, err := ballast.ParseRefIn(r.QualifiedName(), r.Selector()); err != nil || got != r {
			t.Errorf("%q, %q: got %+v, %v; want %+v", r.QualifiedName(), r.Selector(), got, err, r)
		}
		if r.IsLatest() != (r.Selector() == "latest") {
			t.Errorf("%+v: selector %q", r, r.Selector())
		}
	})
}

func TestKeysReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := ballast.Key{Scope: drawScope(t), Name: drawName(t), Version: drawVersion(t, "version")}
		if got, err := ballast.ParseKey(k.String()); err != nil || got != k {
			t.Errorf("%q: got %+v, %v", k, got, err)
		}
		ref, err := ballast.ParseRef(k.String())
		if want := (ballast.Ref{Scope: k.Scope, Name: k.Name, Version: k.Version}); err != nil || ref != want {
			t.Errorf("%q as a reference: got %+v, %v", k, ref, err)
		}
	})
}

func TestParseRefIn(t *testing.T) {
	for _, bad := range [][2]string{{"", "1"}, {"m", "v1"}, {"m", "a"}, {"m", "@main"}, {"m", "sha256:0"}, {"a::b::c", "1"}, {"A::m", "1"}, {"m", "1:2"}} {
		if got, err := ballast.ParseRefIn(bad[0], bad[1]); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%q: got %+v, %v; want invalid", bad, got, err)
		}
	}
}

// TestScopeHint: one colon after a scope is a slip that is named; what cannot be one is not.
func TestScopeHint(t *testing.T) {
	for text, hint := range map[string]string{
		"acme:llama/tiny":       "if acme is a scope, write acme::llama/tiny",
		"acme:llama/tiny:1.0.0": "if acme is a scope, write acme::llama/tiny:1.0.0",
		"acme:tiny@champion":    "if acme is a scope, write acme::tiny@champion",
		"a/b:tiny":              "",
		"acme:ti ny":            "",
		"acme::tiny:b:c":        "",
	} {
		_, err := ballast.ParseRef(text)
		if err == nil {
			t.Errorf("%q is taken", text)
			continue
		}
		if got := err.Error(); (hint == "") == strings.Contains(got, "is a scope") || !strings.Contains(got, hint) {
			t.Errorf("%q: %s; want the hint %q", text, got, hint)
		}
	}
}
