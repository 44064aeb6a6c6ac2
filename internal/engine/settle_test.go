package engine_test

import (
	"context"
	"testing"
	"time"

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
