package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/api"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

const benchFiles = 10_000 // of the version that is asked for

// BenchmarkAnswer asks the face as it runs in a registry, with authentication, log, audit and metrics, less the network. The
// version has 10,000 files.
func BenchmarkAnswer(b *testing.B) {
	f := newBenchFace(b)
	benchPublish(b, f.engine, f.store, f.token)
	for name, path := range map[string]func(i int) string{
		"file":    func(i int) string { return fmt.Sprintf("/v1/models/org/model/versions/1/files/shard-%05d.bin", i) },
		"version": func(int) string { return "/v1/models/org/model/versions/1" },
	} {
		b.Run(name, func(b *testing.B) {
			var requests []*http.Request
			for i := range benchFiles {
				r, err := http.NewRequest(http.MethodGet, path(i), http.NoBody)
				if err != nil {
					b.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+f.token)
				r.RemoteAddr = "127.0.0.1:1234"
				requests = append(requests, r)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				w := nullWriter{header: http.Header{}}
				f.ServeHTTP(&w, requests[i%benchFiles])
				if w.status >= 400 {
					b.Fatal(w.status)
				}
				i++
			}
		})
	}
}

// benchFace is a face as it runs in a registry, with a store in memory.
type benchFace struct {
	http.Handler
	engine *engine.Engine
	store  *objstoretest.Mem
	token  string
}

func newBenchFace(b *testing.B) benchFace {
	b.Helper()
	store := objstoretest.NewMem()
	signer, err := objstore.Open(b.Context(), objstore.Config{
		Endpoint: "http://store:9000", Bucket: "models", PathStyle: true, Service: objstore.Identity{Keys: objstore.Keys{ID: "AKID", Secret: "secret"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	bolt, err := index.OpenBolt(filepath.Join(b.TempDir(), "index.db"), index.BoltOptions{})
	if err != nil {
		b.Fatal(err)
	}
	x, err := index.Open(b.Context(), bolt, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = x.Close() })
	logs, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = logs.Close() })
	log := slog.New(slog.NewTextHandler(logs, nil))
	e := enginetest.Open(b, engine.Options{Index: x, Bucket: store, Signer: signer, RecordKey: engine.NewRecordKey(make([]byte, sha256.Size)), Logger: log})
	var token string
	if _, err := e.EnsureAdmin(b.Context(), func(minted string) error { token = minted; return nil }); err != nil {
		b.Fatal(err)
	}
	folder, err := audit.OpenFolder(filepath.Join(b.TempDir(), "audit"), audit.Bounds{}, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	lines := audit.New(folder, audit.Options{})
	b.Cleanup(func() { _ = lines.Close() })
	return benchFace{api.New(e, api.Options{Logger: log, Audit: lines}), e, store, token}
}

// BenchmarkSignThousand gets a thousand parts signed in a call, of a blob that was asked about before.
func BenchmarkSignThousand(b *testing.B) {
	f := newBenchFace(b)
	p, err := f.engine.Authenticate(b.Context(), ballast.Secret(f.token))
	if err != nil {
		b.Fatal(err)
	}
	ref, err := ballast.ParseRef("org/model:1")
	if err != nil {
		b.Fatal(err)
	}
	u, _, err := f.engine.CreateUpload(b.Context(), p, ballast.CreateUpload{Name: ref.Name, Version: ref.Version, Attempt: "attempt-of-benchmark"})
	if err != nil {
		b.Fatal(err)
	}
	ask := ballast.BlobRequest{Digest: ballast.DigestOf([]byte(u.ID)), Size: ballast.MaxPartsPerCall * ballast.MinPartSize, Method: ballast.MethodMultipart, PartSize: ballast.MinPartSize}
	for n := range ballast.MaxPartsPerCall {
		ask.Parts = append(ask.Parts, ballast.PartDigest{Number: n + 1, SHA256: ballast.DigestOf(fmt.Append(nil, n)).Encoded()})
	}
	body, err := json.Marshal(ballast.BlobsRequest{Blobs: []ballast.BlobRequest{ask}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r, err := http.NewRequest(http.MethodPost, "/v1/uploads/"+u.ID+"/blobs", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+f.token)
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = "127.0.0.1:1234"
		w := nullWriter{header: http.Header{}}
		f.ServeHTTP(&w, r)
		if w.status >= 400 {
			b.Fatal(w.status)
		}
	}
}

type nullWriter struct {
	header http.Header
	status int
}

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *nullWriter) WriteHeader(status int)      { w.status = status }

// benchPublish makes org/model:1, of many files with few contents.
func benchPublish(b *testing.B, e *engine.Engine, store *objstoretest.Mem, token string) {
	b.Helper()
	p, err := e.Authenticate(b.Context(), ballast.Secret(token))
	if err != nil {
		b.Fatal(err)
	}
	ref, err := ballast.ParseRef("org/model:1")
	if err != nil {
		b.Fatal(err)
	}
	u, _, err := e.CreateUpload(b.Context(), p, ballast.CreateUpload{Name: ref.Name, Version: ref.Version, Attempt: "attempt-of-benchmark"})
	if err != nil {
		b.Fatal(err)
	}
	var commit ballast.CommitRequest
	for i := range benchFiles {
		body := []byte(fmt.Sprint("weights ", i%1000))
		f := ballast.File{Path: fmt.Sprintf("shard-%05d.bin", i), Size: int64(len(body)), Digest: ballast.DigestOf(body)}
		commit.Files = append(commit.Files, f)
		if i >= 1000 {
			continue
		}
		if _, err := store.Put(b.Context(), ballast.BlobKey(ballast.Global, f.Digest), body, objstore.Condition{}); err != nil {
			b.Fatal(err)
		}
		if _, err = e.Blobs(b.Context(), p, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: f.Digest, Size: f.Size}}}); err != nil {
			b.Fatal(err)
		}
	}
	u, err = e.Commit(b.Context(), p, u.ID, commit)
	for err == nil && !u.Status.Settled() {
		u, err = e.Upload(b.Context(), p, u.ID, time.Minute)
	}
	if err != nil || u.Result == nil {
		b.Fatalf("publish: %+v, %v", u, err)
	}
}
