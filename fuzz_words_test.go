package ballast_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/ballast-registry/ballast"
)

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"global", "acme", "a", "0-0", "-a", "a-", "Acme", "00000000-0000-0000-0000-000000000000", strings.Repeat("a", 64), "a\x00b", "a/b", "ä", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		scope, err := ballast.ParseScope(s)
		if err != nil {
			wantTyped(t, err)
			return
		}
		if scope.String() != s || scope.IsZero() || len(s) > 63 || strings.ToLower(s) != s || strings.ContainsAny(s, "/\\:@._ \x00") {
			t.Errorf("%q was taken for a scope", s)
		}
		if p := scope.Path(); !filepath.IsLocal(p) || filepath.Clean(p) != p || (p == "global") != (scope == ballast.Global) {
			t.Errorf("%q lies at %q", s, p)
		}
	})
}

func FuzzParseAlias(f *testing.F) {
	for _, s := range []string{"champion", "a.b_c-1", "latest", "main", "production", "1", "v1", "Champion", strings.Repeat("a", 40), strings.Repeat("a", 64), "a/b", "a:b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ballast.ParseAlias(s)
		if err != nil {
			wantTyped(t, err)
			return
		}
		if a.String() != s || a.IsZero() || len(s) > 63 || strings.ContainsAny(s, "/\\:@ \x00") || strings.ToLower(s) != s {
			t.Errorf("%q was taken for an alias", s)
		}
		if _, err := ballast.ParseVersion(s); err == nil {
			t.Errorf("%q is an alias and a version", s)
		}
		if r, err := ballast.ParseRef("m@" + s); err != nil || r.Alias != a || r.IsLatest() {
			t.Errorf("m@%s means %+v, %v", s, r, err)
		}
	})
}

func FuzzParseGrant(f *testing.F) {
	for _, s := range []string{
		"acme=writer", "global=admin", "acme=", "=reader", "acme=Writer", "acme=writer=reader", "acme", "a::b=reader", "",
		"acme::llama-*=writer", "acme::Llama/*=reader", "acme::llama/tiny=maintainer", "acme::*=writer", "acme::a*=admin", "global::a*=reader", "acme/a*=writer",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, err := ballast.ParseGrant(s)
		if err != nil {
			wantTyped(t, err)
			if g != (ballast.Grant{}) {
				t.Errorf("%q is refused and gives %v", s, g)
			}
			return
		}
		if g.String() != strings.ToLower(s) || g.Scope.IsZero() || g.Role < ballast.Reader || g.Role > ballast.Admin {
			t.Errorf("%q was taken for the grant %+v", s, g)
		}
		var again ballast.Grant
		if err := ballast.StrictUnmarshal(must(json.Marshal(g)), &again); err != nil || again != g {
			t.Errorf("%v reads back from JSON as %v, %v", g, again, err)
		}
	})
}

func FuzzParseDigest(f *testing.F) {
	for _, s := range []string{someDigest, someDigest[7:], strings.ToUpper(someDigest), someDigest[:70], someDigest + "0", "sha256:sha256:" + someDigest[7:], "sha512:" + someDigest[7:], "sha256:../" + someDigest[10:], ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ballast.ParseDigest(s)
		bare, bareErr := ballast.ParseSHA256(strings.TrimPrefix(s, "sha256:"))
		if (err == nil) != (bareErr == nil && strings.HasPrefix(s, "sha256:")) || err == nil && bare != d {
			t.Fatalf("%q as a digest is %q, %v; without the algorithm %q, %v", s, d, err, bare, bareErr)
		}
		if err != nil {
			wantTyped(t, err)
			return
		}
		if d.String() != s || d.Validate() != nil || ballast.DigestFromSum(ballast.DigestSum(d)) != d {
			t.Errorf("%q was taken for the digest %q", s, d)
		}
		if key := ballast.BlobKey(ballast.Global, d); !filepath.IsLocal(key) || filepath.Base(key) != d.Encoded() {
			t.Errorf("%q lies at %q", s, key)
		}
	})
}

// FuzzParseRefIn is for the two texts of a route: {name} and {ref}.
func FuzzParseRefIn(f *testing.F) {
	for _, s := range [][2]string{{"m", "1"}, {"org/m", "latest"}, {"acme::m", "@champion"}, {"global::5", someDigest}, {"m", ""}, {"m", "@latest"}, {"m", "@" + someDigest}, {"::m", "1"}, {"a::b::m", "1"}, {"m:1", "1"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, name, ref string) {
		r, err := ballast.ParseRefIn(name, ref)
		if err != nil {
			wantTyped(t, err)
			return
		}
		if again, err := ballast.ParseRefIn(r.QualifiedName(), r.Selector()); err != nil || again != r {
			t.Errorf("%q, %q mean %+v, written %q, %q, which mean %+v, %v", name, ref, r, r.QualifiedName(), r.Selector(), again, err)
		}
		if again, err := ballast.ParseRef(r.String()); err != nil || again != r {
			t.Errorf("%q, %q mean %+v, written %q, which means %+v, %v", name, ref, r, r, again, err)
		}
	})
}

// FuzzCheckPath: what is taken for a path stays in the folder that it is written to.
func FuzzCheckPath(f *testing.F) {
	for _, s := range []string{"a", "a/b", "../a", "/a", "a/../b", "a//b", "./a", "a\\b", "a\x00b", "a\u0085b", "\xff", "a/", strings.Repeat("s", 256), strings.Repeat("s/", 350) + "s", "..a", "a/..b", "C:\\a", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if err := ballast.CheckPath(p); err != nil {
			wantTyped(t, err)
			if len(err.Error()) > 1000 {
				t.Errorf("a path of %d bytes is refused with %d bytes", len(p), len(err.Error()))
			}
			return
		}
		if !filepath.IsLocal(p) || filepath.Clean(p) != p || len(p) > ballast.MaxPathBytes || strings.ContainsFunc(p, unicode.IsControl) {
			t.Errorf("%q was taken for a path", p)
		}
	})
}

// FuzzCheckFiles: whether two files may be together does not depend on their order, and is never so when a file system
// that folds or normalizes would have them at one place.
func FuzzCheckFiles(f *testing.F) {
	for _, p := range [][2]string{{"a", "b"}, {"a", "a"}, {"a", "a/b"}, {"README", "readme"}, {"é", "e\u0301"}, {"ß", "SS"}, {"K", "\u212a"}, {"a/x", "A/X"}, {"a-b", "a/b"}, {"ﬀ", "ff"}, {"a", "A/b"}} {
		f.Add(p[0], p[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		both := []ballast.File{file(a, 1), file(b, 2)}
		err := ballast.CheckFiles(both)
		if again := ballast.CheckFiles([]ballast.File{both[1], both[0]}); (err == nil) != (again == nil) {
			t.Fatalf("%q and %q: %v; in the other order: %v", a, b, err, again)
		}
		if err != nil {
			wantTyped(t, err)
			return
		}
		if strings.EqualFold(a, b) || strings.HasPrefix(strings.ToLower(a), strings.ToLower(b)+"/") || strings.HasPrefix(strings.ToLower(b), strings.ToLower(a)+"/") {
			t.Errorf("%q and %q may be together", a, b)
		}
	})
}

// FuzzParts: whatever part size is proposed, the parts are few enough and add up to the file.
func FuzzParts(f *testing.F) {
	for _, n := range [][2]int64{{1, 0}, {ballast.MaxFileSize, 0}, {ballast.MaxFileSize, 1}, {ballast.MinPartSize, ballast.MinPartSize}, {ballast.DefaultPartSize + 1, ballast.DefaultPartSize}, {5, 1 << 62}, {7, -1}} {
		f.Add(n[0], n[1])
	}
	f.Fuzz(func(t *testing.T, size, proposed int64) {
		if size < 1 || size > ballast.MaxFileSize {
			return
		}
		each := ballast.ClampPartSize(size, proposed)
		n := ballast.PartCount(size, each)
		last := ballast.PartLength(size, each, n)
		if each < ballast.MinPartSize || each > ballast.MaxPartSize || n < 1 || n > ballast.MaxParts || last < 1 || last > each || int64(n-1)*each+last != size {
			t.Errorf("%d bytes at %d: %d parts of %d bytes, the last of %d", size, proposed, n, each, last)
		}
	})
}

// FuzzParseSource: a source is the bucket and the key that were written, and lies below a folder only if its key does.
func FuzzParseSource(f *testing.F) {
	for _, s := range []string{"s3://b/a/", "s3://b", "s3://b/a/../c", "s3://b//", "inbox:", "inbox:a/%2e%2e/", "inbox:a\\b", "s3://B/é", "hf://o/m", "s3:///", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		source, err := ballast.ParseSource(s)
		if err != nil {
			wantTyped(t, err)
			return
		}
		written := "inbox:" + source.Key()
		if source.Bucket() != "" {
			written = "s3://" + source.Bucket() + "/" + source.Key()
		}
		if source.String() != written || written != s && written != s+"/" || strings.Contains(source.Bucket(), "/") || strings.ContainsFunc(s, unicode.IsControl) {
			t.Errorf("%q is bucket %q and key %q", s, source.Bucket(), source.Key())
		}
		for _, folder := range []string{"s3://b/a/", "s3://b/", "inbox:a/"} {
			place, err := ballast.ParseSource(folder)
			if err != nil {
				t.Fatal(err)
			}
			if rest, ok := source.Below(place); ok && source.String() != place.String()+rest && source.String()+"/" != place.String() {
				t.Errorf("%q lies below %s at %q", s, folder, rest)
			}
		}
	})
}
