package ballast_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
)

// file returns a file of size bytes whose digest depends on size alone.
func file(path string, size int64) ballast.File {
	if size == 0 {
		return ballast.File{Path: path, Digest: ballast.EmptyDigest}
	}
	return ballast.File{Path: path, Size: size, Digest: ballast.DigestOf(fmt.Append(nil, size))}
}

func TestCheckPath(t *testing.T) {
	segment := strings.Repeat("s", 255)
	longest := segment + "/" + segment + "/" + strings.Repeat("s", 700-2*256)
	for _, good := range []string{"a", "a/b/c", ".hidden", "..a", "a..", "...", "a b", "ä", "模型.safetensors", "a:b", "-", segment, longest} {
		if err := ballast.CheckPath(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "/", "/a", "a/", "a//b", "./a", "a/.", "a/./b", "../a", "a/..", "a/../b", "a/../../b",
		`a\b`, `..\a`, "a\x00", "a\nb", "a\x7f", "a\u0085b", "\xff", "a\xc3/b", segment + "s", "a/" + segment + "s", longest + "s"} {
		if err := ballast.CheckPath(bad); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%q: got %v, want invalid", bad, err)
		}
	}
}

func TestCheckFiles(t *testing.T) {
	twoSizes := file("b", 2)
	twoSizes.Digest = file("a", 1).Digest
	full := make([]ballast.File, ballast.MaxFiles)
	for i := range full {
		full[i] = file(fmt.Sprintf("dir/%05d", i), 1)
	}
	for what, files := range map[string][]ballast.File{
		"none":                  nil,
		"same bytes twice":      {file("a", 1), file("b", 1), file("e", 0), file("f", 0)},
		"names close together":  {file("a", 1), file("ab", 1), file("a.b/c", 1), file("a b", 1)},
		"as many as fit":        full,
		"as large as fits":      {file("a", ballast.MaxFileSize)},
		"accents that differ":   {file("é", 1), file("e", 1), file("è", 1)},
		"folders by one prefix": {file("a/b", 1), file("a/c", 1), file("aa", 1)},
	} {
		if err := ballast.CheckFiles(files); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, files := range map[string][]ballast.File{
		"a path that climbs out":           {file("../a", 1)},
		"one path twice":                   {file("a", 1), file("a", 1)},
		"paths equal but for case":         {file("Model.bin", 1), file("model.BIN", 2)},
		"case of other letters":            {file("ÄRGER", 1), file("ärger", 1)},
		"sharp s":                          {file("straße", 1), file("STRASSE", 1)},
		"Kelvin":                           {file("\u212a", 1), file("k", 1)},
		"composed and decomposed":          {file("caf\u00e9", 1), file("cafe\u0301", 1)},
		"marks in another order":           {file("a\u0323\u0302", 1), file("a\u0302\u0323", 1)},
		"marks that folding puts in order": {file("j\u0323\u030c", 1), file("J\u0323\u030c", 1)},
		"a file and a folder":              {file("a", 1), file("a/b", 1)},
		"a file and a folder far up":       {file("a/b/c/d", 1), file("a/b", 1)},
		"a file and a folder but for case": {file("A", 1), file("a/b", 1)},
		"a file and a folder, decomposed":  {file("caf\u00e9", 1), file("cafe\u0301/x", 1)},
		"one digest with two sizes":        {file("a", 1), twoSizes},
		"a negative size":                  {file("a", -1)},
		"over the largest object":          {file("a", ballast.MaxFileSize+1)},
		"no bytes with another digest":     {{Path: "a", Digest: someDigest}},
		"bytes with the digest of none":    {{Path: "a", Size: 1, Digest: ballast.EmptyDigest}},
	} {
		if err := ballast.CheckFiles(files); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%s: got %v, want invalid", what, err)
		}
		slices.Reverse(files)
		if err := ballast.CheckFiles(files); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%s, reversed: got %v, want invalid", what, err)
		}
		if _, _, err := ballast.BuildManifest(files); err == nil {
			t.Errorf("%s: has a manifest", what)
		}
	}
	if err := ballast.CheckFiles(append(full, file("one more", 1))); ballast.CodeOf(err) != ballast.CodeTooLarge {
		t.Errorf("10,001 files: got %v, want too_large", err)
	}
}

// goldenFiles take every row of the frozen table, and some that it does not hold.
func goldenFiles() []ballast.File {
	files := []ballast.File{file("model-00001-of-00002.safetensors", 4999), file("model-00002-of-00002.safetensors", 5<<30), file("pytorch_model.bin", 7),
		file("no-extension", 8), file("a <b> & c.md", 9), file("onnx/model.onnx", 10), file("模型/配置.json", 11), file("empty", 0), file("trailing.", 12)}
	names, extensions := ballast.MediaTable()
	for n := range names {
		files = append(files, file("names/"+strings.ToUpper(n), 100))
	}
	for e := range extensions {
		files = append(files, file("extensions/x"+e, 200), file("extensions/y.tar"+strings.ToUpper(e), 300))
	}
	return files
}

// TestManifestIsFrozen holds the bytes of a manifest for good: another form would give every model another digest.
func TestManifestIsFrozen(t *testing.T) {
	m, b, err := ballast.BuildManifest(goldenFiles())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(must(os.ReadFile("testdata/manifest.json"))), string(b)); diff != "" {
		t.Errorf("the canonical form changed:\n%s", diff)
	}
	if m.MediaType != ocispec.MediaTypeImageManifest || m.ArtifactType != ballast.ArtifactType || m.SchemaVersion != 2 || m.Annotations != nil {
		t.Errorf("%+v", m)
	}
	_, none, err := ballast.BuildManifest(nil)
	want := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.cncf.model.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},"layers":[]}`
	if err != nil || string(none) != want {
		t.Errorf("no files: got %s, %v\nwant %s", none, err, want)
	}
}

func TestMediaTypesAreFrozen(t *testing.T) {
	names, extensions := ballast.MediaTable()
	var rows []string
	for n, media := range names {
		rows = append(rows, n+" "+media)
	}
	for e, media := range extensions {
		rows = append(rows, "*"+e+" "+media)
	}
	slices.Sort(rows)
	if diff := cmp.Diff(string(must(os.ReadFile("testdata/media-types.txt"))), strings.Join(rows, "\n")+"\n"); diff != "" {
		t.Errorf("the table changed:\n%s", diff)
	}
}

func TestMediaTypeOf(t *testing.T) {
	const raw = "application/vnd.cncf.model.%s.v1.raw"
	for path, kind := range map[string]string{"config.json": "weight.config", "a/b/CONFIG.JSON": "weight.config", "README": "doc", "docs/License": "doc",
		"README.md": "doc", "vocab.txt": "weight.config", "notes.txt": "doc", "tokenizer.model": "weight.config", "other.model": "weight",
		"x.py": "code", "Makefile": "code", "model.safetensors": "weight", "noext": "weight", "json": "weight", ".json": "weight.config",
		"json/x": "weight", "a.json/b.bin": "weight", ".gitattributes": "weight.config"} {
		if got, want := ballast.MediaTypeOf(path), fmt.Sprintf(raw, kind); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

func drawFiles(t *rapid.T) []ballast.File {
	files := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) ballast.File {
		return file(rapid.StringMatching(`[a-zé<]{1,3}(/[a-z.]{0,2}[a-z]){0,2}`).Draw(t, "path"), rapid.Int64Range(0, 3).Draw(t, "size"))
	}), 0, 12, func(f ballast.File) string { return f.Path }).Draw(t, "files")
	for ballast.CheckFiles(files) != nil {
		files = files[:len(files)-1]
	}
	return files
}

func TestManifestOfAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		files := drawFiles(t)
		_, want, err := ballast.BuildManifest(files)
		if err != nil {
			t.Fatal(err)
		}
		shuffled := slices.Clone(files)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		before := slices.Clone(shuffled)
		_, got, err := ballast.BuildManifest(shuffled)
		if err != nil || string(got) != string(want) {
			t.Errorf("got %s, %v\nwant %s", got, err, want)
		}
		if !slices.Equal(before, shuffled) {
			t.Error("BuildManifest changed its argument")
		}
		back, err := ballast.ParseManifest(got)
		slices.SortFunc(files, func(a, b ballast.File) int { return strings.Compare(a.Path, b.Path) })
		if err != nil || !slices.Equal(back, files) {
			t.Errorf("read back as %v, %v; want %v", back, err, files)
		}
	})
}

func TestParseManifestRefuses(t *testing.T) {
	_, b, err := ballast.BuildManifest([]ballast.File{file("a.json", 1), file("b.bin", 2)})
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	swap := func(old, new string) string {
		if strings.Count(good, old) == 0 {
			t.Fatalf("%s is not in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	for what, bad := range map[string]string{
		"nothing":            "",
		"null":               "null",
		"no manifest":        "{}",
		"cut":                good[:len(good)-1],
		"a space":            good + " ",
		"a line end":         good + "\n",
		"a second value":     good + good,
		"indented":           swap(`{"schemaVersion"`, `{ "schemaVersion"`),
		"another schema":     swap(`"schemaVersion":2`, `"schemaVersion":1`),
		"another artifact":   swap(ballast.ArtifactType, "application/x"),
		"another media type": swap("weight.config.v1.raw", "doc.v1.raw"),
		"another size":       swap(`"size":1,`, `"size":-1,`),
		"another title":      swap(`image.title":"a.json"`, `image.title":"x"`),
		"paths out of order": strings.NewReplacer("a.json", "b.json", "b.bin", "a.bin").Replace(good),
		"a path twice":       strings.NewReplacer("b.bin", "a.json").Replace(good),
		"a path upwards":     strings.ReplaceAll(good, "a.json", "../a.json"),
		"an unknown field":   swap(`{"schemaVersion"`, `{"x":1,"schemaVersion"`),
		"an annotation":      swap(`"a.json"}`, `"a.json","x":"y"}`),
		"another digest":     swap("sha256:6b86", "sha512:6b86"),
		"an escaped letter":  swap(`"a.json"`, `"\u0061.json"`),
		"too long":           good + strings.Repeat(" ", ballast.MaxManifestBytes),
	} {
		if files, err := ballast.ParseManifest([]byte(bad)); ballast.CodeOf(err) != ballast.CodeIntegrity || files != nil {
			t.Errorf("%s: got %v, %v; want integrity", what, files, err)
		}
	}
	if _, err := ballast.ParseManifest(b); err != nil {
		t.Error(err)
	}
}

func TestManifestSizeIsBounded(t *testing.T) {
	files := make([]ballast.File, 0, 5000)
	for i := range cap(files) {
		files = append(files, file(fmt.Sprintf("%s/%s/%05d", strings.Repeat("d", 250), strings.Repeat("e", 250), i), 1))
	}
	if _, _, err := ballast.BuildManifest(files); ballast.CodeOf(err) != ballast.CodeTooLarge {
		t.Errorf("got %v, want too_large", err)
	}
}
