package engine

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

const reclaimBatch = 100

// reclaim removes what is in deleting or aborting. Meanwhile the digest is busy and nothing is signed for it, because a
// store cannot fence a delete. A restart repeats what was cut off, once it is certain that this index is no old copy: an
// old one may have in deleting what has been published since.
func (e *Engine) reclaim(ctx context.Context) error {
	if !e.isSurveyed() {
		return nil
	}
	var failed failures
	var last index.BlobID
	for more := true; more && ctx.Err() == nil; {
		ids, err := e.index.Reclaiming(ctx, last, reclaimBatch)
		failed.add(err)
		if len(ids) > 0 {
			if err := e.owner.lookNow(ctx); err != nil {
				return err
			}
			failed.add(e.reclaimAll(ctx, ids, func(index.BlobID) {}))
			last = ids[len(ids)-1]
		}
		more = len(ids) == reclaimBatch
	}
	return failed.err()
}

// deletesAtOnce bounds the objects that are removed side by side.
const deletesAtOnce = 8

// reclaimAll removes what lies under the keys of blobs in deleting or aborting, and tells done of each that is gone. The
// caller has just looked at owner.json.
func (e *Engine) reclaimAll(ctx context.Context, ids []index.BlobID, done func(index.BlobID)) error {
	var mu sync.Mutex
	var failed failures
	var group errgroup.Group
	group.SetLimit(deletesAtOnce)
	for _, id := range ids {
		group.Go(func() error {
			err := e.reclaimOne(ctx, id)
			e.changed.notify(id.Scope)
			mu.Lock()
			defer mu.Unlock()
			if failed.add(err); err == nil {
				done(id)
			}
			return nil
		})
	}
	_ = group.Wait()
	return failed.err()
}

func (e *Engine) reclaimOne(ctx context.Context, id index.BlobID) error {
	defer e.blobs.lock(id)()
	b, err := e.index.Blob(ctx, id)
	if err != nil {
		return err
	}
	key := ballast.BlobKey(id.Scope, id.Digest)
	wctx, cancel := context.WithTimeout(ctx, e.limits.RecordTimeout)
	defer cancel()
	gone := false
	switch b.State {
	case index.BlobDeleting:
		if err = e.bucket.Delete(wctx, key); err == nil {
			gone, err = true, e.abortAll(wctx, key)
		}
	case index.BlobAborting:
		gone, err = e.abortedForCertain(wctx, key, b.MultipartID)
	}
	if err != nil || !gone {
		return storeError(err)
	}
	if err := e.index.Reclaimed(ctx, id); err != nil {
		return err
	}
	if b.State == index.BlobDeleting {
		e.freed.blobs.Add(1)
		e.freed.bytes.Add(b.Size)
	} else {
		e.freed.multiparts.Add(1)
	}
	return nil
}

// abortedForCertain aborts the blob's multipart and any other of its key, and reports whether the store says that they
// are gone. Parts in flight can outlive an accepted abort, so it takes a second round.
func (e *Engine) abortedForCertain(ctx context.Context, key, multipart string) (bool, error) {
	if multipart != "" {
		err := e.bucket.AbortMultipart(ctx, key, multipart)
		if err == nil {
			err = e.bucket.AbortMultipart(ctx, key, multipart)
		}
		if !errors.Is(err, objstore.ErrNoSuchUpload) {
			return false, err
		}
	}
	if err := e.abortAll(ctx, key); err != nil {
		return false, err
	}
	open, err := e.bucket.ListUploads(ctx, key)
	return len(open) == 0, err
}
