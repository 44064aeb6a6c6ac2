package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
)

// Option tunes an Index.
type Option func(*Index)

// OnDamage has report called for every stored item that a list or a queue passed over because it cannot be read: once
// each time that it is met, after the transaction. Without it such items are passed over in silence.
//
// What stands on a single item, like resolving a reference, is never passed over: it fails with ErrCorrupt or ErrNewer.
func OnDamage(report func(ctx context.Context, key []byte, err error)) Option {
	return func(x *Index) { x.damage = report }
}

// skip passes over an item that cannot be read, and takes note of it. Any other error it returns.
type skip func(key []byte, err error) error

// skipping runs fn in a transaction of run, which is a View or an Update, and reports what fn skipped. The report comes
// last, because fn may run again.
func (x *Index) skipping(ctx context.Context, run func(context.Context, func(Tx) error) error, fn func(Tx, skip) error) error {
	type damaged struct {
		key []byte
		err error
	}
	var found []damaged
	err := run(ctx, func(tx Tx) error {
		found = nil
		return fn(tx, func(key []byte, err error) error {
			if len(key) == 0 || !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				return err
			}
			found = append(found, damaged{bytes.Clone(key), err})
			return nil
		})
	})
	for _, d := range found {
		x.damage(ctx, d.key, d.err)
	}
	return err
}

// entry is an item of a scan, decoded.
type entry[T any] struct {
	key   []byte
	value T
}

// readable yields what of items can be read. An error ends it.
func readable[T any](items iter.Seq2[Item, error], skip skip) iter.Seq2[entry[T], error] {
	return func(yield func(entry[T], error) bool) {
		for item, err := range items {
			e := entry[T]{key: item.Key}
			if err == nil {
				e.value, err = decode[T](item.Key, item.Value)
			}
			if err == nil {
				if !yield(e, nil) {
					return
				}
			} else if err := skip(item.Key, err); err != nil {
				yield(e, err)
				return
			}
		}
	}
}

// readableKeys returns the keys under prefix whose values are whole. An error ends it.
func readableKeys(tx Tx, prefix []byte, skip skip) ([][]byte, error) {
	var found [][]byte
	for item, err := range tx.Scan(prefix, nil, false) {
		if err == nil {
			found = append(found, bytes.Clone(item.Key))
		} else if err := skip(item.Key, err); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// badKey says that a key does not have the form of its kind.
func badKey(key []byte, err error) error {
	return fmt.Errorf("index: key %q: %w: %w", key, ErrCorrupt, err)
}
