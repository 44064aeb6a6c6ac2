package index

import (
	"context"
	"errors"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// restoring reports whether a deletion is being undone: the version is found again once the record of it is written.
func (v Version) restoring() bool { return v.Due != nil && v.Due.Kind == ballast.EventRestored }

// Undelete takes a deletion back; its record is pending, and until that is in the bucket the version is not found. From
// here on its bytes are kept and its base cannot be deleted. It becomes what it was, ready or retired, under the
// same label and with the same files. What was restored and is there already is left as it is.
//
// Errors: not_found; precondition for another revision, for what was never deleted, and when the base was deleted since;
// gone when bytes of it are being removed or are gone; quota_exceeded when the scope may have no other version; ErrPending.
func (x *Index) Undelete(ctx context.Context, k ballast.Key, c Change, record recordFunc) (v Version, err error) {
	err = x.update(ctx, failpoint.Undelete, func(tx Tx) error {
		v, err = getVersion(tx, k.Scope, k.Name, k.Version)
		if errors.Is(err, ErrNotFound) || err == nil && v.Status == ballast.StatusSealed {
			return NotFound(keyRef(k))
		}
		if err != nil || v.restoring() {
			return err
		}
		if v.Status != ballast.StatusDeleted {
			if v.RestoredAt.IsZero() {
				return ballast.Errorf(ballast.CodePrecondition, "%s was never deleted; it is %s", v.Key(), v.Status)
			}
			return nil
		}
		if err := c.check(v); err != nil {
			return err
		}
		if waits, err := exists(tx, versionKey(kindRecord, v.Scope, v.Name, v.Version)); err != nil || waits {
			return errors.Join(err, ErrPending)
		}
		if err := restorable(tx, v); err != nil {
			return err
		}
		v.RestoredBy, v.RestoredAt = c.By, ballast.At(x.now())
		return x.undelete(tx, &v, record)
	})
	return v, err
}

// restorable refuses what cannot be as it was. That the manifest's bytes were there all the time says that all files were.
func restorable(tx Tx, v Version) error {
	b, _, err := lookup[Blob](tx, blobKey(kindBlob, v.Scope, v.Digest))
	if err != nil {
		return err
	}
	if b.State != BlobVerified || b.KeptSince.IsZero() || b.KeptSince.After(v.DeletedAt.Time) {
		return ballast.Errorf(ballast.CodeGone, "%s cannot be restored: it was deleted at %s, and since then its grace has ended, and its bytes go or are gone, or the index was rebuilt, which cannot tell; push the files again as another version",
			v.Key(), v.DeletedAt.UTC().Format("2006-01-02 15:04:05Z"))
	}
	err = withBase(v, func(base ballast.Key) error {
		has, err := getVersion(tx, base.Scope, base.Name, base.Version)
		if err == nil && has.Status != ballast.StatusDeleted && has.Status != ballast.StatusSealed {
			return nil
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		return ballast.Errorf(ballast.CodePrecondition, "%s cannot be restored: its base model %s was deleted too; restore that first", v.Key(), base)
	})
	if err != nil {
		return err
	}
	a, err := openAccount(tx, v.Scope)
	if err != nil {
		return err
	}
	a.now.Versions++ // counted once it is back
	return a.check(tx)
}

func (x *Index) undelete(tx Tx, v *Version, record recordFunc) error {
	v.Due = &Event{
		At: v.RestoredAt, By: v.RestoredBy, Kind: ballast.EventRestored, Scope: v.Scope, Name: v.Name, Version: v.Version,
		Before: v.Revision, After: v.Revision + 1, Fields: []string{"status"},
	}
	body, mac, err := record(*v)
	if err != nil {
		return err
	}
	v.RecordMAC = mac
	if err := touch(tx, v, v.RestoredAt); err != nil {
		return err
	}
	k := blobKey(kindBlob, v.Scope, v.Digest)
	b, err := get[Blob](tx, k)
	if err != nil {
		return err
	}
	b.Tombstone = ballast.Time{}
	return errors.Join(put(tx, k, b), tx.Put(versionKey(kindRecord, v.Scope, v.Name, v.Version), body),
		tx.Put(byManifestKey(v.Scope, v.Digest, v.Name, v.Version), nil), putChild(tx, *v))
}

// comeBack makes a version what it was before it was deleted. The caller writes the version.
func comeBack(tx Tx, v *Version) error {
	v.DeletedBy, v.DeletedAt = "", ballast.Time{}
	v.Status = ballast.StatusRetired
	if v.RetiredAt.IsZero() {
		v.Status = ballast.StatusReady
		name, err := get[Name](tx, scopedName(kindName, v.Scope, v.Name))
		if err != nil {
			return err
		}
		name.Ready++
		if err := put(tx, scopedName(kindName, v.Scope, v.Name), name); err != nil {
			return err
		}
	}
	return errors.Join(setStage(tx, v, v.Stage), tx.Put(byTimeKey(*v), nil), withAccount(tx, v.Scope, func(a *account) error {
		a.now.Versions++
		return nil
	}))
}
