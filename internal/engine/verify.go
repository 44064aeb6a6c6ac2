package engine

import (
	"context"
	"errors"
	"sync"
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
	chain, err := e.reread(rctx, job.id, job.blob)
	cancel()
	renewing.Wait()
	defer e.reading.forget(job.id)
	defer e.changed.notify(job.id.Scope)
	// Removed or replaced by somebody with credentials of their own, it is not what Complete made.
	replaced := errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrPrecondition)
	switch {
	case replaced:
		return e.lied(ctx, job, "")
	case err == nil && chain.Digest() != job.id.Digest:
		return e.lied(ctx, job, chain.Digest())
	case err != nil:
		return e.returnJob(ctx, job, storeError(err))
	}
	if err := e.flush(ctx, failpoint.SyncBytes); err != nil {
		return e.returnJob(ctx, job, err)
	}
	return e.index.Verified(ctx, job.id, job.worker, linkSize(job.blob), sumsOf(chain.States()))
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

// linkSize is the distance of the states that are noted on the way: that of the parts where it suits, so that a reader can
// fetch what is damaged by itself.
func linkSize(b index.Blob) int64 {
	if b.PartSize%hash.BlockSize != 0 || b.PartSize > ballast.DefaultPartSize {
		return ballast.ClampPartSize(b.Size, 0)
	}
	return ballast.ClampPartSize(b.Size, b.PartSize)
}

func sumsOf(states []hash.State) [][32]byte {
	sums := make([][32]byte, len(states))
	for i, s := range states {
		sums[i] = s
	}
	return sums
}

// reread hashes the object of a stored blob, and notes the states on the way.
func (e *Engine) reread(ctx context.Context, id index.BlobID, b index.Blob) (*hash.Chain, error) {
	h := hash.NewChain(linkSize(b))
	return h, e.hashRanges(ctx, h, ranged{
		bucket: e.bucket, key: ballast.BlobKey(id.Scope, id.Digest), of: objstore.ReadOptions{IfMatch: b.ETag, VersionID: b.VersionID},
		size: b.Size, seen: e.reading.count(id).Store, memory: e.verifyMemory,
	})
}
