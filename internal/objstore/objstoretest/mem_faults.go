package objstoretest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/ballast-registry/ballast/internal/objstore"
)

// Op names a call of Mem, for faults and counts.
type Op string

// The operations. A listing counts once a page. OpClientPut, OpClientPart and OpClientGet are what clients send with
// signed requests.
const (
	OpPut               Op = "put"
	OpGet               Op = "get"
	OpHead              Op = "head"
	OpDelete            Op = "delete"
	OpList              Op = "list"
	OpCreateMultipart   Op = "create_multipart"
	OpCopy              Op = "copy"
	OpListParts         Op = "list_parts"
	OpCompleteMultipart Op = "complete_multipart"
	OpAbortMultipart    Op = "abort_multipart"
	OpListUploads       Op = "list_uploads"
	OpUploadsUnder      Op = "uploads_under"
	OpSign              Op = "sign"
	OpClientPut         Op = "client_put"
	OpClientPart        Op = "client_part"
	OpClientGet         Op = "client_get"
	// OpWrite stands for every write of the Bucket, whichever: put, delete, create, copy, complete and abort.
	OpWrite Op = "write"
)

var writes = []Op{OpPut, OpDelete, OpCreateMultipart, OpCopy, OpCompleteMultipart, OpAbortMultipart}

type faults struct {
	mu     sync.Mutex
	calls  map[Op]int
	armed  []*fault
	before func(ctx context.Context, op Op, key string)
}

type fault struct {
	op      Op
	left    int // calls until it strikes
	err     error
	persist bool
}

// Fail makes the n-th call of op from now on (1 is the next) return err: after it had its effect when afterPersist,
// else without one. A failed client request is answered 503.
func (m *Mem) Fail(op Op, n int, err error, afterPersist bool) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.armed = append(m.faults.armed, &fault{op: op, left: n, err: err, persist: afterPersist})
}

// Heal disarms every fault that has not struck.
func (m *Mem) Heal() {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.armed = nil
}

// Before calls fn at the start of every call, outside of all locks: it may block, or use the store itself and so come
// between a caller's two calls. nil takes it away.
func (m *Mem) Before(fn func(ctx context.Context, op Op, key string)) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.before = fn
}

// Calls counts the calls of op so far, failed ones included.
func (m *Mem) Calls(op Op) int {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	return m.faults.calls[op]
}

// begin counts a call and returns the fault that strikes it, if one does.
func (f *faults) begin(ctx context.Context, op Op, key string) *fault {
	f.mu.Lock()
	before := f.before
	f.mu.Unlock()
	if before != nil {
		before(ctx, op, key)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = map[Op]int{}
	}
	f.calls[op]++
	isWrite := slices.Contains(writes, op)
	if isWrite {
		f.calls[OpWrite]++
	}
	var struck *fault
	f.armed = slices.DeleteFunc(f.armed, func(a *fault) bool {
		if a.op != op && (a.op != OpWrite || !isWrite) {
			return false
		}
		a.left--
		if a.left <= 0 && struck == nil {
			struck = a
			return true
		}
		return false
	})
	return struck
}

// call runs one operation under the lock, with the checks that all share and the fault that is due. A key of "" is for
// calls that have none.
func (m *Mem) call(ctx context.Context, op Op, key string, do func() error) error {
	wrap := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("objstoretest: %s %q: %w", op, key, err)
	}
	if op != OpList && op != OpUploadsUnder {
		if err := objstore.CheckKey(key); err != nil {
			return wrap(err)
		}
	}
	struck := m.faults.begin(ctx, op, key)
	if err := ctx.Err(); err != nil {
		return wrap(fmt.Errorf("%w: %w", objstore.ErrUnavailable, err))
	}
	if struck != nil && !struck.persist {
		return wrap(struck.err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	err := do()
	if struck != nil {
		return wrap(struck.err)
	}
	return wrap(err)
}
