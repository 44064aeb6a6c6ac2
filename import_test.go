package ballast_test

import (
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

func TestSources(t *testing.T) {
	for text, want := range map[string]struct{ is, bucket, key string }{
		"s3://b/":           {"s3://b/", "b", ""},
		"s3://b":            {"s3://b/", "b", ""},
		"s3://b/a/b/":       {"s3://b/a/b/", "b", "a/b/"},
		"s3://b/a%2fb/../c": {"s3://b/a%2fb/../c", "b", "a%2fb/../c"}, // nothing is decoded, nothing cleaned
		"s3://b//a":         {"s3://b//a", "b", "/a"},
		"s3://Upper_Case/a": {"s3://Upper_Case/a", "Upper_Case", "a"},
		"inbox:":            {"inbox:", "", ""},
		"inbox:m/":          {"inbox:m/", "", "m/"},
		"inbox:s3://b/a":    {"inbox:s3://b/a", "", "s3://b/a"},
		"inbox:é +&?x":      {"inbox:é +&?x", "", "é +&?x"},
		"":                  {}, "b/a": {}, "/a": {}, "s3:": {}, "s3://": {}, "s3:///a": {}, "S3://b/a": {}, "hf://org/m": {}, "https://b/a": {}, "INBOX:a": {}, " inbox:a": {},
		"inbox:a\nb": {}, "s3://b/a\x00": {}, "inbox:\xff": {}, "inbox:a\u0085": {},
		"inbox:" + strings.Repeat("a", 1100): {},
	} {
		s, err := ballast.ParseSource(text)
		if (err == nil) != (want.is != "") || s.String() != want.is || s.Bucket() != want.bucket || s.Key() != want.key || s.IsZero() != (err != nil) {
			t.Errorf("%q: %q, bucket %q, key %q, %v", text, s, s.Bucket(), s.Key(), err)
		}
		if err != nil && ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%q: %v", text, err)
		}
		var back ballast.Source
		if b, _ := s.MarshalText(); err == nil && (back.UnmarshalText(b) != nil || back != s) {
			t.Errorf("%q comes back as %q", text, back)
		}
	}
}

func TestSourcesBelow(t *testing.T) {
	for _, c := range []struct {
		source, place, rest string
		ok                  bool
	}{
		{"s3://b/a/m/", "s3://b/a/", "m/", true}, {"s3://b/a/", "s3://b/a/", "", true}, {"s3://b/a", "s3://b/a/", "", true}, {"s3://b/a/m", "s3://b/", "a/m", true}, {"s3://b", "s3://b/", "", true},
		{"s3://b/a-secret/", "s3://b/a/", "", false}, {"s3://b/", "s3://b/a/", "", false}, {"s3://c/a/m", "s3://b/a/", "", false}, {"s3://B/a/m", "s3://b/a/", "", false},
		{"inbox:m", "inbox:", "m", true}, {"inbox:a/m", "s3://b/a/", "", false}, {"s3://b/A/m", "s3://b/a/", "", false},
	} {
		s, err := ballast.ParseSource(c.source)
		place, err2 := ballast.ParseSource(c.place)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if rest, ok := s.Below(place); ok != c.ok || ok && rest != c.rest {
			t.Errorf("%s below %s: %q, %t", s, place, rest, ok)
		}
	}
}

func TestNotOfAModel(t *testing.T) {
	for name, not := range map[string]bool{
		".git": true, ".cache": true, "__pycache__": true, ".DS_Store": true, ".ballast-x.part": true,
		"git": false, ".gitattributes": false, ".GIT": false, "cache": false, "a.part": false, "config.json": false, "": false,
	} {
		if ballast.IsNotOfAModel(name) != not {
			t.Errorf("%q: %t", name, !not)
		}
	}
}

func TestBeginningNotOfAModel(t *testing.T) {
	for path, want := range map[string]string{
		".git/HEAD": ".git", "a/.git": "a/.git", "a/__pycache__/b/c": "a/__pycache__", "a/.DS_Store": "a/.DS_Store", "x/.ballast-1.part": "x/.ballast-1.part",
		"": "", "a": "", "a/b": "", ".gitattributes": "", "a.git/b": "", "a/.gitignore": "", "/": "", "//.git": "//.git",
	} {
		if got, ok := ballast.NotOfAModel(path); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %t", path, got, ok)
		}
	}
}
