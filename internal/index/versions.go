package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// ErrUnverified says that a blob which a version is to reference is not verified, or is being reclaimed.
var ErrUnverified = errors.New("index: blob not verified")

// Name is what the index keeps of a model's name.
type Name struct {
	Name     ballast.Name `json:"name"`      // as first typed
	MaxMajor uint64       `json:"max_major"` // greatest ever used
	Ready    int          `json:"ready"`     // versions now ready
	HadReady bool         `json:"had_ready"` // from then on and for good the name shadows the global one
	Updated  ballast.Time `json:"updated"`
}

// Version is the stored form of a version.
type Version struct {
	Scope        ballast.Scope     `json:"scope"`
	Name         ballast.Name      `json:"name"`
	Version      ballast.Version   `json:"version"`
	Status       ballast.Status    `json:"status"`
	Stage        ballast.Stage     `json:"stage"`
	Digest       digest.Digest     `json:"digest"` // of the manifest
	ManifestSize int64             `json:"manifest_size"`
	Size         int64             `json:"size"`
	Files        int               `json:"files"`
	Assurance    ballast.Assurance `json:"assurance"`
	Weights      *ballast.Weights  `json:"weights,omitempty"` // when they are known
	Metadata     ballast.Metadata  `json:"metadata"`
	CreatedBy    string            `json:"created_by"`
	CreatedAt    ballast.Time      `json:"created_at"`
	UpdatedAt    ballast.Time      `json:"updated_at"`
	Revision     int64             `json:"revision"`
	Upload       string            `json:"upload"`  // that published it
	Records      int               `json:"records"` // records of its chain that are in the bucket
	RetiredBy    string            `json:"retired_by,omitempty"`
	RetiredAt    ballast.Time      `json:"retired_at,omitzero"`
	DeletedBy    string            `json:"deleted_by,omitempty"`
	DeletedAt    ballast.Time      `json:"deleted_at,omitzero"`
	RestoredBy   string            `json:"restored_by,omitempty"`
	RestoredAt   ballast.Time      `json:"restored_at,omitzero"` // of the last deletion that was undone
	RecordMAC    string            `json:"record_mac"`
	Due          *Event            `json:"due,omitempty"` // of its end or its restoration, to be written once the pending record is in the bucket

	// Missing says that a rebuild did not find all of its bytes in the bucket. A version that would be ready is lost then.
	Missing bool `json:"missing,omitempty"`
	// Refused is why a rebuild believes nothing of what the bucket says of this version: it is lost, has no digest, and its
	// label stays used.
	Refused string `json:"refused,omitempty"`
}

// Key returns the version's key.
func (v Version) Key() ballast.Key {
	return ballast.Key{Scope: v.Scope, Name: v.Name, Version: v.Version}
}

// Inspected notes what the headers of an accepted upload's files say, nil when that is not known. What was noted first
// stays. Errors: lease_lost when the upload ended.
func (x *Index) Inspected(ctx context.Context, id string, w *ballast.Weights) error {
	_, err := x.updateUpload(ctx, failpoint.Inspect, id, func(_ Tx, u *Upload) error {
		if u.Status != ballast.UploadVerifying {
			return ballast.Errorf(ballast.CodeLeaseLost, "upload %s is %s", id, u.Status)
		}
		if u.Sealed || u.Accepted.Inspected {
			return nil
		}
		accepted := *u.Accepted
		accepted.Inspected, accepted.Weights = true, w
		u.Accepted = &accepted
		return nil
	})
	return err
}

// Reference notes, for one chunk of at most MaxWants digests, that the manifest of an accepted upload uses these blobs.
// The last chunk sets Referenced. Errors: ErrUnverified when one of the blobs is not verified; lease_lost when the
// upload ended; quota_exceeded as Seal has it for bytes.
func (x *Index) Reference(ctx context.Context, id string, blobs []digest.Digest, last bool) error {
	_, err := x.updateUpload(ctx, failpoint.Reference, id, func(tx Tx, u *Upload) error {
		if u.Status != ballast.UploadVerifying {
			return ballast.Errorf(ballast.CodeLeaseLost, "upload %s is %s", id, u.Status)
		}
		accepted := *u.Accepted
		account, err := openAccount(tx, u.Scope)
		if err != nil {
			return err
		}
		if err := account.sealable(tx, *u); err != nil { // said now, for references stay until gc
			return err
		}
		for _, d := range blobs {
			b, _, err := lookup[Blob](tx, blobKey(kindBlob, u.Scope, d))
			if err != nil {
				return err
			}
			if b.State != BlobVerified {
				return fmt.Errorf("%w: %s", ErrUnverified, d)
			}
			accepted.Reread = accepted.Reread || b.Assurance == ballast.AssuranceReread
			if err := account.referenced(tx, d, b); err != nil {
				return err
			}
			if err := tx.Put(key(kindReference, u.Scope.String(), d.Encoded(), accepted.Manifest.Encoded()), nil); err != nil {
				return err
			}
		}
		accepted.Referenced = accepted.Referenced || last
		u.Accepted = &accepted
		return account.close(tx)
	})
	return err
}

// Seal is the point of no return: it claims the label and fixes the version and every byte of its record. record makes
// the bytes, at most 48 KiB, from the version; it runs inside the transaction and must be pure. An upload already
// sealed or done answers its version again.
//
// An upload without a label whose files are those of latest publishes nothing: it is done with that version.
//
// An upload with the label and the files of a version whose bytes were missing makes that version ready again.
//
// Errors: precondition when the base is no longer ready; retired when the only versions with this digest are retired;
// quota_exceeded when the scope may have no other version, or holds more than it may and the upload added to that.
func (x *Index) Seal(ctx context.Context, id string, record func(Version) (body []byte, mac string, err error)) (v Version, err error) {
	err = x.update(ctx, failpoint.Seal, func(tx Tx) error {
		old, err := getUpload(tx, id)
		if err != nil {
			return err
		}
		if old.Sealed || old.Status == ballast.UploadDone {
			v, err = getVersion(tx, old.Scope, old.Name, old.Version)
			return err
		}
		if old.Status != ballast.UploadVerifying || !old.Accepted.Referenced {
			return ballast.Errorf(ballast.CodeLeaseLost, "upload %s is %s", id, old.Status)
		}
		u := old
		if same, ok, err := x.unchanged(tx, u); err != nil {
			return err
		} else if ok {
			v, u.Version = same, same.Version
			if err := x.settle(tx, &u, ballast.UploadDone); err != nil {
				return err
			}
			return putUpload(tx, &old, u)
		}
		lost, healing, err := heals(tx, u)
		if err != nil {
			return err
		}
		if healing {
			v, err = x.heal(tx, lost, &u)
		} else {
			v, err = x.seal(tx, &u, record)
		}
		if err != nil {
			return err
		}
		return putUpload(tx, &old, u)
	})
	return v, err
}

// heal makes a version ready whose bytes were missing and are all there again. Its record has been in the bucket all the
// time. The upload is done.
func (x *Index) heal(tx Tx, v Version, u *Upload) (Version, error) {
	manifest, _, err := lookup[Blob](tx, blobKey(kindBlob, u.Scope, v.Digest))
	if err != nil {
		return v, err
	}
	if manifest.State != BlobVerified {
		return v, fmt.Errorf("%w: manifest %s", ErrUnverified, v.Digest)
	}
	name, err := get[Name](tx, scopedName(kindName, v.Scope, v.Name))
	if err != nil {
		return v, err
	}
	name.Ready++
	if err := put(tx, scopedName(kindName, v.Scope, v.Name), name); err != nil {
		return v, err
	}
	at, before := ballast.At(x.now()), v.Revision
	v.Status, v.Missing, u.Version = ballast.StatusReady, false, v.Version
	return v, errors.Join(
		setStage(tx, &v, v.Stage), touch(tx, &v, at), x.settle(tx, u, ballast.UploadDone),
		x.emit(tx, Event{At: at, By: u.CreatedBy, Kind: ballast.EventChanged, Scope: v.Scope, Name: v.Name, Version: v.Version, Before: before, After: v.Revision, Fields: []string{"status"}}),
	)
}

// unchanged finds the version that latest answers when it has the files of an upload without a label.
func (x *Index) unchanged(tx Tx, u Upload) (v Version, ok bool, err error) {
	if !u.Version.IsZero() {
		return v, false, nil
	}
	f, ok, err := latest(tx, u.Scope, u.Name)
	if err != nil || !ok || f.Digest != u.Accepted.Manifest {
		return v, false, err
	}
	v, err = f.version()
	return v, err == nil, err
}

func (x *Index) seal(tx Tx, u *Upload, record func(Version) ([]byte, string, error)) (v Version, err error) {
	if err := sealable(tx, *u); err != nil {
		return v, err
	}
	name, _, err := lookup[Name](tx, scopedName(kindName, u.Scope, u.Name))
	if err != nil {
		return v, err
	}
	if name.Name.IsZero() {
		name.Name = u.Name
	}
	if u.Version.IsZero() {
		if u.Version, err = nextVersion(tx, u.Scope, u.Name, name.MaxMajor); err != nil {
			return v, err
		}
	} else if err := labelFree(tx, u.Scope, u.Name, u.Version); err != nil {
		return v, err
	}
	v = newVersion(*u, name.Name, ballast.At(x.now()))
	body, mac, err := record(v)
	if err != nil {
		return v, err
	}
	v.RecordMAC = mac
	name.MaxMajor = max(name.MaxMajor, v.Version.Major())
	u.Sealed = true
	if err := countVersion(tx, u); err != nil {
		return v, err
	}
	return v, errors.Join(
		put(tx, scopedName(kindName, u.Scope, u.Name), name),
		put(tx, versionKey(kindVersion, u.Scope, u.Name, v.Version), v),
		tx.Put(versionKey(kindRecord, u.Scope, u.Name, v.Version), body),
		putChild(tx, v),
	)
}

func newVersion(u Upload, name ballast.Name, now ballast.Time) Version {
	a := u.Accepted
	assurance := ballast.AssuranceStore
	if a.Reread {
		assurance = ballast.AssuranceReread
	}
	return Version{
		Scope: u.Scope, Name: name, Version: u.Version, Status: ballast.StatusSealed, Stage: ballast.StageNone,
		Digest: a.Manifest, ManifestSize: a.ManifestSize, Size: a.Size, Files: a.Files, Assurance: assurance, Weights: a.Weights,
		Metadata: a.Metadata, CreatedBy: u.CreatedBy, CreatedAt: now, UpdatedAt: now, Revision: 1, Upload: u.ID,
	}
}

// sealable re-checks what may have changed since the commit was accepted.
func sealable(tx Tx, u Upload) error {
	manifest, _, err := lookup[Blob](tx, blobKey(kindBlob, u.Scope, u.Accepted.Manifest))
	if err != nil {
		return err
	}
	if manifest.State != BlobVerified {
		return fmt.Errorf("%w: manifest %s", ErrUnverified, u.Accepted.Manifest)
	}
	if err := baseReady(tx, u.Accepted.Metadata.BaseModel); err != nil {
		return err
	}
	return notRetired(tx, u)
}

func baseReady(tx Tx, text string) error {
	if text == "" {
		return nil
	}
	k, err := ballast.ParseKey(text)
	if err != nil {
		return err
	}
	base, err := getVersion(tx, k.Scope, k.Name, k.Version)
	if err == nil && base.Status == ballast.StatusReady {
		return nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return ballast.Errorf(ballast.CodePrecondition, "base model %s is not ready; choose another base", text)
}

// notRetired refuses files that the name retired and does not serve under another label.
func notRetired(tx Tx, u Upload) error {
	var retired *Version
	prefix := key(kindByDigest, u.Scope.String(), u.Name.Fold(), u.Accepted.Manifest.Encoded())
	for item, err := range tx.Scan(prefix, nil, false) {
		if err != nil {
			return err
		}
		v, err := get[Version](tx, append(scopedName(kindVersion, u.Scope, u.Name), item.Key[len(prefix):]...))
		if err != nil {
			return err
		}
		if v.Status == ballast.StatusReady {
			return nil
		}
		if v.Status == ballast.StatusRetired {
			retired = &v
		}
	}
	if retired == nil {
		return nil
	}
	return ballast.Errorf(ballast.CodeRetired, "these files are those of %s, which was retired; they cannot be published again under this name", retired.Key())
}

// nextVersion allocates 1 + the greatest major number ever used or now held.
func nextVersion(tx Tx, scope ballast.Scope, name ballast.Name, used uint64) (ballast.Version, error) {
	prefix := scopedName(kindHold, scope, name)
	item, held, err := first(tx.Scan(prefix, nil, true))
	if err != nil {
		return ballast.Version{}, err
	}
	if held {
		used = max(used, binary.BigEndian.Uint64(item.Key[len(prefix):]))
	}
	if used >= math.MaxInt64 {
		return ballast.Version{}, ballast.Errorf(ballast.CodePrecondition, "%s has used the greatest version number; name a version", name)
	}
	return ballast.MajorVersion(used + 1), nil
}

// Pending is a version whose record has to be written before it can be ready.
type Pending struct {
	Version Version
	Number  int // of the record in its chain, from 1
	Record  []byte
}

// PendingRecord returns the record that a version waits for; ok is false when it waits for none.
func (x *Index) PendingRecord(ctx context.Context, k ballast.Key) (p Pending, ok bool, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		body, err := tx.Get(versionKey(kindRecord, k.Scope, k.Name, k.Version))
		if ok = err == nil; !ok {
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			return err
		}
		p.Record = append([]byte(nil), body...)
		p.Version, err = getVersion(tx, k.Scope, k.Name, k.Version)
		p.Number = p.Version.Records + 1
		return err
	})
	return p, ok, err
}

// Ready makes a sealed version ready, with all secondary keys, and its upload done. Repeating it changes nothing.
func (x *Index) Ready(ctx context.Context, k ballast.Key) (v Version, err error) {
	err = x.update(ctx, failpoint.Ready, func(tx Tx) error {
		if v, err = getVersion(tx, k.Scope, k.Name, k.Version); err != nil || v.Status != ballast.StatusSealed {
			return err
		}
		now := ballast.At(x.now())
		v.Status, v.Records, v.UpdatedAt = ballast.StatusReady, 1, now
		name, err := get[Name](tx, scopedName(kindName, k.Scope, k.Name))
		if err != nil {
			return err
		}
		name.Ready, name.HadReady, name.Updated = name.Ready+1, true, now
		from, err := x.finish(tx, v.Upload)
		if err != nil {
			return err
		}
		return errors.Join(
			put(tx, versionKey(kindVersion, k.Scope, k.Name, k.Version), v),
			put(tx, scopedName(kindName, k.Scope, k.Name), name),
			tx.Delete(versionKey(kindRecord, k.Scope, k.Name, k.Version)),
			putAll(tx, candidateKey(k.Scope, k.Name, k.Version),
				byTimeKey(v), byDigestKey(k.Scope, k.Name, v.Digest, k.Version),
				byManifestKey(k.Scope, v.Digest, k.Name, k.Version)),
			x.emit(tx, Event{At: now, By: v.CreatedBy, Kind: ballast.EventReady, Scope: v.Scope, Name: v.Name, Version: v.Version, After: v.Revision, Source: from}),
		)
	})
	return v, err
}

// finish settles the upload of a version that became ready, and returns where it was imported from.
func (x *Index) finish(tx Tx, upload string) (from ballast.Source, err error) {
	old, err := getUpload(tx, upload)
	if err != nil {
		return from, err
	}
	u := old
	if u.Import != nil {
		from = u.Import.Source
	}
	if err := x.settle(tx, &u, ballast.UploadDone); err != nil {
		return from, err
	}
	return from, putUpload(tx, &old, u)
}

func getVersion(tx Tx, scope ballast.Scope, name ballast.Name, v ballast.Version) (Version, error) {
	return get[Version](tx, versionKey(kindVersion, scope, name, v))
}
