package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// compactBatch is how many bytes one transaction of a compaction writes.
const compactBatch = 16 << 20

// Compacted are the sizes of an index file before and after, in bytes.
type Compacted struct{ Before, After int64 }

// Compact writes the index in the file at path anew, without the room that was freed in it, and puts the new file in the
// place of the old one once it was checked page by page and compared item by item. Cut off anywhere, the old file stays.
// Errors: ErrLocked while a service holds it; ErrFull when the disk may not hold both.
func Compact(ctx context.Context, path string) (c Compacted, err error) {
	if _, err := os.Stat(path); err != nil {
		return c, fmt.Errorf("index: compact: %w", err) // which would be made otherwise
	}
	old, err := boltOpenFile(path, BoltOptions{InitialMmapSize: -1})
	if err != nil {
		return c, fmt.Errorf("index: compact %q: %w", path, err)
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	if err := boltCheckFormat(old); err != nil {
		return c, fmt.Errorf("index: compact %q: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return c, err
	}
	c.Before = info.Size()
	if free, ok := freeBytes(filepath.Dir(path)); ok && free < c.Before+c.Before/10 {
		return c, fmt.Errorf("%w: compacting %q takes up to %d bytes beside it, and %d are free", ErrFull, path, c.Before+c.Before/10, free)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".compact-*")
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	next := filepath.Join(dir, "index.db")
	if err := compactTo(ctx, next, old); err != nil {
		return c, fmt.Errorf("index: compact %q: %w", path, err)
	}
	if info, err = os.Stat(next); err != nil {
		return c, err
	}
	c.After = info.Size()
	return c, putInPlace(next, path)
}

// compactTo writes what old holds into a new file, syncs it and checks it.
func compactTo(ctx context.Context, path string, old *bbolt.DB) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	var failed error
	fault := boltGuard(func() { failed = bbolt.Compact(db, old, compactBatch) })
	if failed = errors.Join(fault, failed, ctx.Err()); failed == nil {
		failed = db.Sync()
	}
	if failed == nil {
		fault = boltGuard(func() { failed = sameItems(old, db) })
		failed = errors.Join(fault, failed)
	}
	if failed != nil {
		return errors.Join(failed, db.Close())
	}
	faults, err := boltCheck(db)
	if len(faults) > 0 {
		err = errors.Join(err, fmt.Errorf("%w: the new file: %s", ErrCorrupt, faults[0]))
	}
	return err
}

// sameItems compares two files item by item, each with its checksum.
func sameItems(a, b *bbolt.DB) error {
	return a.View(func(one *bbolt.Tx) error {
		return b.View(func(two *bbolt.Tx) error {
			for _, name := range [][]byte{boltMetaBucket, boltDataBucket} {
				left, right := one.Bucket(name), two.Bucket(name)
				if left == nil || right == nil {
					return fmt.Errorf("%w: the new file lacks what the old one holds", ErrCorrupt)
				}
				l, r := left.Cursor(), right.Cursor()
				k, v := l.First()
				for ok, ov := r.First(); k != nil || ok != nil; ok, ov = r.Next() {
					if !bytes.Equal(k, ok) || !bytes.Equal(v, ov) {
						return fmt.Errorf("%w: the new file does not hold %q as the old one does", ErrCorrupt, k)
					}
					k, v = l.Next()
				}
			}
			return nil
		})
	})
}

// putInPlace gives a file that is on disk the name of another one, for good.
func putInPlace(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
