package engine_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// store is an object store as both sides see it: the service's bucket and signer, and the client's way to it.
type store struct {
	objstore.Bucket
	objstore.Signer
	send func(t *testing.T, req ballast.SignedRequest, body []byte, extra http.Header) int
}

func memStore(t *testing.T) store {
	m := objstoretest.NewMem()
	return store{m, objstoretest.CheckSigner(t, m), func(_ *testing.T, req ballast.SignedRequest, body []byte, extra http.Header) int {
		return m.Do(req, body, extra)
	}}
}

func realStore(t *testing.T, s *testenv.Store) store {
	s3, err := objstore.Open(t.Context(), s.Config())
	if err != nil {
		t.Fatal(err)
	}
	return store{s3, objstoretest.CheckSigner(t, s3), func(t *testing.T, req ballast.SignedRequest, body []byte, extra http.Header) int {
		res, err := objstoretest.Send(t.Context(), http.DefaultClient, req, body, extra)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}}
}

// eachStore runs a test on the fake that polices the contract and on both real stores.
func eachStore(t *testing.T, test func(t *testing.T, s store)) {
	t.Run("mem", func(t *testing.T) { test(t, memStore(t)) })
	testenv.Each(t, func(t *testing.T, s *testenv.Store) { test(t, realStore(t, s)) })
}

// rig is an engine on a store.
type rig struct {
	*engine.Engine
	store store
	index index.Store
	opt   engine.Options
}

var secret = bytes.Repeat([]byte{7}, sha256.Size)

func options(t *testing.T, s store, db index.Store) engine.Options {
	x, err := index.Open(t.Context(), db, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Options{
		Index: x, Bucket: s.Bucket, Signer: s.Signer, RecordKey: engine.NewRecordKey(secret),
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		Limits: engine.Limits{ReclaimRetry: 50 * time.Millisecond, VerifyRetry: 100 * time.Millisecond},
	}
}

func newRig(t *testing.T, s store) *rig {
	db := index.NewMem()
	return start(t, s, db, options(t, s, db))
}

func start(t *testing.T, s store, db index.Store, opt engine.Options) *rig {
	e, err := engine.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return &rig{e, s, db, opt}
}

var (
	admin  = engine.Principal{ID: "admin", Name: "admin", Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Admin}}}
	acme   = scope("acme")
	writer = engine.Principal{ID: "w", Name: "ci", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Writer}}}
	reader = engine.Principal{ID: "r", Name: "gpu", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Reader}}}
	other  = engine.Principal{ID: "o", Name: "them", Grants: []ballast.Grant{{Scope: scope("other"), Role: ballast.Admin}}}
)

func scope(s string) ballast.Scope { return must(ballast.ParseScope(s)) }
func ref(s string) ballast.Ref     { return must(ballast.ParseRef(s)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// folder is a model's files.
type folder map[string][]byte

func (f folder) files() []ballast.File {
	var files []ballast.File
	for p, b := range f {
		files = append(files, ballast.File{Path: p, Size: int64(len(b)), Digest: ballast.DigestOf(b)})
	}
	return files
}

func small(seed string) folder {
	return folder{"config.json": []byte(`{"seed":"` + seed + `"}`), "model.safetensors": []byte("weights of " + seed), "empty": nil}
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	src.Read(b)
	return b
}

func attempt() string { return fmt.Sprintf("attempt-%016x", rand.Uint64()) }

func (r *rig) open(t *testing.T, p engine.Principal, target string) (ballast.Upload, error) {
	t.Helper()
	w := ref(target)
	u, _, err := r.CreateUpload(t.Context(), p, ballast.CreateUpload{Scope: w.Scope, Name: w.Name, Version: w.Version, Attempt: attempt()})
	return u, err
}

// sendAll uploads what the registry says is missing, as a client does.
func (r *rig) sendAll(t *testing.T, p engine.Principal, id string, f folder) error {
	t.Helper()
	for _, b := range f {
		if err := r.sendBlob(t, p, id, ballast.DigestOf(b), b, ""); err != nil {
			return err
		}
	}
	return nil
}

const partSize = ballast.MinPartSize

func partDigests(b []byte) (parts []ballast.PartDigest) {
	for n := 1; n <= ballast.PartCount(int64(len(b)), partSize); n++ {
		parts = append(parts, ballast.PartDigest{Number: n, SHA256: ballast.DigestOf(part(b, n)).Encoded()})
	}
	return parts
}

func part(b []byte, n int) []byte { return b[(n-1)*partSize : min(n*partSize, len(b))] }

// sendBlob uploads body under digest d, which an honest client computes from it.
func (r *rig) sendBlob(t *testing.T, p engine.Principal, id string, d digest.Digest, body []byte, method ballast.Method) error {
	t.Helper()
	want := ballast.BlobRequest{Digest: d, Size: int64(len(body)), Method: method}
	if method == ballast.MethodMultipart {
		want.PartSize, want.Parts = partSize, partDigests(body)
	}
	for {
		a, err := r.Blobs(t.Context(), p, id, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{want}})
		if err != nil {
			return err
		}
		b := a.Blobs[0]
		switch {
		case b.State == ballast.BlobBusy:
			time.Sleep(10 * time.Millisecond)
			continue
		case b.State != ballast.BlobMissing:
			return nil
		case b.Request != nil:
			if status := r.store.send(t, *b.Request, body, nil); status != http.StatusOK && status != http.StatusPreconditionFailed {
				return fmt.Errorf("PUT: %d", status)
			}
		}
		for _, pa := range b.Parts {
			if status := r.store.send(t, pa.Request, part(body, pa.Number), nil); status != http.StatusOK {
				return fmt.Errorf("part %d: %d", pa.Number, status)
			}
		}
		return nil
	}
}

// finish commits and waits until the upload is settled.
func (r *rig) commit(t *testing.T, p engine.Principal, id string, files []ballast.File, m ballast.Metadata) (ballast.VersionInfo, error) {
	t.Helper()
	u, err := r.Commit(t.Context(), p, id, ballast.CommitRequest{Files: files, Metadata: m})
	for err == nil && u.Status == ballast.UploadVerifying {
		u, err = r.Upload(t.Context(), p, id, time.Minute)
	}
	switch {
	case err != nil:
		return ballast.VersionInfo{}, err
	case u.Error != nil:
		return ballast.VersionInfo{}, u.Error
	case u.Result == nil:
		return ballast.VersionInfo{}, fmt.Errorf("upload is %s", u.Status)
	}
	return *u.Result, nil
}

func (r *rig) push(t *testing.T, p engine.Principal, target string, f folder) (ballast.VersionInfo, error) {
	t.Helper()
	u, err := r.open(t, p, target)
	if err != nil {
		return ballast.VersionInfo{}, err
	}
	if err := r.sendAll(t, p, u.ID, f); err != nil {
		return ballast.VersionInfo{}, err
	}
	return r.commit(t, p, u.ID, f.files(), ballast.Metadata{})
}

func (r *rig) mustPush(t *testing.T, p engine.Principal, target string, f folder) ballast.VersionInfo {
	t.Helper()
	v, err := r.push(t, p, target, f)
	if err != nil {
		t.Fatalf("push %s: %v", target, err)
	}
	return v
}

func wantCode(t *testing.T, err error, code ballast.Code) *ballast.Error {
	t.Helper()
	if ballast.CodeOf(err) != code {
		t.Fatalf("error is %v (%s), want %q", err, ballast.CodeOf(err), code)
	}
	return ballast.AsError(err)
}

func (r *rig) pull(t *testing.T, p engine.Principal, of string) folder {
	t.Helper()
	got := folder{}
	page, err := r.Files(t.Context(), p, ref(of), engine.ListFiles{URLs: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range page.Files {
		got[f.Path] = nil
		if f.Request == nil {
			continue
		}
		body, _, err := r.store.Get(t.Context(), ballast.BlobKey(acme, digest.Digest("sha256:"+f.SHA256)), objstore.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(body); err != nil {
			t.Fatal(err)
		}
		body.Close()
		got[f.Path] = b.Bytes()
	}
	return got
}

func TestPublishAndRead(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		f := small("a")
		v := r.mustPush(t, writer, "llama/tiny:1.2.0", f)
		if v.Key != "acme::llama/tiny::1.2.0" || v.Status != ballast.StatusReady || v.Files != 3 || v.Assurance != ballast.AssuranceStore {
			t.Fatalf("version is %+v", v)
		}
		for _, name := range []string{"llama/tiny", "llama/tiny:1.2.0", "Llama/TINY", "llama/tiny@" + v.Digest.String(), v.Key} {
			got, err := r.Version(t.Context(), reader, ref(name))
			if err != nil || got.Key != v.Key {
				t.Errorf("%s resolves to %q, %v", name, got.Key, err)
			}
		}
		for p, b := range r.pull(t, reader, "llama/tiny") {
			if !bytes.Equal(b, f[p]) {
				t.Errorf("%s differs", p)
			}
		}
		_, err := r.Version(t.Context(), other, ref("acme::llama/tiny"))
		wantCode(t, err, ballast.CodeNotFound)
		_, err = r.open(t, reader, "llama/tiny:9")
		wantCode(t, err, ballast.CodeDenied)
	})
}

func TestMultipart(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		body := random(2*partSize+123, 1)
		f := folder{"model.gguf": body}
		u := must(r.open(t, writer, "big:1"))
		if err := r.sendBlob(t, writer, u.ID, ballast.DigestOf(body), body, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		v, err := r.commit(t, writer, u.ID, f.files(), ballast.Metadata{})
		if err != nil || v.Assurance != ballast.AssuranceReread {
			t.Fatalf("commit: %+v, %v", v, err)
		}
		page, err := r.Files(t.Context(), reader, ref("big"), engine.ListFiles{Parts: true, Limit: 10})
		if err != nil || len(page.Files[0].Parts) != 3 || page.Files[0].PartSize != partSize {
			t.Fatalf("files: %+v, %v", page, err)
		}
		if got := r.pull(t, reader, "big")["model.gguf"]; !bytes.Equal(got, body) {
			t.Fatal("other bytes came back")
		}
	})
}

// A lie about the whole file: every part is what its URL says, but together they are not the digest.
func TestLyingMultipart(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		honest, lie := random(partSize+10, 2), random(partSize+10, 3)
		d := ballast.DigestOf(honest)
		liar := must(r.open(t, writer, "m:1"))
		if err := r.sendBlob(t, writer, liar.ID, d, lie, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		beside := must(r.open(t, writer, "m:2"))
		if err := r.sendBlob(t, writer, beside.ID, d, honest, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		// The honest parts replaced the liar's, so the liar's commit is told what is missing; it insists.
		_, err := r.commit(t, writer, liar.ID, folder{"w": honest}.files(), ballast.Metadata{})
		wantCode(t, err, ballast.CodeMissing)
		if err := r.sendBlob(t, writer, liar.ID, d, lie, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		_, err = r.commit(t, writer, liar.ID, folder{"w": honest}.files(), ballast.Metadata{})
		e := wantCode(t, err, ballast.CodeIntegrity)
		if e.Expected != d || e.Actual != ballast.DigestOf(lie) {
			t.Fatalf("expected %s, actual %s", e.Expected, e.Actual)
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if _, err := s.Head(t.Context(), ballast.BlobKey(acme, d)); errors.Is(err, objstore.ErrNotFound) {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("the lying object is still there: %v", err)
			}
		}
		if err := r.sendBlob(t, writer, beside.ID, d, honest, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		v, err := r.commit(t, writer, beside.ID, folder{"w": honest}.files(), ballast.Metadata{})
		if err != nil || v.Status != ballast.StatusReady {
			t.Fatalf("the honest upload beside it: %+v, %v", v, err)
		}
	})
}

func TestPutOfOtherBytes(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		u := must(r.open(t, writer, "m:1"))
		good, bad := []byte("right bytes"), []byte("wrong bytes")
		a, err := r.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: ballast.DigestOf(good), Size: int64(len(good))}}})
		if err != nil {
			t.Fatal(err)
		}
		if status := s.send(t, *a.Blobs[0].Request, bad, nil); status < 400 || status >= 500 {
			t.Fatalf("the store answered %d to other bytes", status)
		}
		_, err = r.commit(t, writer, u.ID, folder{"w": good}.files(), ballast.Metadata{})
		if e := wantCode(t, err, ballast.CodeMissing); !slices.Contains(e.Missing, ballast.DigestOf(good)) {
			t.Fatalf("missing: %v", e.Missing)
		}
	})
}

func TestTaintedPut(t *testing.T) {
	for name, extra := range map[string]http.Header{
		"content-encoding": {"Content-Encoding": {"gzip"}},
		"user metadata":    {"X-Amz-Meta-Owner": {"me"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s store) {
				r := newRig(t, s)
				u := must(r.open(t, writer, "m:1"))
				body := []byte("weights")
				a, err := r.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: ballast.DigestOf(body), Size: int64(len(body))}}})
				if err != nil {
					t.Fatal(err)
				}
				status := s.send(t, *a.Blobs[0].Request, body, extra)
				if status != http.StatusOK {
					t.Logf("the store itself refuses it: %d", status)
					return
				}
				_, err = r.commit(t, writer, u.ID, folder{"w": body}.files(), ballast.Metadata{})
				wantCode(t, err, ballast.CodeIntegrity)
				got, err := r.Upload(t.Context(), writer, u.ID, 0)
				if err != nil || got.Status != ballast.UploadFailed {
					t.Fatalf("upload is %s, %v", got.Status, err)
				}
				waitGone(t, s, ballast.BlobKey(acme, ballast.DigestOf(body)))
			})
		})
	}
}

func waitGone(t *testing.T, s store, key string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, err := s.Head(t.Context(), key)
		if errors.Is(err, objstore.ErrNotFound) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there: %v", key, err)
		}
	}
}

func TestSameLabel(t *testing.T) {
	r := newRig(t, memStore(t))
	v := r.mustPush(t, writer, "m:1", small("a"))
	_, err := r.open(t, writer, "m:1")
	if e := wantCode(t, err, ballast.CodeAlreadyExists); e.Expected != v.Digest {
		t.Fatalf("expected digest %s, want %s", e.Expected, v.Digest)
	}
	_, err = r.open(t, writer, "m:1.0.0")
	if e := wantCode(t, err, ballast.CodeAlreadyExists); !strings.Contains(e.Detail, v.Key) {
		t.Fatalf("detail %q does not name %s", e.Detail, v.Key)
	}
}

func TestUnchangedPushWithoutVersion(t *testing.T) {
	r := newRig(t, memStore(t))
	a := r.mustPush(t, writer, "m", small("a"))
	again := r.mustPush(t, writer, "m", small("a"))
	if a.Key != "acme::m::1" || again.Key != a.Key {
		t.Fatalf("%s, then %s", a.Key, again.Key)
	}
	if b := r.mustPush(t, writer, "m", small("b")); b.Key != "acme::m::2" {
		t.Fatalf("changed files became %s", b.Key)
	}
	r.mustPush(t, writer, "m:7.1.0-rc.1", small("c"))
	if d := r.mustPush(t, writer, "m", small("d")); d.Key != "acme::m::8" {
		t.Fatalf("after 7.1.0-rc.1 came %s", d.Key)
	}
}

func TestTwentyVersionsAtOnce(t *testing.T) {
	r := newRig(t, memStore(t))
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { r.mustPush(t, writer, fmt.Sprintf("m:%d", i+1), small(fmt.Sprint(i))) })
	}
	all.Wait()
	page, err := r.Versions(t.Context(), reader, ballast.Scope{}, ref("m").Name, 100, "")
	if err != nil || len(page.Versions) != 20 {
		t.Fatalf("%d versions, %v", len(page.Versions), err)
	}
}

func TestOneLabelTwentyPublishers(t *testing.T) {
	r := newRig(t, memStore(t))
	var mu sync.Mutex
	var all sync.WaitGroup
	ready, refused := 0, 0
	for i := range 20 {
		all.Go(func() {
			u, err := r.open(t, writer, "m:1")
			mu.Lock()
			defer mu.Unlock()
			switch code := ballast.CodeOf(err); {
			case code == ballast.CodeConflict || code == ballast.CodeAlreadyExists:
				refused++
			case err != nil:
				t.Error(err)
			default:
				f := small(fmt.Sprint(i))
				if err := r.sendAll(t, writer, u.ID, f); err != nil {
					t.Error(err)
				}
				if _, err := r.commit(t, writer, u.ID, f.files(), ballast.Metadata{}); err != nil {
					t.Error(err)
				}
				ready++
			}
		})
	}
	all.Wait()
	if ready != 1 || refused != 19 {
		t.Fatalf("%d ready, %d refused", ready, refused)
	}
}

func TestLabelIsFreeAgain(t *testing.T) {
	t.Run("abort", func(t *testing.T) {
		r := newRig(t, memStore(t))
		u := must(r.open(t, writer, "m:1"))
		_, err := r.open(t, writer, "m:1")
		if e := wantCode(t, err, ballast.CodeConflict); e.Holder == nil || e.Holder.Upload != u.ID {
			t.Fatalf("holder is %+v", e.Holder)
		}
		if err := r.AbortUpload(t.Context(), writer, u.ID); err != nil {
			t.Fatal(err)
		}
		r.mustPush(t, writer, "m:1", small("a"))
		_, err = r.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: ballast.DigestOf([]byte("x")), Size: 1}}})
		wantCode(t, err, ballast.CodeLeaseLost)
	})
	t.Run("lease", func(t *testing.T) {
		s, db := memStore(t), index.NewMem()
		opt := options(t, s, db)
		opt.Limits.Lease = 200 * time.Millisecond
		r := start(t, s, db, opt)
		must(r.open(t, writer, "m:1"))
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if _, err := r.open(t, writer, "m:1"); err == nil {
				return
			} else if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	})
}

func TestSecondIndexIsRefused(t *testing.T) {
	s := memStore(t)
	r := newRig(t, s)
	_, err := engine.Open(t.Context(), options(t, s, index.NewMem()))
	if err == nil || !strings.Contains(err.Error(), "--take-over") || !strings.Contains(err.Error(), "rebuild") {
		t.Fatalf("a second index on the prefix: %v", err)
	}
	r.mustPush(t, writer, "m:1", small("a"))
	r.Close()
	opt := options(t, s, index.NewMem())
	opt.TakeOver = true
	_, err = engine.Open(t.Context(), opt)
	if err == nil || !strings.Contains(err.Error(), "knows") {
		t.Fatalf("take-over by an index that lacks a version: %v", err)
	}
	start(t, s, r.index, r.opt) // the owner itself may start again
}

func TestTakeOverFences(t *testing.T) {
	s, db := memStore(t), index.NewMem()
	opt := options(t, s, db)
	opt.Limits.FenceAge, opt.Limits.RecordTimeout, opt.Limits.TakeOverWait = 100*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond
	first := start(t, s, db, opt)
	u := must(first.open(t, writer, "m:1"))
	db2 := index.NewMem()
	opt2 := options(t, s, db2)
	opt2.Limits, opt2.TakeOver = opt.Limits, true
	start(t, s, db2, opt2)
	err := first.sendAll(t, writer, u.ID, small("a"))
	wantCode(t, err, ballast.CodeUnavailable)
	wantCode(t, first.Ready(t.Context()), ballast.CodeUnavailable)
}

// An index copied back from yesterday meets a record that it does not know.
func TestOldIndexStopsAtItsFirstRecord(t *testing.T) {
	s := memStore(t)
	db, path := boltAt(t)
	r := start(t, s, db, options(t, s, db))
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r.mustPush(t, writer, "m:1", small("a"))
	r.Close()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	db = must(index.OpenBolt(path, index.BoltOptions{}))
	t.Cleanup(func() { db.Close() })
	r = start(t, s, db, options(t, s, db))
	_, err = r.push(t, writer, "m:1", small("b"))
	if e := wantCode(t, err, ballast.CodeUnavailable); !strings.Contains(e.Detail, "rebuild") {
		t.Fatalf("detail %q does not say what to do", e.Detail)
	}
	wantCode(t, r.Ready(t.Context()), ballast.CodeUnavailable)
	_, err = r.Version(t.Context(), reader, ref("m:1"))
	wantCode(t, err, ballast.CodeNotFound)
}

func boltAt(t *testing.T) (*index.Bolt, string) {
	path := t.TempDir() + "/index.db"
	db, err := index.OpenBolt(path, index.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return db, path
}

func TestRestartFinishesACommit(t *testing.T) {
	m := objstoretest.NewMem()
	s := store{m, m, func(_ *testing.T, req ballast.SignedRequest, body []byte, extra http.Header) int {
		return m.Do(req, body, extra)
	}}
	db := index.NewMem()
	opt := options(t, s, db)
	opt.Limits.CommitWait = 10 * time.Millisecond
	r := start(t, s, db, opt)
	u := must(r.open(t, writer, "m:1"))
	f := small("a")
	if err := r.sendAll(t, writer, u.ID, f); err != nil {
		t.Fatal(err)
	}
	reached, once := make(chan struct{}), sync.Once{}
	m.Before(func(ctx context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpPut && strings.Contains(key, "/versions/") {
			once.Do(func() { close(reached) })
		}
	})
	m.Fail(objstoretest.OpPut, 0, objstore.ErrUnavailable, true) // everything written, every answer lost
	if _, err := r.Commit(t.Context(), writer, u.ID, ballast.CommitRequest{Files: f.files()}); err != nil && ballast.CodeOf(err) != ballast.CodeUnavailable {
		t.Fatal(err)
	}
	r.Close()
	m.Heal()
	r = start(t, s, db, opt)
	v, err := r.commit(t, writer, u.ID, f.files(), ballast.Metadata{})
	if err != nil || v.Status != ballast.StatusReady {
		t.Fatalf("after the restart: %+v, %v", v, err)
	}
	<-reached
}

func TestShadowing(t *testing.T) {
	r := newRig(t, memStore(t))
	r.mustPush(t, admin, "global::m:9", small("global"))
	if v := must(r.Version(t.Context(), reader, ref("m"))); v.Key != "m::9" {
		t.Fatalf("before: %s", v.Key)
	}
	r.mustPush(t, writer, "M:1", small("own"))
	if v := must(r.Version(t.Context(), reader, ref("m"))); v.Key != "acme::M::1" {
		t.Fatalf("latest: %s", v.Key)
	}
	if v := must(r.Version(t.Context(), reader, ref("m:9"))); v.Key != "m::9" {
		t.Fatalf("exact: %s", v.Key)
	}
	page := must(r.Models(t.Context(), reader, engine.ListModels{Limit: 10}))
	if len(page.Models) != 1 || page.Models[0].Scope != acme {
		t.Fatalf("list: %+v", page.Models)
	}
	_, err := r.Version(t.Context(), reader, ref("acme::m:9"))
	wantCode(t, err, ballast.CodeNotFound)
}
