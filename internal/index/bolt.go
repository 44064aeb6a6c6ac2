package index

import (
	"context"
	"fmt"
	"iter"
	"runtime/debug"

	"go.etcd.io/bbolt"
)

// Bolt is a [Store] in one local file, by bbolt. One process at a time holds the file.
//
// Concurrent Updates share a commit, and so one fsync; a lone Update never waits for company. Every value ends in a
// CRC-32C over its key and itself that each read checks. Keys and pages have no checksum of their own: damage to them
// shows as ErrCorrupt where bbolt stumbles over it.
//
// bbolt shows a commit to Views just before its last fsync returns, so what a View saw may be missing after a loss of
// power if no Update had answered for it.
type Bolt struct {
	db    *bbolt.DB
	gate  txGate
	queue boltQueue
	spare boltSpare

	// Of whoever has the turn of the queue.
	group  *boltGroup // open group, if any
	failed error      // why nothing is written any more
}

var _ Store = (*Bolt)(nil)

// View runs fn on the state of the last commit. It takes no lock that an Update holds while it works.
func (b *Bolt) View(ctx context.Context, fn func(Tx) error) error {
	if err := b.gate.enter(); err != nil {
		return err
	}
	defer b.gate.leave()
	reading, err := b.spare.take(b.db)
	if err != nil {
		return fmt.Errorf("index: begin: %w", err)
	}
	defer b.spare.leave(reading)
	return newTxn(ctx, reading.boltSnapshot, nil).run(fn)
}

// Update runs fn, on the caller's goroutine, after those that came first, and commits what it wrote together with them.
//
// After a commit that failed, but for want of disk space (ErrFull), no more is written until the file is opened anew
// (ErrFailed): what of the commit reached the disk is then unknown, and so is what later commits would build on.
func (b *Bolt) Update(ctx context.Context, fn func(Tx) error) error {
	if err := b.gate.enter(); err != nil {
		return err
	}
	defer b.gate.leave()
	if err := b.queue.enter(ctx); err != nil {
		return err
	}
	g, err := b.join(ctx, fn)
	// Even an Update that fails or writes nothing may have read what others of the group wrote: its answer holds only
	// once theirs is on disk.
	<-g.done
	if g.err != nil {
		return g.err
	}
	return err
}

// Close waits for running transactions and releases the file.
func (b *Bolt) Close() error {
	if err := b.gate.close(); err != nil {
		return err
	}
	b.spare.close()
	if err := b.db.Close(); err != nil {
		return fmt.Errorf("index: close: %w", err)
	}
	return nil
}

// boltSnapshot reads the data bucket in a transaction that has written nothing.
type boltSnapshot struct{ data *bbolt.Bucket }

func newBoltSnapshot(tx *bbolt.Tx) boltSnapshot { return boltSnapshot{tx.Bucket(boltDataBucket)} }

// end ends a read transaction; there is nothing that could go wrong.
func (s boltSnapshot) end() { _ = s.data.Tx().Rollback() }

func (s boltSnapshot) get(key []byte) (value []byte, err error) {
	fault := boltGuard(func() {
		sealed := s.data.Get(key)
		if sealed == nil {
			err = ErrNotFound
			return
		}
		value, err = unsealValue(key, sealed)
	})
	if fault != nil {
		return nil, fmt.Errorf("reading key %q: %w", key, fault)
	}
	return value, err
}

func (s boltSnapshot) scan(r txRange) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		c := s.data.Cursor()
		for move := boltStart; ; move = boltStep {
			item, err := boltRead(c, r, move)
			if item.Key == nil {
				if err != nil {
					yield(item, err)
				}
				return
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// boltRead moves c and returns the item there, or none at the end of r. Under the guard it touches every byte that it
// returns, so that a damaged length cannot fault later, in fn.
func boltRead(c *bbolt.Cursor, r txRange, move func(*bbolt.Cursor, txRange) (k, v []byte)) (item Item, err error) {
	fault := boltGuard(func() {
		key, sealed := move(c, r)
		if key == nil || !r.holds(key) {
			return
		}
		if len(key) > MaxKeyBytes {
			panic(fmt.Sprintf("a key of %d bytes", len(key)))
		}
		item.Key = key
		item.Value, err = unsealValue(key, sealed)
	})
	if fault != nil {
		return Item{}, fmt.Errorf("scanning keys from %q: %w", r.lo, fault)
	}
	return item, err
}

func boltStart(c *bbolt.Cursor, r txRange) (key, sealed []byte) {
	if !r.reverse {
		return c.Seek(r.lo)
	}
	if r.hi != nil {
		if key, _ := c.Seek(r.hi); key != nil {
			return c.Prev()
		}
	}
	return c.Last()
}

func boltStep(c *bbolt.Cursor, r txRange) (key, sealed []byte) {
	if r.reverse {
		return c.Prev()
	}
	return c.Next()
}

// boltGuard calls bbolt and turns its panics, and faults of the memory map, into ErrCorrupt: that is how a damaged page
// shows.
func boltGuard(call func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: damaged page: %v", ErrCorrupt, p)
		}
	}()
	call()
	return nil
}
