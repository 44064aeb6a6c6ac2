package index

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// GCTimes is how long garbage stays.
type GCTimes struct {
	Grace  time.Duration // between a blob's last pin or reference and its removal
	Slack  time.Duration // by which the store's clock may be behind, when it decides whether a signed URL has ended
	Record time.Duration // between the end of a blob's last signed URL and the end of its record
}

// Fate is what gc has to do about a blob.
type Fate string

// The fates. A blob that somebody uses has none.
const (
	FateNone   Fate = ""
	FateWait   Fate = "wait"   // nobody uses it, and its grace is not over
	FateRemove Fate = "remove" // its bytes go
	FateForget Fate = "forget" // it has no bytes and its record goes, when the store says that there are none
)

// fate is what its times say. Whether it is used at all, only the transaction that acts on it knows.
func (b Blob) fate(now time.Time, t GCTimes) Fate {
	if b.Tombstone.IsZero() {
		return FateNone
	}
	over := !now.Before(b.Tombstone.Add(t.Grace))
	switch b.State {
	case BlobDeleting, BlobAborting:
		return FateNone
	case BlobAbsent:
		if over && !now.Before(b.SignedUntil.Add(t.Record)) {
			return FateForget
		}
		return FateNone
	}
	if over && !now.Before(b.SignedUntil.Add(t.Slack)) {
		return FateRemove
	}
	return FateWait
}

// Garbage is a blob that gc has something to do about.
type Garbage struct {
	BlobID
	Blob Blob
	Fate Fate
}

// Multiparts reports whether a multipart upload that nobody needs may be open under the blob's key.
func (g Garbage) Multiparts() bool { return g.Blob.strays() }

func (b Blob) strays() bool {
	return b.Multiparts && (b.State == BlobStored || b.State == BlobVerified)
}

// Garbage looks at up to limit blobs that stand behind one of them and returns those that gc has something to do about;
// the zero BlobID is before all, and is next at the end.
func (x *Index) Garbage(ctx context.Context, after BlobID, t GCTimes, limit int) (found []Garbage, next BlobID, err error) {
	var from []byte
	if after != (BlobID{}) {
		from = behind(blobKey(kindBlob, after.Scope, after.Digest))
	}
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		found, next = nil, BlobID{}
		now, looked := x.now(), 0
		for one, err := range readable[Blob](tx.Scan([]byte{kindBlob}, from, false), skip) {
			if err != nil {
				return err
			}
			id, err := parseBlobID(one.key)
			if err != nil {
				if err := skip(one.key, err); err != nil {
					return err
				}
				continue
			}
			if fate := one.value.fate(now, t); fate != FateNone || one.value.strays() {
				found = append(found, Garbage{id, one.value, fate})
			}
			if looked++; looked == limit {
				next = id
				return nil
			}
		}
		return nil
	})
	return found, next, err
}

// MaxCondemned is the number of blobs that one Condemn or Drop takes.
const MaxCondemned = 200

// Condemn moves blobs that nobody uses and whose grace is over to deleting, and returns those that it moved. One that was
// pinned or referenced since it was looked at stays: from this transaction on nothing can pin it. An absent one is
// moved when its record is due, for bytes that arrived late.
func (x *Index) Condemn(ctx context.Context, ids []BlobID, t GCTimes) (condemned []BlobID, err error) {
	err = x.update(ctx, failpoint.Condemn, func(tx Tx) error {
		condemned = nil
		for _, id := range ids {
			b, due, err := x.dueAt(tx, id, t, FateRemove, FateForget)
			if err != nil {
				return err
			}
			if !due {
				continue
			}
			if err := x.reclaim(tx, id.Scope, id.Digest, b, BlobDeleting); err != nil {
				return err
			}
			condemned = append(condemned, id)
		}
		return nil
	})
	return condemned, err
}

// Drop forgets absent blobs that nobody uses and that no signed URL can bring back; the caller has seen that the store has no
// bytes of them. It returns how many it dropped.
func (x *Index) Drop(ctx context.Context, ids []BlobID, t GCTimes) (dropped int, err error) {
	err = x.update(ctx, failpoint.DropBlobs, func(tx Tx) error {
		dropped = 0
		for _, id := range ids {
			_, due, err := x.dueAt(tx, id, t, FateForget)
			if err != nil {
				return err
			}
			if !due {
				continue
			}
			if err := tx.Delete(blobKey(kindBlob, id.Scope, id.Digest)); err != nil {
				return err
			}
			dropped++
		}
		return nil
	})
	return dropped, err
}

// dueAt reports whether a blob has one of these fates and nobody uses it.
func (x *Index) dueAt(tx Tx, id BlobID, t GCTimes, fates ...Fate) (b Blob, due bool, err error) {
	b, _, err = lookup[Blob](tx, blobKey(kindBlob, id.Scope, id.Digest))
	if err != nil || !slices.Contains(fates, b.fate(x.now(), t)) {
		return b, false, err
	}
	due, err = unused(tx, id.Scope, id.Digest)
	return b, due, err
}

// MultipartsGone notes that the store has no open multipart under a blob's key. Only a blob whose bytes are there is
// changed: for another the registry may open one at any moment.
func (x *Index) MultipartsGone(ctx context.Context, id BlobID) error {
	_, err := x.updateBlob(ctx, failpoint.MultipartsGone, id, func(_ Tx, b *Blob) (bool, error) {
		gone := b.strays()
		b.Multiparts = b.Multiparts && !gone
		return gone, nil
	})
	return err
}

// Reference names a blob and a manifest that says it uses it.
type Reference struct {
	BlobID
	Manifest digest.Digest
}

func (r Reference) key() []byte {
	return key(kindReference, r.Scope.String(), r.Digest.Encoded(), r.Manifest.Encoded())
}

func parseReference(k []byte) (r Reference, err error) {
	p, _ := parts(k, 3)
	if r.Scope, err = ballast.ParseScope(p[0]); err != nil {
		return r, badKey(k, err)
	}
	if r.Digest, err = ballast.ParseSHA256(p[1]); err != nil {
		return r, badKey(k, err)
	}
	if r.Manifest, err = ballast.ParseSHA256(p[2]); err != nil {
		return r, badKey(k, err)
	}
	if !bytes.Equal(k, r.key()) {
		return r, badKey(k, fmt.Errorf("it does not end as keys do"))
	}
	return r, nil
}

// DeadReferences looks at up to limit references behind one of them and returns those whose manifest is gone; the zero
// Reference is before all, and is next at the end.
func (x *Index) DeadReferences(ctx context.Context, after Reference, limit int) (dead []Reference, next Reference, err error) {
	var from []byte
	if after != (Reference{}) {
		from = behind(after.key())
	}
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		dead, next = nil, Reference{}
		known, looked := map[BlobID]bool{}, 0 // of manifests: one names many blobs
		for item, err := range tx.Scan([]byte{kindReference}, from, false) {
			var r Reference
			if err == nil {
				r, err = parseReference(item.Key)
			}
			gone, seen := known[BlobID{r.Scope, r.Manifest}]
			if err == nil && !seen {
				gone, err = manifestGone(tx, r.Scope, r.Manifest)
			}
			if err != nil {
				if err := skip(item.Key, err); err != nil {
					return err
				}
				continue
			}
			if known[BlobID{r.Scope, r.Manifest}] = gone; gone {
				dead = append(dead, r)
			}
			if looked++; looked == limit {
				next = r
				return nil
			}
		}
		return nil
	})
	return dead, next, err
}

// manifestGone reports whether nothing stands on a manifest any more and its bytes are on their way out or gone. While they
// are there, what the manifest names is kept: that is what makes a deletion undone by a look at the manifest alone.
func manifestGone(tx Tx, scope ballast.Scope, manifest digest.Digest) (bool, error) {
	b, _, err := lookup[Blob](tx, blobKey(kindBlob, scope, manifest))
	if err != nil || b.State != BlobAbsent && b.State != BlobDeleting {
		return false, err
	}
	for _, kind := range []byte{kindPin, kindByManifest} {
		if free, err := empty(tx, blobKey(kind, scope, manifest)); err != nil || !free {
			return false, err
		}
	}
	return true, nil
}

// MaxUnreferenced is the number of references that one Unreference takes.
const MaxUnreferenced = 200

// Unreference drops references of one scope whose manifest is gone, and returns how many. A blob that loses its last one
// gets a tombstone, and counts for nothing any more.
func (x *Index) Unreference(ctx context.Context, scope ballast.Scope, dead []Reference) (dropped int, err error) {
	err = x.update(ctx, failpoint.Unreference, func(tx Tx) error {
		dropped = 0
		return withAccount(tx, scope, func(a *account) error {
			for _, r := range dead {
				gone, err := manifestGone(tx, scope, r.Manifest)
				if err != nil {
					return err
				}
				if !gone {
					continue
				}
				if err := x.unreference(tx, a, r); err != nil {
					return err
				}
				dropped++
			}
			return nil
		})
	})
	return dropped, err
}

func (x *Index) unreference(tx Tx, a *account, r Reference) error {
	k := blobKey(kindBlob, r.Scope, r.Digest)
	b, known, err := lookup[Blob](tx, k)
	if err != nil {
		return err
	}
	pins, err := pinsBeside(tx, r.Scope, r.Digest, "", b)
	if err != nil {
		return err
	}
	was, _, err := weigh(tx, r.Scope, r.Digest, b, pins)
	if err != nil {
		return err
	}
	if err := tx.Delete(r.key()); err != nil {
		return err
	}
	is, _, err := weigh(tx, r.Scope, r.Digest, b, pins)
	if err != nil {
		return err
	}
	a.now.Bytes += is - was
	if free, err := unused(tx, r.Scope, r.Digest); err != nil || !free || !known {
		return err
	}
	if b.Tombstone.IsZero() {
		b.Tombstone = ballast.At(x.now())
	}
	return put(tx, k, b)
}
