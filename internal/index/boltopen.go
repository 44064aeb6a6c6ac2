package index

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/ballast-registry/ballast/internal/atomicfile"
)

// boltSchema is the number of the layout of the file: the buckets below, values with a checksum at their end. What the
// keys and values mean has a schema of its own, above the Store.
const boltSchema = 1

var (
	boltMetaBucket = []byte("meta")   // boltSchemaKey → boltSchema in decimal
	boltDataBucket = []byte("data")   // the items
	boltSchemaKey  = []byte("schema") // of boltMetaBucket
)

// BoltOptions tune [OpenBolt]. The zero value is right for a server.
type BoltOptions struct {
	// LockTimeout is how long to wait for another process to let go of the file. 0 means 3 s.
	LockTimeout time.Duration
	// NoSync leaves out every fsync: a loss of power may destroy the file. For loading, benchmarks and tests only.
	NoSync bool
	// InitialMmapSize is the address space to map, in bytes. A file that outgrows it is mapped anew, for which an Update
	// waits until all Views end, and new Views wait for the Update. Address space is not memory, and the file does not
	// grow by it (on Windows it would, so there nothing is reserved). 0 means 64 GiB where pointers have 64 bits;
	// below 0 nothing is reserved.
	InitialMmapSize int
}

const boltLockTimeout = 3 * time.Second

func (o BoltOptions) mmapSize() int {
	size := int64(64 << 30)
	switch {
	case o.InitialMmapSize != 0:
		return max(o.InitialMmapSize, 0)
	case strconv.IntSize < 64 || runtime.GOOS == "windows":
		return 0
	}
	return int(size)
}

// OpenBolt opens the index in the file at path, or creates it with mode 0600, whole or not at all. It answers ErrLocked
// while another process holds the file, and ErrNewer for a file of a newer program, which it leaves as it is. A file that
// is cut short or is no index is refused.
func OpenBolt(path string, opt BoltOptions) (*Bolt, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := boltMake(path, opt); err != nil {
			return nil, fmt.Errorf("index: making %q: %w", path, err)
		}
	}
	db, err := boltOpenFile(path, opt)
	if err != nil {
		return nil, fmt.Errorf("index: open %q: %w", path, err)
	}
	fault := boltGuard(func() { err = boltCheckFormat(db) })
	if err = cmp.Or(fault, err); err != nil {
		return nil, fmt.Errorf("index: open %q: %w", path, errors.Join(err, db.Close()))
	}
	return &Bolt{db: db}, nil
}

func boltOpenFile(path string, opt BoltOptions) (db *bbolt.DB, err error) {
	// bbolt would make an empty file into a new index, and so the loss of one would pass unnoticed.
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		return nil, errors.New("the file is empty: restore it, or remove it to begin with an empty index")
	}
	var file *os.File
	fault := boltGuard(func() {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:         cmp.Or(opt.LockTimeout, boltLockTimeout),
			NoSync:          opt.NoSync,
			InitialMmapSize: opt.mmapSize(),
			FreelistType:    bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				file, err = os.OpenFile(name, flag, mode)
				return file, err
			},
		})
	})
	switch {
	case fault != nil:
		return nil, errors.Join(fmt.Errorf("the file is cut short or damaged: %w", fault), boltUnlock(file), file.Close())
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, boltLockedBy(path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return nil, fmt.Errorf("the file is no index, or is damaged: %w", err)
	case err != nil && !errors.As(err, new(*fs.PathError)): // bbolt says "file size too small", and of what
		return nil, fmt.Errorf("the file is cut short or damaged: %w", err)
	}
	return db, err
}

func boltLockedBy(path string) error {
	if pid := boltLockHolder(path); pid > 0 {
		return fmt.Errorf("%w (process %d)", ErrLocked, pid)
	}
	return ErrLocked
}

// boltCheckFormat checks that the file is whole and of a layout that this program knows.
func boltCheckFormat(db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(db.Path())
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: the file is cut short: %d bytes of at least %d", ErrCorrupt, info.Size(), tx.Size())
		}
		return boltCheckSchema(tx)
	})
}

func boltCheckSchema(tx *bbolt.Tx) error {
	meta := tx.Bucket(boltMetaBucket)
	if meta == nil || tx.Bucket(boltDataBucket) == nil {
		return errors.New("the file belongs to another program")
	}
	schema, err := strconv.Atoi(string(meta.Get(boltSchemaKey)))
	switch {
	case err != nil || schema < 1:
		return fmt.Errorf("%w: schema number %q", ErrCorrupt, meta.Get(boltSchemaKey))
	case schema > boltSchema:
		return fmt.Errorf("%w: its layout has number %d, this program knows up to %d", ErrNewer, schema, boltSchema)
	}
	return nil
}

// boltMake makes an empty index. The file gets its name when it is whole and on disk: a loss of power may keep the name of
// a file and nothing of what was written to it, and an empty file is refused. One that another process made meanwhile stays.
func boltMake(path string, opt BoltOptions) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".index-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(f.Name(), 0o600, &bbolt.Options{NoSync: opt.NoSync})
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(boltLayout), db.Close()); err != nil {
		return err
	}
	if err := atomicfile.Name(f.Name(), path); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// boltLayout writes what boltCheckSchema looks for.
func boltLayout(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucket(boltDataBucket); err != nil {
		return err
	}
	meta, err := tx.CreateBucket(boltMetaBucket)
	if err != nil {
		return err
	}
	return meta.Put(boltSchemaKey, strconv.AppendInt(nil, boltSchema, 10))
}
