package hub_test

import (
	"crypto/sha256"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/api"
	"github.com/ballast-registry/ballast/internal/audit/audittest"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/hub"
	"github.com/ballast-registry/ballast/internal/hub/hubtest"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv/canary"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// rig is a registry with both faces on stores in memory.
type rig struct {
	t testing.TB
	*engine.Engine
	store      *objstoretest.Mem
	url        string
	audit      *audittest.Audit
	admin      engine.Principal
	adminToken string
}

// newRig starts one; wraps may put something between the faces and the engine, or between a client and the service.
func newRig(t testing.TB, wrap func(*engine.Engine) hub.Service, doctor func(http.Handler) http.Handler) *rig {
	t.Helper()
	r := &rig{t: t, store: objstoretest.NewMem()}
	r.store.Serve(t) // at 127.0.0.1
	x, err := index.Open(t.Context(), index.NewMem(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	r.Engine = enginetest.Open(t, engine.Options{
		Index: x, Bucket: r.store, Signer: r.store, RecordKey: engine.NewRecordKey(make([]byte, sha256.Size)), Logger: canary.Log(t, canary.Quiet),
	})
	if _, err := r.EnsureAdmin(t.Context(), func(minted string) error { r.adminToken = minted; return nil }); err != nil {
		t.Fatal(err)
	}
	r.admin = r.principal(r.adminToken)
	var service hub.Service = r.Engine
	if wrap != nil {
		service = wrap(r.Engine)
	}
	r.audit = audittest.Open(t, t.TempDir())
	h := api.New(r.Engine, api.Options{Audit: r.audit.Log, Guest: hub.New(service, hub.Options{})})
	if doctor != nil {
		h = doctor(h)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	r.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	return r
}

// token mints a token.
func (r *rig) token(grants ...string) string {
	r.t.Helper()
	req := ballast.CreateToken{Name: "tester"}
	for _, g := range grants {
		req.Grants = append(req.Grants, must(ballast.ParseGrant(g)))
	}
	made, err := r.CreateToken(r.t.Context(), r.admin, req)
	if err != nil {
		r.t.Fatal(err)
	}
	return made.Token.Reveal()
}

func (r *rig) principal(token string) engine.Principal {
	r.t.Helper()
	p, err := r.Authenticate(r.t.Context(), ballast.Secret(token))
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// python is the Python client with a token.
func (r *rig) python(token string) *hubtest.Python {
	return &hubtest.Python{Endpoint: r.url, Token: token}
}

// publish pushes a version as the holder of a token and returns its commit.
func (r *rig) publish(token, target string, metadata ballast.Metadata, files map[string]string) string {
	r.t.Helper()
	p, ref, ctx := r.principal(token), must(ballast.ParseRef(target)), r.t.Context()
	u, _, err := r.CreateUpload(ctx, p, ballast.CreateUpload{Name: ref.Name, Version: ref.Version, Attempt: "attempt-" + ballast.DigestOf([]byte(target)).Encoded()[:16]})
	if err != nil {
		r.t.Fatal(err)
	}
	commit := ballast.CommitRequest{Metadata: metadata}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := ballast.File{Path: path, Size: int64(len(files[path])), Digest: ballast.DigestOf([]byte(files[path]))}
		commit.Files = append(commit.Files, f)
	}
	for _, body := range slices.Compact(slices.Sorted(maps.Values(files))) {
		ask := ballast.BlobRequest{Digest: ballast.DigestOf([]byte(body)), Size: int64(len(body))}
		a, err := r.Blobs(ctx, p, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{ask}})
		if err != nil {
			r.t.Fatal(err)
		}
		if to := a.Blobs[0].Request; to != nil {
			r.store.Do(*to, []byte(body), nil)
		}
	}
	u, err = r.Commit(ctx, p, u.ID, commit)
	for err == nil && !u.Status.Settled() {
		u, err = r.Upload(ctx, p, u.ID, time.Minute)
	}
	if err != nil || u.Result == nil {
		r.t.Fatalf("publish %s: %+v, %v", target, u, err)
	}
	return u.Result.Digest.Encoded()[:40]
}

// files are those of a model: a small one that comes inline, an empty one, a weight, and names that a URL has to escape.
func files(of string) map[string]string {
	return map[string]string{
		"config.json": `{"model_type":"` + of + `"}`, "empty.txt": "", "model.bin": "weights of " + of,
		"sub/dir/a b+c%d#é?.json": of, "sub/x.bin": "other weights of " + of, "sub-x": of, "subx/y.txt": "y",
	}
}

// own is a target as what is to be changed.
func own(target string) engine.Own { return engine.Own{Ref: must(ballast.ParseRef(target))} }
