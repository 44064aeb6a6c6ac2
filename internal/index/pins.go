package index

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// A pin keeps a blob for an upload: from the moment the upload was told what is there of it, until the upload ends.
type pin struct {
	Size int64 `json:"size"`          // as the upload declared it
	Own  bool  `json:"own,omitempty"` // it is no file of the upload's but its manifest, which no quota counts
}

// putPin pins a blob, and counts it. fresh says that the upload did not pin it as a file before.
func putPin(tx Tx, a *account, b Blob, w Want, upload string) (fresh bool, err error) {
	k := pinKey(a.scope, w.Digest, upload)
	old, pinned, err := lookup[pin](tx, k)
	if err != nil {
		return false, err
	}
	next := pin{w.Size, w.Own && (!pinned || old.Own)}
	if pinned && next == old {
		return false, nil
	}
	others, err := pinsBeside(tx, a.scope, w.Digest, upload, b)
	if err != nil {
		return false, err
	}
	if err := a.moved(tx, w.Digest, b, others.with(old, pinned), b, others.with(next, true)); err != nil {
		return false, err
	}
	fresh = !next.Own && (!pinned || old.Own)
	return fresh, errors.Join(put(tx, k, next), tx.Put(key(kindPinOf, upload, w.Digest.Encoded()), nil))
}

func (x *Index) unpin(tx Tx, a *account, d digest.Digest, upload string) error {
	scope := a.scope
	gone, err := keys(tx, key(kindDeclared, upload, d.Encoded()), 0)
	if err != nil {
		return err
	}
	if err := a.unpinned(tx, d, upload); err != nil {
		return err
	}
	if err := deleteAll(tx, append(gone, pinKey(scope, d, upload), key(kindPinOf, upload, d.Encoded()))...); err != nil {
		return err
	}
	if unpinned, err := empty(tx, blobKey(kindPin, scope, d)); err != nil || !unpinned {
		return err
	}
	b, ok, err := lookup[Blob](tx, blobKey(kindBlob, scope, d))
	if err != nil || !ok {
		return err
	}
	switch {
	case b.State == BlobUploading && b.Method == ballast.MethodMultipart:
		return x.reclaim(tx, scope, d, b, BlobAborting)
	case b.State == BlobDeleting || b.State == BlobAborting:
		return nil
	}
	if unused, err := unused(tx, scope, d); err != nil || !unused {
		return err
	}
	b.Tombstone = ballast.At(x.now())
	return put(tx, blobKey(kindBlob, scope, d), b)
}

// unused reports whether no upload pins a blob, no manifest names it and no version has it as its manifest.
func unused(tx Tx, scope ballast.Scope, d digest.Digest) (bool, error) {
	for _, kind := range []byte{kindPin, kindReference, kindByManifest} {
		if free, err := empty(tx, blobKey(kind, scope, d)); err != nil || !free {
			return false, err
		}
	}
	return true, nil
}

// Pinned refuses digests that the upload has not pinned with this size, as missing.
func (x *Index) Pinned(ctx context.Context, u Upload, want []ballast.File) (missing []digest.Digest, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		missing = nil
		for _, f := range want {
			p, err := get[pin](tx, pinKey(u.Scope, f.Digest, u.ID))
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			if err != nil || p.Size != f.Size {
				missing = append(missing, f.Digest)
			}
		}
		return nil
	})
	return missing, err
}

// HasPins reports whether an upload pins the blob.
func (x *Index) HasPins(ctx context.Context, id BlobID) (pinned bool, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		none, err := empty(tx, blobKey(kindPin, id.Scope, id.Digest))
		pinned = !none
		return err
	})
	return pinned, err
}

// PinnedMultiparts returns the blobs that an upload pins and that have an open multipart.
func (x *Index) PinnedMultiparts(ctx context.Context, u Upload) (open map[digest.Digest]Blob, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		open = map[digest.Digest]Blob{}
		prefix := key(kindPinOf, u.ID)
		for item, err := range tx.Scan(prefix, nil, false) {
			if err != nil {
				return err
			}
			d := digest.Digest("sha256:" + partAfter(item.Key, prefix))
			b, _, err := lookup[Blob](tx, blobKey(kindBlob, u.Scope, d))
			if err != nil {
				return err
			}
			if b.State == BlobUploading && b.MultipartID != "" {
				open[d] = b
			}
		}
		return nil
	})
	return open, err
}
