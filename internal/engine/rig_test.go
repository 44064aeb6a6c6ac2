package engine_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv"
	"github.com/ballast-registry/ballast/testenv/canary"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// store is an object store as both sides see it: the service's bucket and signer, and the client's way to it.
type store struct {
	objstore.Bucket
	objstore.Signer
	send func(t *testing.T, req ballast.SignedRequest, body []byte, extra http.Header) int
	home engine.Place
	// neighbour makes another bucket of the same store.
	neighbour func(t *testing.T) (name string, b objstore.Bucket)
	// vandal makes somebody else with rights on the bucket.
	vandal func(t *testing.T) vandal
}

func memStore(t *testing.T) store { return storeOn(t, objstoretest.NewMem()) }

func storeOn(t *testing.T, m *objstoretest.Mem) store {
	return store{
		Bucket: m, Signer: objstoretest.CheckSigner(t, m), home: engine.Place{Bucket: "models"},
		send: func(_ *testing.T, req ballast.SignedRequest, body []byte, extra http.Header) int {
			return m.Do(req, body, extra)
		},
		neighbour: func(*testing.T) (string, objstore.Bucket) { return "legacy", m.Neighbour("legacy") },
		vandal:    func(t *testing.T) vandal { return memVandal{t, m} },
	}
}

func realStore(t *testing.T, s *testenv.Store) store {
	s3, err := objstore.Open(t.Context(), s.Config())
	if err != nil {
		t.Fatal(err)
	}
	send := func(t *testing.T, req ballast.SignedRequest, body []byte, extra http.Header) int {
		res, err := objstoretest.Send(t.Context(), http.DefaultClient, req, body, extra)
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			return unheard
		}
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	neighbour := func(t *testing.T) (string, objstore.Bucket) {
		name := s.Beside(t).Bucket
		return name, must(s3.Neighbour(name))
	}
	somebody := func(t *testing.T) vandal { return vandalOn(t, s) }
	return store{s3, objstoretest.CheckSigner(t, s3), send, engine.Place{Bucket: s.Bucket}, neighbour, somebody}
}

// unheard stands for a refusal that came while the body was still being sent: the embedded store then closes the
// connection, and whether the client reads its answer first is a race.
const unheard = 0

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
	lost  bool // the bucket is another's now, so its invariants are not this index's
}

var secret = bytes.Repeat([]byte{7}, sha256.Size)

func options(t *testing.T, s store, db index.Store) engine.Options {
	canary.Secret(string(secret))
	x, err := index.Open(t.Context(), db, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Options{
		Index: x, Bucket: s.Bucket, Home: s.home, Signer: s.Signer, RecordKey: engine.NewRecordKey(secret),
		Logger: canary.Log(t, slog.LevelWarn),
		Limits: engine.Limits{ReclaimRetry: 50 * time.Millisecond, VerifyRetry: 100 * time.Millisecond, GCInterval: -1},
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
	r := &rig{Engine: e, store: s, index: db, opt: opt}
	t.Cleanup(func() {
		e.Close()
		if !r.lost {
			enginetest.Check(t, opt)
		}
	})
	return r
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

// manifest is the digest of the version that a folder makes.
func (f folder) manifest() digest.Digest {
	_, b, err := ballast.BuildManifest(f.files())
	if err != nil {
		panic(err)
	}
	return ballast.DigestOf(b)
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

// commit commits and waits until the upload is settled.
func (r *rig) commit(t *testing.T, p engine.Principal, id string, files []ballast.File, m ballast.Metadata) (ballast.VersionInfo, error) {
	t.Helper()
	u, err := r.Commit(t.Context(), p, id, ballast.CommitRequest{Files: files, Metadata: m})
	for err == nil && u.Status == ballast.UploadVerifying {
		u, err = r.Upload(t.Context(), p, id, time.Minute)
	}
	return resultOf(u, err)
}

// resultOf is what became of an upload that is settled.
func resultOf(u ballast.Upload, err error) (ballast.VersionInfo, error) {
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

// Short names for what methods of test doubles take and return.
type (
	ctx     = context.Context
	listing = iter.Seq2[objstore.Object, error]
)
