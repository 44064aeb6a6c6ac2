package indextest

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ballast-registry/ballast/internal/index"
)

// fault is a way in which a toy store breaks the contract.
type fault string

// toy is a store of plain maps, as simple as can be, that keeps the contract but for its fault.
type toy struct {
	fault fault

	mu       sync.Mutex
	changed  *sync.Cond // when state, updating, open or closed changes
	state    map[string]string
	before   map[string]string // state as it was before the last Update
	updating bool
	open     int // transactions
	closed   bool
}

func newToy(f fault) *toy {
	s := &toy{fault: f, state: map[string]string{}}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// begin waits until an Update may run. The context that ends meanwhile is seen at once.
func (s *toy) begin(ctx context.Context, update bool) (map[string]string, error) {
	stop := context.AfterFunc(ctx, func() { s.mu.Lock(); defer s.mu.Unlock(); s.changed.Broadcast() })
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed && s.fault != "open after close" {
		return nil, index.ErrClosed
	}
	s.open++
	for (update && s.fault != "lost updates" || s.fault == "views wait") && s.updating && ctx.Err() == nil {
		s.changed.Wait()
	}
	if err := ctx.Err(); err != nil && s.fault != "context ignored" {
		s.open--
		return nil, err
	}
	s.updating = s.updating || update
	if !update && s.fault == "views lag" && s.before != nil {
		return s.before, nil
	}
	if update && s.fault != "dirty views" && s.fault != "no rollback" || s.fault == "views move" {
		return maps.Clone(s.state), nil
	}
	return s.state, nil
}

func (s *toy) end(update bool, state map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	if update {
		s.updating = false
	}
	if state != nil {
		s.before, s.state = s.state, state
	}
	s.changed.Broadcast()
}

func (s *toy) View(ctx context.Context, fn func(index.Tx) error) error {
	state, err := s.begin(ctx, false)
	if err != nil {
		return err
	}
	defer s.end(false, nil)
	tx := &toyTx{store: s, state: state}
	defer func() { tx.over = s.fault != "transactions stay open" }()
	return fn(tx)
}

func (s *toy) Update(ctx context.Context, fn func(index.Tx) error) error {
	state, err := s.begin(ctx, true)
	if err != nil {
		return err
	}
	var commit map[string]string
	defer func() { s.end(true, commit) }()
	if s.fault == "panics jam" {
		defer func() {
			if p := recover(); p != nil {
				s.mu.Lock()
				s.open++
				s.mu.Unlock()
				panic(p)
			}
		}()
	}
	tx := &toyTx{store: s, state: state, update: true, touched: map[string]bool{}}
	defer func() { tx.over = s.fault != "transactions stay open" }()
	if s.fault == "runs twice" {
		_ = fn(tx)
	}
	if err := fn(tx); err != nil && s.fault != "commits failures" {
		return err
	}
	if tx.failed != nil && s.fault != "limits forgiven" {
		return tx.failed
	}
	if err := ctx.Err(); err != nil && s.fault != "context ignored" {
		return err
	}
	commit = tx.state
	return nil
}

func (s *toy) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return index.ErrClosed
	}
	s.closed = true
	for s.open > 0 && s.fault != "close hurries" {
		s.changed.Wait()
	}
	return nil
}

type toyTx struct {
	store   *toy
	state   map[string]string
	update  bool
	over    bool
	touched map[string]bool
	bytes   int
	failed  error
}

func (tx *toyTx) check(key []byte) error {
	switch {
	case tx.over:
		return errors.New("over")
	case (len(key) == 0 || len(key) > index.MaxKeyBytes) && tx.store.fault != "no key limit":
		tx.failed = index.ErrTooLarge
		return tx.failed
	}
	return nil
}

func (tx *toyTx) now() map[string]string {
	if tx.store.fault == "views move" && !tx.update {
		tx.store.mu.Lock()
		defer tx.store.mu.Unlock()
		return tx.store.state
	}
	return tx.state
}

func (tx *toyTx) Get(key []byte) ([]byte, error) {
	if err := tx.check(key); err != nil {
		return nil, err
	}
	value, ok := tx.now()[string(key)]
	if !ok && tx.store.fault == "absent is empty" {
		return nil, nil
	}
	if !ok || value == "" && tx.store.fault == "empty is absent" {
		return nil, index.ErrNotFound
	}
	return []byte(value), nil
}

func (tx *toyTx) touch(key []byte, size int) error {
	if err := tx.check(key); err != nil {
		return err
	}
	if !tx.update {
		if tx.store.fault == "views write" {
			return nil
		}
		return index.ErrReadOnly
	}
	tx.touched[string(key)] = true
	tx.bytes += size
	slack := 0
	if tx.store.fault == "limits off by one" {
		slack = 1
	}
	if len(tx.touched) > index.MaxTouchedKeys+slack || tx.bytes > index.MaxTouchedBytes+slack {
		tx.failed = index.ErrTooLarge
	}
	return tx.failed
}

func (tx *toyTx) Put(key, value []byte) error {
	if len(value) > index.MaxValueBytes && tx.store.fault != "no value limit" {
		tx.failed = index.ErrTooLarge
		return tx.failed
	}
	if err := tx.touch(key, len(key)+len(value)); err != nil {
		return err
	}
	tx.state[string(key)] = string(value)
	return nil
}

func (tx *toyTx) Delete(key []byte) error {
	if err := tx.touch(key, 0); err != nil {
		return err
	}
	if _, ok := tx.state[string(key)]; !ok && tx.store.fault == "absent is an error" {
		return index.ErrNotFound
	}
	delete(tx.state, string(key))
	return nil
}

func (tx *toyTx) Scan(prefix, from []byte, reverse bool) iter.Seq2[index.Item, error] {
	op := modelOp{key: string(prefix), value: string(from), from: from != nil, reverse: reverse}
	switch tx.store.fault {
	case "from ignored":
		op.from = false
	case "prefix ignored":
		op.key = ""
	case "reverse ignored":
		op.reverse = false
	case "empty from is nil":
		op.from = len(from) > 0
	case "prefix without end":
		for strings.HasSuffix(op.key, "\xff") {
			op.key = op.key[:len(op.key)-1]
		}
	case "from excluded":
		if op.value += "\x00"; reverse {
			op.value = string(from)
		}
	}
	state := tx.now()
	if tx.store.fault != "scans move" {
		state = maps.Clone(state)
	}
	keys := slices.Sorted(maps.Keys(state))
	if op.reverse {
		slices.Reverse(keys)
	}
	return func(yield func(index.Item, error) bool) {
		if tx.over {
			yield(index.Item{}, errors.New("over"))
			return
		}
		for _, key := range keys {
			value, ok := state[key]
			if ok && op.covers(key) && !yield(index.Item{Key: []byte(key), Value: []byte(value)}, nil) {
				return
			}
		}
	}
}
