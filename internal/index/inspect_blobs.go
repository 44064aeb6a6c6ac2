package index

import (
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// blob: the work that its state asks for is listed, and what is used is not marked as unused.
func (in *inspector) blob() error {
	b, err := decode[Blob](in.item.Key, in.item.Value)
	if err != nil {
		return err
	}
	id, err := parseBlobID(in.item.Key)
	if err != nil {
		return err
	}
	if b.State == BlobDeleting || b.State == BlobAborting {
		if err := in.listed(blobKey(kindReclaim, id.Scope, id.Digest), true, "blob %s is %s, which", id.Digest, b.State); err != nil {
			return err
		}
	}
	if b.State == BlobStored {
		queue := blobKey(kindVerifyQueue, id.Scope, id.Digest)
		queued, err := exists(in.tx, queue)
		if err != nil {
			return atAnother(err)
		}
		if !queued {
			in.add(FlawUnlisted, func(tx Tx) error { return put(tx, queue, VerifyJob{}) }, "blob %s is stored and not listed to be re-read", id.Digest)
		}
	}
	if b.Tombstone.IsZero() {
		return nil
	}
	free, err := unused(in.tx, id.Scope, id.Digest)
	if err == nil && !free {
		in.add(FlawDangling, func(tx Tx) error {
			b.Tombstone = ballast.Time{}
			return put(tx, in.item.Key, b)
		}, "blob %s is used and marked as unused", id.Digest)
	}
	return atAnother(err)
}

// ofBlob: what is kept of a blob beside its state.
func (in *inspector) ofBlob() error {
	p, _, err := in.split(2)
	if err != nil {
		return err
	}
	_, ok, err := there[Blob](in, key(kindBlob, p...))
	if err == nil && !ok {
		in.dangling("parts of blob %s are kept, and nothing else of it", p[1])
	}
	return err
}

func (in *inspector) queued() error {
	if _, err := decode[VerifyJob](in.item.Key, in.item.Value); err != nil {
		return err
	}
	p, _, err := in.split(2)
	if err != nil {
		return err
	}
	b, _, err := there[Blob](in, key(kindBlob, p...))
	if err == nil && b.State != BlobStored {
		in.dangling("blob %s is listed to be re-read, and is %q", p[1], b.State)
	}
	return err
}

func (in *inspector) reclaiming() error {
	p, _, err := in.split(2)
	if err != nil {
		return err
	}
	b, _, err := there[Blob](in, key(kindBlob, p...))
	if err == nil && b.State != BlobDeleting && b.State != BlobAborting {
		in.dangling("blob %s is listed to be removed, and is %q", p[1], b.State)
	}
	return err
}

// reference: a manifest is a blob of the scope, as is what it names. Of bytes that a rebuild did not find nothing is kept: the
// lost versions that lack them say so themselves, and retired ones are not served.
func (in *inspector) reference() error {
	p, _, err := in.split(3)
	if err != nil {
		return err
	}
	for i, what := range []string{"blob", "manifest"} {
		_, ok, err := there[Blob](in, key(kindBlob, p[0], p[1+i]))
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		if unserved, err := isUnserved(in.tx, p[0], p[2]); unserved || err != nil {
			return atAnother(err)
		}
		in.add(FlawDangling, nil, "blob %s is noted as used by manifest %s, and nothing is kept of the %s", p[1], p[2], what)
	}
	return nil
}

// isUnserved reports whether there are versions with a manifest, and all of them are lost or retired.
func isUnserved(tx Tx, scope, manifest string) (unserved bool, err error) {
	for k, err := range versionsWith(tx, scope, manifest) {
		if err != nil {
			return false, err
		}
		f, err := find(tx, k)
		if err != nil || f.Status != ballast.StatusLost && f.Status != ballast.StatusRetired {
			return false, err
		}
		unserved = true
	}
	return unserved, nil
}

// pin: its upload is there and knows it. Whoever drops a pin drops it of both sides, with what it counts for.
func (in *inspector) pin() error {
	if _, err := decode[pin](in.item.Key, in.item.Value); err != nil {
		return err
	}
	p, _, err := in.split(3)
	if err != nil {
		return err
	}
	scope := in.scope
	u, ok, err := in.ofUpload(p[2])
	if err != nil {
		return err
	}
	over := false
	if ok {
		if over, err = in.over(u); err != nil {
			return err
		}
	}
	if !ok || over {
		in.add(FlawDangling, in.dropPin(scope, digest.NewDigestFromEncoded(digest.SHA256, p[1]), p[2]), "blob %s is pinned by upload %s, which is over or gone", p[1], p[2])
		return nil
	}
	return in.listed(key(kindPinOf, p[2], p[1]), true, "blob %s, among those that upload %s pins,", p[1], p[2])
}

func (in *inspector) dropPin(scope ballast.Scope, d digest.Digest, upload string) func(Tx) error {
	return func(tx Tx) error {
		return withAccount(tx, scope, func(a *account) error {
			return errors.Join(a.unpinned(tx, d, upload), deleteAll(tx, pinKey(scope, d, upload), key(kindPinOf, upload, d.Encoded())))
		})
	}
}

func (in *inspector) pinOf() error {
	p, _, err := in.split(2)
	if err != nil {
		return err
	}
	u, ok, err := in.ofUpload(p[0])
	if err != nil {
		return err
	}
	pinned := false
	if ok {
		if pinned, err = exists(in.tx, key(kindPin, u.Scope.String(), p[1], u.ID)); err != nil {
			return atAnother(err)
		}
	}
	if !pinned {
		in.dangling("upload %s is said to pin blob %s, and does not", p[0], p[1])
	}
	return nil
}
