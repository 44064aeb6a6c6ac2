package ballast_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

// wantTyped holds every refusal to the closed set of errors.
func wantTyped(t *testing.T, err error) {
	if c := ballast.CodeOf(err); c == ballast.CodeInternal {
		t.Errorf("an error without a code: %v", err)
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"m", "org/m:1", "acme::m@champion", "acme::m::1.0.0-rc.1", "m::1", "acme::5:latest", "m@" + someDigest, "m@latest", "::", "a:@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ballast.ParseRef(s)
		if err != nil {
			wantTyped(t, err)
			return
		}
		if again, err := ballast.ParseRef(r.String()); err != nil || again != r {
			t.Errorf("%q means %+v, written %q, which means %+v, %v", s, r, r, again, err)
		}
		k, err := ballast.ParseKey(s)
		if err != nil {
			return
		}
		if again, err := ballast.ParseKey(k.String()); err != nil || again != k {
			t.Errorf("%q is the key %+v, written %q, which is %+v, %v", s, k, k, again, err)
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"1", "0.0.0", "1.2.3-rc.1", "1.0.0--", "1.0.0-A.0a.9", maxNumber, maxNumber + "0", "1.0.0-01", "v1", "1+b"} {
		f.Add(s, "1.0.0-a")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		v, err := ballast.ParseVersion(a)
		if err != nil {
			wantTyped(t, err)
			return
		}
		if v.String() != a || v.Compare(v) != 0 || v.Compare(must(ballast.ParseVersion(v.Fold()))) != 0 {
			t.Errorf("%q: parsed as %q, folded %q", a, v, v.Fold())
		}
		if w, err := ballast.ParseVersion(b); err == nil && v.Compare(w) != bytes.Compare(v.Order(), w.Order()) {
			t.Errorf("%s against %s: precedence %d, bytes %d", v, w, v.Compare(w), bytes.Compare(v.Order(), w.Order()))
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"m", "Org/M-1.0_x", "a--b", "a.git", "tokens", "a/b/c", "_", ".a", "ä", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ballast.ParseName(s)
		if err != nil {
			wantTyped(t, err)
			return
		}
		if n.String() != s || strings.ContainsAny(s, "\x00:@ \\") || strings.Count(s, "/") > 1 || strings.Contains(s, "..") {
			t.Errorf("%q was taken for a name", s)
		}
		if folded, err := ballast.ParseName(n.Fold()); err != nil || folded.Fold() != n.Fold() {
			t.Errorf("%q folds to %q, which is no name: %v", s, n.Fold(), err)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	for _, files := range [][]ballast.File{nil, {file("a", 0)}, {file("b/ä.json", 2), file("a.py", 1)}} {
		_, b, err := ballast.BuildManifest(files)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, '\n'))
	}
	f.Add([]byte(`{"layers":[{"digest":"sha256:x"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := ballast.ParseManifest(b)
		if err != nil {
			wantTyped(t, err)
			return
		}
		if _, again, err := ballast.BuildManifest(files); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s is another manifest than that of its files: %s, %v", b, again, err)
		}
		if !slices.IsSortedFunc(files, func(a, b ballast.File) int { return strings.Compare(a.Path, b.Path) }) {
			t.Errorf("files out of order: %v", files)
		}
	})
}

func FuzzFileJSON(f *testing.F) {
	f.Add([]byte(`{"path":"a/b","size":4,"sha256":"` + someDigest[7:] + `"}`))
	f.Add([]byte(`{"path":"\ud800","size":-1,"sha256":""}`))
	f.Add([]byte(`{"path":"a","PATH":"b","size":1e3}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var file ballast.File
		if err := ballast.StrictUnmarshal(b, &file); err != nil {
			wantTyped(t, err)
			return
		}
		var again ballast.File
		if err := json.Unmarshal(must(json.Marshal(file)), &again); err != nil || again != file {
			t.Errorf("%s: %+v reads back as %+v, %v", b, file, again, err)
		}
		wantTyped(t, ballast.CheckFiles([]ballast.File{file}))
	})
}
