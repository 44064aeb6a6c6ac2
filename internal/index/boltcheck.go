package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/bbolt"
)

// MaxFileFaults bounds what CheckFile reports.
const MaxFileFaults = 100

// ErrNotChecked says why the store's own check was not made: there is none, or there is no room for it.
var ErrNotChecked = errors.New("index: the file was not checked")

// CheckFile runs the store's own check of its file, page by page, on a copy of the last commit: bbolt's is not safe beside
// writers. The copy lies beside the file for that long and nobody waits for it. It takes memory for every page, so a file
// over most bytes is not checked; 0 is any size. Errors: ErrNotChecked.
func (x *Index) CheckFile(ctx context.Context, most int64) (faults []string, err error) {
	store, ok := x.store.Store.(*Bolt)
	if !ok {
		return nil, fmt.Errorf("%w: it is no file", ErrNotChecked)
	}
	return store.checkCopy(ctx, most)
}

func (b *Bolt) checkCopy(ctx context.Context, most int64) (faults []string, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(b.db.Path()), ".fsck-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "index.db")
	if err := b.copyTo(ctx, path, most); err != nil {
		return nil, err
	}
	db, err := boltOpenFile(path, BoltOptions{NoSync: true, InitialMmapSize: -1})
	if err != nil {
		return []string{err.Error()}, nil
	}
	return boltCheck(db)
}

// copyTo writes the state of the last commit to a file.
func (b *Bolt) copyTo(ctx context.Context, path string, most int64) error {
	if err := b.gate.enter(); err != nil {
		return err
	}
	defer b.gate.leave()
	return b.db.View(func(tx *bbolt.Tx) error {
		if most > 0 && tx.Size() > most {
			return fmt.Errorf("%w: it has %d bytes, and beside a service %d are checked; stop it and use --offline", ErrNotChecked, tx.Size(), most)
		}
		if free, ok := freeBytes(filepath.Dir(path)); ok && free < tx.Size()+tx.Size()/10 {
			return fmt.Errorf("%w: the disk has no room for a copy of %d bytes", ErrNotChecked, tx.Size())
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = tx.WriteTo(stopping{ctx, f})
		return errors.Join(err, f.Close())
	})
}

// stopping ends a long write with its context.
type stopping struct {
	ctx context.Context
	*os.File
}

func (s stopping) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.File.Write(p)
}

// boltCheck reads every page of a file, and closes it. What faults when it is read is one fault, and then bbolt's check,
// which would end the process over it, is not made.
func boltCheck(db *bbolt.DB) (faults []string, err error) {
	fault := boltGuard(func() {
		err = db.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error {
				return bucket.ForEach(func(_, _ []byte) error { return nil })
			})
		})
	})
	if fault = errors.Join(fault, err); fault != nil {
		return []string{fault.Error()}, db.Close()
	}
	err = db.View(func(tx *bbolt.Tx) error {
		for fault := range tx.Check() {
			if len(faults) < MaxFileFaults {
				text, _, _ := strings.Cut(fault.Error(), "\n")
				faults = append(faults, text)
			}
		}
		return nil
	})
	return faults, errors.Join(err, db.Close())
}
