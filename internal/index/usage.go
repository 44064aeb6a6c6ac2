package index

import (
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// What a scope uses of its quota is one value, that is changed by the transactions that change what it counts and by no
// other. What a blob counts for follows from its state, its pins and its references alone; docs/quotas.md has the table.

// account is a scope's usage inside a transaction. One at a time is open for a scope; what was counted counts once it is
// closed.
type account struct {
	scope       ballast.Scope
	before, now ballast.Usage
}

func usageKey(scope ballast.Scope) []byte { return key(kindUsage, scope.String()) }

func openAccount(tx Tx, scope ballast.Scope) (*account, error) {
	u, _, err := lookup[ballast.Usage](tx, usageKey(scope))
	return &account{scope, u, u}, err
}

// close writes the usage if it changed.
func (a *account) close(tx Tx) error {
	if a.now == a.before {
		return nil
	}
	a.before = a.now
	return put(tx, usageKey(a.scope), a.now)
}

// withAccount runs fn on a scope's account and closes it.
func withAccount(tx Tx, scope ballast.Scope, fn func(*account) error) error {
	a, err := openAccount(tx, scope)
	if err != nil {
		return err
	}
	if err := fn(a); err != nil {
		return err
	}
	return a.close(tx)
}

// filePins are the pins of a blob that count: those of uploads that have it as a file.
type filePins struct {
	any  bool
	most int64 // the greatest size that one declares
}

func (p filePins) with(more pin, there bool) filePins {
	if !there || more.Own {
		return p
	}
	return filePins{true, max(p.most, more.Size)}
}

// pinsBeside reads the pins of a blob less that of one upload; "" leaves none out. Of a verified blob it only says whether
// there are any: declared sizes decide nothing any more.
func pinsBeside(tx Tx, scope ballast.Scope, d digest.Digest, upload string, b Blob) (p filePins, err error) {
	without := string(pinKey(scope, d, upload))
	for item, err := range tx.Scan(blobKey(kindPin, scope, d), nil, false) {
		if err != nil {
			return p, err
		}
		if string(item.Key) == without {
			continue
		}
		one, err := decode[pin](item.Key, item.Value)
		if err != nil {
			return p, err
		}
		if p = p.with(one, true); p.any && b.State == BlobVerified {
			break
		}
	}
	return p, nil
}

// weigh is what a blob counts for: bytes in all, and of these, open ones that are not there yet.
func weigh(tx Tx, scope ballast.Scope, d digest.Digest, b Blob, pins filePins) (bytes, open int64, err error) {
	switch b.State {
	case BlobVerified:
		if !pins.any {
			if unused, err := empty(tx, blobKey(kindReference, scope, d)); err != nil || unused {
				return 0, 0, err
			}
		}
		return b.Size, 0, nil
	case BlobStored:
		return pins.most, 0, nil
	}
	return pins.most, pins.most, nil
}

// moved counts that a blob went from one state and set of pins to another.
func (a *account) moved(tx Tx, d digest.Digest, from Blob, before filePins, to Blob, after filePins) error {
	was, wasOpen, err := weigh(tx, a.scope, d, from, before)
	if err != nil {
		return err
	}
	is, isOpen, err := weigh(tx, a.scope, d, to, after)
	if err != nil {
		return err
	}
	a.now.Bytes += is - was
	a.now.UploadBytes += isOpen - wasOpen
	return nil
}

// became counts that a blob goes to another state. Its pins stay.
func (a *account) became(tx Tx, d digest.Digest, from, to Blob) error {
	pins, err := pinsBeside(tx, a.scope, d, "", from)
	if err != nil {
		return err
	}
	return a.moved(tx, d, from, pins, to, pins)
}

// unpinned counts that an upload is about to lose its pin of a blob.
func (a *account) unpinned(tx Tx, d digest.Digest, upload string) error {
	old, pinned, err := lookup[pin](tx, pinKey(a.scope, d, upload))
	if err != nil || !pinned || old.Own {
		return err
	}
	b, _, err := lookup[Blob](tx, blobKey(kindBlob, a.scope, d))
	if err != nil {
		return err
	}
	others, err := pinsBeside(tx, a.scope, d, upload, b)
	if err != nil {
		return err
	}
	return a.moved(tx, d, b, others.with(old, true), b, others)
}

// referenced counts that a manifest is about to name a verified blob.
func (a *account) referenced(tx Tx, d digest.Digest, b Blob) error {
	pins, err := pinsBeside(tx, a.scope, d, "", b)
	if err != nil {
		return err
	}
	is, _, err := weigh(tx, a.scope, d, b, pins)
	if err == nil && is == 0 {
		a.now.Bytes += b.Size
	}
	return err
}

// Held is what an upload has of its scope's quota beside the blobs that it pins.
type Held struct {
	Bytes   int64 `json:"bytes,omitempty"`   // reserved for blobs that it has not pinned yet
	Version bool  `json:"version,omitempty"` // one is reserved
	Brought bool  `json:"brought,omitempty"` // it pinned bytes that nobody else did
}

// reserve sets aside what an upload of size bytes needs, if there is room for all of it: an upload that got it is refused
// nothing, whatever others do, and so two never stop each other halfway. One that got nothing takes what it can.
func (a *account) reserve(tx Tx, u *Upload, size int64) error {
	q, err := quotaFor(tx, a.scope)
	if err != nil {
		return err
	}
	next := a.now
	next.ReservedBytes += size - u.Held.Bytes
	if !u.Held.Version {
		next.ReservedVersions++
	}
	for _, b := range q.Limits.Bounds(next) {
		if b.Used > b.Most() {
			return nil
		}
	}
	a.now, u.Held.Bytes, u.Held.Version = next, size, true
	return nil
}

// reserveVersion takes a version for an upload that will make one; whether there is room, admit says.
func (a *account) reserveVersion(u *Upload) {
	if !u.Held.Version {
		u.Held.Version = true
		a.now.ReservedVersions++
	}
}

// spend takes from what an upload has reserved the bytes of a blob that it pins now.
func (a *account) spend(u *Upload, size int64) {
	size = min(size, u.Held.Bytes)
	u.Held.Bytes -= size
	a.now.ReservedBytes -= size
}

// yield gives back the version that an upload has reserved.
func (a *account) yield(u *Upload) {
	if u.Held.Version {
		u.Held.Version = false
		a.now.ReservedVersions--
	}
}

// opens counts an upload that is new, and reserves what it says that it needs.
func opens(tx Tx, u *Upload) error {
	a, err := openAccount(tx, u.Scope)
	if err != nil {
		return err
	}
	a.now.Uploads++
	if u.Import == nil {
		if err := a.reserve(tx, u, u.Size); err != nil {
			return err
		}
	}
	_, healing, err := heals(tx, *u)
	if err != nil {
		return err
	}
	if makes := !healing && !u.Version.IsZero() && (u.Import == nil || u.Import.Expect == ""); makes && !u.Held.Version {
		withVersion := *a // a label that is free can only become a new version's
		withVersion.now.ReservedVersions++
		if err := withVersion.check(tx); err != nil {
			return err
		}
	}
	return a.admit(tx)
}

// countVersion counts the version that an upload makes, in the place of the one that it has reserved.
func countVersion(tx Tx, u *Upload) error {
	a, err := openAccount(tx, u.Scope)
	if err != nil {
		return err
	}
	if err := a.sealable(tx, *u); err != nil {
		return err
	}
	a.yield(u)
	a.now.Versions++
	return a.admit(tx)
}
