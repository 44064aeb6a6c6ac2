package index

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/ballast-registry/ballast"
)

// MaxLineage bounds how many bases stand behind a version.
const MaxLineage = 16

// childKey leads from a base to a version that was made from it.
func childKey(base ballast.Key, child Version) []byte {
	k := childPrefix(base)
	k = append(append(k, child.Scope.String()...), 0x00)
	k = append(append(k, child.Name.Fold()...), 0x00)
	return append(k, child.Version.Order()...)
}

func childPrefix(base ballast.Key) []byte {
	return key(kindChild, base.Scope.String(), base.Name.Fold(), hex.EncodeToString(base.Version.Order()))
}

func putChild(tx Tx, v Version) error {
	return withBase(v, func(base ballast.Key) error { return tx.Put(childKey(base, v), nil) })
}

func dropChild(tx Tx, v Version) error {
	return withBase(v, func(base ballast.Key) error { return tx.Delete(childKey(base, v)) })
}

func withBase(v Version, do func(ballast.Key) error) error {
	if v.Metadata.BaseModel == "" {
		return nil
	}
	base, err := ballast.ParseKey(v.Metadata.BaseModel)
	if err != nil {
		return err
	}
	return do(base)
}

// childrenOf returns up to limit children of a version behind after, in the order of scope, name and version.
func childrenOf(tx Tx, base Version, after []byte, limit int) (children []Version, err error) {
	prefix := childPrefix(base.Key())
	for item, err := range tx.Scan(prefix, behind(after), false) {
		if err != nil {
			return nil, err
		}
		v, err := get[Version](tx, append([]byte{kindVersion}, item.Key[len(prefix):]...))
		if err != nil {
			return nil, err
		}
		if children = append(children, v); len(children) == limit {
			break
		}
	}
	return children, nil
}

// maxChildrenScanned bounds how many children one page looks at for those that the caller may see.
const maxChildrenScanned = 10_000

// Children lists up to limit versions whose base is a version, of those that see admits, in the order of scope, name and
// version. after and next are keys of children, nil at the begin and the end.
func (x *Index) Children(ctx context.Context, base Version, after []byte, limit int, see func(Version) bool) (page []Version, next []byte, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		page, next = nil, nil
		at := after
		for range maxChildrenScanned / MaxWants {
			some, err := childrenOf(tx, base, at, MaxWants)
			if err != nil {
				return err
			}
			for _, v := range some {
				at = childKey(base.Key(), v)
				if v.Status == ballast.StatusSealed || !see(v) {
					continue
				}
				if page = append(page, v); len(page) == limit {
					next = at
					return nil
				}
			}
			if len(some) < MaxWants {
				return nil
			}
		}
		next = at
		return nil
	})
	return page, next, err
}

// Lineage returns the bases behind a version, its own first. One that is not there ends the list.
func lineage(tx Tx, v Version, visit func(base Version) error) error {
	for range MaxLineage {
		if v.Metadata.BaseModel == "" {
			return nil
		}
		k, err := ballast.ParseKey(v.Metadata.BaseModel)
		if err != nil {
			return err
		}
		v, err = getVersion(tx, k.Scope, k.Name, k.Version)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(v); err != nil {
			return err
		}
	}
	return nil
}

// Depth returns how many bases stand behind a version.
func (x *Index) Depth(ctx context.Context, v Version) (depth int, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		depth = 0
		return lineage(tx, v, func(Version) error { depth++; return nil })
	})
	return depth, err
}
