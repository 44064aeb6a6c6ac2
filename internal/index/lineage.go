package index

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"iter"
	"slices"
	"strings"

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

// childrenOf returns up to limit keys of children of a version, in the order of scope, name and version.
func childrenOf(tx Tx, base Version, limit int) (children []ballast.Key, err error) {
	prefix := childPrefix(base.Key())
	for item, err := range tx.Scan(prefix, nil, false) {
		if err != nil {
			return nil, err
		}
		v, err := get[Version](tx, append([]byte{kindVersion}, item.Key[len(prefix):]...))
		if err != nil {
			return nil, err
		}
		if children = append(children, v.Key()); len(children) == limit {
			break
		}
	}
	return children, nil
}

// Children lists up to limit versions in some parts of scopes, of each scope one, whose base is a version, in the order of scope, name and version,
// less those that are deleted or not ready yet. after and next are keys of children, nil at the begin and the end.
func (x *Index) Children(ctx context.Context, base Version, parts []Part, after []byte, limit int) (page []Version, next []byte, err error) {
	sorted := slices.SortedFunc(slices.Values(parts), func(a, b Part) int { return strings.Compare(a.Scope.String(), b.Scope.String()) })
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		page, next = nil, nil
		for _, part := range slices.CompactFunc(sorted, func(a, b Part) bool { return a.Scope == b.Scope }) {
			for v, err := range childrenIn(tx, base, part, after, skip) {
				if err != nil {
					return err
				}
				if len(page) == limit {
					next = childKey(base.Key(), page[limit-1])
					return nil
				}
				page = append(page, v)
			}
		}
		return nil
	})
	return page, next, err
}

func childrenIn(tx Tx, base Version, part Part, after []byte, skip skip) iter.Seq2[Version, error] {
	prefix := childPrefix(base.Key())
	in := append(append(bytes.Clone(prefix), part.Scope.String()...), 0x00)
	return func(yield func(Version, error) bool) {
		for item, err := range part.scan(tx, in, "", behind(after)) {
			var v Version
			if err == nil {
				v, err = get[Version](tx, append([]byte{kindVersion}, item.Key[len(prefix):]...))
			}
			switch {
			case err != nil:
				if err := skip(item.Key, err); err != nil {
					yield(v, err)
					return
				}
			case v.Status == ballast.StatusSealed, v.Status == ballast.StatusDeleted: // not yet, or not yet again
			case !yield(v, nil):
				return
			}
		}
	}
}

// lineage visits a base, as a head names it, and those behind it. One that is not there ends the list.
func lineage(tx Tx, base []byte, visit func(base found) error) error {
	for range MaxLineage {
		if len(base) == 0 {
			return nil
		}
		f, err := find(tx, append([]byte{kindVersion}, base...))
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(f); err != nil {
			return err
		}
		base = f.base
	}
	return nil
}

// Depth returns how many bases stand behind a version.
func (x *Index) Depth(ctx context.Context, v Version) (depth int, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		depth = 0
		h, err := headOf(v)
		if err != nil {
			return err
		}
		return lineage(tx, h.base, func(found) error { depth++; return nil })
	})
	return depth, err
}
