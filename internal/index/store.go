// Package index is the registry's memory: which version of which model points at which bytes, and in what state.
//
// It has two layers. [Store] is a small ordered key-value store with transactions; bolt.go and mem.go implement it and
// indextest holds both to its contract. Index stands on a Store and owns every key, every secondary order and
// every invariant that can be decided without asking the object store.
package index

import (
	"context"
	"errors"
	"iter"
)

// Limits that every [Store] enforces, so that a transaction fits any serializable engine and not only the one at hand.
const (
	MaxTouchedKeys  = 1000     // keys put or deleted by one Update
	MaxTouchedBytes = 1 << 20  // bytes of keys and values put by one Update
	MaxKeyBytes     = 2048     // length of one key; an empty key is refused
	MaxValueBytes   = 64 << 10 // length of one value
)

// Errors of opening a store.
var (
	// ErrLocked says that another process holds the index; the message names the file and, where it is known, the holder.
	ErrLocked = errors.New("index: locked by another process")
	// ErrNewer says that a newer program wrote the index; it is left untouched.
	ErrNewer = errors.New("index: written by a newer version of the program")
)

// Errors inside a transaction.
var (
	// ErrNotFound says that a key is not there.
	ErrNotFound = errors.New("index: key not found")
	// ErrCorrupt says that a stored value fails its checksum: the bytes on disk are not what was written.
	ErrCorrupt = errors.New("index: stored value fails its checksum")
	// ErrTooLarge says that a key, a value or a transaction is over the limits above.
	ErrTooLarge = errors.New("index: over the limits of a transaction")
	// ErrReadOnly says that a View tried to write.
	ErrReadOnly = errors.New("index: write in a read-only transaction")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("index: closed")
)

// Errors of a commit, from Update.
var (
	// ErrFull says that the disk has no room; nothing was written. Updates go on when it has.
	ErrFull = errors.New("index: no space left on the disk")
	// ErrFailed says that a commit failed in a way that leaves unknown what of it reached the disk. No Update goes on
	// before the store is opened anew; Views do.
	ErrFailed = errors.New("index: closed for writing until reopened, since a commit failed")
)

// Store is an ordered key-value store with transactions.
//
// Consistency: transactions are serializable, and one that began after an Update returned sees its effect.
//
// Durability: when Update returns nil its writes survive a crash of the process and a loss of power. When it returns
// an error from fn, or ErrTooLarge, nothing was written. Another error (a full disk, say) leaves the outcome to be read back.
//
// Retries: a Store may run fn more than once, so fn must have no effect but through its Tx, must do no I/O, and must
// reset what it captured. Nobody else retries.
//
// Context: a ctx that is done before the commit began makes the call return ctx's error with nothing written; from then
// on the commit finishes whatever ctx says.
//
// Concurrency: all methods may be called from any goroutine. A View is never blocked by an Update. Calling the Store
// from inside fn is a deadlock and not detected.
type Store interface {
	// View runs fn on one consistent snapshot.
	View(ctx context.Context, fn func(Tx) error) error
	// Update runs fn and commits what it wrote, all or nothing. fn's error is returned as it is.
	Update(ctx context.Context, fn func(Tx) error) error
	// Close waits for running transactions and releases the store. Calls after it answer ErrClosed.
	Close() error
}

// Tx is one transaction. It and everything it returns are valid only inside fn. A Tx is used by one goroutine.
type Tx interface {
	// Get returns the value of key, ErrNotFound, or ErrCorrupt. It sees the writes of its own transaction.
	Get(key []byte) ([]byte, error)
	// Put stores a copy of value under a copy of key. An empty value is a value.
	Put(key, value []byte) error
	// Delete removes key; an absent key is success.
	Delete(key []byte) error
	// Scan yields the items whose keys begin with prefix, in byte order of their keys, or downwards when reverse is set.
	// It starts at from: the first key ≥ from, or, in reverse, the last key ≤ from; a nil from starts at the end of the
	// prefix that the direction begins with. It sees the writes made before it was called; writing while it runs is
	// allowed and does not change what it yields. An item whose value fails its checksum is yielded with its key and an
	// error that wraps ErrCorrupt, and the scan goes on: one bad item never hides the rest.
	Scan(prefix, from []byte, reverse bool) iter.Seq2[Item, error]
}

// Item is one key and its value.
type Item struct{ Key, Value []byte }
