package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"

	"go.etcd.io/bbolt"
)

// A group grows while somebody waits in line, up to these.
const (
	boltGroupMembers = 512
	boltGroupBytes   = 8 << 20
)

// boltGroup is a set of Updates that share one bbolt transaction. Each runs on what those before it wrote; one that
// fails leaves no trace. bbolt sees their writes only at the end: nothing reads a tree that is being changed.
type boltGroup struct {
	tx      *bbolt.Tx
	writes  *txTree
	members int
	bytes   int

	done chan struct{} // closed when err is final
	err  error         // answers all members, if set
}

func (g *boltGroup) full() bool {
	return g.err != nil || g.members >= boltGroupMembers || g.bytes >= boltGroupBytes
}

// join runs fn as a member of the open group. The caller has the turn, and has it no more afterwards.
func (b *Bolt) join(ctx context.Context, fn func(Tx) error) (*boltGroup, error) {
	defer b.pass() // also when fn panics
	if b.group == nil {
		b.group = b.newGroup()
	}
	g := b.group
	if g.err != nil {
		return g, g.err
	}
	g.members++
	t := newTxn(ctx, newBoltSnapshot(g.tx), g.writes.Clone())
	if err := t.run(fn); err != nil {
		return g, err
	}
	g.writes = t.writes
	g.bytes += t.bytes
	return g, nil
}

func (b *Bolt) newGroup() *boltGroup {
	g := &boltGroup{writes: newTxTree(), done: make(chan struct{}), err: b.failed}
	if g.err == nil {
		b.spare.close()
		if g.tx, g.err = b.db.Begin(true); g.err != nil {
			g.err = fmt.Errorf("index: begin: %w", g.err)
		}
	}
	return g
}

// pass gives the turn to the next in line, who carries the group on. If there is none, or the group is full, it commits
// first. So whoever has the turn answers for the open group, and a lone Update commits at once.
func (b *Bolt) pass() {
	if !b.group.full() && b.queue.next() {
		return
	}
	g := b.group
	b.group = nil
	if g.tx != nil {
		g.err = b.commit(g)
	}
	b.spare.open() // not before what was written can be read, and before anybody hears that it was
	close(g.done)
	b.queue.leave()
}

func (b *Bolt) commit(g *boltGroup) (err error) {
	fault := boltGuard(func() {
		if g.writes.Len() == 0 {
			err = g.tx.Rollback()
		} else if err = boltApply(g.tx, g.writes); err == nil {
			err = g.tx.Commit()
		}
	})
	if err = errors.Join(fault, err); err == nil {
		return nil
	}
	// After an error of Commit this finds the transaction ended; after a panic in it, it frees the writer's lock.
	_ = boltGuard(func() { _ = g.tx.Rollback() })
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: commit: %w", ErrFull, err)
	}
	b.failed = fmt.Errorf("%w: %w", ErrFailed, err)
	return b.failed
}

func boltApply(tx *bbolt.Tx, writes *txTree) (err error) {
	data := tx.Bucket(boltDataBucket)
	writes.Ascend(func(item txItem) bool {
		if item.sealed == nil {
			err = data.Delete(item.key)
		} else {
			err = data.Put(item.key, item.sealed)
		}
		return err == nil
	})
	return err
}

// boltQueue gives the turn to one goroutine at a time, first come first served.
type boltQueue struct {
	mu      sync.Mutex
	taken   bool
	waiting []chan struct{} // each is closed when its turn comes
}

// enter waits for the turn. When ctx ends first, the caller has left the line.
func (q *boltQueue) enter(ctx context.Context) error {
	q.mu.Lock()
	if !q.taken {
		q.taken = true
		q.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	q.waiting = append(q.waiting, turn)
	q.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, turn)
	if i < 0 {
		return nil // the turn came at the same time, and brings the duty to pass it on
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return ctx.Err()
}

// next gives the turn to the first in line and reports whether there is one; if not, the caller keeps it.
func (q *boltQueue) next() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.callFirst()
}

// leave gives the turn to the first in line, or back.
func (q *boltQueue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = q.callFirst()
}

// callFirst needs mu.
func (q *boltQueue) callFirst() bool {
	if len(q.waiting) == 0 {
		return false
	}
	close(q.waiting[0])
	q.waiting = slices.Delete(q.waiting, 0, 1)
	return true
}
