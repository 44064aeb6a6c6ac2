package index

import (
	"bytes"
	"context"
	"iter"
	"sync/atomic"
)

// Mem is a [Store] in memory, for tests. It keeps the contract of Store to the letter and makes those who break it fail:
// it runs every third fn twice and forgets the first run; what a Tx returned is overwritten once fn has returned; and it
// panics if fn changed such bytes.
type Mem struct {
	gate  txGate
	calls atomic.Int64
	turn  chan struct{}          // holds one element while an Update runs
	tree  *txTree                // of whoever has the turn
	state atomic.Pointer[txTree] // last commit: a clone of tree that nobody changes
}

var _ Store = (*Mem)(nil)

const memRunTwice = 3

// NewMem returns an empty store.
func NewMem() *Mem {
	m := &Mem{turn: make(chan struct{}, 1), tree: newTxTree()}
	m.state.Store(newTxTree())
	return m
}

// View runs fn on the state of the last commit.
func (m *Mem) View(ctx context.Context, fn func(Tx) error) error {
	if err := m.gate.enter(); err != nil {
		return err
	}
	defer m.gate.leave()
	state := memSnapshot{m.state.Load()}
	_, err := m.run(func() *txn { return newTxn(ctx, state, nil) }, fn)
	return err
}

// Update runs fn and commits what it wrote.
func (m *Mem) Update(ctx context.Context, fn func(Tx) error) error {
	if err := m.gate.enter(); err != nil {
		return err
	}
	defer m.gate.leave()
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.turn }()
	state := memSnapshot{m.state.Load()}
	t, err := m.run(func() *txn { return newTxn(ctx, state, newTxTree()) }, fn)
	if err != nil {
		return err
	}
	m.commit(t.writes)
	return nil
}

func (m *Mem) commit(writes *txTree) {
	if writes.Len() == 0 {
		return
	}
	writes.Ascend(func(item txItem) bool {
		if item.sealed == nil {
			m.tree.Delete(item)
		} else {
			m.tree.ReplaceOrInsert(item)
		}
		return true
	})
	m.state.Store(m.tree.Clone())
}

// run calls fn in a transaction of begin, now and then once before in another one.
func (m *Mem) run(begin func() *txn, fn func(Tx) error) (*txn, error) {
	if m.calls.Add(1)%memRunTwice == 0 {
		_, _ = memRun(begin(), fn)
	}
	return memRun(begin(), fn)
}

func memRun(t *txn, fn func(Tx) error) (*txn, error) {
	var loans memLoans
	t.lend = loans.lend
	defer loans.recall()
	return t, t.run(fn)
}

// Close waits for running transactions.
func (m *Mem) Close() error { return m.gate.close() }

// Clone returns another store with what the last commit left in this one.
func (m *Mem) Clone() *Mem {
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	c := &Mem{turn: make(chan struct{}, 1), tree: m.tree.Clone()}
	c.state.Store(m.tree.Clone())
	return c
}

// Corrupt flips a bit in the stored value of key, for tests of what becomes of damaged data. It reports whether the key
// was there.
func (m *Mem) Corrupt(key []byte) bool {
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	item, ok := m.tree.Get(txItem{key: key})
	if !ok {
		return false
	}
	damaged := bytes.Clone(item.sealed)
	damaged[0] ^= 1
	m.tree.ReplaceOrInsert(txItem{item.key, damaged})
	m.state.Store(m.tree.Clone())
	return true
}

// memSnapshot reads a tree that nobody changes.
type memSnapshot struct{ tree *txTree }

func (s memSnapshot) get(key []byte) ([]byte, error) {
	item, ok := s.tree.Get(txItem{key: key})
	if !ok {
		return nil, ErrNotFound
	}
	return unsealValue(key, item.sealed)
}

func (s memSnapshot) scan(r txRange) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for item := range r.of(s.tree) {
			value, err := unsealValue(item.key, item.sealed)
			if !yield(Item{item.key, value}, err) {
				return
			}
		}
	}
}

// memLoans are the bytes that a transaction gave to fn, each with the original.
type memLoans [][2][]byte

func (l *memLoans) lend(b []byte) []byte {
	loan := bytes.Clone(b)
	*l = append(*l, [2][]byte{b, loan})
	return loan
}

// recall makes the lent bytes useless, and panics if they were changed.
func (l *memLoans) recall() {
	for _, loan := range *l {
		if !bytes.Equal(loan[0], loan[1]) {
			panic("index: a transaction's function changed bytes that Get or Scan gave it")
		}
		for i := range loan[1] {
			loan[1][i] = 0xDB
		}
	}
}
