package engine_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// listsFail is a bucket whose lists of parts fail.
type listsFail struct {
	objstore.Bucket
	down  atomic.Bool
	calls atomic.Int64
}

func (b *listsFail) ListParts(ctx context.Context, key, id string, after int) iter.Seq2[objstore.Part, error] {
	if !b.down.Load() {
		return b.Bucket.ListParts(ctx, key, id, after)
	}
	return func(yield func(objstore.Part, error) bool) {
		b.calls.Add(1)
		yield(objstore.Part{}, objstore.ErrDenied)
	}
}

// More uploads than one page of the reaper holds cannot be told dead, because their parts cannot be listed. That keeps
// none behind them alive, and each is tried once a pass.
func TestReaperPassesOverWhatItCannotTell(t *testing.T) {
	const stuck = 150
	bucket := &listsFail{}
	var later atomic.Int64
	_, r := memRig(t, func(o *engine.Options) {
		bucket.Bucket, o.Bucket = o.Bucket, bucket
		o.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		o.Index = must(index.Open(t.Context(), index.NewMem(), o.Now))
	})
	for i := range stuck {
		u := must(r.open(t, writer, "m"))
		want := ballast.BlobRequest{Digest: ballast.DigestOf(fmt.Append(nil, i)), Size: 10, Method: ballast.MethodMultipart}
		must(r.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{want}}))
	}
	must(r.open(t, writer, "m:1")) // dies, and nothing can tell otherwise
	bucket.down.Store(true)
	later.Store(int64(engine.DefaultLimits().Lease))
	_, err := r.open(t, writer, "m:1") // the conflict wakes the reaper
	for deadline := time.Now().Add(10 * time.Second); err != nil; _, err = r.open(t, writer, "m:1") {
		if time.Now().After(deadline) {
			t.Fatalf("a dead upload behind those is never reaped: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	before := bucket.calls.Load()
	time.Sleep(100 * time.Millisecond) // nobody wakes the reaper
	if n := bucket.calls.Load() - before; n > 2*stuck {
		t.Fatalf("the reaper spins: %d lists of parts while nobody called it", n)
	}
}

// someUnreadable is a bucket that re-reads nothing before the gate opens, and some objects never.
type someUnreadable struct {
	objstore.Bucket
	keys map[string]bool
	gate chan struct{}
}

func (b someUnreadable) Get(ctx context.Context, key string, opt objstore.ReadOptions) (io.ReadCloser, objstore.Object, error) {
	if opt.IfMatch != "" {
		select {
		case <-b.gate:
		case <-ctx.Done():
		}
	}
	if b.keys[key] {
		return nil, objstore.Object{}, objstore.ErrUnavailable
	}
	return b.Bucket.Get(ctx, key, opt)
}

// Objects that cannot be re-read hold up none of those that wait behind them.
func TestVerifierPassesOverWhatItCannotRead(t *testing.T) {
	const all, bad = 6, 3
	bucket := someUnreadable{keys: map[string]bool{}, gate: make(chan struct{})}
	_, r := memRig(t, func(o *engine.Options) {
		bucket.Bucket, o.Bucket = o.Bucket, &bucket
		o.Limits.VerifyWorkers, o.Limits.VerifyRetry, o.Limits.CommitWait = 1, time.Hour, time.Millisecond
	})
	var files []ballast.File
	var digests []digest.Digest
	u := must(r.open(t, writer, "m:1"))
	for i := range uint64(all) {
		body := random(partSize+1, i)
		f := ballast.File{Path: fmt.Sprint(i), Size: int64(len(body)), Digest: ballast.DigestOf(body)}
		files, digests = append(files, f), append(digests, f.Digest)
		if err := r.sendBlob(t, writer, u.ID, f.Digest, body, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(digests) // the order of the queue
	for _, d := range digests[:bad] {
		bucket.keys[ballast.BlobKey(acme, d)] = true
	}
	must(r.Commit(t.Context(), writer, u.ID, ballast.CommitRequest{Files: files}))
	waitFor(t, "all objects are queued", func() bool {
		blobs := must(r.opt.Index.Blobs(t.Context(), acme, digests))
		return !slices.ContainsFunc(blobs, func(b index.Blob) bool { return b.State != index.BlobStored })
	})
	close(bucket.gate)
	waitFor(t, "the good objects are verified", func() bool {
		return must(r.Upload(t.Context(), writer, u.ID, 0)).Progress.BlobsVerified == all-bad
	})
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not yet: %s", what)
		}
	}
}
