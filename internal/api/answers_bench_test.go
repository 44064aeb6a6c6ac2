package api_test

import (
	"crypto/sha256"
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
	benchPublish(b, e, store, token)
	folder, err := audit.OpenFolder(filepath.Join(b.TempDir(), "audit"), audit.Bounds{}, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	lines := audit.New(folder, audit.Options{})
	b.Cleanup(func() { _ = lines.Close() })
	h := api.New(e, api.Options{Logger: log, Audit: lines})
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
				r.Header.Set("Authorization", "Bearer "+token)
				r.RemoteAddr = "127.0.0.1:1234"
				requests = append(requests, r)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				w := nullWriter{header: http.Header{}}
				h.ServeHTTP(&w, requests[i%benchFiles])
				if w.status >= 400 {
					b.Fatal(w.status)
				}
				i++
			}
		})
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
