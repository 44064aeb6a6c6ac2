package main

import (
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

// FuzzSettings: a settings file is a flat map that says each thing once, the same each time it is read, or refused.
func FuzzSettings(f *testing.F) {
	for _, s := range []string{
		"listen: localhost:1\ns3_bucket: b\n", `{"s3-path-style":true,"n":1}`, "# nothing\n", "", "a: [1]\n", "a: {b: c}\n", "a:\n", "- a\n", "a: 1\na: 2\n", "a_b: 1\na-b: 2\n", "a: 1\n---\nb: 2\n",
		"a: &x [*x]\n", "a: &a 1\nb: *a\n", "<<: {a: 1}\n", "a: 1e400\n", "a: !!binary aGk=\n", "a: 2026-01-01\n", "? [a]\n: b\n", "\xff", "a: 18446744073709551615\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseSettings(b)
		if err != nil {
			return
		}
		for range 4 { // maps are walked in another order each time
			if again, err := parseSettings(b); err != nil || !maps.Equal(again, got) {
				t.Fatalf("%q is read as %v, then as %v, %v", b, got, again, err)
			}
		}
		for name, value := range got {
			switch value.(type) {
			case string, bool, int:
			default:
				t.Errorf("%q: %q is the %T %v", b, name, value, value)
			}
			if strings.Contains(name, "_") {
				t.Errorf("%q has the setting %q", b, name)
			}
		}
	})
}

// FuzzConfig: the client's file is read, and written back as the same, or refused without showing the token.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{`{"url":"http://h","token":"bal_x"}`, `{}`, `null`, ``, `{"url":1}`, `{"token":"` + "\u0000" + `"}`, `[]`, `{"url":"a","URL":"b"}`} {
		f.Add([]byte(s))
	}
	home := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		a := &app{env: func(name string) string { return map[string]string{"HOME": home}[name] }, stdout: io.Discard, stderr: io.Discard}
		path, err := a.configPath()
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o700)
		}
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := a.loadConfig()
		if err != nil {
			if ballast.CodeOf(err) != ballast.CodeInvalid || len(err.Error()) > 500+len(path) {
				t.Errorf("%q is refused with %v", b, err)
			}
			return
		}
		if _, err := a.saveConfig(c); err != nil {
			t.Fatal(err)
		}
		if again, err := a.loadConfig(); err != nil || again != c {
			t.Errorf("%q is %+v, then %+v, %v", b, c, again, err)
		}
	})
}

// FuzzPushFlags: what the flags of a push say is refused in words, or is something that can be published.
func FuzzPushFlags(f *testing.F) {
	for _, s := range [][3]string{
		{"llama/tiny:1.2.0", "64MiB", "champion"}, {"acme::m", "5MiB", ""}, {"m:latest", "1", "latest"}, {"m@a", "NaN", ""}, {"m@latest", "-5MiB", ""}, {"m@sha256:0", "1e30GiB", ""}, {"a::m::1", "6GiB", "A"},
		{"5", "0x10MiB", ""}, {"", "Inf", ""}, {"m", "18446744073709551616", ""}, {"m", "9EiB", ""},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, target, partSize, alias string) {
		a := &app{env: func(string) string { return "" }, stdout: io.Discard, stderr: io.Discard}
		o, err := (&pushCmd{Path: ".", Target: target, PartSize: partSize, Alias: alias}).options(a)
		if err != nil {
			if ballast.CodeOf(err) != ballast.CodeInvalid {
				t.Errorf("%q %q %q is refused with %v", target, partSize, alias, err)
			}
			return
		}
		if o.Target.Name.IsZero() || !o.Target.Alias.IsZero() || o.Target.Digest != "" || strings.HasSuffix(target, "latest") && o.Target.Name.String() != target && o.Target.Version.IsZero() && !strings.HasSuffix(o.Target.Name.String(), "latest") {
			t.Errorf("%q is the target %v", target, o.Target)
		}
		if o.PartSize != 0 && (o.PartSize < ballast.MinPartSize || o.PartSize > ballast.MaxPartSize) || (o.PartSize == 0) != (partSize == "") || o.Alias.String() != alias {
			t.Errorf("%q %q are %d and %v", partSize, alias, o.PartSize, o.Alias)
		}
	})
}

// FuzzParseAliasFlag: NAME@ALIAS is one alias of one name.
func FuzzParseAliasFlag(f *testing.F) {
	for _, s := range []string{"m@champion", "acme::m@champion", "m", "m:1", "m@latest", "m@sha256:0", "@a", "m@", "m@a@b", "m:@a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := parseAlias(s)
		if err != nil {
			if ballast.CodeOf(err) != ballast.CodeInvalid {
				t.Errorf("%q is refused with %v", s, err)
			}
			return
		}
		if ref.Alias.IsZero() || !ref.Version.IsZero() || ref.Digest != "" || ref.String() != s {
			t.Errorf("%q is the alias %v", s, ref)
		}
	})
}

// TestSettingsAreOneMap: what a settings file says twice, or after its map, is not passed over.
func TestSettingsAreOneMap(t *testing.T) {
	for text, want := range map[string]string{
		"# nothing\n": "", "": "", "a: 1\n...\n": "", `{"a":1}`: "",
		"s3_bucket: a\ns3-bucket: b\n": "twice", "a: 1\na: 2\n": "already defined", "a: 1\n---\nb: 2\n": "something follows", `{"a":1}{"b":2}`: "something follows",
		"a: 1\n" + strings.Repeat("#", maxSettingsBytes): "are no settings", "a: [1]\n": "write a text",
	} {
		file := filepath.Join(t.TempDir(), "settings.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readSettings(file); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q is read as %v, %v; want %q", text, got, err, want)
		}
	}
}

// FuzzCheckHosts: two URLs pass only when no client takes the store's host for the registry's or for one below it.
func FuzzCheckHosts(f *testing.F) {
	for _, s := range [][2]string{
		{"http://localhost:8080", "http://127.0.0.1:9000"}, {"http://h", "http://h:9000"}, {"http://h", "https://s3.H."}, {"http://h.example", "http://h.example.org"}, {"http://10.0.0.1", "http://1.10.0.0.1"},
		{"http://[::1]:80", "http://[::1]"}, {"h", "http://s"}, {"http://", "http://s"}, {"http://h@s", "http://s"}, {"ftp://h", "http://s"}, {"http://K", "http://\u212a"}, {"http://h", "http://s\\@h"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, registry, store string) {
		if checkHosts(registry, store) != nil {
			return
		}
		to := func(raw string) string {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, raw, nil)
			if err != nil {
				t.Fatalf("%q passes, and no client can go there: %v", raw, err)
			}
			return strings.TrimSuffix(r.URL.Hostname(), ".")
		}
		if a, b := to(registry), to(store); a == "" || strings.EqualFold(a, b) || net.ParseIP(b) == nil && strings.HasSuffix(strings.ToLower(b), "."+strings.ToLower(a)) {
			t.Errorf("%q and %q pass", registry, store)
		}
	})
}
