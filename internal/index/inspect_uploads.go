package index

import (
	"encoding/binary"
	"time"
)

// upload: what leads to it, as far as its status asks for that.
func (in *inspector) upload() error {
	u, err := decode[Upload](in.item.Key, in.item.Value)
	if err != nil {
		return err
	}
	in.scope = u.Scope
	if open := !u.Settled() && !(u.Import != nil && u.Import.Expect != ""); open && !u.Version.IsZero() && !u.Sealed {
		hold := versionKey(kindHold, u.Scope, u.Name, u.Version)
		holder, held, err := there[string](in, hold)
		if err != nil {
			return err
		}
		if !held {
			in.add(FlawUnlisted, func(tx Tx) error { return put(tx, hold, u.ID) }, "upload %s is %s and does not hold %s", u.ID, u.Status, u.Target())
		} else if holder != u.ID {
			in.add(FlawDangling, nil, "upload %s is %s, and %s is held by %s", u.ID, u.Status, u.Target(), holder)
		}
	}
	if u.Unattended() {
		if err := in.listed(key(kindVerifying, u.ID), true, "upload %s is %s and to be finished, which", u.ID, u.Status); err != nil {
			return err
		}
	}
	if !u.Status.Unattended() {
		if err := in.listed(timeKey(kindUploadTime, u.due(SettledLife), u.ID), true, "upload %s is %s and by its time", u.ID, u.Status); err != nil {
			return err
		}
	}
	if u.Import == nil {
		return nil
	}
	if err := in.listed(key(kindImport, u.Scope.String(), u.ID), true, "import %s, as an import,", u.ID); err != nil || u.Settled() {
		return err
	}
	return in.listed(key(kindImporting, u.Scope.String(), u.ID), true, "import %s, as an open one,", u.ID)
}

// ofUpload is the upload that an item is about.
func (in *inspector) ofUpload(id string) (Upload, bool, error) {
	u, ok, err := there[Upload](in, key(kindUpload, id))
	if ok {
		in.scope = u.Scope
	}
	return u, ok, err
}

func (in *inspector) uploadTime() error {
	if len(in.item.Key) < 9 {
		return badKey(in.item.Key, ErrCorrupt)
	}
	at, id := time.UnixMicro(int64(binary.BigEndian.Uint64(in.item.Key[1:]))), string(in.item.Key[9:])
	u, ok, err := in.ofUpload(id)
	if err == nil && (!ok || u.Status.Unattended() || !u.due(SettledLife).Equal(at)) {
		in.dangling("upload %s is listed by a time that it has not", id)
	}
	return err
}

func (in *inspector) hold() error {
	id, err := decode[string](in.item.Key, in.item.Value)
	if err != nil {
		return err
	}
	u, ok, err := in.ofUpload(id)
	if err == nil && (!ok || u.Settled()) {
		in.dangling("a label is held by upload %s, which is over", id)
	}
	return err
}

func (in *inspector) attempt() error {
	id, err := decode[string](in.item.Key, in.item.Value)
	if err != nil {
		return err
	}
	_, ok, err := in.ofUpload(id)
	if err == nil && !ok {
		in.dangling("an attempt is noted as that of upload %s, which is gone", id)
	}
	return err
}

func (in *inspector) verifying() error {
	id := partAfter(in.item.Key, in.item.Key[:1])
	u, ok, err := in.ofUpload(id)
	if err == nil && (!ok || !u.Unattended()) {
		in.dangling("upload %s is listed to be finished, and there is nothing to finish", id)
	}
	return err
}

func (in *inspector) release() error {
	id := partAfter(in.item.Key, in.item.Key[:1])
	u, ok, err := in.ofUpload(id)
	if err == nil && (!ok || !u.Settled()) {
		in.dangling("upload %s is listed to let go of its blobs, and is not over or not there", id)
	}
	return err
}

func (in *inspector) anImport() error {
	p, _, err := in.split(2)
	if err != nil {
		return err
	}
	u, ok, err := in.ofUpload(p[1])
	if err == nil && (!ok || u.Import == nil) {
		in.dangling("%s is found as an import and is none", p[1])
	}
	return err
}

func (in *inspector) importing() error {
	p, _, err := in.split(2)
	if err != nil {
		return err
	}
	u, ok, err := in.ofUpload(p[1])
	if err == nil && (!ok || u.Import == nil || u.Settled()) {
		in.dangling("%s is found as an open import and is none", p[1])
	}
	return err
}

func (in *inspector) source() error {
	p, _, err := in.split(1)
	if err != nil {
		return err
	}
	if _, err := decode[SourceFile](in.item.Key, in.item.Value); err != nil {
		return err
	}
	u, ok, err := in.ofUpload(p[0])
	if err == nil && (!ok || u.Import == nil) {
		in.dangling("a file is listed for import %s, which is gone", p[0])
	}
	return err
}

func (in *inspector) declared() error {
	p, _, err := in.split(2)
	if err != nil {
		return err
	}
	pinned, err := exists(in.tx, key(kindPinOf, p[0], p[1]))
	if err == nil && !pinned {
		in.dangling("parts of blob %s are noted for upload %s, which does not pin it", p[1], p[0])
	}
	return atAnother(err)
}

func (in *inspector) tokenUse() error {
	if _, err := decode[TokenUse](in.item.Key, in.item.Value); err != nil {
		return err
	}
	id := partAfter(in.item.Key, in.item.Key[:1])
	_, ok, err := there[Token](in, key(kindToken, id))
	if err == nil && !ok {
		in.dangling("when token %s was used is kept, and there is no such token", id)
	}
	return err
}

// over reports whether an upload's pins may not be there any more.
func (in *inspector) over(u Upload) (bool, error) {
	if !u.Settled() {
		return false, nil
	}
	releasing, err := exists(in.tx, key(kindRelease, u.ID))
	return !releasing, atAnother(err)
}
