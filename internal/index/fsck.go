package index

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// ScopeBehind returns the first scope behind another that has blobs or versions, or ever used something of its quota, in the
// order of their texts; the zero scope is before all. ok is false at the end.
func (x *Index) ScopeBehind(ctx context.Context, after ballast.Scope) (scope ballast.Scope, ok bool, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		scope, ok = ballast.Scope{}, false
		for _, kind := range []byte(scopeKinds) {
			var from []byte
			if !after.IsZero() {
				from = append([]byte{kind}, after.String()+"\x01"...)
			}
			for {
				item, some, err := first(tx.Scan([]byte{kind}, from, false))
				if len(item.Key) == 0 {
					if err != nil {
						return err
					}
					break
				}
				text, _, _ := strings.Cut(string(item.Key[1:]), "\x00")
				next, bad := ballast.ParseScope(text)
				if bad == nil {
					if !ok || next.String() < scope.String() {
						scope, ok = next, true
					}
					break
				}
				if err := skip(item.Key, badKey(item.Key, errors.Join(bad, err))); err != nil && some {
					return err
				}
				from = append([]byte{kind}, text+"\x01"...)
			}
		}
		return nil
	})
	return scope, ok, err
}

// HasScope reports whether ScopeBehind comes by a scope.
func (x *Index) HasScope(ctx context.Context, scope ballast.Scope) (has bool, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		has = false
		for _, kind := range []byte(scopeKinds) {
			item, _, err := first(tx.Scan(key(kind, scope.String()), nil, false))
			if len(item.Key) > 0 { // damaged or not
				has = true
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	return has, err
}

// scopeKinds are the kinds by whose items a scope is known.
const scopeKinds = string(kindVersion) + string(kindBlob) + string(kindUsage)

// KeptBlob is what the index keeps of a blob, under its name.
type KeptBlob struct {
	ID   BlobID
	Blob Blob
}

// BlobsIn returns up to limit blobs of a scope whose hex digests begin with prefix and stand behind a digest, "" for the
// first, in their order. next is the digest to go on behind; "" at the end. What cannot be read is passed over.
func (x *Index) BlobsIn(ctx context.Context, scope ballast.Scope, prefix string, after digest.Digest, limit int) (page []KeptBlob, next digest.Digest, err error) {
	of := key(kindBlob, scope.String())
	var from []byte
	if after != "" {
		from = behind(blobKey(kindBlob, scope, after))
	}
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		page, next = page[:0], ""
		for item, err := range readable[Blob](tx.Scan(append(slices.Clip(of), prefix...), from, false), skip) {
			if err != nil {
				return err
			}
			id, err := parseBlobID(item.key)
			if err != nil {
				if err := skip(item.key, err); err != nil {
					return err
				}
				continue
			}
			if page = append(page, KeptBlob{id, item.value}); len(page) == limit {
				next = id.Digest
				break
			}
		}
		return nil
	})
	return page, next, err
}

// LatestBlob is Blob, read anew whatever is held of it in memory. known tells what was never heard of from what is absent.
func (x *Index) LatestBlob(ctx context.Context, id BlobID) (b Blob, known bool, err error) {
	err = x.store.View(ctx, func(tx Tx) (err error) {
		b, known, err = lookup[Blob](tx, blobKey(kindBlob, id.Scope, id.Digest))
		return err
	})
	return b, known, err
}

// Users returns up to limit versions that stand on a blob, as their manifest or as one of their files, and are not deleted.
// It looks at no more than 10 × limit manifests; more says that there may be others.
func (x *Index) Users(ctx context.Context, id BlobID, limit int) (users []Version, more bool, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		users, more = nil, false
		manifests := []string{id.Digest.Encoded()}
		prefix := blobKey(kindReference, id.Scope, id.Digest)
		for item, err := range tx.Scan(prefix, nil, false) {
			if len(item.Key) == 0 {
				return err
			}
			if len(manifests) > 10*limit {
				more = true
				break
			}
			manifests = append(manifests, partAfter(item.Key, prefix))
		}
		for _, m := range manifests {
			of := key(kindByManifest, id.Scope.String(), m)
			for item, err := range tx.Scan(of, nil, false) {
				if len(item.Key) == 0 {
					return err
				}
				if len(users) == limit {
					more = true
					return nil
				}
				name, order, _ := bytes.Cut(item.Key[len(of):], []byte{0x00})
				v, err := get[Version](tx, append(key(kindVersion, id.Scope.String(), string(name)), order...))
				if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer) {
					continue // a flaw of its own
				}
				if err != nil {
					return err
				}
				users = append(users, v)
			}
		}
		return nil
	})
	return users, more, err
}

// KeptVersion is a version and what waits to be written of it.
type KeptVersion struct {
	Version Version
	Pending []byte // bytes of its record that is to be written; nil when none is
}

// VersionsFrom returns up to limit versions of a scope behind a key, of every status, by name and in version order; nil is
// before all. next is nil at the end.
func (x *Index) VersionsFrom(ctx context.Context, scope ballast.Scope, after []byte, limit int) (page []KeptVersion, next []byte, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		page, next = nil, nil
		for item, err := range readable[Version](tx.Scan(key(kindVersion, scope.String()), behind(after), false), skip) {
			if err != nil {
				return err
			}
			kept := KeptVersion{Version: item.value}
			pending, err := tx.Get(append([]byte{kindRecord}, item.key[1:]...))
			if err == nil {
				kept.Pending = bytes.Clone(pending)
			} else if !errors.Is(err, ErrNotFound) {
				if err := skip(item.key, err); err != nil {
					return err
				}
			}
			if page = append(page, kept); len(page) == limit {
				next = bytes.Clone(item.key)
				break
			}
		}
		return nil
	})
	return page, next, err
}

// KeptVersion returns a version, in whatever state, and what waits to be written of it. Errors: ErrNotFound.
func (x *Index) KeptVersion(ctx context.Context, k ballast.Key) (kept KeptVersion, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		kept = KeptVersion{}
		if kept.Version, err = getVersion(tx, k.Scope, k.Name, k.Version); err != nil {
			return err
		}
		pending, err := tx.Get(versionKey(kindRecord, k.Scope, k.Name, k.Version))
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		kept.Pending = bytes.Clone(pending)
		return err
	})
	return kept, err
}

// BytesLost notes that the object of a verified blob is not there, or is another one: the blob is absent again, whoever
// uses it, so that a push of the same bytes brings them back. was is what the caller looked at: a blob that is something
// else by now is left alone. others says that other bytes lie there, which the store may vouch for. done says whether it is absent.
func (x *Index) BytesLost(ctx context.Context, id BlobID, was Blob, others bool) (done bool, err error) {
	err = x.update(ctx, failpoint.BytesLost, func(tx Tx) error {
		done = false
		k := blobKey(kindBlob, id.Scope, id.Digest)
		b, ok, err := lookup[Blob](tx, k)
		if err != nil || !ok || b.State != BlobVerified || b != was {
			return err
		}
		gone, err := keys(tx, blobKey(kindPart, id.Scope, id.Digest), 0)
		if err != nil {
			return err
		}
		chain, err := keys(tx, blobKey(kindChain, id.Scope, id.Digest), 0)
		if err != nil {
			return err
		}
		done = true
		next := Blob{SignedUntil: b.SignedUntil, Tombstone: b.Tombstone, Reread: others}
		return withAccount(tx, id.Scope, func(a *account) error {
			return errors.Join(a.became(tx, id.Digest, b, next), put(tx, k, next), deleteAll(tx, slices.Concat(gone, chain)...))
		})
	})
	return done, err
}

// SameBytes notes what the store says of an object that was just hashed and holds what its digest says: somebody wrote the
// same bytes again. was is what the caller looked at.
func (x *Index) SameBytes(ctx context.Context, id BlobID, was Blob, found Found) (done bool, err error) {
	_, err = x.updateBlob(ctx, failpoint.SameBytes, id, func(tx Tx, b *Blob) (bool, error) {
		if done = b.State == BlobVerified && *b == was; !done {
			return false, nil
		}
		next := *b
		next.Size, next.ETag, next.VersionID = found.Size, found.ETag, found.VersionID
		err := withAccount(tx, id.Scope, func(a *account) error { return a.became(tx, id.Digest, *b, next) })
		*b = next
		return true, err
	})
	return done, err
}

// CondemnStray moves an object of which the index has nothing, or that it has let go of, to deleting: from this transaction on
// nothing is signed for its digest until the object is gone. settled tells whether no signed request can still bring the
// object of an absent blob. It reports false for what is used, or may come to be.
func (x *Index) CondemnStray(ctx context.Context, id BlobID, settled func(Blob) bool) (condemned bool, err error) {
	err = x.update(ctx, failpoint.Condemn, func(tx Tx) error {
		condemned = false
		b, known, err := lookup[Blob](tx, blobKey(kindBlob, id.Scope, id.Digest))
		if err != nil || known && (b.State != BlobAbsent || !settled(b)) {
			return err
		}
		if condemned, err = unused(tx, id.Scope, id.Digest); err != nil || !condemned {
			return err
		}
		return x.reclaim(tx, id.Scope, id.Digest, b, BlobDeleting)
	})
	return condemned, err
}

// VersionLost takes a ready version out of service because bytes of it are lost, which blob says: one that it uses, and
// that is absent. A push of the same files heals it. Repeating it changes nothing. done says whether it is lost.
func (x *Index) VersionLost(ctx context.Context, k ballast.Key, blob BlobID) (done bool, err error) {
	err = x.update(ctx, failpoint.VersionLost, func(tx Tx) error {
		done = false
		v, err := getVersion(tx, k.Scope, k.Name, k.Version)
		if errors.Is(err, ErrNotFound) || err == nil && v.Status != ballast.StatusReady {
			done = v.Status == ballast.StatusLost
			return nil
		}
		if err != nil {
			return err
		}
		b, _, err := lookup[Blob](tx, blobKey(kindBlob, blob.Scope, blob.Digest))
		if err != nil || b.State == BlobVerified || b.State == BlobStored {
			return err
		}
		done = true
		name, err := get[Name](tx, scopedName(kindName, k.Scope, k.Name))
		if err != nil {
			return err
		}
		name.Ready--
		before := v.Revision
		v.Status, v.Missing = ballast.StatusLost, true
		if err := put(tx, scopedName(kindName, k.Scope, k.Name), name); err != nil {
			return err
		}
		at := ballast.At(x.now())
		if err := touch(tx, &v, at); err != nil {
			return err
		}
		return errors.Join(
			tx.Delete(candidateKey(k.Scope, k.Name, k.Version)),
			x.emit(tx, Event{At: at, Kind: ballast.EventChanged, Scope: v.Scope, Name: v.Name, Version: v.Version, Before: before, After: v.Revision, Fields: []string{"status"}}),
		)
	})
	return done, err
}
