package index

import (
	"context"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

var metaSnapshot = key(kindMeta, "snapshot") // SavedSnapshot

// SavedSnapshot is the last copy of the index that went to the bucket.
type SavedSnapshot struct {
	At   ballast.Time `json:"at"`
	Name string       `json:"name"` // of its object
	Sum  Sum          `json:"sum"`
}

// SaveSnapshot notes which copy went to the bucket last.
func (x *Index) SaveSnapshot(ctx context.Context, s SavedSnapshot) error {
	return x.update(ctx, failpoint.SavedSnapshot, func(tx Tx) error { return put(tx, metaSnapshot, s) })
}

// LastSnapshot is the copy that went to the bucket last, the zero value when none did.
func (x *Index) LastSnapshot(ctx context.Context) (s SavedSnapshot, err error) {
	err = x.store.View(ctx, func(tx Tx) (err error) {
		s, _, err = lookup[SavedSnapshot](tx, metaSnapshot)
		return err
	})
	return s, err
}

// Moves is a number that is another one whenever the index may have changed in between.
func (x *Index) Moves() uint64 { return x.store.moves.Load() >> quietBits }
