package index

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

// Sum is the SHA-256 of everything that a copy of an index holds, less its signature.
type Sum [sha256.Size]byte

var metaSignature = key(kindMeta, "signature") // of a copy

// copyBatch is how many items go into a copy in one transaction of it.
const copyBatch = 5000

// copyGrowth is by how many bytes the file of a copy grows: it is sent as it is.
const copyGrowth = 64 << 10

// CopyTo writes what the index holds at one moment into a new file, which index.OpenCopy reads: all but who owns the
// prefix, when tokens were used, and what is said of the last snapshot. It takes up to twice the size of the index on disk
// while it runs, and holds up no write. A value that cannot be read fails it.
func (x *Index) CopyTo(ctx context.Context, path string) (sum Sum, err error) {
	from, done, err := x.still(ctx, path+".raw")
	if err != nil {
		return sum, fmt.Errorf("index: copying: %w", err)
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := boltMake(path, BoltOptions{NoSync: true}); err != nil {
		return sum, fmt.Errorf("index: copying: %w", err)
	}
	db, err := boltOpenFile(path, BoltOptions{NoSync: true})
	if err != nil {
		return sum, fmt.Errorf("index: copying: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.AllocSize = copyGrowth
	h := sha256.New()
	err = from.View(ctx, func(tx Tx) error {
		h.Reset()
		return copyItems(tx, db, h)
	})
	if err == nil {
		err = db.Sync()
	}
	h.Sum(sum[:0])
	return sum, err
}

// still returns a store that nobody changes. Of a file it is a copy of the pages, so that the long read of every item holds
// up no page of the index.
func (x *Index) still(ctx context.Context, path string) (s Store, done func() error, err error) {
	bolt, ok := x.store.Store.(*Bolt)
	if !ok {
		return x.store, func() error { return nil }, nil
	}
	if err := bolt.copyPages(path); err != nil {
		return nil, nil, errors.Join(err, os.Remove(path))
	}
	pages, err := OpenBolt(path, BoltOptions{NoSync: true})
	if err != nil {
		return nil, nil, errors.Join(err, os.Remove(path))
	}
	return pages, func() error { return errors.Join(pages.Close(), os.Remove(path)) }, ctx.Err()
}

// copyPages writes the file as it is at the last commit to another.
func (b *Bolt) copyPages(path string) (err error) {
	if err := b.gate.enter(); err != nil {
		return err
	}
	defer b.gate.leave()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fault := boltGuard(func() {
		err = b.db.View(func(tx *bbolt.Tx) error {
			_, err := tx.WriteTo(f)
			return err
		})
	})
	return errors.Join(fault, err)
}

// copyItems writes the items of a transaction into a file, and their sum.
func copyItems(tx Tx, db *bbolt.DB, h hash.Hash) error {
	var batch []Item
	flush := func() error {
		err := db.Update(func(to *bbolt.Tx) error {
			data := to.Bucket(boltDataBucket)
			data.FillPercent = 0.95 // keys come in their order
			for _, item := range batch {
				if err := data.Put(item.Key, sealValue(item.Key, item.Value)); err != nil {
					return err
				}
			}
			return nil
		})
		batch = batch[:0]
		return err
	}
	for item, err := range tx.Scan(nil, nil, false) {
		if err != nil {
			return err
		}
		if leftOut(item.Key) {
			continue
		}
		if string(item.Key) == string(metaOwner) {
			item.Value = []byte(`{"schema":1,"value":{"index_id":"","intent":0,"claimed":false}}`)
		}
		sumItem(h, item)
		if batch = append(batch, Item{append([]byte(nil), item.Key...), append([]byte(nil), item.Value...)}); len(batch) == copyBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// leftOut reports whether a copy goes without an item.
func leftOut(k []byte) bool {
	return k[0] == kindTokenUse || string(k) == string(metaSnapshot) || string(k) == string(metaSignature)
}

func sumItem(h hash.Hash, item Item) {
	var size [8]byte
	for _, part := range [][]byte{item.Key, item.Value} {
		h.Write(binary.BigEndian.AppendUint64(size[:0], uint64(len(part))))
		h.Write(part)
	}
}

// SignCopy puts a signature into a copy. It is no part of the sum.
func SignCopy(ctx context.Context, path string, signature []byte) (err error) {
	bolt, err := OpenBolt(path, BoltOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bolt.Close()) }()
	bolt.db.AllocSize = copyGrowth
	return bolt.Update(ctx, func(tx Tx) error { return tx.Put(metaSignature, signature) })
}

// OpenCopy opens a copy, of which it reads every item first. Whether the sum is what the signature says, its caller checks.
// The file is the caller's own: it is brought to the present form. Errors: ErrCorrupt, ErrNewer; others when it is no index.
func OpenCopy(ctx context.Context, path string, now func() time.Time) (x *Index, sum Sum, signature []byte, err error) {
	bolt, err := OpenBolt(path, BoltOptions{NoSync: true})
	if err != nil {
		return nil, sum, nil, err
	}
	h := sha256.New()
	err = bolt.View(ctx, func(tx Tx) error {
		for item, err := range tx.Scan(nil, nil, false) {
			if err != nil {
				return err
			}
			if string(item.Key) == string(metaSignature) {
				signature = append([]byte(nil), item.Value...)
				continue
			}
			sumItem(h, item)
		}
		return nil
	})
	if err == nil {
		x, err = Open(ctx, bolt, now)
	}
	if err != nil {
		return nil, sum, nil, errors.Join(err, bolt.Close())
	}
	h.Sum(sum[:0])
	return x, sum, signature, nil
}
