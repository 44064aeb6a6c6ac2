package index

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Upload is the stored form of one attempt to publish one version.
type Upload struct {
	ID         string               `json:"id"`
	Scope      ballast.Scope        `json:"scope"`
	Name       ballast.Name         `json:"name"`
	Version    ballast.Version      `json:"version,omitzero"` // given, or known since the seal
	Attempt    string               `json:"attempt"`
	Principal  string               `json:"principal"` // its id
	CreatedBy  string               `json:"created_by"`
	CreatedAt  ballast.Time         `json:"created_at"`
	Status     ballast.UploadStatus `json:"status"`
	Renewed    ballast.Time         `json:"renewed"`            // of the lease
	LeaseUntil ballast.Time         `json:"lease_until"`        // while pending
	SettledAt  ballast.Time         `json:"settled_at"`         // once settled
	Error      *ballast.Error       `json:"error,omitempty"`    // when failed
	Sealed     bool                 `json:"sealed,omitempty"`   // the point of no return is behind it
	Accepted   *Accepted            `json:"accepted,omitempty"` // since the commit was accepted
	Import     *Import              `json:"import,omitempty"`   // of one whose files the registry finds itself
	Size       int64                `json:"size,omitempty"`     // of all files as declared when it was opened; 0: not
	Held       Held                 `json:"held,omitzero"`      // of the scope's quota
}

// Accepted is what an accepted commit fixed.
type Accepted struct {
	Manifest     digest.Digest    `json:"manifest"`
	ManifestSize int64            `json:"manifest_size"`
	Files        int              `json:"files"`
	Size         int64            `json:"size"` // bytes of all files together
	Metadata     ballast.Metadata `json:"metadata"`
	Referenced   bool             `json:"referenced"`
	Reread       bool             `json:"reread"` // a blob among them was verified by re-reading
	Inspected    bool             `json:"inspected,omitempty"`
	Weights      *ballast.Weights `json:"weights,omitempty"` // since it was inspected, when they are known
	// From is the scope whose blobs are copied where this upload's own scope lacks them. Zero: its client sends them.
	From ballast.Scope `json:"from,omitzero"`
}

// Copies reports whether the store is to copy its files from elsewhere: what lies under their keys may be what others sent.
func (u Upload) Copies() bool {
	return u.Import != nil || u.Accepted != nil && !u.Accepted.From.IsZero()
}

// Settled reports whether the upload has ended.
func (u Upload) Settled() bool { return u.Status.Settled() }

// Unattended reports whether the registry has yet to do something for it, with or without a client.
func (u Upload) Unattended() bool { return u.Status.Unattended() || u.moves() }

// Target names what the upload means to publish, for messages.
func (u Upload) Target() string {
	if u.Version.IsZero() {
		return ballast.Ref{Scope: u.Scope, Name: u.Name}.String()
	}
	return ballast.Key{Scope: u.Scope, Name: u.Name, Version: u.Version}.String()
}

// due is when the reaper has to look at the upload again: at the end of the lease, or when it may be forgotten.
func (u Upload) due(keep time.Duration) time.Time {
	switch {
	case u.Status == ballast.UploadPending:
		return u.LeaseUntil.Time
	case u.Status.Settled():
		return u.SettledAt.Add(keep)
	}
	return time.UnixMicro(0)
}

// SettledLife is how long a settled upload stays readable.
const SettledLife = 24 * time.Hour

// putUpload writes the upload and moves its entry in the time order.
func putUpload(tx Tx, old *Upload, u Upload) error {
	if old != nil && !old.Status.Unattended() {
		if err := tx.Delete(timeKey(kindUploadTime, old.due(SettledLife), u.ID)); err != nil {
			return err
		}
	}
	if !u.Status.Unattended() {
		if err := tx.Put(timeKey(kindUploadTime, u.due(SettledLife), u.ID), nil); err != nil {
			return err
		}
	}
	return put(tx, key(kindUpload, u.ID), u)
}

func getUpload(tx Tx, id string) (Upload, error) {
	u, err := get[Upload](tx, key(kindUpload, id))
	if errors.Is(err, ErrNotFound) {
		return u, ballast.Errorf(ballast.CodeNotFound, "upload %q: not found; settled uploads are kept for 24 hours", id)
	}
	return u, err
}

// CreateUpload stores a new pending upload and holds its label. The same principal with the same attempt gets its open
// upload back, its lease renewed, and created is false.
//
// Errors: already_exists when the label is taken, with the digest it holds as Expected; retired when it is that of a
// retired version; conflict with the Holder while another upload holds the label; quota_exceeded when no other upload may
// be open, or when the label is a new version's and there may be no other.
func (x *Index) CreateUpload(ctx context.Context, u Upload, lease time.Duration) (_ Upload, created bool, err error) {
	var result Upload
	err = x.update(ctx, failpoint.CreateUpload, func(tx Tx) error {
		result, created = u, false
		attempt := key(kindAttempt, u.Principal, u.Attempt)
		if open, ok, err := lookup[string](tx, attempt); err != nil || ok {
			if err != nil {
				return err
			}
			result, err = x.sameAttempt(tx, open, u, lease)
			return err
		}
		if !u.Version.IsZero() {
			if err := holdLabel(tx, u); err != nil {
				return err
			}
		}
		now := ballast.At(x.now())
		result.Status, result.CreatedAt, result.Renewed, result.LeaseUntil = ballast.UploadPending, now, now, ballast.At(now.Add(lease))
		created = true
		if err := opens(tx, &result); err != nil {
			return err
		}
		if err := put(tx, attempt, u.ID); err != nil {
			return err
		}
		return putUpload(tx, nil, result)
	})
	return result, created, err
}

// sameAttempt returns the open upload of an attempt with its lease renewed, if it means what want does.
func (x *Index) sameAttempt(tx Tx, id string, want Upload, lease time.Duration) (Upload, error) {
	old, err := getUpload(tx, id)
	if err != nil {
		return old, err
	}
	sameLabel := old.Version.Fold() == want.Version.Fold() || old.Sealed && want.Version.IsZero() // the seal allocated it
	if old.Scope != want.Scope || old.Name.Fold() != want.Name.Fold() || !sameLabel {
		return old, ballast.Errorf(ballast.CodeInvalid, "attempt: already used for %s; make a new random one for each upload", old.Target())
	}
	u := old
	x.renew(&u, lease)
	return u, putUpload(tx, &old, u)
}

func holdLabel(tx Tx, u Upload) error {
	if err := labelFree(tx, u.Scope, u.Name, u.Version); err != nil {
		return err
	}
	hold := versionKey(kindHold, u.Scope, u.Name, u.Version)
	holder, held, err := lookup[string](tx, hold)
	if err != nil {
		return err
	}
	if held {
		other, err := getUpload(tx, holder)
		if err != nil {
			return err
		}
		e := ballast.Errorf(ballast.CodeConflict, "%s is held by the open upload %s of %s; wait, or abort it (push --takeover)", u.Target(), other.ID, other.CreatedBy)
		e.Holder = &ballast.Holder{Upload: other.ID, CreatedBy: other.CreatedBy, ExpiresAt: other.LeaseUntil}
		return e
	}
	return put(tx, hold, u.ID)
}

// labelFree refuses a label that the name has, or ever had.
func labelFree(tx Tx, scope ballast.Scope, name ballast.Name, v ballast.Version) error {
	has, ok, err := lookup[Version](tx, versionKey(kindVersion, scope, name, v))
	if err != nil || !ok || has.healedBy(v) {
		return err
	}
	var e *ballast.Error
	switch {
	case has.Refused != "":
		e = ballast.Errorf(ballast.CodeAlreadyExists, "%s; choose another version", errRefused(has).Detail)
	case has.Status == ballast.StatusDeleted:
		e = ballast.Errorf(ballast.CodeAlreadyExists, "%s was deleted and its label is never used again; choose another version", has.Key())
	case has.Status == ballast.StatusRetired:
		e = ballast.Errorf(ballast.CodeRetired, "%s was retired, and stays so whatever is pushed; choose another version", has.Key())
	case has.Version.Fold() != v.Fold():
		e = ballast.Errorf(ballast.CodeAlreadyExists, "version %s stands at the same position as %s, which exists; choose another version", v, has.Key())
	default:
		e = ballast.Errorf(ballast.CodeAlreadyExists, "%s exists with digest %s and never changes; choose another version", has.Key(), has.Digest)
		e.Expected = has.Digest
	}
	return e
}

// healedBy reports whether a label is that of a version whose bytes are missing, and whose files may be published again.
func (v Version) healedBy(label ballast.Version) bool {
	return v.Status == ballast.StatusLost && v.Refused == "" && v.Version.Fold() == label.Fold()
}

// heals finds the version that an upload brings the missing bytes of; ok is false when it publishes another. Errors:
// already_exists when the files are others.
func heals(tx Tx, u Upload) (v Version, ok bool, err error) {
	if u.Version.IsZero() {
		return v, false, nil
	}
	v, there, err := lookup[Version](tx, versionKey(kindVersion, u.Scope, u.Name, u.Version))
	if err != nil || !there || !v.healedBy(u.Version) {
		return v, false, err
	}
	if u.Accepted != nil && u.Accepted.Manifest != v.Digest {
		e := ballast.Errorf(ballast.CodeAlreadyExists, "%s exists with digest %s, though bytes of it are missing; push the same files again to heal it, or choose another version", v.Key(), v.Digest)
		e.Expected, e.Actual = v.Digest, u.Accepted.Manifest
		return v, false, e
	}
	return v, true, nil
}

// Upload returns an upload. Errors: not_found.
func (x *Index) Upload(ctx context.Context, id string) (u Upload, err error) {
	err = x.store.View(ctx, func(tx Tx) (err error) {
		u, err = getUpload(tx, id)
		return err
	})
	return u, err
}

// updateUpload changes one upload in a transaction of its own. change may refuse.
func (x *Index) updateUpload(ctx context.Context, step failpoint.Step, id string, change func(Tx, *Upload) error) (result Upload, err error) {
	err = x.update(ctx, step, func(tx Tx) error {
		old, err := getUpload(tx, id)
		if err != nil {
			return err
		}
		result = old
		if err := change(tx, &result); err != nil {
			return err
		}
		return putUpload(tx, &old, result)
	})
	return result, err
}

// gathers refuses an upload whose files are fixed.
func (u Upload) gathers() error {
	if u.Status == ballast.UploadImporting {
		return nil
	}
	return u.live()
}

// live refuses an upload that takes no blobs from a client.
func (u Upload) live() error {
	switch u.Status {
	case ballast.UploadPending:
		return nil
	case ballast.UploadFailed:
		if u.Error != nil {
			return u.Error
		}
	case ballast.UploadImporting:
		return ballast.Errorf(ballast.CodeConflict, "upload %s is an import: the registry itself finds its files", u.ID)
	case ballast.UploadVerifying:
		return ballast.Errorf(ballast.CodeConflict, "upload %s is committed and being verified; it takes no more blobs", u.ID)
	case ballast.UploadDone:
		return ballast.Errorf(ballast.CodeConflict, "upload %s is done: it published %s", u.ID, u.Target())
	}
	return ballast.Errorf(ballast.CodeLeaseLost, "upload %s is %s; start a new upload", u.ID, u.Status)
}

// Renew extends the lease of a pending upload; any other is left alone.
func (x *Index) Renew(ctx context.Context, id string, lease time.Duration) error {
	_, err := x.updateUpload(ctx, failpoint.Renew, id, func(_ Tx, u *Upload) error {
		x.renew(u, lease)
		return nil
	})
	return err
}

func (x *Index) renew(u *Upload, lease time.Duration) {
	if u.Status == ballast.UploadPending {
		u.Renewed = ballast.At(x.now())
		u.LeaseUntil = ballast.At(u.Renewed.Add(lease))
	}
}

// Accept fixes what a commit or an import publishes: pending or importing → verifying. From then on there is no lease.
func (x *Index) Accept(ctx context.Context, id string, a Accepted) (Upload, error) {
	return x.updateUpload(ctx, failpoint.Accept, id, func(tx Tx, u *Upload) error {
		if err := u.gathers(); err != nil {
			return err
		}
		if u.Import != nil { // what is said of it is in Accepted from now on, and fits once
			own := *u.Import
			own.Metadata = ballast.Metadata{}
			u.Import = &own
		}
		u.Status, u.Accepted = ballast.UploadVerifying, &a
		if _, _, err := heals(tx, *u); err != nil {
			return err
		}
		return errors.Join(tx.Put(key(kindVerifying, id), nil), withAccount(tx, u.Scope, func(account *account) error {
			account.spend(u, u.Held.Bytes) // all that it needs is pinned
			return nil
		}))
	})
}

// Reopen takes an accepted commit back because bytes are missing again: verifying → pending with a fresh lease.
func (x *Index) Reopen(ctx context.Context, id string, lease time.Duration) error {
	_, err := x.updateUpload(ctx, failpoint.Reopen, id, func(tx Tx, u *Upload) error {
		if u.Status != ballast.UploadVerifying || u.Sealed {
			return nil
		}
		u.Status, u.Accepted = ballast.UploadPending, nil
		x.renew(u, lease)
		return tx.Delete(key(kindVerifying, id))
	})
	return err
}

// Settle ends an upload that is not sealed and frees its label. A settled upload is left as it is. Errors: conflict
// once it is sealed: from there it only rolls forward.
func (x *Index) Settle(ctx context.Context, id string, status ballast.UploadStatus, why *ballast.Error) (Upload, error) {
	return x.updateUpload(ctx, failpoint.Settle, id, func(tx Tx, u *Upload) error {
		if u.Status.Settled() {
			return nil
		}
		if u.Sealed {
			return ballast.Errorf(ballast.CodeConflict, "upload %s has sealed %s and cannot be stopped any more", id, u.Target())
		}
		u.Error = why
		return x.settle(tx, u, status)
	})
}

// Expire ends a pending upload whose lease is over at the time of the transaction.
func (x *Index) Expire(ctx context.Context, id string) (Upload, error) {
	return x.updateUpload(ctx, failpoint.Expire, id, func(tx Tx, u *Upload) error {
		if u.Status != ballast.UploadPending || x.now().Before(u.LeaseUntil.Time) {
			return nil
		}
		return x.settle(tx, u, ballast.UploadExpired)
	})
}

func (x *Index) settle(tx Tx, u *Upload, status ballast.UploadStatus) error {
	u.Status, u.SettledAt = status, ballast.At(x.now())
	gone := [][]byte{key(kindAttempt, u.Principal, u.Attempt)}
	if u.Import != nil {
		own := *u.Import
		own.Metadata, own.Moving = ballast.Metadata{}, own.Move && status == ballast.UploadDone
		u.Import = &own
		gone = append(gone, key(kindImporting, u.Scope.String(), u.ID))
	}
	if !u.moves() {
		gone = append(gone, key(kindVerifying, u.ID))
	}
	if hold := versionKey(kindHold, u.Scope, u.Name, u.Version); !u.Version.IsZero() {
		if holder, ok, err := lookup[string](tx, hold); err != nil {
			return err
		} else if ok && holder == u.ID {
			gone = append(gone, hold)
		}
	}
	if err := deleteAll(tx, gone...); err != nil {
		return err
	}
	return errors.Join(tx.Put(key(kindRelease, u.ID), nil), withAccount(tx, u.Scope, func(a *account) error {
		a.now.Uploads--
		a.spend(u, u.Held.Bytes)
		a.yield(u)
		return nil
	}))
}

// moves reports whether the upload is an import that is done but for the removal of its sources.
func (u Upload) moves() bool { return u.Import != nil && u.Import.Moving }

// Due returns up to limit uploads whose lease ended or whose time to be forgotten came, the longest due first. next is
// what to pass as after for those behind them, "" at the end, so that what cannot be dealt with hides nothing.
func (x *Index) Due(ctx context.Context, after string, limit int) (due []Upload, next string, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		due, next = nil, ""
		last, end := after, string(timeKey(kindUploadTime, x.now(), "\xff"))
		for item, err := range tx.Scan([]byte{kindUploadTime}, behind([]byte(after)), false) {
			if string(item.Key) > end {
				break
			}
			if len(due) == limit {
				next = last
				break
			}
			last = string(item.Key)
			var u Upload
			if err == nil {
				u, err = getUpload(tx, string(item.Key[len(timeKey(kindUploadTime, time.Time{}, "")):]))
			}
			if err == nil {
				due = append(due, u)
			} else if err := skip(item.Key, err); err != nil {
				return err
			}
		}
		return nil
	})
	return due, next, err
}

// Forget drops a settled upload whose pins are gone, and whose sources if it is an import.
func (x *Index) Forget(ctx context.Context, id string) error {
	return x.update(ctx, failpoint.Forget, func(tx Tx) error {
		u, err := getUpload(tx, id)
		if err != nil {
			return err
		}
		if released, err := exists(tx, key(kindRelease, id)); err != nil || released || !u.Status.Settled() || u.moves() {
			return err
		}
		return deleteAll(tx, key(kindUpload, id), timeKey(kindUploadTime, u.due(SettledLife), id), key(kindImport, u.Scope.String(), id))
	})
}

// Verifying returns the ids of accepted commits and imports that are to be finished.
func (x *Index) Verifying(ctx context.Context) ([]string, error) { return x.ids(ctx, kindVerifying) }

// Releasing returns the ids of settled uploads that still have pins.
func (x *Index) Releasing(ctx context.Context) ([]string, error) { return x.ids(ctx, kindRelease) }

func (x *Index) ids(ctx context.Context, kind byte) (ids []string, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		found, err := readableKeys(tx, []byte{kind}, skip)
		ids = nil
		for _, k := range found {
			ids = append(ids, partAfter(k, []byte{kind}))
		}
		return err
	})
	return ids, err
}

// Release drops up to limit pins of a settled upload, and then the list of an import's files unless they are still to be
// removed. more says that there are further ones. A multipart that loses its last pin goes to aborting; any other blob
// without pin and reference gets a tombstone.
func (x *Index) Release(ctx context.Context, id string, limit int) (more bool, err error) {
	err = x.update(ctx, failpoint.Release, func(tx Tx) error {
		prefix := key(kindPinOf, id)
		pins, err := keys(tx, prefix, limit)
		if err != nil {
			return err
		}
		u, err := getUpload(tx, id)
		if err != nil {
			return err
		}
		err = withAccount(tx, u.Scope, func(a *account) error {
			for _, k := range pins {
				if err := x.unpin(tx, a, digest.Digest("sha256:"+partAfter(k, prefix)), id); err != nil {
					return fmt.Errorf("index: releasing %s: %w", id, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if more = len(pins) == limit; more {
			return nil
		}
		if u.Import != nil && !u.moves() {
			if more, err = dropSources(tx, id, MaxSources); err != nil || more {
				return err
			}
		}
		return tx.Delete(key(kindRelease, id))
	})
	return more, err
}
