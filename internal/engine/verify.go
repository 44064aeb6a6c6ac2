package engine

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/hash"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// verify takes jobs of the verify queue until it is empty. One that fails is paused and holds up no other.
func (e *Engine) verify(ctx context.Context) error {
	var failed failures
	for {
		job := verifyJob{worker: uuid.NewString()} // so that who lost a lease cannot pass for who has it now
		var ok bool
		var err error
		job.id, job.blob, ok, err = e.index.LeaseVerify(ctx, job.worker, e.limits.VerifyLease)
		failed.add(err)
		if err != nil || !ok {
			return failed.err()
		}
		failed.add(e.verifyOne(ctx, job))
	}
}

// verifyJob is a blob to re-read and the name under which its lease is held.
type verifyJob struct {
	id     index.BlobID
	blob   index.Blob
	worker string
}

// verifyOne re-reads one object under a lease that is renewed meanwhile, and records the verdict.
func (e *Engine) verifyOne(ctx context.Context, job verifyJob) error {
	rctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var renewing sync.WaitGroup
	renewing.Go(func() { e.renewVerify(rctx, cancel, job) })
	actual, err := e.reread(rctx, job.id, job.blob)
	cancel()
	renewing.Wait()
	defer e.reading.forget(job.id)
	defer e.changed.notify()
	// Removed or replaced by somebody with credentials of their own, it is not what Complete made.
	replaced := errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrPrecondition)
	switch {
	case replaced || err == nil && actual != job.id.Digest:
		return e.lied(ctx, job, actual)
	case err != nil:
		return e.returnJob(ctx, job, storeError(err))
	}
	if err := e.flush(ctx, failpoint.SyncBytes); err != nil {
		return e.returnJob(ctx, job, err)
	}
	return e.index.Verified(ctx, job.id, job.worker)
}

// returnJob gives a job back, to be tried again later, and returns why with what came in between.
func (e *Engine) returnJob(ctx context.Context, job verifyJob, why error) error {
	return errors.Join(why, e.index.ReturnVerify(context.WithoutCancel(ctx), job.id, job.worker, e.limits.VerifyRetry))
}

func (e *Engine) lied(ctx context.Context, job verifyJob, actual digest.Digest) error {
	e.log.WarnContext(ctx, "an uploaded object is not what its digest says; it is removed", "scope", job.id.Scope.String(), "digest", job.id.Digest, "actual", actual)
	err := e.index.Lied(ctx, job.id, job.worker, actual)
	e.releaseBell.ring()
	e.reclaimBell.ring()
	return err
}

// renewVerify keeps the lease until ctx ends, and ends the work when the lease is lost.
func (e *Engine) renewVerify(ctx context.Context, lost context.CancelFunc, job verifyJob) {
	tick := time.NewTicker(e.limits.VerifyLease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		held, err := e.index.RenewVerify(ctx, job.id, job.worker, e.limits.VerifyLease)
		if err == nil && !held {
			lost()
			return
		}
	}
}

// reread hashes an object, reading VerifyRanges ranges of it at a time and hashing them in order.
func (e *Engine) reread(ctx context.Context, id index.BlobID, b index.Blob) (digest.Digest, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := hash.New(0)
	results := make(chan chan rangeRead, e.limits.VerifyRanges-1)
	go func() {
		defer close(results)
		for offset := int64(0); offset < b.Size; offset += e.limits.VerifyRange {
			result := make(chan rangeRead, 1)
			select {
			case results <- result:
			case <-ctx.Done():
				return
			}
			go func() { result <- e.readRange(ctx, id, b, offset) }()
		}
	}()
	for result := range results {
		r := <-result
		if r.err != nil {
			return "", r.err
		}
		if _, err := h.Write(r.data); err != nil {
			return "", err
		}
		e.reading.set(id, h.Size())
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return h.Digest(), nil
}

type rangeRead struct {
	data []byte
	err  error
}

func (e *Engine) readRange(ctx context.Context, id index.BlobID, b index.Blob, offset int64) rangeRead {
	length := min(e.limits.VerifyRange, b.Size-offset)
	r, _, err := e.bucket.Get(ctx, ballast.BlobKey(id.Scope, id.Digest), objstore.ReadOptions{Offset: offset, Length: length, IfMatch: b.ETag, VersionID: b.VersionID})
	if err != nil {
		return rangeRead{err: err}
	}
	data := make([]byte, length)
	_, err = io.ReadFull(r, data)
	return rangeRead{data, errors.Join(err, r.Close())}
}

// readProgress counts the bytes of objects being re-read.
type readProgress struct{ bytes sync.Map } // index.BlobID → *atomic.Int64

func (p *readProgress) set(id index.BlobID, n int64) {
	v, _ := p.bytes.LoadOrStore(id, new(atomic.Int64))
	v.(*atomic.Int64).Store(n)
}

func (p *readProgress) of(id index.BlobID) int64 {
	if v, ok := p.bytes.Load(id); ok {
		return v.(*atomic.Int64).Load()
	}
	return 0
}

func (p *readProgress) forget(id index.BlobID) { p.bytes.Delete(id) }
