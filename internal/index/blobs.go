package index

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// BlobState is where one blob of one scope stands.
type BlobState string

// The states: absent → uploading → stored → verified. A lie goes stored → deleting → absent, a multipart that nobody
// pins goes uploading → aborting → absent. Absent does not mean that the key in the bucket is empty.
const (
	BlobAbsent    BlobState = ""
	BlobUploading BlobState = "uploading"
	BlobStored    BlobState = "stored"
	BlobVerified  BlobState = "verified"
	BlobDeleting  BlobState = "deleting"
	BlobAborting  BlobState = "aborting"
)

// Blob is what the index knows of a digest in a scope. There is one writer slot, whatever the method.
type Blob struct {
	State       BlobState         `json:"state,omitempty"`
	Method      ballast.Method    `json:"method,omitempty"`       // since uploading
	PartSize    int64             `json:"part_size,omitempty"`    // of the multipart; later of the saved part digests
	MultipartID string            `json:"multipart_id,omitempty"` // the store's id; empty: to be created, or a crash came between
	LinkSize    int64             `json:"link_size,omitempty"`    // of the saved chain; 0: there is none
	Completing  string            `json:"completing,omitempty"`   // upload whose part list Complete was or will be sent with
	Size        int64             `json:"size,omitempty"`         // since stored
	ETag        string            `json:"etag,omitempty"`
	VersionID   string            `json:"version_id,omitempty"`
	Assurance   ballast.Assurance `json:"assurance,omitempty"`
	SignedUntil ballast.Time      `json:"signed_until,omitzero"` // expiry of the last signed write
	Tombstone   ballast.Time      `json:"tombstone,omitzero"`    // since when nobody pins or references it
	Multiparts  bool              `json:"multiparts,omitempty"`  // a multipart may be open under its key, though its bytes are there
	// Reread says that a check found other bytes under the key than the digest's: what lies there is re-read before it is
	// verified, whatever the store says of it. It ends when the bytes were re-read, or are gone for certain.
	Reread bool `json:"reread,omitempty"`
	// KeptSince is since when at the latest everything that the blob names as a manifest is kept, without a gap. A deletion
	// notes it, the removal of the bytes ends it; without it no deletion of a version with this manifest can be undone.
	KeptSince ballast.Time `json:"kept_since,omitzero"`
}

// Want is what an upload asks about one blob.
type Want struct {
	Digest   digest.Digest
	Size     int64
	Method   ballast.Method // proposed
	PartSize int64          // proposed, when Method is multipart; Parts are declared at it
	Parts    []PartSum
	LinkSize int64 // of Chain
	Chain    [][32]byte
	Own      bool // it is the upload's manifest, which the registry writes and no quota counts
}

// PartSum declares the SHA-256 of one part, numbered from 1.
type PartSum struct {
	Number int
	Sum    [32]byte
}

// Asked answers a Want.
type Asked struct {
	Blob  Blob
	Fresh bool // this call began the blob's upload
}

// MaxWants is the number of entries of one Ask that surely fits a transaction when no parts are declared.
const MaxWants = 200

// Weight is what a Want puts into a transaction at most; Asks are cut so that it stays within the Store's limits.
func (w Want) Weight() (keys, bytes int) {
	pages := len(pagesOf(w.Parts)) + (len(w.Chain)+partsPerPage-1)/partsPerPage
	return 4 + pages, 1024 + pages*(partPageBytes+256)
}

// Ask answers what is there of each blob and pins it, in one transaction; it renews the lease. Blobs in deleting and
// aborting are answered and not pinned. signedUntil is the expiry of what will be signed. Errors: lease_lost and the
// other refusals of a settled upload; invalid when a blob is verified with another size; quota_exceeded when what is not
// counted yet does not fit, and then nothing is pinned.
func (x *Index) Ask(ctx context.Context, id string, wants []Want, signedUntil time.Time, lease time.Duration) ([]Asked, error) {
	var asked []Asked
	_, err := x.updateUpload(ctx, failpoint.Ask, id, func(tx Tx, u *Upload) error {
		asked = make([]Asked, 0, len(wants))
		if err := u.gathers(); err != nil {
			return err
		}
		x.renew(u, lease)
		account, err := openAccount(tx, u.Scope)
		if err != nil {
			return err
		}
		for _, w := range wants {
			a, err := x.ask(tx, account, u, w, signedUntil)
			if err != nil {
				return err
			}
			asked = append(asked, a)
		}
		u.Held.Brought = u.Held.Brought || account.now.Bytes > account.before.Bytes
		return account.admit(tx)
	})
	return asked, err
}

func (x *Index) ask(tx Tx, account *account, u *Upload, w Want, signedUntil time.Time) (a Asked, err error) {
	k := blobKey(kindBlob, u.Scope, w.Digest)
	old, _, err := lookup[Blob](tx, k)
	if err != nil {
		return a, err
	}
	a.Blob = old
	switch old.State {
	case BlobDeleting, BlobAborting:
		return a, nil
	case BlobStored: // its size is no fact about the digest before it is verified
	case BlobVerified:
		if old.Size != w.Size {
			return a, ballast.Errorf(ballast.CodeInvalid, "blob %s has %d bytes, not %d", w.Digest, old.Size, w.Size)
		}
	case BlobUploading:
		own, others, err := pinnedBy(tx, u.Scope, w.Digest, u.ID)
		if err != nil {
			return a, err
		}
		// Nobody else waits for the PUT. If it lands all the same, Complete meets it.
		if old.Method == ballast.MethodPut && !others && (!own || w.Method == ballast.MethodMultipart) {
			a = begin(w, old)
		}
	default:
		a = begin(w, old)
	}
	a.Blob.Tombstone = ballast.Time{}
	if a.Blob.State == BlobUploading && signedUntil.After(a.Blob.SignedUntil.Time) {
		a.Blob.SignedUntil = ballast.At(signedUntil)
	}
	if a.Blob.takesChain() && len(w.Chain) > 0 {
		if err := putChain(tx, BlobID{u.Scope, w.Digest}, w.LinkSize, w.Chain); err != nil {
			return a, err
		}
		a.Blob.LinkSize = w.LinkSize
	}
	if a.Blob != old {
		if err := put(tx, k, a.Blob); err != nil {
			return a, err
		}
	}
	fresh, err := putPin(tx, account, a.Blob, w, u.ID)
	if err != nil {
		return a, err
	}
	if fresh {
		account.spend(u, w.Size)
	}
	if a.Blob.State == BlobUploading { // no version has it, so this will be another one
		account.reserveVersion(u)
	}
	if a.Blob.Method != ballast.MethodMultipart || a.Blob.PartSize != w.PartSize {
		return a, nil
	}
	return a, declareParts(tx, u.ID, w)
}

// takesChain reports whether a declared chain is kept: the last one before the bytes arrive, which nobody re-reads. Later ones
// are not: whoever knows the digest could spoil what is there.
func (b Blob) takesChain() bool { return b.State == BlobUploading && b.Method == ballast.MethodPut }

// pinnedBy tells whether an upload pins a blob, and whether others do.
func pinnedBy(tx Tx, scope ballast.Scope, d digest.Digest, upload string) (own, others bool, err error) {
	for item, err := range tx.Scan(blobKey(kindPin, scope, d), nil, false) {
		if err != nil {
			return own, others, err
		}
		if bytes.Equal(item.Key, pinKey(scope, d, upload)) {
			own = true
		} else {
			return own, true, nil
		}
	}
	return own, false, nil
}

func begin(w Want, old Blob) Asked {
	b := Blob{State: BlobUploading, Method: w.Method, SignedUntil: old.SignedUntil, Multiparts: old.Multiparts, Reread: old.Reread}
	if w.Method == ballast.MethodMultipart {
		b.PartSize, b.Multiparts = w.PartSize, true
	}
	return Asked{Blob: b, Fresh: true}
}

// BeginCopy says that a committed upload is about to have blobs copied from another scope, at most MaxWants, and returns
// what they are. An absent one becomes uploading; any other stays what it is. The pins have been there since before the
// commit. Errors: lease_lost when the upload ended.
func (x *Index) BeginCopy(ctx context.Context, upload string, digests []digest.Digest) (blobs []Blob, err error) {
	err = x.update(ctx, failpoint.BeginCopy, func(tx Tx) error {
		blobs = make([]Blob, 0, len(digests))
		u, err := getUpload(tx, upload)
		if err != nil {
			return err
		}
		if u.Status != ballast.UploadVerifying {
			return ballast.Errorf(ballast.CodeLeaseLost, "upload %s is %s", u.ID, u.Status)
		}
		for _, d := range digests {
			k := blobKey(kindBlob, u.Scope, d)
			b, _, err := lookup[Blob](tx, k)
			if err != nil {
				return err
			}
			if b.State == BlobAbsent {
				b = Blob{State: BlobUploading, Method: ballast.MethodPut, SignedUntil: b.SignedUntil, Multiparts: true, Reread: b.Reread} // a copy is made of parts
				if err := put(tx, k, b); err != nil {
					return err
				}
			}
			blobs = append(blobs, b)
		}
		return nil
	})
	return blobs, err
}

// reclaim moves a blob to deleting or aborting and puts it on the list of work.
func (x *Index) reclaim(tx Tx, scope ballast.Scope, d digest.Digest, b Blob, to BlobState) error {
	b.State = to
	if err := put(tx, blobKey(kindBlob, scope, d), b); err != nil {
		return err
	}
	if err := tx.Delete(blobKey(kindVerifyQueue, scope, d)); err != nil {
		return err
	}
	return tx.Put(blobKey(kindReclaim, scope, d), nil)
}

// BlobID names a blob.
type BlobID struct {
	Scope  ballast.Scope
	Digest digest.Digest
}

// parseBlobID reads a key of the form kind, scope, digest.
func parseBlobID(k []byte) (id BlobID, err error) {
	scope, hex, _ := strings.Cut(partAfter(k, k[:1]), "\x00")
	if id.Scope, err = ballast.ParseScope(scope); err != nil {
		return id, badKey(k, err)
	}
	if id.Digest, err = ballast.ParseSHA256(hex); err != nil {
		return id, badKey(k, err)
	}
	if !bytes.Equal(k, blobKey(k[0], id.Scope, id.Digest)) {
		return id, badKey(k, errors.New("it does not end as keys do"))
	}
	return id, nil
}

// Reclaiming returns up to limit blobs in deleting or aborting that stand behind one of them; the zero BlobID is before
// all. Fewer than limit are the last.
func (x *Index) Reclaiming(ctx context.Context, after BlobID, limit int) (ids []BlobID, err error) {
	var from []byte
	if after != (BlobID{}) {
		from = behind(blobKey(kindReclaim, after.Scope, after.Digest))
	}
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		ids = nil
		for item, err := range tx.Scan([]byte{kindReclaim}, from, false) {
			var id BlobID
			if err == nil {
				id, err = parseBlobID(item.Key)
			}
			if err != nil {
				if err := skip(item.Key, err); err != nil {
					return err
				}
				continue
			}
			if ids = append(ids, id); len(ids) == limit {
				break
			}
		}
		return nil
	})
	return ids, err
}

// Blob returns what is known of a blob; an unknown one is BlobAbsent.
func (x *Index) Blob(ctx context.Context, id BlobID) (Blob, error) {
	return x.reads.blobs.get(id, func() (b Blob, found bool, err error) {
		err = x.store.View(ctx, func(tx Tx) (err error) {
			b, found, err = recallAt[Blob](x, tx, blobKey(kindBlob, id.Scope, id.Digest))
			return err
		})
		return b, found, err
	})
}

// Blobs returns what is known of several blobs of one scope, in their order.
func (x *Index) Blobs(ctx context.Context, scope ballast.Scope, digests []digest.Digest) (blobs []Blob, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		blobs = make([]Blob, 0, len(digests))
		for _, d := range digests {
			b, _, err := lookup[Blob](tx, blobKey(kindBlob, scope, d))
			if err != nil {
				return err
			}
			blobs = append(blobs, b)
		}
		return nil
	})
	return blobs, err
}

// updateBlob changes one blob in a transaction of its own. change reports false to leave it as it is.
func (x *Index) updateBlob(ctx context.Context, step failpoint.Step, id BlobID, change func(Tx, *Blob) (bool, error)) (b Blob, err error) {
	err = x.update(ctx, step, func(tx Tx) error {
		k := blobKey(kindBlob, id.Scope, id.Digest)
		if b, _, err = lookup[Blob](tx, k); err != nil {
			return err
		}
		changed, err := change(tx, &b)
		if err != nil || !changed {
			return err
		}
		return put(tx, k, b)
	})
	return b, err
}

// MultipartOpened records the store's id of a multipart that was just created. When it is not wanted any more, the
// caller aborts it: the returned blob carries another id or state.
func (x *Index) MultipartOpened(ctx context.Context, id BlobID, multipart string) (Blob, error) {
	return x.updateBlob(ctx, failpoint.MultipartOpened, id, func(_ Tx, b *Blob) (bool, error) {
		if b.State != BlobUploading || b.Method != ballast.MethodMultipart || b.MultipartID != "" {
			return false, nil
		}
		b.MultipartID = multipart
		return true, nil
	})
}

// MultipartLost says that the store no longer knows the blob's multipart and that the key is empty: the blob is absent
// again, for all who pin it.
func (x *Index) MultipartLost(ctx context.Context, id BlobID, multipart string) (Blob, error) {
	return x.updateBlob(ctx, failpoint.MultipartLost, id, func(_ Tx, b *Blob) (bool, error) {
		if b.State != BlobUploading || b.MultipartID != multipart {
			return false, nil
		}
		*b = Blob{SignedUntil: b.SignedUntil, Reread: b.Reread}
		return true, nil
	})
}

// Found is what the store says of an object whose blob is uploading.
type Found struct {
	Digest    digest.Digest
	Size      int64
	ETag      string
	VersionID string
}

// StoredByPut records blobs whose digest the store itself checked: uploading → verified, assurance store; or uploading →
// stored, queued, for one with Reread. Up to MaxWants in one transaction; a blob in another state is left alone.
func (x *Index) StoredByPut(ctx context.Context, scope ballast.Scope, found []Found) error {
	return x.update(ctx, failpoint.StoredByPut, func(tx Tx) error {
		return withAccount(tx, scope, func(a *account) error {
			for _, f := range found {
				if err := storedByPut(tx, a, f); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func storedByPut(tx Tx, a *account, f Found) error {
	k := blobKey(kindBlob, a.scope, f.Digest)
	b, _, err := lookup[Blob](tx, k)
	if err != nil || b.State != BlobUploading {
		return err
	}
	if b.Reread {
		return errors.Join(toVerify(tx, a, f.Digest, &b, f, ""), put(tx, k, b))
	}
	next := Blob{State: BlobVerified, Method: b.Method, LinkSize: b.LinkSize, Size: f.Size, ETag: f.ETag, VersionID: f.VersionID,
		Assurance: ballast.AssuranceStore, SignedUntil: b.SignedUntil, Tombstone: b.Tombstone, Multiparts: b.Multiparts}
	return errors.Join(a.became(tx, f.Digest, b, next), put(tx, k, next))
}

// Tainted records that the object under a blob's key is not what may lie there: it is to be deleted. Only an uploading
// or stored blob can be tainted.
func (x *Index) Tainted(ctx context.Context, id BlobID) error {
	return x.update(ctx, failpoint.Tainted, func(tx Tx) error {
		b, _, err := lookup[Blob](tx, blobKey(kindBlob, id.Scope, id.Digest))
		if err != nil || b.State != BlobUploading && b.State != BlobStored {
			return err
		}
		return x.taint(tx, id, b)
	})
}

// taint puts a blob's object up for removal.
func (x *Index) taint(tx Tx, id BlobID, b Blob) error {
	next := b
	next.State = BlobDeleting
	return withAccount(tx, id.Scope, func(a *account) error {
		return errors.Join(a.became(tx, id.Digest, b, next), x.reclaim(tx, id.Scope, id.Digest, b, BlobDeleting))
	})
}

// Reclaimed records that a blob in deleting or aborting is gone from the store for certain: it is absent again. The
// record stays, for signed writes can still arrive.
func (x *Index) Reclaimed(ctx context.Context, id BlobID) error {
	_, err := x.updateBlob(ctx, failpoint.Reclaimed, id, func(tx Tx, b *Blob) (bool, error) {
		if b.State != BlobDeleting && b.State != BlobAborting {
			return false, nil
		}
		gone, err := keys(tx, blobKey(kindPart, id.Scope, id.Digest), 0)
		if err != nil {
			return false, err
		}
		chain, err := keys(tx, blobKey(kindChain, id.Scope, id.Digest), 0)
		if err != nil {
			return false, err
		}
		unused, err := unused(tx, id.Scope, id.Digest)
		if err != nil {
			return false, err
		}
		*b = Blob{SignedUntil: b.SignedUntil, Reread: b.Reread && b.State == BlobAborting} // then parts went, and what lies under the key stays
		if unused {
			b.Tombstone = ballast.At(x.now())
		}
		return true, deleteAll(tx, append(slices.Concat(gone, chain), blobKey(kindReclaim, id.Scope, id.Digest))...)
	})
	return err
}
