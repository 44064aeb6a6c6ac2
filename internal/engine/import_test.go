package engine_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// importRig is a registry that lets acme import from the folder acme of a bucket beside its own, and other from other.
type importRig struct {
	*rig
	beside     objstore.Bucket
	besideName string
}

func newImportRig(t *testing.T, s store, tune func(*engine.Options)) *importRig {
	t.Helper()
	db := index.NewMem()
	name, beside := s.neighbour(t)
	opt := options(t, s, db)
	opt.Origins = origins(name, beside)
	if tune != nil {
		tune(&opt)
	}
	return &importRig{start(t, s, db, opt), beside, name}
}

func origins(name string, beside objstore.Bucket) (all []engine.Origin) {
	for _, s := range []ballast.Scope{acme, scope("other"), ballast.Global} {
		all = append(all, engine.Origin{Scope: s, Place: engine.Place{Bucket: name, Prefix: s.String() + "/"}, Store: beside})
	}
	return all
}

// drop puts files below a key, as somebody does with credentials of their own.
func drop(t *testing.T, b objstore.Bucket, key string, f folder) {
	t.Helper()
	for path, body := range f {
		if _, err := b.Put(t.Context(), key+path, body, objstore.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
}

// left is what lies below a key.
func left(t *testing.T, b objstore.Bucket, key string) (paths []string) {
	t.Helper()
	for o, err := range b.List(t.Context(), key, "") {
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, strings.TrimPrefix(o.Key, key))
	}
	return paths
}

func source(s string) ballast.Source { return must(ballast.ParseSource(s)) }

// ask asks for an import.
func (r *rig) askImport(t *testing.T, p engine.Principal, from, to string, change ...func(*ballast.CreateImport)) (ballast.Import, error) {
	t.Helper()
	w := ref(to)
	req := ballast.CreateImport{Source: source(from), Scope: w.Scope, Name: w.Name, Version: w.Version}
	for _, c := range change {
		c(&req)
	}
	m, _, err := r.CreateImport(t.Context(), p, req)
	return m, err
}

// await waits until an import is over, its sources looked at if it moves them.
func (r *rig) awaitImport(t *testing.T, p engine.Principal, id string) ballast.Import {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		m, err := r.Import(t.Context(), p, id, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if m.Status.Settled() && (m.Moved == nil || m.Moved.Done) {
			return m
		}
		if time.Now().After(deadline) {
			t.Fatalf("the import is %+v, waiting for %v", m, m.Waiting)
		}
	}
}

// imports imports and waits until that is over.
func (r *rig) imports(t *testing.T, p engine.Principal, from, to string, change ...func(*ballast.CreateImport)) (ballast.Import, error) {
	t.Helper()
	m, err := r.askImport(t, p, from, to, change...)
	if err != nil {
		return m, err
	}
	m = r.awaitImport(t, p, m.ID)
	if m.Error != nil {
		return m, m.Error
	}
	return m, nil
}

func (r *rig) mustImport(t *testing.T, p engine.Principal, from, to string, change ...func(*ballast.CreateImport)) ballast.VersionInfo {
	t.Helper()
	m, err := r.imports(t, p, from, to, change...)
	if err != nil || m.Result == nil {
		t.Fatalf("import %s to %s: %s, %v", from, to, m.Status, err)
	}
	return *m.Result
}

func moving(req *ballast.CreateImport) { req.Move = true }

// legacyModel is what people have in buckets: folders, names that need escapes, an empty file, and one of several ranges.
func legacyModel() folder {
	f := small("legacy")
	f["onnx/model +&%é.onnx"] = []byte("onnx")
	f["large.gguf"] = random(2*partSize+7, 5)
	f["again/large.gguf"] = f["large.gguf"]
	return f
}

// TestImport publishes what lies in the inbox and in a place beside the registry: the same version as a push of the folder
// makes, whose bytes were re-read; the source stays, and the same again is the same version.
func TestImport(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newImportRig(t, s, func(o *engine.Options) { o.Limits.VerifyRange = 1 << 20 })
		f, said := legacyModel(), ballast.Metadata{Task: "ner", Tags: []string{"x"}}
		drop(t, s, "tenants/acme/inbox/m/", f)
		drop(t, r.beside, "acme/old/m/", f)
		v := r.mustImport(t, writer, "inbox:m/", "m:1.2.0", func(req *ballast.CreateImport) { req.Metadata = said })
		if v.Key != "acme::m::1.2.0" || v.Digest != f.manifest() || v.Files != len(f) || v.CreatedBy != writer.By() || v.Assurance != ballast.AssuranceReread {
			t.Errorf("imported %+v", v)
		}
		if diff := cmp.Diff(said, v.Metadata); diff != "" {
			t.Error(diff)
		}
		if got := r.pull(t, writer, "m:1.2.0"); !maps.EqualFunc(got, f, func(a, b []byte) bool { return string(a) == string(b) }) {
			t.Error("what is pulled is not what was imported")
		}
		if got := left(t, s, "tenants/acme/inbox/m/"); len(got) != len(f) {
			t.Errorf("of the source %q are left", got)
		}
		for _, again := range []string{"inbox:m", "s3://" + s.home.Bucket + "/tenants/acme/inbox/m/", "s3://" + r.besideName + "/acme/old/m"} {
			for _, to := range []string{"m:1.2.0", "m"} {
				if same := r.mustImport(t, writer, again, to); same.Key != v.Key || same.Revision != v.Revision {
					t.Errorf("%s to %s is %s", again, to, same.Key)
				}
			}
		}
		if pushed, err := r.push(t, writer, "m", f); err != nil || pushed.Key != v.Key {
			t.Errorf("the same pushed is %s, %v", pushed.Key, err)
		}
		if n := r.mustImport(t, writer, "s3://"+r.besideName+"/acme/old/m/", "n"); n.Key != "acme::n::1" || n.Digest != v.Digest {
			t.Errorf("without a version it is %s", n.Key)
		}
		if one := r.mustImport(t, writer, "inbox:m/large.gguf", "one"); one.Digest != (folder{"large.gguf": f["large.gguf"]}).manifest() {
			t.Errorf("one object is %+v", one)
		}
		if g := r.mustImport(t, admin, "s3://"+r.besideName+"/global", "g:1", func(req *ballast.CreateImport) {
			drop(t, r.beside, "global/", small("for all"))
		}); g.Key != "g::1" {
			t.Errorf("into global it is %s", g.Key)
		}
	})
}

// TestImportIsTold to who may import from there, and to nobody else.
func TestImportIsTold(t *testing.T) {
	r := newImportRig(t, memStore(t), nil)
	drop(t, r.store, "tenants/acme/inbox/m/", small("m"))
	v := r.mustImport(t, writer, "inbox:m", "m:1")
	for p, want := range map[*engine.Principal]string{&writer: "s3://models/tenants/acme/inbox/m/", &reader: ""} {
		page, err := r.Events(t.Context(), *p, "", 10, 0)
		if err != nil || len(page.Events) != 1 || page.Events[0].Key != v.Key || page.Events[0].Source.String() != want || page.Events[0].By != writer.By() {
			t.Errorf("%s hears %+v, %v", p.Name, page.Events, err)
		}
	}
}

// TestImportLabels: the rules of a push.
func TestImportLabels(t *testing.T) {
	r := newImportRig(t, memStore(t), nil)
	drop(t, r.store, "tenants/acme/inbox/m/", small("m"))
	has := r.mustPush(t, writer, "m:1", small("pushed"))
	_, err := r.imports(t, writer, "inbox:m", "m:1")
	if e := wantCode(t, err, ballast.CodeAlreadyExists); e.Expected != has.Digest || e.Actual != small("m").manifest() || !strings.Contains(e.Detail, e.Actual.String()) {
		t.Errorf("refused with %+v", e)
	}
	_, err = r.imports(t, writer, "inbox:m", "m:1.0.0")
	wantCode(t, err, ballast.CodeAlreadyExists)
	r.mustPush(t, writer, "old:1", small("m"))
	if _, _, err := r.Retire(t.Context(), maintainer, engine.Own{Ref: ref("old:1")}); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"old:1", "old:2", "old"} {
		_, err := r.imports(t, writer, "inbox:m", to)
		wantCode(t, err, ballast.CodeRetired)
	}
	if _, _, err := r.Delete(t.Context(), maintainer, engine.Own{Ref: ref("old:1")}); err != nil {
		t.Fatal(err)
	}
	_, err = r.askImport(t, writer, "inbox:m", "old:1")
	wantCode(t, err, ballast.CodeAlreadyExists)
	held, err := r.open(t, writer, "held:1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.askImport(t, writer, "inbox:m", "held:1")
	if e := wantCode(t, err, ballast.CodeConflict); e.Holder == nil || e.Holder.Upload != held.ID {
		t.Errorf("held by %+v", e.Holder)
	}
	if v := r.mustImport(t, writer, "inbox:m", "m"); v.Key != "acme::m::2" {
		t.Errorf("without a label it is %s", v.Key)
	}
	_, err = r.askImport(t, writer, "inbox:m", "child:1", func(req *ballast.CreateImport) { req.Metadata.BaseModel = "nobody" })
	wantCode(t, err, ballast.CodePrecondition)
	v := r.mustImport(t, writer, "inbox:m", "child:1", func(req *ballast.CreateImport) { req.Metadata.BaseModel = "m:2" })
	if v.Metadata.BaseModel != "acme::m::2" {
		t.Errorf("its base is %q", v.Metadata.BaseModel)
	}
}

// TestImportTakesNoBlobs: an import is no upload that a client sends to, but it holds its label like one and can be taken
// over like one.
func TestImportTakesNoBlobs(t *testing.T) {
	s := memStore(t)
	r := newImportRig(t, s, nil)
	drop(t, s, "tenants/acme/inbox/m/", small("m"))
	release := holdCalls(t, s.Bucket.(*objstoretest.Mem), objstoretest.OpGet, "tenants/acme/inbox/m/model.safetensors")
	m, err := r.askImport(t, writer, "inbox:m", "m:1")
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.sendAll(t, writer, m.ID, small("m")), ballast.CodeConflict)
	_, err = r.Commit(t.Context(), writer, m.ID, ballast.CommitRequest{Files: small("m").files()})
	wantCode(t, err, ballast.CodeConflict)
	u, err := r.Upload(t.Context(), writer, m.ID, 0)
	if err != nil || u.Status != ballast.UploadImporting {
		t.Errorf("as an upload it is %+v, %v", u, err)
	}
	_, err = r.push(t, writer, "m:1", small("pushed"))
	if e := wantCode(t, err, ballast.CodeConflict); e.Holder == nil || e.Holder.Upload != m.ID {
		t.Errorf("held by %+v", e.Holder)
	}
	if err := r.AbortUpload(t.Context(), writer, m.ID); err != nil {
		t.Fatal(err)
	}
	release()
	r.mustPush(t, writer, "m:1", small("pushed"))
	if m := r.awaitImport(t, writer, m.ID); m.Status != ballast.UploadAborted {
		t.Errorf("the import is %s", m.Status)
	}
	pushed, err := r.open(t, writer, "n:1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Import(t.Context(), writer, pushed.ID, 0)
	wantCode(t, err, ballast.CodeNotFound)
	wantCode(t, r.CancelImport(t.Context(), writer, pushed.ID), ballast.CodeNotFound)
}

// holdCalls keeps calls of an operation on a key waiting until release, or until whoever makes them leaves.
func holdCalls(t *testing.T, m *objstoretest.Mem, op objstoretest.Op, key string) (release func()) {
	held := make(chan struct{})
	m.Before(func(ctx context.Context, o objstoretest.Op, k string) {
		if o == op && k == key {
			select {
			case <-held:
			case <-ctx.Done():
			}
		}
	})
	done := false
	release = func() {
		if !done {
			done = true
			close(held)
		}
	}
	t.Cleanup(release)
	return release
}

// TestImportsAreListed, the newest first, to writers of their scope alone.
func TestImportsAreListed(t *testing.T) {
	r := newImportRig(t, memStore(t), nil)
	drop(t, r.store, "tenants/acme/inbox/m/", small("m"))
	var want []string
	for _, to := range []string{"a", "b", "c"} {
		m, err := r.imports(t, writer, "inbox:m", to)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, m.ID)
	}
	slices.Reverse(want)
	var got []string
	for cursor, more := "", true; more; more = cursor != "" {
		page, err := r.Imports(t.Context(), writer, engine.ListImports{Limit: 2, Cursor: cursor})
		if err != nil || len(page.Imports) > 2 {
			t.Fatalf("%d imports, %v", len(page.Imports), err)
		}
		for _, m := range page.Imports {
			if m.Status != ballast.UploadDone || m.Key == "" || m.Result != nil || m.Source.String() != "s3://models/tenants/acme/inbox/m/" {
				t.Errorf("listed %+v", m)
			}
			got = append(got, m.ID)
		}
		cursor = page.Cursor
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	if page, err := r.Imports(t.Context(), other, engine.ListImports{Limit: 10}); err != nil || len(page.Imports) != 0 {
		t.Errorf("another tenant has %+v, %v", page, err)
	}
	_, err := r.Imports(t.Context(), other, engine.ListImports{Scope: acme, Limit: 10})
	wantCode(t, err, ballast.CodeNotFound)
	_, err = r.Imports(t.Context(), reader, engine.ListImports{Limit: 10})
	wantCode(t, err, ballast.CodeDenied)
	for _, p := range []engine.Principal{other, reader} {
		_, err := r.Import(t.Context(), p, want[0], 0)
		if code := ballast.CodeOf(err); code != ballast.CodeNotFound && code != ballast.CodeDenied {
			t.Errorf("%s sees it: %v", p.Name, err)
		}
	}
}
