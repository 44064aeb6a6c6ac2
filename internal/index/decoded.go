package index

import (
	"bytes"
	"errors"

	"github.com/ballast-registry/ballast/internal/cache"
)

// decodedItem is a stored value and what it says.
type decodedItem struct {
	stored []byte
	value  any
}

// Bounds of the decoded values that are kept, in bytes of memory.
const (
	maxDecoded = 8 << 20
	// What a decoded value takes beside its stored form, measured: as a multiple of it, and of itself.
	decodedFactor, decodedOverhead = 4, 512
)

func newDecoded() *cache.Cache[string, decodedItem] {
	return cache.New[string, decodedItem](maxDecoded)
}

// recall is decode for what is read at every request: tokens, blobs, versions. What it decoded it keeps beside the bytes,
// and gives out again only while the transaction reads the same bytes under the same key: so nothing is ever out of date,
// a token that was revoked least of all. The value is shared: nobody may change what it points at.
func recall[T any](x *Index, key, stored []byte) (T, error) {
	if held, ok := x.decoded.Get(string(key)); ok && bytes.Equal(held.stored, stored) {
		if v, ok := held.value.(T); ok {
			return v, nil
		}
	}
	v, err := decode[T](key, stored)
	if err == nil {
		x.decoded.Put(string(key), decodedItem{bytes.Clone(stored), v}, int64(len(key)+decodedFactor*len(stored)+decodedOverhead))
	}
	return v, err
}

// recallAt is lookup by recall.
func recallAt[T any](x *Index, tx Tx, key []byte) (v T, ok bool, err error) {
	b, err := tx.Get(key)
	if errors.Is(err, ErrNotFound) {
		return v, false, nil
	}
	if err != nil {
		return v, false, err
	}
	v, err = recall[T](x, key, b)
	return v, err == nil, err
}
