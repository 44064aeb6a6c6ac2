package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/google/btree"
)

// txBase is the committed state that a transaction reads. Values come verified.
type txBase interface {
	// get returns ErrNotFound or ErrCorrupt like Tx.Get.
	get(key []byte) ([]byte, error)
	// scan yields the items of r in its direction. An error without a key says that the scan cannot go on.
	scan(r txRange) iter.Seq2[Item, error]
}

// txItem is one stored item; sealed is nil where a transaction deleted the key.
type txItem struct{ key, sealed []byte }

// txTree is an ordered set of items, one a key. A clone of it costs nothing and shares what neither side changes.
type txTree = btree.BTreeG[txItem]

func newTxTree() *txTree {
	return btree.NewG(32, func(a, b txItem) bool { return bytes.Compare(a.key, b.key) < 0 })
}

var errTxOver = errors.New("index: transaction used after its function returned")

// txn is the one Tx of all stores. It keeps its writes to itself, over a base that nobody changes while it runs: a
// transaction that fails is simply dropped, and a Scan is not disturbed by the writes made meanwhile.
type txn struct {
	ctx  context.Context
	base txBase
	// lend, if set, stands between the store's bytes and fn.
	lend func([]byte) []byte

	writes  *txTree // nil in a View
	touched map[string]struct{}
	bytes   int // of the keys and values of all Puts, those put over again included

	failed error // why the transaction must not succeed, whatever fn makes of the error
	over   bool
}

// newTxn returns a transaction on base and, for an Update, on the writes that came before it and are not in base yet.
// They become this transaction's own: hand over a clone.
func newTxn(ctx context.Context, base txBase, writes *txTree) *txn {
	return &txn{ctx: ctx, base: base, writes: writes}
}

// run calls fn. After nil, t.writes is what is to be committed.
func (t *txn) run(fn func(Tx) error) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	defer func() { t.over = true }()
	if err := fn(t); err != nil {
		return err
	}
	if t.failed != nil {
		return t.failed
	}
	return t.ctx.Err()
}

func (t *txn) Get(key []byte) ([]byte, error) {
	if err := t.usable(key); err != nil {
		return nil, err
	}
	value, err := t.lookup(key)
	return t.lent(value), err
}

func (t *txn) lookup(key []byte) ([]byte, error) {
	if t.writes != nil {
		if item, ok := t.writes.Get(txItem{key: key}); ok {
			if item.sealed == nil {
				return nil, ErrNotFound
			}
			return unsealValue(key, item.sealed)
		}
	}
	return t.base.get(key)
}

func (t *txn) Put(key, value []byte) error {
	if len(value) > MaxValueBytes {
		return t.fail(fmt.Errorf("%w: the value of %q has %d bytes, the limit is %d", ErrTooLarge, key, len(value), MaxValueBytes))
	}
	return t.write(key, sealValue(key, value), len(key)+len(value))
}

func (t *txn) Delete(key []byte) error { return t.write(key, nil, 0) }

func (t *txn) write(key, sealed []byte, size int) error {
	if err := t.usable(key); err != nil {
		return err
	}
	if t.writes == nil {
		return t.fail(ErrReadOnly)
	}
	if t.touched == nil {
		t.touched = map[string]struct{}{}
	}
	t.touched[string(key)] = struct{}{}
	t.bytes += size
	switch {
	case len(t.touched) > MaxTouchedKeys:
		return t.fail(fmt.Errorf("%w: more than %d keys", ErrTooLarge, MaxTouchedKeys))
	case t.bytes > MaxTouchedBytes:
		return t.fail(fmt.Errorf("%w: more than %d bytes", ErrTooLarge, MaxTouchedBytes))
	}
	t.writes.ReplaceOrInsert(txItem{key: bytes.Clone(key), sealed: sealed})
	return nil
}

func (t *txn) Scan(prefix, from []byte, reverse bool) iter.Seq2[Item, error] {
	r := newTxRange(prefix, from, reverse)
	var own []txItem
	if t.writes != nil {
		own = slices.Collect(r.of(t.writes))
	}
	return func(yield func(Item, error) bool) {
		if t.over {
			yield(Item{}, errTxOver)
			return
		}
		items := t.base.scan(r)
		if len(own) > 0 {
			items = txMerge(items, own, r)
		}
		for item, err := range items {
			if err == nil {
				err = t.ctx.Err()
			}
			// A scan that ends early must not pass for a complete one.
			if err != nil && (item.Key == nil || t.ctx.Err() != nil) {
				yield(Item{}, t.fail(err))
				return
			}
			if !yield(Item{t.lent(item.Key), t.lent(item.Value)}, err) {
				return
			}
		}
	}
}

// txMerge yields base with own, which has r's direction, laid over it.
func txMerge(base iter.Seq2[Item, error], own []txItem, r txRange) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		own := own
		// upTo yields own items that come before key, or all of them, and drops the one that replaces key.
		upTo := func(key []byte) (replaced, more bool) {
			for len(own) > 0 && (key == nil || r.compare(own[0].key, key) <= 0) {
				item := own[0]
				own = own[1:]
				replaced = bytes.Equal(item.key, key)
				if item.sealed == nil {
					continue
				}
				if value, err := unsealValue(item.key, item.sealed); !yield(Item{item.key, value}, err) {
					return replaced, false
				}
			}
			return replaced, true
		}
		for item, err := range base {
			if item.Key == nil {
				yield(item, err)
				return
			}
			replaced, more := upTo(item.Key)
			if !more || !replaced && !yield(item, err) {
				return
			}
		}
		upTo(nil)
	}
}

// usable refuses what no store can hold, the same way in reads and writes.
func (t *txn) usable(key []byte) error {
	if t.over {
		return errTxOver
	}
	if len(key) == 0 || len(key) > MaxKeyBytes {
		return t.fail(fmt.Errorf("%w: a key of %d bytes, the limits are 1 and %d", ErrTooLarge, len(key), MaxKeyBytes))
	}
	return nil
}

func (t *txn) fail(err error) error {
	if t.failed == nil {
		t.failed = err
	}
	return err
}

func (t *txn) lent(b []byte) []byte {
	if t.lend == nil || b == nil {
		return b
	}
	return t.lend(b)
}

// txGate lets transactions in until the store is closed.
type txGate struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// enter admits a transaction, which must leave, or answers ErrClosed.
func (g *txGate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	g.running.Add(1)
	return nil
}

func (g *txGate) leave() { g.running.Done() }

// close shuts the gate and waits for those inside.
func (g *txGate) close() error {
	g.mu.Lock()
	closed := g.closed
	g.closed = true
	g.mu.Unlock()
	if closed {
		return ErrClosed
	}
	g.running.Wait()
	return nil
}
