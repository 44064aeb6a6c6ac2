package index

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// name: it counts its ready versions, and its numbers are behind those that it gave.
func (in *inspector) name() error {
	n, err := decode[Name](in.item.Key, in.item.Value)
	if err != nil {
		return err
	}
	right := n
	right.Ready = 0
	for item, err := range in.tx.Scan(append([]byte{kindVersion}, in.item.Key[1:]...), nil, false) {
		var f found
		if err == nil {
			f, err = openHead(item)
		}
		if err != nil {
			return atAnother(err) // what cannot be read might count
		}
		if f.Status == ballast.StatusReady {
			right.Ready, right.HadReady = right.Ready+1, true
		}
		if order := item.Key[len(in.item.Key):]; len(order) >= 8 {
			right.MaxMajor = max(right.MaxMajor, binary.BigEndian.Uint64(order))
		}
	}
	if right != n {
		in.add(FlawCounter, func(tx Tx) error { return put(tx, in.item.Key, right) },
			"%s counts %d ready versions, its greatest number is %d, and it shadows the global name: %t; there are %d, %d and %t",
			n.Name, n.Ready, n.MaxMajor, n.HadReady, right.Ready, right.MaxMajor, right.HadReady)
	}
	return nil
}

// version: everything that leads to it is there.
func (in *inspector) version() error {
	v, err := decode[Version](in.item.Key, in.item.Value)
	if err != nil {
		return err
	}
	k := v.Key()
	in.about = k.String()
	if !bytes.Equal(in.item.Key, versionKey(kindVersion, v.Scope, v.Name, v.Version)) {
		in.add(FlawUnreadable, nil, "%s lies under the key of another version", k)
		return nil
	}
	if _, ok, err := there[Name](in, scopedName(kindName, v.Scope, v.Name)); err != nil || !ok {
		if err == nil {
			in.add(FlawDangling, nil, "%s: nothing is kept of its name", k)
		}
		return err
	}
	if v.Refused != "" { // it has no digest, and nothing leads to it
		return nil
	}
	if v.Digest.Validate() != nil {
		in.add(FlawUnreadable, nil, "%s: its digest is %q", k, v.Digest)
		return nil
	}
	sealed, deleted := v.Status == ballast.StatusSealed, v.Status == ballast.StatusDeleted
	if err := in.pending(v); err != nil || sealed {
		return err
	}
	lists := []struct {
		key  []byte
		want bool
		what string
	}{
		{candidateKey(v.Scope, v.Name, v.Version), v.Status == ballast.StatusReady && v.Stage.Active(), "among what latest chooses from"},
		{byDigestKey(v.Scope, v.Name, v.Digest, v.Version), true, "by its digest"},
		{byTimeKey(v), !deleted, "by its time"},
		{byManifestKey(v.Scope, v.Digest, v.Name, v.Version), !deleted, "among those that use its manifest"},
	}
	for _, l := range lists {
		if err := in.listed(l.key, l.want, "%s is %s and "+l.what, k, v.Status); err != nil {
			return err
		}
	}
	if deleted || v.Metadata.BaseModel == "" {
		return nil
	}
	return in.base(v)
}

// pending: a sealed version waits for its record, and one whose end is due for that of its end.
func (in *inspector) pending(v Version) error {
	waits, err := exists(in.tx, versionKey(kindRecord, v.Scope, v.Name, v.Version))
	if err != nil {
		return atAnother(err)
	}
	if want := v.Status == ballast.StatusSealed || v.Due != nil; waits != want {
		in.add(FlawDangling, nil, "%s is %s and a record of it waits to be written: %t", v.Key(), v.Status, waits)
	}
	return nil
}

// base: it is there and knows its child.
func (in *inspector) base(v Version) error {
	k, err := ballast.ParseKey(v.Metadata.BaseModel)
	if err != nil {
		in.add(FlawUnreadable, nil, "%s: its base is %q", v.Key(), v.Metadata.BaseModel)
		return nil
	}
	base, ok, err := there[Version](in, versionKey(kindVersion, k.Scope, k.Name, k.Version))
	if err != nil {
		return err
	}
	if !ok || base.Status == ballast.StatusDeleted {
		in.add(FlawDangling, nil, "%s: its base %s is gone", v.Key(), k)
	}
	return in.listed(childKey(k, v), true, "%s among the children of its base %s", v.Key(), k)
}

// ofVersion is the version that an item is about, whose name and order its key holds.
func (in *inspector) ofVersion(scope, name string, order []byte) (v Version, ok bool, err error) {
	v, ok, err = there[Version](in, append(key(kindVersion, scope, name), order...))
	if ok {
		in.about = v.Key().String()
	}
	return v, ok, err
}

func (in *inspector) candidate() error {
	p, rest, err := in.split(2)
	if err != nil || len(rest) == 0 {
		return errors.Join(err)
	}
	v, ok, err := in.ofVersion(p[0], p[1], rest[1:])
	if err == nil && (!ok || v.Status != ballast.StatusReady || !v.Stage.Active()) {
		in.dangling("latest can answer a version of %s that is not there, or not to be chosen: %s", p[1], in.about)
	}
	return err
}

func (in *inspector) byDigest() error {
	p, order, err := in.split(3)
	if err != nil {
		return err
	}
	v, ok, err := in.ofVersion(p[0], p[1], order)
	if err == nil && (!ok || v.Digest != digest.NewDigestFromEncoded(digest.SHA256, p[2])) {
		in.dangling("a version of %s is found by a digest that it has not: %s", p[1], in.about)
	}
	return err
}

func (in *inspector) byManifest() error {
	p, order, err := in.split(3)
	if err != nil {
		return err
	}
	v, ok, err := in.ofVersion(p[0], p[2], order)
	if err == nil && (!ok || v.Digest != digest.NewDigestFromEncoded(digest.SHA256, p[1]) || v.Status == ballast.StatusDeleted) {
		in.dangling("a version of %s uses a manifest that it has not: %s", p[2], in.about)
	}
	return err
}

func (in *inspector) byTime() error {
	scope, place, _ := bytes.Cut(in.item.Key[1:], []byte{0x00})
	t, err := timedAt(place)
	if err != nil {
		return err
	}
	v, ok, err := in.ofVersion(string(scope), t.fold, t.order)
	if err == nil && (!ok || v.Status == ballast.StatusDeleted || !bytes.Equal(byTimeKey(v), in.item.Key)) {
		in.dangling("a version of %s is listed by a time that it has not: %s", t.fold, in.about)
	}
	return err
}

func (in *inspector) record() error {
	p, order, err := in.split(2)
	if err != nil {
		return err
	}
	_, ok, err := in.ofVersion(p[0], p[1], order)
	if err == nil && !ok {
		in.dangling("a record of a version of %s waits to be written, and there is no such version", p[1])
	}
	return err
}

func (in *inspector) alias() error {
	p, _, err := in.split(3)
	if err != nil {
		return err
	}
	a, err := decode[Alias](in.item.Key, in.item.Value)
	if err != nil {
		return err
	}
	order := a.Version.Order()
	v, ok, err := in.ofVersion(p[0], p[1], order)
	switch {
	case err != nil:
		return err
	case !ok || v.Status == ballast.StatusDeleted:
		// Somebody set it, so nobody else drops it: where the version was lost, a rebuild brings it back.
		in.add(FlawDangling, nil, "the alias %s of %s points at %s, which is gone", p[2], p[1], a.Version)
		return nil
	}
	return in.listed(key(kindAliasOf, p[0], p[1], hex.EncodeToString(order), p[2]), true, "the alias %s of %s, of its version,", p[2], p[1])
}

func (in *inspector) aliasOf() error {
	p, _, err := in.split(4)
	if err != nil {
		return err
	}
	a, ok, err := there[Alias](in, key(kindAlias, p[0], p[1], p[3]))
	if err == nil && (!ok || hex.EncodeToString(a.Version.Order()) != p[2]) {
		in.dangling("a version of %s knows of an alias %s that does not point at it", p[1], p[3])
	}
	return err
}

func (in *inspector) child() error {
	p, rest, err := in.split(3)
	if err != nil {
		return err
	}
	child, order := parts(append([]byte{kindChild}, rest...), 2)
	v, ok, err := in.ofVersion(child[0], child[1], order)
	if err != nil {
		return err
	}
	k, bad := ballast.ParseKey(v.Metadata.BaseModel)
	if !ok || v.Status == ballast.StatusDeleted || bad != nil || !bytes.Equal(childKey(k, v), in.item.Key) {
		in.dangling("a version of %s counts a child among its own that is none: %s", p[1], in.about)
	}
	return nil
}

func (in *inspector) production() error {
	p, err := decode[Production](in.item.Key, in.item.Value)
	if err != nil || p.Version.IsZero() {
		return err
	}
	name, _, err := in.split(2)
	if err != nil {
		return err
	}
	v, ok, err := in.ofVersion(name[0], name[1], p.Version.Order())
	if err == nil && (!ok || v.Stage != ballast.StageProduction) {
		in.add(FlawDangling, nil, "%s has %s in production, which is gone or says otherwise", name[1], p.Version)
	}
	return err
}
