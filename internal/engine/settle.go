package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// headsAtOnce bounds the requests that settle a batch of PUTs.
const headsAtOnce = 32

// head looks at the object under a blob's key. One that cannot be read is an object too: no more than an odd one.
func (e *Engine) head(ctx context.Context, id index.BlobID) (objstore.Object, error) {
	obj, err := e.bucket.Head(ctx, ballast.BlobKey(id.Scope, id.Digest))
	if errors.Is(err, objstore.ErrUnreadable) {
		return objstore.Object{Oddities: []string{"encryption with a key of its own"}}, nil
	}
	return obj, err
}

// judge says what an object under a blob's key is worth.
//
// good: the store itself checked the whole content against the digest. Neither good nor an error: the content must be
// re-read. An integrity error: it is not what may lie there, whatever the content.
func judge(obj objstore.Object, d digest.Digest) (good bool, err error) {
	odd := obj.Oddities
	if obj.StorageClass != "" && obj.StorageClass != "STANDARD" {
		odd = append(odd, "storage class "+obj.StorageClass)
	}
	if len(odd) > 0 {
		e := ballast.Errorf(ballast.CodeIntegrity, "blob %s was uploaded with %s; it was removed. Send exactly the headers of the signed request", d, strings.Join(odd, ", "))
		e.Expected = d
		return false, e
	}
	if obj.SHA256 != "" && obj.SHA256 != d {
		e := ballast.Errorf(ballast.CodeIntegrity, "the bytes uploaded as %s have the digest %s; they were removed", d, obj.SHA256)
		e.Expected, e.Actual = d, obj.SHA256
		return false, e
	}
	return obj.SHA256 == d, nil
}

// otherSize refuses a file whose declared size is not that of the bytes with its digest.
func otherSize(f ballast.File, size int64) error {
	e := ballast.Errorf(ballast.CodeIntegrity, "blob %s has %d bytes, not %d as declared; send exactly the bytes that were hashed", f.Digest, size, f.Size)
	e.Expected = f.Digest
	return e
}

// settlePuts looks at the objects of uploading blobs, at most MaxWants, that were to come by a single PUT. missing are
// those that are not there. An object that may not be there is put up for removal and is an integrity error; so is a
// size that the upload declared and the bytes don't have, but that is no fault of the bytes.
func (e *Engine) settlePuts(ctx context.Context, u index.Upload, batch []ballast.File) (missing []digest.Digest, err error) {
	var (
		mu      sync.Mutex
		found   []index.Found
		refused error
	)
	maker := u.ID
	if u.Copies() {
		maker = ""
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(headsAtOnce)
	for _, f := range batch {
		group.Go(func() error {
			id := index.BlobID{Scope: u.Scope, Digest: f.Digest}
			obj, err := e.head(gctx, id)
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, objstore.ErrNotFound) {
				missing = append(missing, f.Digest)
				return nil
			}
			if err != nil {
				return storeError(err)
			}
			good, err := judge(obj, f.Digest)
			switch {
			case err != nil:
				refused = err
				return e.taint(gctx, id)
			case !good:
				return e.toReread(gctx, id, obj, maker)
			case obj.Size != f.Size: // these are the digest's bytes, and whoever declared their true size may have them
				refused = otherSize(f, obj.Size)
			}
			found = append(found, index.Found{Digest: f.Digest, Size: obj.Size, ETag: obj.ETag, VersionID: obj.VersionID})
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(found) > 0 {
		if err := e.flush(ctx, failpoint.SyncBytes); err != nil {
			return nil, err
		}
		if err := e.index.StoredByPut(ctx, u.Scope, found); err != nil {
			return nil, err
		}
		e.verifyBell.ring() // where a check had found other bytes, it waits to be re-read
		e.changed.notify(u.Scope)
	}
	return missing, refused
}

// taint puts an object that may not be there up for removal.
func (e *Engine) taint(ctx context.Context, id index.BlobID) error {
	err := e.index.Tainted(ctx, id)
	e.reclaimBell.ring()
	return err
}

// toReread queues an object for the verifier. A lie then fails upload, unless that is "".
func (e *Engine) toReread(ctx context.Context, id index.BlobID, obj objstore.Object, upload string) error {
	err := e.index.StoredByMultipart(ctx, id, index.Found{Digest: id.Digest, Size: obj.Size, ETag: obj.ETag, VersionID: obj.VersionID}, upload)
	e.verifyBell.ring()
	return err
}

// allParts returns the store's list of a blob's parts when it holds exactly what the upload declared, or false.
func (e *Engine) allParts(ctx context.Context, u index.Upload, f ballast.File, b index.Blob) (parts []objstore.Part, all bool, err error) {
	count := ballast.PartCount(f.Size, b.PartSize)
	if count > ballast.MaxParts {
		return nil, false, nil
	}
	declared, err := e.index.DeclaredParts(ctx, u.ID, f.Digest, b.PartSize, count)
	if err != nil {
		return nil, false, err
	}
	for part, err := range e.bucket.ListParts(ctx, ballast.BlobKey(u.Scope, f.Digest), b.MultipartID, 0) {
		if err != nil {
			return nil, false, err
		}
		if part.Number > count {
			break
		}
		if matchesDeclared(part, declared) && part.Size == ballast.PartLength(f.Size, b.PartSize, part.Number) {
			parts = append(parts, part)
		}
	}
	return parts, len(parts) == count, nil
}

// hasAllParts reports whether a multipart blob could be completed for this upload now.
func (e *Engine) hasAllParts(ctx context.Context, u index.Upload, f ballast.File, b index.Blob) (bool, error) {
	if b.MultipartID == "" {
		return false, nil
	}
	if b.Completing != "" {
		return true, nil // Complete was sent; what came of it is decided while finishing
	}
	_, all, err := e.allParts(ctx, u, f, b)
	switch {
	case errors.Is(err, objstore.ErrNoSuchUpload):
		return false, nil
	case err == nil && all:
		return true, e.room(ctx, f.Size) // said now, while there is somebody to hear it
	}
	return all, storeError(err)
}

// completeTries bounds how often one pass lists parts again after InvalidPart.
const completeTries = 3

// complete turns a multipart blob's parts, as this upload declared them, into the object and queues it for the
// verifier. missing says that parts are not there. It may run any number of times: what came of an earlier Complete is
// decided by looking at the key.
func (e *Engine) complete(ctx context.Context, u index.Upload, f ballast.File) (missing bool, err error) {
	id := index.BlobID{Scope: u.Scope, Digest: f.Digest}
	defer e.blobs.lock(id)()
	for range completeTries {
		b, err := e.index.Blob(ctx, id)
		if err != nil {
			return false, err
		}
		if b.State != index.BlobUploading || b.Method != ballast.MethodMultipart {
			return b.State == index.BlobAbsent, nil
		}
		if b.MultipartID == "" {
			return true, nil
		}
		// If we crash after Complete, Completing says that the key may hold the object and whose list it was made from.
		if b.Completing != "" {
			done, err := e.completed(ctx, id, b.Completing)
			if done {
				e.abortQuietly(ctx, id, b.MultipartID) // Complete may have met an object that was there before
			}
			if done || err != nil {
				return false, err
			}
		}
		again, missing, err := e.completeOnce(ctx, id, u, f, b)
		if !again {
			return missing, err
		}
	}
	return true, nil
}

func (e *Engine) completeOnce(ctx context.Context, id index.BlobID, u index.Upload, f ballast.File, b index.Blob) (again, missing bool, err error) {
	parts, all, err := e.allParts(ctx, u, f, b)
	switch {
	case errors.Is(err, objstore.ErrNoSuchUpload):
		missing, err := e.withoutMultipart(ctx, id, b)
		return false, missing, err
	case err != nil:
		return false, false, storeError(err)
	case !all:
		return false, true, nil
	}
	if err := e.room(ctx, f.Size); err != nil {
		return false, false, err
	}
	if _, err := e.index.Completing(ctx, id, u.ID, b.MultipartID); err != nil {
		return false, false, err
	}
	_, cerr := e.bucket.CompleteMultipart(ctx, ballast.BlobKey(id.Scope, id.Digest), b.MultipartID, parts)
	if errors.Is(cerr, objstore.ErrInvalidPart) {
		return true, false, nil
	}
	maker := u.ID
	if errors.Is(cerr, objstore.ErrPrecondition) {
		maker = "" // somebody else's bytes lie there: a lie in them is not this upload's
	}
	done, err := e.completed(ctx, id, maker)
	switch {
	case err != nil:
		return false, false, err
	case done:
		if cerr != nil {
			e.abortQuietly(ctx, id, b.MultipartID)
		}
		return false, false, nil
	case errors.Is(cerr, objstore.ErrNoSuchUpload):
		return true, false, nil
	}
	return false, false, storeError(fmt.Errorf("engine: completing %s: %w", id.Digest, cerr))
}

// completed looks whether the object is there, and if so takes it over: verified when the store vouches for the whole
// content, else queued for the verifier; a lie then fails the upload maker, unless that is "".
func (e *Engine) completed(ctx context.Context, id index.BlobID, maker string) (bool, error) {
	obj, err := e.head(ctx, id)
	if errors.Is(err, objstore.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, storeError(err)
	}
	good, err := judge(obj, id.Digest)
	switch {
	case err != nil:
		return false, errors.Join(err, e.taint(ctx, id))
	case !good:
		return true, e.toReread(ctx, id, obj, maker)
	}
	if err := e.flush(ctx, failpoint.SyncBytes); err != nil {
		return false, err
	}
	err = e.index.StoredByPut(ctx, id.Scope, []index.Found{{Digest: id.Digest, Size: obj.Size, ETag: obj.ETag, VersionID: obj.VersionID}})
	e.verifyBell.ring() // see settlePuts
	e.changed.notify(id.Scope)
	return true, err
}

// multipartGone settles a blob whose multipart the store no longer knew when it was asked.
func (e *Engine) multipartGone(ctx context.Context, id index.BlobID, multipart string) error {
	defer e.blobs.lock(id)()
	b, err := e.index.Blob(ctx, id)
	if err != nil || b.State != index.BlobUploading || b.MultipartID != multipart {
		return err
	}
	if _, err = e.withoutMultipart(ctx, id, b); ballast.CodeOf(err) == ballast.CodeIntegrity {
		return nil // what lay there is being removed
	}
	return err
}

// withoutMultipart settles a blob whose multipart the store no longer knows: it became an object and the answer was
// lost, or the store dropped it and the blob is missing again. The caller holds the blob's lock.
func (e *Engine) withoutMultipart(ctx context.Context, id index.BlobID, b index.Blob) (missing bool, err error) {
	done, err := e.completed(ctx, id, b.Completing)
	if done || err != nil {
		return false, err
	}
	_, err = e.index.MultipartLost(ctx, id, b.MultipartID)
	return true, err
}

// abortQuietly drops a multipart that nothing refers to any more. One that survives is garbage that gc knows.
func (e *Engine) abortQuietly(ctx context.Context, id index.BlobID, multipart string) {
	if err := e.bucket.AbortMultipart(ctx, ballast.BlobKey(id.Scope, id.Digest), multipart); err != nil && !errors.Is(err, objstore.ErrNoSuchUpload) {
		e.log.WarnContext(ctx, "aborting a multipart that is not needed", "digest", id.Digest, "error", err)
	}
}
