package engine_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// publisher reads and writes acme and global: what a team is that publishes for all.
var publisher = engine.Principal{ID: "p", Name: "lead", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Writer}, {Scope: ballast.Global, Role: ballast.Writer}}}

// copy asks for a copy and waits until it is settled.
func (r *rig) copy(t *testing.T, p engine.Principal, from, to string) (ballast.VersionInfo, error) {
	t.Helper()
	w := ref(to)
	u, err := r.Copy(t.Context(), p, ref(from), ballast.CopyVersion{Scope: w.Scope, Name: w.Name, Version: w.Version})
	for err == nil && u.Status == ballast.UploadVerifying {
		u, err = r.Upload(t.Context(), p, u.ID, time.Minute)
	}
	return resultOf(u, err)
}

// described is a version with a file that came in parts, an empty one, and something said of it.
func (r *rig) described(t *testing.T, p engine.Principal, target string, m ballast.Metadata) (ballast.VersionInfo, folder) {
	t.Helper()
	f := small("copied")
	f["parts.gguf"] = random(partSize+7, 3)
	u, err := r.open(t, p, target)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range f {
		method := ballast.Method("")
		if name == "parts.gguf" {
			method = ballast.MethodMultipart
		}
		if err := r.sendBlob(t, p, u.ID, ballast.DigestOf(b), b, method); err != nil {
			t.Fatal(err)
		}
	}
	v, err := r.commit(t, p, u.ID, f.files(), m)
	if err != nil {
		t.Fatal(err)
	}
	return v, f
}

// body reads a blob of a scope from the store.
func (r *rig) body(t *testing.T, s ballast.Scope, content []byte) []byte {
	t.Helper()
	b, _, err := r.store.Get(t.Context(), ballast.BlobKey(s, ballast.DigestOf(content)), objstore.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	got := make([]byte, len(content)+1)
	n := 0
	for {
		k, err := b.Read(got[n:])
		if n += k; err != nil {
			return got[:n]
		}
	}
}

// TestCopyAcrossScopes publishes for all what one team has: same files, same digest, same words; and again, which is the
// same version.
func TestCopyAcrossScopes(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		said := ballast.Metadata{Task: "ner", Tags: []string{"x"}, Metrics: map[string]float64{"f1": 0.9}, Extra: []byte(`{"a":1.10}`)}
		v, f := r.described(t, writer, "m:1", said)
		c, err := r.copy(t, publisher, "m:1", "global::pub/m:2.0.0")
		if err != nil {
			t.Fatal(err)
		}
		if c.Key != "pub/m::2.0.0" || c.Digest != v.Digest || c.Size != v.Size || c.Files != v.Files || c.CreatedBy != publisher.By() || c.Assurance != ballast.AssuranceReread || c.Stage != ballast.StageNone {
			t.Errorf("copied %+v", c)
		}
		if diff := cmp.Diff(said, c.Metadata); diff != "" {
			t.Error(diff)
		}
		for name, b := range f {
			if len(b) > 0 && string(r.body(t, ballast.Global, b)) != string(b) {
				t.Errorf("%s is not what was copied", name)
			}
		}
		if _, err := r.Files(t.Context(), other, ref("pub/m"), engine.ListFiles{URLs: true, Limit: 10}); err != nil {
			t.Errorf("another tenant cannot pull it: %v", err)
		}
		for _, to := range []string{"global::pub/m:2.0.0", "global::pub/m"} {
			if again, err := r.copy(t, publisher, "m", to); err != nil || again.Key != c.Key || again.Revision != c.Revision {
				t.Errorf("copied to %s again: %s, %v", to, again.Key, err)
			}
		}
	})
}

// TestCopyWithinAScope moves no byte.
func TestCopyWithinAScope(t *testing.T) {
	mem := objstoretest.NewMem()
	r := newRig(t, storeOn(t, mem))
	v := r.say(t, writer, "m:1", ballast.Metadata{Task: "ner"})
	before := mem.Calls(objstoretest.OpCopy)
	c, err := r.copy(t, writer, "m@"+v.Digest.String(), "renamed")
	if err != nil || c.Key != "acme::renamed::1" || c.Digest != v.Digest || c.Metadata.Task != "ner" {
		t.Errorf("%+v, %v", c, err)
	}
	if n := mem.Calls(objstoretest.OpCopy) - before; n != 0 {
		t.Errorf("%d objects were copied", n)
	}
}

func TestCopyKeepsToTheRules(t *testing.T) {
	r := newRig(t, memStore(t))
	a := r.mustPush(t, writer, "m:1", small("a"))
	b := r.mustPush(t, admin, "m:1", small("b"))
	r.say(t, writer, "child:1", ballast.Metadata{BaseModel: "m:1"})
	r.say(t, writer, "old:1", ballast.Metadata{})
	if _, _, err := r.Retire(t.Context(), maintainer, engine.Own{Ref: ref("old:1")}); err != nil {
		t.Fatal(err)
	}
	readsGlobal := engine.Principal{ID: "x", Name: "x", Grants: writer.Grants}
	for name, c := range map[string]struct {
		p        engine.Principal
		from, to string
		code     ballast.Code
	}{
		"the label has other files":             {publisher, "m:1", "global::m:1", ballast.CodeAlreadyExists},
		"a position that is taken":              {publisher, "m:1", "global::m:1.0.0", ballast.CodeAlreadyExists},
		"no writer at the target":               {readsGlobal, "m:1", "global::n:1", ballast.CodeDenied},
		"a target that the caller does not see": {writer, "m:1", "other::n:1", ballast.CodeNotFound},
		"a source that the caller does not see": {other, "acme::m:1", "other::n:1", ballast.CodeNotFound},
		"a source that is not there":            {writer, "m:7", "n:1", ballast.CodeNotFound},
		"a retired source":                      {publisher, "old:1", "global::old:1", ballast.CodeRetired},
		"a base that is not seen from there":    {publisher, "child:1", "global::child:1", ballast.CodePrecondition},
	} {
		_, err := r.copy(t, c.p, c.from, c.to)
		if ballast.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
		if e := ballast.AsError(err); name == "the label has other files" && (e.Expected != b.Digest || e.Actual != a.Digest) {
			t.Errorf("%s: names %s and %s", name, e.Expected, e.Actual)
		}
	}
	if v, err := r.copy(t, publisher, "child:1", "acme::child2:1"); err != nil || v.Metadata.BaseModel != "acme::m::1" {
		t.Errorf("within the base's scope: %+v, %v", v.Metadata, err)
	}
	if _, err := r.open(t, writer, "global::held:1"); err == nil {
		t.Error("a reader of global opened an upload there")
	}
	held, err := r.open(t, admin, "held:1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.copy(t, publisher, "m:1", "global::held:1")
	if e := wantCode(t, err, ballast.CodeConflict); e.Holder == nil || e.Holder.Upload != held.ID {
		t.Errorf("held by %+v", e.Holder)
	}
}

// TestCopyNeverReplaces: bytes that lie under the target's key already stay, and are judged like any others.
func TestCopyNeverReplaces(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		_, f := r.described(t, writer, "m:1", ballast.Metadata{})
		body := f["parts.gguf"]
		early, err := s.Put(t.Context(), ballast.BlobKey(ballast.Global, ballast.DigestOf(body)), body, objstore.Condition{IfAbsent: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.copy(t, publisher, "m:1", "global::m:1"); err != nil {
			t.Fatal(err)
		}
		now, err := s.Head(t.Context(), early.Key)
		if err != nil || now.ETag != early.ETag || now.VersionID != early.VersionID {
			t.Errorf("it is %+v now, %v; it was %+v", now, err, early)
		}
	})
}

// TestCopyToWhereALieLay: who copies is not blamed for what somebody else sent, and has only to ask again.
func TestCopyToWhereALieLay(t *testing.T) {
	r := newRig(t, memStore(t))
	f := small("a")
	r.mustPush(t, writer, "m:1", f)
	_, manifest, err := ballast.BuildManifest(f.files())
	if err != nil {
		t.Fatal(err)
	}
	u, err := r.open(t, admin, "beside:1")
	if err != nil {
		t.Fatal(err)
	}
	a, err := r.Blobs(t.Context(), admin, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: ballast.DigestOf(manifest), Size: int64(len(manifest))}}})
	if err != nil {
		t.Fatal(err)
	}
	if status := r.store.send(t, *a.Blobs[0].Request, manifest, http.Header{"Content-Encoding": {"gzip"}}); status != http.StatusOK {
		t.Fatalf("PUT: %d", status)
	}
	if err := r.AbortUpload(t.Context(), admin, u.ID); err != nil {
		t.Fatal(err)
	}
	_, err = r.copy(t, publisher, "m:1", "global::m:1")
	if e := wantCode(t, err, ballast.CodeBusy); e.RetryAfter == 0 {
		t.Errorf("it is not said when to ask again: %v", e)
	}
	for ballast.CodeOf(err) == ballast.CodeBusy {
		time.Sleep(10 * time.Millisecond)
		_, err = r.copy(t, publisher, "m:1", "global::m:1")
	}
	if err != nil {
		t.Errorf("once it is removed: %v", err)
	}
}

// TestCopyToWhatIsSealed: that the label has the files already is no success before its version is in the bucket.
func TestCopyToWhatIsSealed(t *testing.T) {
	mem := objstoretest.NewMem()
	s := storeOn(t, mem)
	db := index.NewMem()
	opt := options(t, s, db)
	opt.Limits.CommitWait = time.Millisecond
	r := start(t, s, db, opt)
	r.mustPush(t, writer, "m:1", small("a"))
	mem.Before(func(_ context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpPut && strings.Contains(key, "/models/") {
			mem.Fail(op, 1, objstore.ErrUnavailable, false)
		}
	})
	target := ballast.CopyVersion{Scope: ballast.Global, Name: ref("m").Name, Version: ref("m:1").Version}
	u, err := r.Copy(t.Context(), publisher, ref("acme::m:1"), target)
	if err != nil || u.Status != ballast.UploadVerifying {
		t.Fatalf("upload %+v, %v", u, err)
	}
	twin := engine.Principal{ID: "p2", Name: "deputy", Grants: publisher.Grants}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, err := r.Version(t.Context(), publisher, ref("global::m:1")) // a writer sees what is sealed
		if err == nil || time.Now().After(deadline) {
			break
		}
	}
	_, err = r.Copy(t.Context(), twin, ref("acme::m:1"), target)
	wantCode(t, err, ballast.CodeBusy)
	mem.Before(nil)
	mem.Heal()
	if v, err := r.copy(t, publisher, "acme::m:1", "global::m:1"); err != nil || v.Status != ballast.StatusReady {
		t.Errorf("once it is written: %+v, %v", v, err)
	}
}

// TestCopyOfALie: what was changed in the bucket behind the registry's back does not become another version.
func TestCopyOfALie(t *testing.T) {
	r := newRig(t, memStore(t))
	_, f := r.described(t, writer, "m:1", ballast.Metadata{})
	body := f["model.safetensors"]
	key := ballast.BlobKey(acme, ballast.DigestOf(body))
	if _, err := r.store.Put(t.Context(), key, []byte("weights of nobody"), objstore.Condition{}); err != nil {
		t.Fatal(err)
	}
	_, err := r.copy(t, publisher, "m:1", "global::m:1")
	wantCode(t, err, ballast.CodePrecondition) // it is not the object that was verified
	if _, err := r.Version(t.Context(), other, ref("m:1")); ballast.CodeOf(err) != ballast.CodeNotFound {
		t.Errorf("the copy is %v", err)
	}
	if _, err := r.store.Put(t.Context(), key, body, objstore.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.copy(t, publisher, "m:1", "global::m:1"); err != nil {
		t.Errorf("once it is back: %v", err)
	}
}

// TestCopyOutlivesARestart: a copy that was accepted is finished by the next start, after its store failed, its caller
// left and its service went away in the middle of it.
func TestCopyOutlivesARestart(t *testing.T) {
	mem := objstoretest.NewMem()
	s := storeOn(t, mem)
	db := index.NewMem()
	opt := options(t, s, db)
	opt.Limits.CommitWait = time.Millisecond
	first, err := engine.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Engine: first, store: s, index: db, opt: opt}
	r.described(t, writer, "m:1", ballast.Metadata{})
	var once sync.Once
	reached, ended := make(chan struct{}), make(chan struct{})
	mem.Before(func(ctx context.Context, op objstoretest.Op, _ string) {
		if op == objstoretest.OpCopy {
			once.Do(func() { close(reached); <-ctx.Done(); close(ended) })
		}
	})
	u, err := first.Copy(t.Context(), publisher, ref("m:1"), ballast.CopyVersion{Scope: ballast.Global, Name: ref("m").Name})
	if err != nil || u.Status != ballast.UploadVerifying || u.Progress == nil || u.Progress.Blobs != 4 || u.Progress.BlobsVerified == 4 {
		t.Fatalf("upload %+v with %+v, %v", u, u.Progress, err)
	}
	again, err := first.Copy(t.Context(), publisher, ref("m:1"), ballast.CopyVersion{Scope: ballast.Global, Name: ref("m").Name})
	if err != nil || again.ID != u.ID {
		t.Fatalf("the same copy again is %s, %v; want %s", again.ID, err, u.ID)
	}
	<-reached
	first.Close()
	<-ended
	mem.Before(nil)
	second := start(t, s, db, options(t, s, db))
	done, err := second.Upload(t.Context(), publisher, u.ID, time.Minute)
	if err != nil || done.Status != ballast.UploadDone || done.Result == nil || done.Result.Key != "m::1" {
		t.Fatalf("after the restart: %+v, %v", done, err)
	}
}

// TestCopyCanBeAborted while the store copies; the copy ends with it.
func TestCopyCanBeAborted(t *testing.T) {
	mem := objstoretest.NewMem()
	s := storeOn(t, mem)
	db := index.NewMem()
	opt := options(t, s, db)
	opt.Limits.CommitWait = time.Millisecond
	r := start(t, s, db, opt)
	r.described(t, writer, "m:1", ballast.Metadata{})
	begun, cut := make(chan struct{}, 10), make(chan struct{}, 10)
	mem.Before(func(ctx context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpCopy && strings.HasPrefix(key, "global/") {
			begun <- struct{}{}
			<-ctx.Done()
			cut <- struct{}{}
		}
	})
	u, err := r.Copy(t.Context(), publisher, ref("m:1"), ballast.CopyVersion{Scope: ballast.Global, Name: ref("m").Name})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := r.AbortUpload(t.Context(), publisher, u.ID); err != nil {
		t.Fatal(err)
	}
	<-cut
	mem.Before(nil)
	if _, err := r.copy(t, publisher, "m:1", "global::m:1"); err != nil {
		t.Errorf("the label is not free: %v", err)
	}
}

// TestCopyBesideAnUpload: a blob that another upload has begun to send, in whichever way, is copied all the same; that
// upload then finds it there, and what it still sends replaces nothing.
func TestCopyBesideAnUpload(t *testing.T) {
	for _, method := range []ballast.Method{ballast.MethodPut, ballast.MethodMultipart} {
		t.Run(string(method), func(t *testing.T) {
			eachStore(t, func(t *testing.T, s store) {
				r := newRig(t, s)
				_, f := r.described(t, writer, "m:1", ballast.Metadata{})
				body := f["parts.gguf"]
				d := ballast.DigestOf(body)
				u, err := r.open(t, admin, "beside:1")
				if err != nil {
					t.Fatal(err)
				}
				want := ballast.BlobRequest{Digest: d, Size: int64(len(body)), Method: method}
				if method == ballast.MethodMultipart {
					want.PartSize, want.Parts = partSize, partDigests(body)
				}
				a, err := r.Blobs(t.Context(), admin, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{want}})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := r.copy(t, publisher, "m:1", "global::m:1"); err != nil {
					t.Fatal(err)
				}
				copied, err := s.Head(t.Context(), ballast.BlobKey(ballast.Global, d))
				if err != nil {
					t.Fatal(err)
				}
				if method == ballast.MethodPut {
					if status := s.send(t, *a.Blobs[0].Request, body, nil); status != http.StatusPreconditionFailed && status != unheard {
						t.Errorf("a late PUT is answered %d", status)
					}
				} else if status := s.send(t, a.Blobs[0].Parts[0].Request, part(body, 1), nil); status != http.StatusNotFound && status != unheard {
					t.Errorf("a late part is answered %d", status)
				}
				if _, err := r.commit(t, admin, u.ID, []ballast.File{{Path: "w", Size: int64(len(body)), Digest: d}}, ballast.Metadata{}); err != nil {
					t.Errorf("the other upload: %v", err)
				}
				if now, err := s.Head(t.Context(), copied.Key); err != nil || now.ETag != copied.ETag || now.VersionID != copied.VersionID {
					t.Errorf("it is %+v now, %v; it was %+v", now, err, copied)
				}
			})
		})
	}
}

// TestTwentyCopiesAtOnce of one version, by one principal and under one label: one version.
func TestTwentyCopiesAtOnce(t *testing.T) {
	r := newRig(t, memStore(t))
	r.described(t, writer, "m:1", ballast.Metadata{})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if v, err := r.copy(t, publisher, "m:1", "global::m:1"); err != nil || v.Key != "m::1" {
				t.Errorf("%s, %v", v.Key, err)
			}
		})
	}
	all.Wait()
}
