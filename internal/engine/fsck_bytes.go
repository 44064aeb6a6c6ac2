package engine

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"golang.org/x/time/rate"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// ratedBucket reads no more bytes a second than its limiter lets through.
type ratedBucket struct {
	objstore.Bucket
	bytes *rate.Limiter
}

// Get waits for the turn of the bytes that it is asked for, which are those of one range.
func (r ratedBucket) Get(ctx context.Context, key string, opt objstore.ReadOptions) (io.ReadCloser, objstore.Object, error) {
	for left := int(opt.Length); left > 0; left -= r.bytes.Burst() {
		if err := r.bytes.WaitN(ctx, min(left, r.bytes.Burst())); err != nil {
			return nil, objstore.Object{}, err
		}
	}
	return r.Bucket.Get(ctx, key, opt)
}

// hash reads an object as it is now.
func (f *fsck) hash(ctx context.Context, id index.BlobID, etag string, size int64) (digest.Digest, error) {
	bucket := f.bucket
	if f.bytes != nil {
		bucket = ratedBucket{bucket, f.bytes}
	}
	actual, err := f.reader.digestOf(ctx, ranged{
		bucket: bucket, key: ballast.BlobKey(id.Scope, id.Digest), of: objstore.ReadOptions{IfMatch: etag}, size: size, memory: f.memory,
	})
	if err == nil {
		f.hashed.Add(size)
	}
	return actual, err
}

// deep hashes the object of a verified blob that is listed as it was.
func (f *fsck) deep(ctx context.Context, b keptBlob) error {
	actual, err := f.hash(ctx, b.ID, b.Blob.ETag, b.Blob.Size)
	if errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrPrecondition) {
		return f.changedMeanwhile(ctx, b.ID)
	}
	if err != nil {
		return f.broken(ctx, b.ID, err)
	}
	if actual == b.ID.Digest {
		return nil
	}
	now, obj, steady, err := f.twice(ctx, b.ID)
	if err != nil || !steady || now != b.Blob || obj == nil || !sameETag(obj.ETag, b.Blob.ETag) {
		return err
	}
	return f.wrongBytes(ctx, b.ID, now, *obj, actual)
}

// broken reports an object whose bytes the store does not give, though it answers for the object. A store that does not do
// even that ends the check. Nothing is repaired: what cannot be read now is not lost by that.
func (f *fsck) broken(ctx context.Context, id index.BlobID, why error) error {
	b, obj, steady, err := f.twice(ctx, id)
	if err != nil {
		return errors.Join(why, err)
	}
	if !steady || b.State != index.BlobVerified || obj == nil {
		return nil
	}
	finding := ballast.Finding{
		Kind: ballast.FindingBrokenBytes, Scope: id.Scope.String(), Digest: id.Digest, Object: ballast.BlobKey(id.Scope, id.Digest),
		What: fmt.Sprintf("the object of blob %s is there, and its bytes do not come: %s", id.Digest, AsError(storeError(why)).Detail), Do: doBroken,
	}
	if err := f.usedBy(ctx, id, &finding); err != nil {
		return err
	}
	return f.found(ctx, finding, nil)
}

const doBroken = "check again; if it stays, look at the disks of the store and whether it has moved the object into an archive, and put the object back from a copy; where there is none, remove the object, run ballast fsck --repair --yes, and push the same files again"

// changedMeanwhile looks again at what was replaced or removed while it was read, less the reading.
func (f *fsck) changedMeanwhile(ctx context.Context, id index.BlobID) error {
	b, obj, steady, err := f.twice(ctx, id)
	if err != nil || !steady || b.State != index.BlobVerified || obj != nil && obj.Size == b.Size && sameETag(obj.ETag, b.ETag) {
		return err
	}
	return f.suspect(ctx, id)
}

// wrongBytes reports other bytes than the digest's. Their store may still vouch for what they were, as it does once a disk has
// changed them: from a repair on they are read again before anybody takes the object for the right one.
func (f *fsck) wrongBytes(ctx context.Context, id index.BlobID, b index.Blob, obj objstore.Object, actual digest.Digest) error {
	do := "put the object back from a copy; or run ballast fsck --deep --repair --yes, then push the same files again"
	if obj.SHA256 == id.Digest {
		do = "the store does not know it: look at its disks; " + do
	}
	return f.bytesGone(ctx, id, b, ballast.Finding{
		Kind: ballast.FindingWrongBytes, Object: ballast.BlobKey(id.Scope, id.Digest), Actual: actual, Do: do,
		What: fmt.Sprintf("the object of blob %s holds other bytes, whose digest is %s", id.Digest, actual),
	})
}

// rewritten reads an object that somebody wrote again since it was verified, when a repair or a deep look asks for that:
// then it is known to be the same or another.
func (f *fsck) rewritten(ctx context.Context, id index.BlobID, b index.Blob, obj objstore.Object) error {
	finding := ballast.Finding{
		Kind: ballast.FindingWrongETag, Scope: id.Scope.String(), Digest: id.Digest, Object: ballast.BlobKey(id.Scope, id.Digest),
		What: fmt.Sprintf("the object of blob %s was written again since it was verified: its ETag is %s and was %s", id.Digest, obj.ETag, b.ETag),
		Do:   "run ballast fsck --repair --yes, which reads the object: the same bytes are noted, others make its versions lost", Repair: "the object is read; the same bytes are noted with their ETag",
	}
	if err := f.usedBy(ctx, id, &finding); err != nil {
		return err
	}
	if !f.want.Repair && !f.want.Deep {
		return f.found(ctx, finding, nil)
	}
	actual, err := f.hash(ctx, id, obj.ETag, obj.Size)
	switch {
	case errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrPrecondition):
		return f.found(ctx, finding, nil) // it goes on being written; another run tells
	case err != nil:
		return f.broken(ctx, id, err)
	case actual != id.Digest:
		return f.wrongBytes(ctx, id, b, obj, actual)
	}
	finding.What += "; it holds the same bytes"
	return f.found(ctx, finding, func(ctx context.Context) (bool, error) {
		return f.index.SameBytes(ctx, id, b, index.Found{Digest: id.Digest, Size: obj.Size, ETag: obj.ETag, VersionID: obj.VersionID})
	})
}
