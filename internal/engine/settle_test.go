package engine_test

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// Complete made the object, its answer was lost, and the upload that sent it was aborted. Another upload of the same
// blob must not be told to come back for ever.
func TestCompletedForAnAbortedUpload(t *testing.T) {
	m, r := memRig(t, func(o *engine.Options) { o.Limits.CommitWait = time.Millisecond })
	body := random(partSize+1, 1)
	d := ballast.DigestOf(body)
	first, second := must(r.open(t, writer, "m:1")), must(r.open(t, writer, "m:2"))
	for _, u := range []ballast.Upload{first, second} {
		if err := r.sendBlob(t, writer, u.ID, d, body, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
	}
	completed := make(chan struct{})
	m.Before(func(_ context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpCompleteMultipart {
			m.Fail(objstoretest.OpHead, 1, objstore.ErrUnavailable, false)
			close(completed)
		}
	})
	m.Fail(objstoretest.OpCompleteMultipart, 1, objstore.ErrUnavailable, true)
	if _, err := r.Commit(t.Context(), writer, first.ID, ballast.CommitRequest{Files: folder{"w": body}.files()}); err != nil {
		t.Fatal(err)
	}
	<-completed
	if err := r.AbortUpload(t.Context(), writer, first.ID); err != nil {
		t.Fatal(err)
	}
	req := ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: d, Size: int64(len(body)), Method: ballast.MethodMultipart, PartSize: partSize}}}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if a := must(r.Blobs(t.Context(), writer, second.ID, req)); a.Blobs[0].State != ballast.BlobBusy {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the blob stays busy")
		}
	}
	if _, err := r.commit(t, writer, second.ID, folder{"w": body}.files(), ballast.Metadata{}); err != nil {
		t.Fatal(err)
	}
}

// rereadsFail is a bucket whose re-reads, which name an ETag, are refused until it is healed.
type rereadsFail struct {
	objstore.Bucket
	refused chan struct{} // one each refusal
	healed  chan struct{}
}

func newRereadsFail() *rereadsFail {
	return &rereadsFail{refused: make(chan struct{}), healed: make(chan struct{})}
}

func (b *rereadsFail) heal() { close(b.healed) }

func (b *rereadsFail) Get(ctx context.Context, key string, opt objstore.ReadOptions) (io.ReadCloser, objstore.Object, error) {
	if opt.IfMatch != "" {
		select {
		case b.refused <- struct{}{}:
			return nil, objstore.Object{}, objstore.ErrUnavailable
		case <-ctx.Done():
			return nil, objstore.Object{}, objstore.ErrUnavailable
		case <-b.healed:
		}
	}
	return b.Bucket.Get(ctx, key, opt)
}

// The size of an object that nobody has verified yet is no fact about its digest: it fails no upload that declared
// another one.
func TestUnverifiedSizeIsHeldAgainstNobody(t *testing.T) {
	bucket := newRereadsFail()
	_, r := memRig(t, func(o *engine.Options) {
		bucket.Bucket, o.Bucket = o.Bucket, bucket
		o.Limits.CommitWait = time.Millisecond
	})
	honest := random(partSize+10, 1)
	lie := honest[:partSize+3]
	d := ballast.DigestOf(honest)
	liar, beside := must(r.open(t, writer, "m:1")), must(r.open(t, writer, "m:2"))
	if err := r.sendBlob(t, writer, liar.ID, d, lie, ballast.MethodMultipart); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Commit(t.Context(), writer, liar.ID, ballast.CommitRequest{Files: []ballast.File{{Path: "w", Size: int64(len(lie)), Digest: d}}}); err != nil {
		t.Fatal(err)
	}
	<-bucket.refused
	files := folder{"w": honest}.files()
	if err := r.sendBlob(t, writer, beside.ID, d, honest, ballast.MethodMultipart); err != nil {
		t.Fatalf("asking beside an unverified object of another size: %v", err)
	}
	if _, err := r.Commit(t.Context(), writer, beside.ID, ballast.CommitRequest{Files: files}); err != nil {
		t.Fatalf("committing beside an unverified object of another size: %v", err)
	}
	bucket.heal()
	u := must(r.Upload(t.Context(), writer, liar.ID, time.Minute))
	wantCode(t, u.Error, ballast.CodeIntegrity)
	for u = must(r.Upload(t.Context(), writer, beside.ID, 0)); u.Status == ballast.UploadVerifying; time.Sleep(10 * time.Millisecond) {
		u = must(r.Upload(t.Context(), writer, beside.ID, 0))
	}
	if u.Status != ballast.UploadPending {
		t.Fatalf("the upload beside it is %s: %v", u.Status, u.Error)
	}
	if err := r.sendBlob(t, writer, beside.ID, d, honest, ballast.MethodMultipart); err != nil {
		t.Fatal(err)
	}
	must(r.commit(t, writer, beside.ID, files, ballast.Metadata{}))
}

// plant puts an object under a digest key as a multipart of somebody with credentials: the store vouches for its parts
// only.
func plant(t *testing.T, b objstore.Bucket, s store, d digest.Digest, body []byte) {
	t.Helper()
	key := ballast.BlobKey(acme, d)
	id, err := b.CreateMultipart(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	req := must(s.SignPart(t.Context(), key, id, 1, ballast.DigestOf(body), int64(len(body)), time.Hour))
	if status := s.send(t, req, body, nil); status != http.StatusOK {
		t.Fatalf("part: %d", status)
	}
	var parts []objstore.Part
	for p, err := range b.ListParts(t.Context(), key, id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	if _, err := b.CompleteMultipart(t.Context(), key, id, parts); err != nil {
		t.Fatal(err)
	}
}

// A manifest whose key was taken by bytes that the store does not vouch for is re-read as any other blob. Until then its
// commit is not accepted, for it could not be sealed.
func TestCommitAfterItsManifestIsVerified(t *testing.T) {
	bucket := newRereadsFail()
	m, r := memRig(t, func(o *engine.Options) {
		bucket.Bucket, o.Bucket = o.Bucket, bucket
	})
	f := folder{"w": []byte("weights")}
	_, manifest, err := ballast.BuildManifest(f.files())
	if err != nil {
		t.Fatal(err)
	}
	plant(t, m, r.store, ballast.DigestOf(manifest), manifest)
	u := must(r.open(t, writer, "m:1"))
	if err := r.sendAll(t, writer, u.ID, f); err != nil {
		t.Fatal(err)
	}
	_, err = r.Commit(t.Context(), writer, u.ID, ballast.CommitRequest{Files: f.files()})
	wantCode(t, err, ballast.CodeBusy)
	bucket.heal()
	for ballast.CodeOf(err) == ballast.CodeBusy {
		time.Sleep(10 * time.Millisecond)
		_, err = r.commit(t, writer, u.ID, f.files(), ballast.Metadata{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The same commit twice at once, as after a time-out on the way: both are answered with the version.
func TestCommitTwiceAtOnce(t *testing.T) {
	m, r := memRig(t, nil)
	f := small("a")
	u := must(r.open(t, writer, "m:1"))
	if err := r.sendAll(t, writer, u.ID, f); err != nil {
		t.Fatal(err)
	}
	_, manifest, err := ballast.BuildManifest(f.files())
	if err != nil {
		t.Fatal(err)
	}
	var second atomic.Bool
	m.Before(func(_ context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpPut && key == ballast.BlobKey(acme, ballast.DigestOf(manifest)) && second.CompareAndSwap(false, true) {
			if _, err := r.commit(t, writer, u.ID, f.files(), ballast.Metadata{}); err != nil {
				t.Errorf("the second commit: %v", err)
			}
		}
	})
	v, err := r.commit(t, writer, u.ID, f.files(), ballast.Metadata{})
	if err != nil || v.Status != ballast.StatusReady {
		t.Fatalf("the first commit: %+v, %v", v, err)
	}
}
