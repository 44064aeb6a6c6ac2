package engine

import (
	"context"
	"errors"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// gcPage is how many blobs or references one look takes: it holds up no transaction, and little memory.
const gcPage = 1000

// sweep makes one pass over everything that can be garbage. It acts on nothing but what the index has recorded: objects that
// nobody recorded are left alone. Each step looks, and then acts in a transaction that looks again, so that what
// was pinned or referenced in between stays. With dry it only looks.
func (e *Engine) sweep(ctx context.Context, dry bool) error {
	var failed failures
	parts := []func(context.Context, bool) error{e.sweepUploads, e.sweepStaging, e.sweepReferences, e.sweepBlobs}
	if !dry { // for the manifests that went
		parts = append(parts, e.sweepReferences)
	}
	for _, part := range parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		failed.add(part(ctx, dry))
	}
	return failed.err()
}

// sweepUploads ends uploads whose lease is over and drops their pins.
func (e *Engine) sweepUploads(ctx context.Context, dry bool) error {
	var failed failures
	for after, more := "", true; more && ctx.Err() == nil; more = after != "" {
		due, next, err := e.index.Due(ctx, after, reapBatch)
		failed.add(err)
		for _, u := range due {
			if u.Status != ballast.UploadPending {
				continue
			}
			expire := e.expireOne
			if dry {
				expire = e.expires
			}
			expired, err := expire(ctx, u)
			failed.add(err)
			if expired {
				e.gc.found(u.Scope, func(s *ballast.GCScope) { s.Removed.Uploads++ })
			}
		}
		after = next
	}
	if !dry {
		failed.add(e.release(ctx))
	}
	return failed.err()
}

// sweepStaging removes what uploads that are over have left under staging/, once no signed URL can write there.
func (e *Engine) sweepStaging(ctx context.Context, dry bool) error {
	var failed failures
	for scope, err := range scopesIn(ctx, e.bucket) {
		if err != nil {
			return storeError(err)
		}
		var over []string
		prefix := scope.Path() + "/staging/"
		for obj, err := range e.bucket.List(ctx, prefix, "") {
			if err != nil {
				return storeError(err)
			}
			id, _, _ := strings.Cut(strings.TrimPrefix(obj.Key, prefix), "/")
			u, err := e.index.Upload(ctx, id)
			if ballast.CodeOf(err) == ballast.CodeNotFound {
				continue // nobody recorded it
			}
			failed.add(err)
			if err == nil && u.Scope == scope && u.Settled() && e.now().After(u.SettledAt.Add(e.limits.PutURLLife+e.limits.ClockSlack)) {
				over = append(over, obj.Key)
			}
			if len(over) == gcPage {
				break // the next run goes on
			}
		}
		if len(over) == 0 {
			continue
		}
		if !dry {
			if err := e.owner.lookNow(ctx); err != nil {
				return err
			}
		}
		for _, key := range over {
			if !dry {
				if err := e.bucket.Delete(ctx, key); err != nil {
					failed.add(storeError(err))
					continue
				}
			}
			e.gc.found(scope, func(s *ballast.GCScope) { s.Removed.Staging++ })
		}
	}
	return failed.err()
}

// sweepReferences drops what manifests that are gone say of their files. It is done before blobs are looked at, for what an
// earlier run left, and after that, for the manifests that this run removed.
func (e *Engine) sweepReferences(ctx context.Context, dry bool) error {
	for after, more := (index.Reference{}), true; more && ctx.Err() == nil; {
		dead, next, err := e.index.DeadReferences(ctx, after, gcPage)
		if err != nil {
			return err
		}
		for len(dead) > 0 {
			scope, n := dead[0].Scope, 1
			for n < len(dead) && n < index.MaxUnreferenced && dead[n].Scope == scope {
				n++
			}
			dropped := n
			if !dry {
				if dropped, err = e.index.Unreference(ctx, scope, dead[:n]); err != nil {
					return err
				}
			}
			e.gc.found(scope, func(s *ballast.GCScope) { s.Removed.References += int64(dropped) })
			dead = dead[n:]
		}
		after, more = next, next != (index.Reference{})
	}
	return ctx.Err()
}

// sweepBlobs removes the bytes of blobs that nobody uses, multiparts beside bytes that are there, and records of blobs
// that can have no bytes any more.
func (e *Engine) sweepBlobs(ctx context.Context, dry bool) error {
	var failed failures
	for after, more := (index.BlobID{}), true; more && ctx.Err() == nil; {
		page, next, err := e.index.Garbage(ctx, after, e.limits.gcTimes(), gcPage)
		if err != nil {
			return err
		}
		batch := func(fate index.Fate, act func(context.Context, []index.Garbage, bool) error) {
			var of []index.Garbage
			for _, g := range page {
				if g.Fate == fate {
					of = append(of, g)
				}
			}
			for len(of) > 0 && ctx.Err() == nil {
				n := min(len(of), index.MaxCondemned)
				failed.add(act(ctx, of[:n], dry))
				of = of[n:]
			}
		}
		for _, g := range page {
			if g.Fate == index.FateWait {
				e.gc.found(g.Scope, func(s *ballast.GCScope) { s.Waiting.Blobs++; s.Waiting.Bytes += g.Blob.Size })
			}
			if g.Multiparts() {
				failed.add(e.sweepMultiparts(ctx, g.BlobID, dry))
			}
		}
		batch(index.FateRemove, e.removeUnused)
		batch(index.FateForget, e.forgetBlobs)
		if e.owner.verdict() != nil {
			break
		}
		after, more = next, next != (index.BlobID{})
	}
	failed.add(ctx.Err())
	return failed.err()
}

// removeUnused condemns blobs and removes their bytes. If we crash in between, the next start finds them in deleting.
func (e *Engine) removeUnused(ctx context.Context, batch []index.Garbage, dry bool) error {
	sizes := map[index.BlobID]int64{}
	ids := make([]index.BlobID, 0, len(batch))
	for _, g := range batch {
		size := g.Blob.Size
		if g.Blob.State == index.BlobUploading { // nobody has looked at what was sent
			if obj, err := e.head(ctx, g.BlobID); err == nil {
				size = obj.Size
			} else if dry && errors.Is(err, objstore.ErrNotFound) {
				continue
			}
		}
		sizes[g.BlobID] = size
		ids = append(ids, g.BlobID)
	}
	removed := func(id index.BlobID) {
		e.gc.found(id.Scope, func(s *ballast.GCScope) { s.Removed.Blobs++; s.Removed.Bytes += sizes[id] })
	}
	if dry {
		for _, id := range ids {
			removed(id)
		}
		return nil
	}
	if err := e.owner.lookNow(ctx); err != nil {
		return err
	}
	condemned, err := e.index.Condemn(ctx, ids, e.limits.gcTimes())
	if err != nil {
		return err
	}
	return e.reclaimAll(ctx, condemned, removed)
}

// forgetBlobs drops records of blobs whose key is empty. Bytes that arrived after they were removed last are removed, and so
// are parts of them: without the record nobody would look for either again.
func (e *Engine) forgetBlobs(ctx context.Context, batch []index.Garbage, dry bool) error {
	var failed failures
	var empty []index.BlobID
	var late []index.Garbage
	for _, g := range batch {
		size, there, err := e.lies(ctx, g.BlobID)
		switch {
		case err != nil: // unknown is not absent
			failed.add(storeError(err))
		case there:
			g.Blob.Size = size
			late = append(late, g)
		default:
			empty = append(empty, g.BlobID)
		}
	}
	if len(late) > 0 {
		failed.add(e.removeUnused(ctx, late, dry))
	}
	if len(empty) == 0 {
		return failed.err()
	}
	if !dry {
		if _, err := e.index.Drop(ctx, empty, e.limits.gcTimes()); err != nil {
			failed.add(err)
			return failed.err()
		}
	}
	for _, id := range empty {
		e.gc.found(id.Scope, func(s *ballast.GCScope) { s.Removed.Records++ })
	}
	return failed.err()
}

// lies reports whether anything lies under a blob's key, an object or parts of one, and the size of the object.
func (e *Engine) lies(ctx context.Context, id index.BlobID) (size int64, there bool, err error) {
	obj, err := e.head(ctx, id)
	if !errors.Is(err, objstore.ErrNotFound) {
		return obj.Size, err == nil, err
	}
	open, err := e.bucket.ListUploads(ctx, ballast.BlobKey(id.Scope, id.Digest))
	return 0, len(open) > 0, err
}

// sweepMultiparts aborts the multiparts of a blob whose bytes are there: of a Complete that met them, or a copy that was cut off.
func (e *Engine) sweepMultiparts(ctx context.Context, id index.BlobID, dry bool) error {
	defer e.blobs.lock(id)() // under which none is opened, and the blob does not become absent
	b, err := e.index.Blob(ctx, id)
	if err != nil || !(index.Garbage{Blob: b}).Multiparts() {
		return err
	}
	key := ballast.BlobKey(id.Scope, id.Digest)
	open, err := e.bucket.ListUploads(ctx, key)
	if err != nil {
		return storeError(err)
	}
	e.gc.found(id.Scope, func(s *ballast.GCScope) { s.Removed.Multiparts += int64(len(open)) })
	if dry {
		return nil
	}
	if len(open) > 0 {
		if err := e.owner.lookNow(ctx); err != nil {
			return err
		}
		e.freed.multiparts.Add(int64(len(open)))
		if gone, err := e.abortedForCertain(ctx, key, ""); err != nil || !gone {
			return storeError(err)
		}
	}
	return e.index.MultipartsGone(ctx, id)
}
