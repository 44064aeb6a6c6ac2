package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// absentSources are what acme asks for and may not have, each beside what lies there: a place of another's that is full, a
// trick, or nothing at all. $B is the registry's bucket, $L the one beside it.
func absentSources() []string {
	return []string{
		// Nothing.
		"inbox:empty/", "inbox:empty", "s3://$B/tenants/acme/inbox/empty/", "s3://$L/acme/empty/", "s3://nobody/m/", "s3://nobody",
		// The registry's own.
		"s3://$B", "s3://$B/", "s3://$B/tenants/", "s3://$B/tenants/acme/", "s3://$B/tenants/acme/blobs/", "s3://$B/tenants/acme/models/",
		"s3://$B/tenants/acme/staging/", "s3://$B/index/", "s3://$B/index/owner.json", "s3://$B/index/snapshots/", "s3://$B/global/blobs/",
		"s3://$B/global/inbox/m/", "s3://$B/tenants/other/inbox/m/", "s3://$B/tenants/other/inbox/", "s3://$B/tenants/other/blobs/sha256/",
		"s3://$B/tenants/acme/inbox-evil/m/", "s3://$B/tenants/acme/inbox-evil", "s3://$B/tenants/acme/inbo", "s3://$B/tenants/acme/i",
		// Beside it, what another may import from, and what nobody may.
		"s3://$L", "s3://$L/", "s3://$L/other/m/", "s3://$L/global/m/", "s3://$L/acme-secret/m/", "s3://$L/acme-secret/", "s3://$L/acm", "s3://$L/a",
		"s3://$L/secret/m/",
		// Ways around.
		"inbox:../blobs/", "inbox:..", "inbox:../../other/inbox/m/", "inbox:m/../../blobs/", "inbox:./", "inbox:/", "inbox://", "inbox:/m/", "inbox:m//", "inbox://../",
		"inbox:%2e%2e/blobs/", "inbox:..%2fblobs/", "inbox:..\\blobs\\", "inbox:m\\..\\..\\blobs/", "inbox:%2e%2e%2fother%2finbox%2fm/", "inbox:..;/blobs/",
		"inbox:s3://$B/tenants/other/inbox/m/", "s3://$B/tenants/acme/inbox/../blobs/", "s3://$B/tenants/acme/inbox/../../other/inbox/m/",
		"s3://$B/tenants/acme/inbox/%2e%2e/%2e%2e/other/inbox/m/", "s3://$B/tenants/acme//inbox/m/", "s3://$B//tenants/acme/inbox/m/",
		"s3://$B/./tenants/acme/inbox/m/", "s3://$B/tenants/acme/blobs/../inbox/m/", "s3://$B/TENANTS/acme/inbox/m/", "s3://$B/tenants/Acme/inbox/m/",
		"s3://$L/acme/../other/m/", "s3://$L/acme/..", "s3://$L/other/../acme/m/", "s3://$L/acme//m/", "s3://$L//acme/m/", "s3://$L/ACME/m/",
		"s3://$L/acme/%2e%2e/other/m/", "s3://$L/acme%2fm/", "s3://$L/acme\\m/",
		"s3://$U/tenants/acme/inbox/m/", "s3://$V/acme/m/", "s3://$L./acme/m/", "s3://$B:443/tenants/acme/inbox/m/",
		"s3://$B@host/tenants/acme/inbox/m/", "s3://$L?x/acme/m/", "s3://arn:aws:s3:::$L/acme/m/", "s3://$L%00/acme/m/",
	}
}

// TestNotASource: whatever is no place of the scope's reads as an empty one, byte for byte, and is not even looked at.
func TestNotASource(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		watched := &listWatch{Bucket: s.Bucket}
		s.Bucket = watched
		r := newImportRig(t, s, nil)
		f := small("m")
		for _, key := range []string{"tenants/acme/inbox/m/", "tenants/other/inbox/m/", "global/inbox/m/", "tenants/acme/inbox-evil/m/", "tenants/acme/staging/m/", "index/snapshots/"} {
			drop(t, s, key, f)
		}
		for _, key := range []string{"acme/m/", "other/m/", "global/m/", "acme-secret/m/", "secret/m/"} {
			drop(t, r.beside, key, f)
		}
		r.mustPush(t, other, "m:1", small("theirs"))
		r.mustPush(t, writer, "m:1", small("ours"))
		var want string
		watched.prefixes = nil
		for _, text := range absentSources() {
			text = strings.NewReplacer("$B", s.home.Bucket, "$L", r.besideName, "$U", strings.ToUpper(s.home.Bucket), "$V", strings.ToUpper(r.besideName)).Replace(text)
			_, err := r.askImport(t, writer, text, "stolen:1")
			full := source(text).String()
			got := strings.Replace(problem(t, err), strings.ReplaceAll(full, `\`, `\\`), "SOURCE", 1)
			if want == "" {
				want = got
			}
			if got != want || ballast.CodeOf(err) != ballast.CodeNotFound {
				t.Errorf("%s is answered %s, want %s", text, got, want)
			}
		}
		for _, prefix := range watched.prefixes {
			if !strings.HasPrefix(prefix, "tenants/acme/inbox/") {
				t.Errorf("the registry looked at %q", prefix)
			}
		}
		if len(watched.prefixes) == 0 || !strings.Contains(want, "s3://"+s.home.Bucket+"/tenants/acme/inbox/") {
			t.Errorf("it looked at %q and answers %s", watched.prefixes, want)
		}
		for _, text := range []string{"inbox:m", "inbox:", "s3://" + r.besideName + "/acme", "s3://" + r.besideName + "/acme/m"} { // the control
			r.mustImport(t, writer, text, "mine")
		}
	})
}

// listWatch notes which prefixes are listed.
type listWatch struct {
	objstore.Bucket
	prefixes []string
}

func (l *listWatch) List(ctx ctx, prefix, after string) listing {
	if strings.HasPrefix(prefix, "tenants/") && !strings.HasSuffix(prefix, "/models/") && prefix != "tenants/" {
		l.prefixes = append(l.prefixes, prefix)
	}
	return l.Bucket.List(ctx, prefix, after)
}

// problem is an error as it crosses the wire.
func problem(t *testing.T, err error) string {
	t.Helper()
	b, jerr := json.Marshal(engine.AsError(err))
	if jerr != nil {
		t.Fatal(jerr)
	}
	return string(b)
}

// TestOriginsThatOverlap: nobody can let a scope import from where the files of all lie.
func TestOriginsThatOverlap(t *testing.T) {
	m := objstoretest.NewMem()
	for name, c := range map[string]struct {
		home, origin engine.Place
		ok           bool
	}{
		"the bucket":               {engine.Place{Bucket: "models"}, engine.Place{Bucket: "models"}, false},
		"a folder of the bucket":   {engine.Place{Bucket: "models"}, engine.Place{Bucket: "models", Prefix: "legacy/"}, false},
		"the prefix":               {engine.Place{Bucket: "models", Prefix: "ballast/"}, engine.Place{Bucket: "models", Prefix: "ballast/"}, false},
		"around the prefix":        {engine.Place{Bucket: "models", Prefix: "a/ballast/"}, engine.Place{Bucket: "models", Prefix: "a/"}, false},
		"around it, all":           {engine.Place{Bucket: "models", Prefix: "a/ballast/"}, engine.Place{Bucket: "models"}, false},
		"within the prefix":        {engine.Place{Bucket: "models", Prefix: "ballast/"}, engine.Place{Bucket: "models", Prefix: "ballast/tenants/acme/inbox/"}, false},
		"the prefix in odd case":   {engine.Place{Bucket: "models", Prefix: "ballast/"}, engine.Place{Bucket: "models", Prefix: "Ballast/tenants/"}, false},
		"beside the prefix":        {engine.Place{Bucket: "models", Prefix: "ballast/"}, engine.Place{Bucket: "models", Prefix: "ballast-old/"}, true},
		"shorter than the prefix":  {engine.Place{Bucket: "models", Prefix: "ballast/"}, engine.Place{Bucket: "models", Prefix: "ball/"}, true},
		"another bucket":           {engine.Place{Bucket: "models", Prefix: "ballast/"}, engine.Place{Bucket: "legacy", Prefix: "ballast/"}, true},
		"another bucket, all":      {engine.Place{Bucket: "models"}, engine.Place{Bucket: "legacy"}, true},
		"a bucket in capitals":     {engine.Place{Bucket: "models"}, engine.Place{Bucket: "Models", Prefix: "x/"}, false},
		"another in capitals":      {engine.Place{Bucket: "models"}, engine.Place{Bucket: "LEGACY", Prefix: "x/"}, false},
		"a prefix that goes up":    {engine.Place{Bucket: "models"}, engine.Place{Bucket: "legacy", Prefix: "a/../"}, false},
		"a prefix with a void":     {engine.Place{Bucket: "models"}, engine.Place{Bucket: "legacy", Prefix: "a//b/"}, false},
		"a prefix with backslash":  {engine.Place{Bucket: "models"}, engine.Place{Bucket: "legacy", Prefix: `a\..\b/`}, false},
		"an access point's number": {engine.Place{Bucket: "models"}, engine.Place{Bucket: "arn:aws:s3:us-east-1:1:accesspoint/x", Prefix: ""}, false},
	} {
		s, db := memStore(t), index.NewMem()
		opt := options(t, s, db)
		opt.Home, opt.Origins = c.home, []engine.Origin{{Scope: acme, Place: c.origin, Store: m}}
		e, err := engine.Open(t.Context(), opt)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			e.Close()
		} else if !strings.Contains(err.Error(), "acme cannot import from s3://"+c.origin.Bucket) {
			t.Errorf("%s: refused with %v", name, err)
		}
	}
}

// TestImportRoles: writers of the target, by the sources of the target.
func TestImportRoles(t *testing.T) {
	r := newImportRig(t, memStore(t), nil)
	for _, s := range []string{"acme", "other", "global"} {
		drop(t, r.beside, s+"/m/", small(s))
	}
	both := engine.Principal{ID: "b", Name: "both", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Writer}, {Scope: scope("other"), Role: ballast.Writer}}}
	for name, c := range map[string]struct {
		p    engine.Principal
		from string
		to   string
		code ballast.Code
	}{
		"a writer":                         {writer, "s3://legacy/acme/m", "m:1", ""},
		"a reader":                         {reader, "s3://legacy/acme/m", "n:1", ballast.CodeDenied},
		"another tenant":                   {other, "s3://legacy/acme/m", "acme::n:1", ballast.CodeNotFound},
		"another tenant into its own":      {other, "s3://legacy/acme/m", "n:1", ballast.CodeNotFound},
		"a writer of both into the one":    {both, "s3://legacy/acme/m", "acme::both:1", ""},
		"a writer of both into the other":  {both, "s3://legacy/other/m", "other::both:1", ""},
		"of the one's source to the other": {both, "s3://legacy/acme/m", "other::both:2", ballast.CodeNotFound},
		"global by a tenant":               {writer, "s3://legacy/global/m", "global::n:1", ballast.CodeDenied},
		"of global's source to a tenant":   {writer, "s3://legacy/global/m", "n:1", ballast.CodeNotFound},
		"global by its admin":              {admin, "s3://legacy/global/m", "n:1", ""},
	} {
		if _, err := r.imports(t, c.p, c.from, c.to); ballast.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
	}
	sources, err := r.ImportSources(both)
	if got := fmt.Sprint(sources); err != nil || got != "[{acme [s3://models/tenants/acme/inbox/ s3://legacy/acme/]} {other [s3://models/tenants/other/inbox/ s3://legacy/other/]}]" {
		t.Errorf("both may import from %s, %v", got, err)
	}
	if sources, err := r.ImportSources(reader); err != nil || len(sources) != 0 {
		t.Errorf("a reader may import from %v, %v", sources, err)
	}
}

// TestWhatIsListed: markers and what is no part of a model are left out, what can be no file is refused by name, before
// anything is read.
func TestWhatIsListed(t *testing.T) {
	mem := objstoretest.NewMem()
	r := newImportRig(t, storeOn(t, mem), nil)
	plant := func(folder string, files map[string]string) {
		for path, body := range files {
			mem.Plant("tenants/acme/inbox/"+folder+"/"+path, []byte(body))
		}
	}
	plant("odd", map[string]string{
		"": "", "onnx/": "", "a": "1", "onnx/b": "2", ".git/config": "3", ".git/HEAD": "4", "x/.cache/huggingface/y": "5", "x/z": "6", ".DS_Store": "7", ".gitattributes": "8",
	})
	m, err := r.imports(t, writer, "inbox:odd", "odd:1")
	want := folder{"a": []byte("1"), "onnx/b": []byte("2"), "x/z": []byte("6"), ".gitattributes": []byte("8")}
	if err != nil || m.Result.Digest != want.manifest() || !slices.Equal(m.Skipped, []string{".DS_Store", ".git", "x/.cache"}) {
		t.Errorf("imported %+v, skipped %q, %v", m.Result, m.Skipped, err)
	}
	for name, c := range map[string]struct {
		files map[string]string
		code  ballast.Code
		says  string
	}{
		"nothing but what is no model":  {map[string]string{".git/a": "1", "sub/": ""}, ballast.CodePrecondition, "no file"},
		"a void":                        {map[string]string{"a//b": "1"}, ballast.CodeInvalid, `"a//b"`},
		"going up":                      {map[string]string{"a/../b": "1"}, ballast.CodeInvalid, `"a/../b"`},
		"a backslash":                   {map[string]string{`a\b`: "1"}, ballast.CodeInvalid, `a\\b`},
		"a newline":                     {map[string]string{"a\nb": "1"}, ballast.CodeInvalid, `a\nb`},
		"a marker with bytes":           {map[string]string{"a/": "1"}, ballast.CodeInvalid, `"a/"`},
		"two that fold":                 {map[string]string{"README": "1", "readme": "2"}, ballast.CodeInvalid, "README"},
		"a file that is a folder":       {map[string]string{"a": "1", "a/b": "2"}, ballast.CodeInvalid, `"a" is a file and the folder`},
		"a path of more than 700 bytes": {map[string]string{strings.Repeat("a/", 351) + "b": "1"}, ballast.CodeInvalid, "700"},
	} {
		folder := strings.ReplaceAll(name, " ", "-")
		plant(folder, c.files)
		before := mem.Calls(objstoretest.OpCopy)
		_, err := r.imports(t, writer, "inbox:"+folder, "bad:1")
		if ballast.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || mem.Calls(objstoretest.OpCopy) != before {
			t.Errorf("%s: %v", name, err)
		}
	}
	markers := map[string]string{"": "", "sub/": ""}
	plant("markers", markers)
	_, err = r.askImport(t, writer, "inbox:markers", "bad:1")
	wantCode(t, err, ballast.CodeNotFound)
	_, err = r.askImport(t, writer, "inbox:od", "bad:1") // no folder, but the beginning of one
	wantCode(t, err, ballast.CodeNotFound)
}

// TestTooManyFiles are refused once they are counted, and nothing is read.
func TestTooManyFiles(t *testing.T) {
	mem := objstoretest.NewMem()
	many := &manyObjects{Bucket: mem}
	s := storeOn(t, mem)
	s.Bucket = many
	r := newImportRig(t, s, nil)
	for name, c := range map[string]struct {
		n    int
		path string
		says string
	}{
		"files":      {ballast.MaxFiles + 1, "f%d", "more than 10000 files"},
		"of a cache": {10*ballast.MaxFiles + 1, ".git/%d", "over 100000 objects"},
	} {
		many.n, many.path = c.n, c.path
		_, err := r.imports(t, writer, "inbox:many", "m:1")
		if e := wantCode(t, err, ballast.CodeTooLarge); !strings.Contains(e.Detail, c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	many.n, many.path = ballast.MaxFiles, "%d"
	if m, err := r.imports(t, writer, "inbox:many", "m:1"); err != nil || m.Result.Files != ballast.MaxFiles {
		t.Errorf("as many as may be: %v", err)
	}
}

// manyObjects lists n empty objects below any inbox.
type manyObjects struct {
	objstore.Bucket
	n    int
	path string
}

func (b *manyObjects) List(ctx ctx, prefix, after string) listing {
	if !strings.Contains(prefix, "/inbox/many/") {
		return b.Bucket.List(ctx, prefix, after)
	}
	return func(yield func(objstore.Object, error) bool) {
		for i := range b.n {
			if !yield(objstore.Object{Key: prefix + fmt.Sprintf(b.path, i), ETag: `"e"`}, nil) {
				return
			}
		}
		if b.n == 0 {
			yield(objstore.Object{}, errors.New("nothing to list"))
		}
	}
}
