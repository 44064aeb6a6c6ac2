package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// blobsOf walks along a scope's blobs, as the bucket lists them and as the index has them, both in the order of their
// digests: memory does not grow with their number. Where the index has many, it goes 256 ways, some of them at once.
func (f *fsck) blobsOf(ctx context.Context, scope ballast.Scope) error {
	first, next, err := f.index.BlobsIn(ctx, scope, "", "", fsckPage)
	if err != nil {
		return err
	}
	shards := []string{""}
	if next != "" && len(first) == fsckPage {
		shards = shards[:0]
		for i := range fsckShards {
			shards = append(shards, fmt.Sprintf("%02x", i))
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(fsckWorkers)
	for _, shard := range shards {
		group.Go(func() error { return f.shard(gctx, scope, shard) })
	}
	return group.Wait()
}

const blobsFolder = "/blobs/sha256/"

// shard walks along the blobs whose digests begin with two hex digits; "" is all of them.
func (f *fsck) shard(ctx context.Context, scope ballast.Scope, shard string) error {
	prefix := scope.Path() + blobsFolder
	if shard != "" {
		prefix += shard + "/"
	}
	kept, stop := iter.Pull2(f.keptBlobs(ctx, scope, shard))
	defer stop()
	b, err, more := kept()
	if err != nil {
		return err
	}
	for obj, listErr := range f.bucket.List(ctx, prefix, "") {
		if listErr != nil {
			return listErr
		}
		f.objects.Add(1)
		for more && b.key() < obj.Key {
			if err := f.pair(ctx, b, nil); err != nil {
				return err
			}
			if b, err, more = kept(); err != nil {
				return err
			}
		}
		if more && b.key() == obj.Key {
			if err := f.pair(ctx, b, &obj); err != nil {
				return err
			}
			if b, err, more = kept(); err != nil {
				return err
			}
			continue
		}
		if err := f.unrecorded(ctx, scope, obj); err != nil {
			return err
		}
	}
	for ; more; b, err, more = kept() {
		if err != nil {
			return err
		}
		if err := f.pair(ctx, b, nil); err != nil {
			return err
		}
	}
	return err
}

type keptBlob struct{ index.KeptBlob }

func (b keptBlob) key() string { return ballast.BlobKey(b.ID.Scope, b.ID.Digest) }

// keptBlobs yields what the index has, a page at a time.
func (f *fsck) keptBlobs(ctx context.Context, scope ballast.Scope, shard string) iter.Seq2[keptBlob, error] {
	return func(yield func(keptBlob, error) bool) {
		for after := digest.Digest(""); ; {
			page, next, err := f.index.BlobsIn(ctx, scope, shard, after, fsckPage)
			if err != nil {
				yield(keptBlob{}, err)
				return
			}
			for _, b := range page {
				if f.blobs.Add(1); !yield(keptBlob{b}, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			after = next
		}
	}
}

// pair judges what the index has of a blob and what the bucket lists, nil where it lists nothing.
func (f *fsck) pair(ctx context.Context, b keptBlob, obj *objstore.Object) error {
	if f.partsByKey(b.Blob) {
		if err := f.keyMultiparts(ctx, b); err != nil {
			return err
		}
	}
	switch b.Blob.State {
	case index.BlobVerified:
		if obj == nil || obj.Size != b.Blob.Size || !sameETag(obj.ETag, b.Blob.ETag) {
			return f.suspect(ctx, b.ID)
		}
		if f.want.Deep {
			return f.deep(ctx, b)
		}
	case index.BlobAbsent, index.BlobUploading:
		if obj != nil && b.Blob.State == index.BlobAbsent && f.settledAbsent(b.Blob) {
			return f.unrecorded(ctx, b.ID.Scope, *obj)
		}
		return f.absentButUsed(ctx, b.ID)
	}
	return nil
}

// settledAbsent reports whether no signed request can bring the object of an absent blob any more.
func (f *fsck) settledAbsent(b index.Blob) bool {
	return b.State == index.BlobAbsent && f.now().After(b.SignedUntil.Add(24*time.Hour))
}

func sameETag(a, b string) bool {
	return b == "" || strings.Trim(a, `"`) == strings.Trim(b, `"`)
}

// twice looks at a blob in the index, at its object, and at the blob again. steady says that nothing changed in between, so
// that the two can be held against each other.
func (f *fsck) twice(ctx context.Context, id index.BlobID) (b index.Blob, obj *objstore.Object, steady bool, err error) {
	before, _, err := f.index.LatestBlob(ctx, id)
	if err != nil {
		return b, nil, false, ignoreDamage(err)
	}
	head, err := f.bucket.Head(ctx, ballast.BlobKey(id.Scope, id.Digest))
	switch {
	case err == nil:
		obj = &head
	case errors.Is(err, objstore.ErrUnreadable):
		obj = &objstore.Object{Oddities: []string{"encryption with a key of its own"}}
	case !errors.Is(err, objstore.ErrNotFound):
		return b, nil, false, err
	}
	b, _, err = f.index.LatestBlob(ctx, id)
	return b, obj, err == nil && b == before, ignoreDamage(err)
}

// ignoreDamage: an item that cannot be read is a flaw of its own, which was reported.
func ignoreDamage(err error) error {
	if errors.Is(err, index.ErrCorrupt) || errors.Is(err, index.ErrNewer) {
		return nil
	}
	return err
}

// suspect looks a second time at a verified blob whose object is not listed as it was.
func (f *fsck) suspect(ctx context.Context, id index.BlobID) error {
	b, obj, steady, err := f.twice(ctx, id)
	if err != nil || !steady || b.State != index.BlobVerified {
		return err
	}
	key := ballast.BlobKey(id.Scope, id.Digest)
	switch {
	case obj == nil:
		return f.bytesGone(ctx, id, b, ballast.Finding{
			Kind: ballast.FindingMissingBytes, Object: key, What: fmt.Sprintf("blob %s was verified, and its object is not in the bucket", id.Digest),
		})
	case obj.ETag == "" && len(obj.Oddities) > 0:
		return f.bytesGone(ctx, id, b, ballast.Finding{
			Kind: ballast.FindingBrokenBytes, Object: key, What: fmt.Sprintf("the object of blob %s was written again so that nobody can read it: it is encrypted with a key of somebody's", id.Digest),
		})
	case obj.SHA256 != "" && obj.SHA256 != id.Digest:
		return f.bytesGone(ctx, id, b, ballast.Finding{
			Kind: ballast.FindingWrongChecksum, Object: key, Actual: obj.SHA256,
			What: fmt.Sprintf("the object of blob %s holds other bytes: the store has %s as their SHA-256", id.Digest, obj.SHA256),
		})
	case obj.Size != b.Size:
		return f.bytesGone(ctx, id, b, ballast.Finding{
			Kind: ballast.FindingWrongSize, Object: key, What: fmt.Sprintf("the object of blob %s has %d bytes, and had %d when it was verified", id.Digest, obj.Size, b.Size),
		})
	case !sameETag(obj.ETag, b.ETag):
		return f.rewritten(ctx, id, b, *obj)
	case f.want.Deep:
		return f.deep(ctx, keptBlob{index.KeptBlob{ID: id, Blob: b}})
	}
	return nil
}

// bytesGone reports a blob whose bytes are not there any more. Its repair makes the blob absent, so that a push brings it
// back, and takes the versions that stand on it out of service.
func (f *fsck) bytesGone(ctx context.Context, id index.BlobID, b index.Blob, finding ballast.Finding) error {
	finding.Scope, finding.Digest = id.Scope.String(), id.Digest
	if finding.Do == "" {
		finding.Do = "put the object back from a copy; or run ballast fsck --repair --yes, then push the same files again"
	}
	finding.Repair = "the blob becomes absent, so that a push sends it again; versions that use it become lost"
	if err := f.usedBy(ctx, id, &finding); err != nil {
		return err
	}
	return f.found(ctx, finding, func(ctx context.Context) (bool, error) {
		if done, err := f.index.BytesLost(ctx, id, b, finding.Kind != ballast.FindingMissingBytes); err != nil || !done {
			return false, err
		}
		return f.lose(ctx, id)
	})
}

// usedBy names the versions that use a blob.
func (f *fsck) usedBy(ctx context.Context, id index.BlobID, finding *ballast.Finding) error {
	users, more, err := f.index.Users(ctx, id, ballast.MaxFindingVersions)
	finding.Versions, finding.More = nil, more
	for _, v := range users {
		finding.Versions = append(finding.Versions, v.Key().String())
	}
	return err
}

// maxLost bounds the versions that one blob's loss takes out of service in one run; another run goes on.
const maxLost = 10000

// lose takes all ready versions that stand on an absent blob out of service.
func (f *fsck) lose(ctx context.Context, id index.BlobID) (bool, error) {
	users, more, err := f.index.Users(ctx, id, maxLost)
	if err != nil {
		return false, err
	}
	for _, v := range users {
		if v.Status != ballast.StatusReady {
			continue
		}
		if _, err := f.index.VersionLost(ctx, v.Key(), id); err != nil {
			return false, err
		}
	}
	return !more, nil
}

// absentButUsed reports a blob that the index has as absent while a ready version stands on it: a repair that was cut off,
// or damage.
func (f *fsck) absentButUsed(ctx context.Context, id index.BlobID) error {
	users, _, err := f.index.Users(ctx, id, maxLost)
	if err != nil {
		return ignoreDamage(err)
	}
	ready := false
	for _, v := range users {
		ready = ready || v.Status == ballast.StatusReady
	}
	if !ready {
		return nil
	}
	if b, _, err := f.index.LatestBlob(ctx, id); err != nil || b.State != index.BlobAbsent && b.State != index.BlobUploading {
		return ignoreDamage(err)
	}
	finding := ballast.Finding{
		Kind: ballast.FindingMissingBytes, Scope: id.Scope.String(), Digest: id.Digest, Object: ballast.BlobKey(id.Scope, id.Digest),
		What:   fmt.Sprintf("blob %s is absent, and versions that use it are ready", id.Digest),
		Do:     "run ballast fsck --repair --yes, then push the same files again",
		Repair: "versions that use it become lost",
	}
	if err := f.usedBy(ctx, id, &finding); err != nil {
		return err
	}
	return f.found(ctx, finding, func(ctx context.Context) (bool, error) { return f.lose(ctx, id) })
}
