package index

import (
	"context"
	"errors"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// ErrPending says that a version still waits for an earlier record to be written.
var ErrPending = errors.New("index: an earlier record of the version is pending")

// recordFunc makes the bytes of the next record of a version, at most 48 KiB, and their HMAC. It runs inside a
// transaction and must be pure.
type recordFunc = func(Version) (body []byte, mac string, err error)

// Retire refuses a version from now on, for good; its record is pending. Retiring what is retired changes nothing.
// A version in production leaves it and becomes archived. Errors: not_found, precondition; ErrPending.
func (x *Index) Retire(ctx context.Context, k ballast.Key, c Change, record recordFunc) (v Version, err error) {
	err = x.update(ctx, failpoint.Retire, func(tx Tx) error {
		if v, err = changeable(tx, k, Change{}); err != nil || v.Status == ballast.StatusRetired {
			return err
		}
		if err := c.check(v); err != nil {
			return err
		}
		v.RetiredBy, v.RetiredAt = c.By, ballast.At(x.now())
		e := Event{At: v.RetiredAt, By: c.By, Kind: ballast.EventRetired, Fields: []string{"status"}}
		if v.Stage == ballast.StageProduction {
			if err := clearProduction(tx, v, c.By, v.RetiredAt); err != nil {
				return err
			}
			v.Stage, e.Fields = ballast.StageArchived, []string{"stage", "status"}
		}
		return end(tx, &v, ballast.StatusRetired, e, record)
	})
	return v, err
}

// end takes a version out of service and notes the record that says so, and the event that is due once it is written.
// From here on the gate, latest and all checks of references treat it as ended.
func end(tx Tx, v *Version, to ballast.Status, e Event, record recordFunc) error {
	pending := versionKey(kindRecord, v.Scope, v.Name, v.Version)
	if waits, err := exists(tx, pending); err != nil || waits {
		return errors.Join(err, ErrPending)
	}
	wasReady := v.Status == ballast.StatusReady
	v.Status = to
	body, mac, err := record(*v)
	if err != nil {
		return err
	}
	e.Scope, e.Name, e.Version, e.Before = v.Scope, v.Name, v.Version, v.Revision
	if to == ballast.StatusRetired {
		e.After = v.Revision + 1
	}
	v.RecordMAC, v.Due = mac, &e
	if err := touch(tx, v, e.At); err != nil {
		return err
	}
	if wasReady {
		name, err := get[Name](tx, scopedName(kindName, v.Scope, v.Name))
		if err != nil {
			return err
		}
		name.Ready--
		if err := put(tx, scopedName(kindName, v.Scope, v.Name), name); err != nil {
			return err
		}
	}
	return errors.Join(tx.Put(pending, body), tx.Delete(candidateKey(v.Scope, v.Name, v.Version)))
}

// maxReferences bounds how many references a refusal lists.
const maxReferences = 100

// Delete removes a version for good; its record is pending, its label stays used, and its bytes are garbage once
// nothing else uses them. Deleting what is deleted changes nothing. Errors: not_found, precondition; referenced, with
// what points at it; ErrPending.
func (x *Index) Delete(ctx context.Context, k ballast.Key, c Change, record recordFunc) (v Version, err error) {
	err = x.update(ctx, failpoint.Delete, func(tx Tx) error {
		v, err = getVersion(tx, k.Scope, k.Name, k.Version)
		if errors.Is(err, ErrNotFound) || err == nil && v.Status == ballast.StatusSealed {
			return NotFound(keyRef(k))
		}
		if err == nil && v.restoring() { // it is about to be back, and then it can be deleted again
			return ErrPending
		}
		if err != nil || v.Status == ballast.StatusDeleted {
			return err
		}
		if v.Refused != "" {
			return errRefused(v)
		}
		if err := c.check(v); err != nil {
			return err
		}
		if err := unreferenced(tx, v); err != nil {
			return err
		}
		v.DeletedBy, v.DeletedAt = c.By, ballast.At(x.now())
		e := Event{At: v.DeletedAt, By: c.By, Kind: ballast.EventDeleted, Fields: []string{"status"}}
		if err := end(tx, &v, ballast.StatusDeleted, e, record); err != nil {
			return err
		}
		if err := x.abandon(tx, v); err != nil {
			return err
		}
		return errors.Join(dropChild(tx, v), tx.Delete(byTimeKey(v)), withAccount(tx, v.Scope, func(a *account) error {
			a.now.Versions--
			return nil
		}))
	})
	return v, err
}

// unreferenced refuses a version that others point at.
func unreferenced(tx Tx, v Version) error {
	var refs []ballast.Reference
	if v.Stage == ballast.StageProduction {
		refs = append(refs, ballast.Reference{Kind: ballast.ReferenceProduction})
	}
	prefix := aliasOfKey(v.Scope, v.Name, v.Version)
	aliases, err := keys(tx, prefix, maxReferences)
	if err != nil {
		return err
	}
	for _, k := range aliases {
		refs = append(refs, ballast.Reference{Kind: ballast.ReferenceAlias, Name: partAfter(k, prefix)})
	}
	children, err := childrenOf(tx, v, maxReferences)
	if err != nil {
		return err
	}
	for _, child := range children {
		refs = append(refs, ballast.Reference{Kind: ballast.ReferenceChild, Name: child.String()})
	}
	if len(refs) == 0 {
		return nil
	}
	e := ballast.Errorf(ballast.CodeReferenced, "%s cannot be deleted while others point at it; move or remove those first, or retire it", v.Key())
	e.References = refs[:min(len(refs), maxReferences)]
	return e
}

// abandon lets go of a deleted version's manifest, which becomes garbage when no other version has the same files. From
// here on what the manifest names is kept until the manifest's bytes go, so that the deletion can be undone.
func (x *Index) abandon(tx Tx, v Version) error {
	if err := tx.Delete(byManifestKey(v.Scope, v.Digest, v.Name, v.Version)); err != nil {
		return err
	}
	k := blobKey(kindBlob, v.Scope, v.Digest)
	b, ok, err := lookup[Blob](tx, k)
	if err != nil || !ok {
		return err
	}
	if b.KeptSince.IsZero() {
		b.KeptSince = v.DeletedAt
	}
	free, err := unused(tx, v.Scope, v.Digest)
	if err != nil {
		return err
	}
	if free {
		b.Tombstone = ballast.At(x.now())
	}
	return put(tx, k, b)
}

// Recorded notes that the record of a retirement, deletion or restoration, number n of the version's chain, is in the
// bucket, and writes its event; what was restored is there again from here on. Repeating it changes nothing.
func (x *Index) Recorded(ctx context.Context, k ballast.Key, n int) (v Version, err error) {
	err = x.update(ctx, failpoint.Recorded, func(tx Tx) error {
		v, err = getVersion(tx, k.Scope, k.Name, k.Version)
		if err != nil || v.Due == nil || v.Records+1 != n {
			return err
		}
		e := *v.Due
		v.Records, v.Due = n, nil
		if e.Kind == ballast.EventRestored {
			if err := comeBack(tx, &v); err != nil {
				return err
			}
		}
		return errors.Join(putVersion(tx, v), tx.Delete(versionKey(kindRecord, v.Scope, v.Name, v.Version)), x.emit(tx, e))
	})
	return v, err
}

// PendingEnds returns up to limit versions that were retired, deleted or restored and whose record is not known to be in the
// bucket.
func (x *Index) PendingEnds(ctx context.Context, limit int) (pending []ballast.Key, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		pending = nil
		for item, err := range tx.Scan([]byte{kindRecord}, nil, false) {
			var v Version
			if err == nil {
				v, err = get[Version](tx, append([]byte{kindVersion}, item.Key[1:]...))
			}
			if err != nil {
				if err := skip(item.Key, err); err != nil {
					return err
				}
				continue
			}
			if v.Status == ballast.StatusSealed {
				continue // its upload finishes it
			}
			if pending = append(pending, v.Key()); len(pending) == limit {
				break
			}
		}
		return nil
	})
	return pending, err
}
