package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/ballast-registry/ballast/internal/cache"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Index owns every key of a Store and the invariants that can be decided without the object store. Its methods are
// transactions: each is atomic, and those that change something check the state they change in the same transaction.
// Refusals are *ballast.Error; anything else is a fault of the store.
type Index struct {
	store  *quietStore
	now    func() time.Time
	run    string // tells this Index from those that had the store before
	damage func(ctx context.Context, key []byte, err error)
	// updated is told of each update; nil tells nobody.
	updated func(failpoint.Step, time.Duration, error)
	scan    int // what one page of a filtered list looks at

	decoded *cache.Cache[string, decodedItem]
	reads   reads
}

// Open runs the migrations that a store lacks, and counts anew what is used where that is damaged. The Index takes over the store; now is the clock.
func Open(ctx context.Context, store Store, now func() time.Time, options ...Option) (*Index, error) {
	x := newIndex(store)
	x.now, x.run, x.damage, x.scan = now, uuid.NewString(), func(context.Context, []byte, error) {}, maxScanned
	for _, set := range options {
		set(x)
	}
	if err := x.migrate(ctx); err != nil {
		return nil, err
	}
	if err := x.mendUsage(ctx); err != nil {
		return nil, err
	}
	return x, nil
}

func newIndex(store Store) *Index {
	quiet := &quietStore{Store: store}
	return &Index{store: quiet, decoded: newDecoded(), reads: newReads(quiet)}
}

// Close closes the store.
func (x *Index) Close() error {
	return failpoint.Do(context.Background(), failpoint.CloseIndex, func(context.Context) error { return x.store.Close() })
}

// update runs fn in a transaction that is one step of the registry's work.
func (x *Index) update(ctx context.Context, step failpoint.Step, fn func(Tx) error) error {
	began := time.Now()
	err := failpoint.Do(ctx, step, func(ctx context.Context) error { return x.store.Update(ctx, fn) })
	if x.updated != nil {
		x.updated(step, time.Since(began), err)
	}
	return err
}

// Owner is what the index knows of its claim on the bucket's prefix.
type Owner struct {
	IndexID string `json:"index_id"`
	// Intent is the epoch that the latest start meant to write to the bucket. The bucket's epoch is never above it
	// unless this index is an old copy.
	Intent int64 `json:"intent"`
	// Claimed says that this index has owned the prefix and that no take-over by it is under way: its own mark in the
	// bucket may be raised without a wait.
	Claimed bool `json:"claimed"`
}

var (
	metaMigrations = key(kindMeta, "migrations")
	metaOwner      = key(kindMeta, "owner")
)

// Owner returns the index's claim; its id is made by the first migration.
func (x *Index) Owner(ctx context.Context) (o Owner, err error) {
	err = x.store.View(ctx, func(tx Tx) (err error) {
		o, err = get[Owner](tx, metaOwner)
		return err
	})
	return o, err
}

// Writable returns nil when the store takes writes. It writes nothing.
func (x *Index) Writable(ctx context.Context) error {
	return x.store.Update(ctx, func(Tx) error { return nil })
}

// SaveIntent records the epoch that is about to be written to the bucket, or that it was, and whether the prefix is
// claimed by that.
func (x *Index) SaveIntent(ctx context.Context, intent int64, claimed bool) error {
	return x.update(ctx, failpoint.SaveIntent, func(tx Tx) error {
		o, err := get[Owner](tx, metaOwner)
		if err != nil {
			return err
		}
		o.Intent, o.Claimed = max(o.Intent, intent), claimed
		return put(tx, metaOwner, o)
	})
}

// migration changes stored forms, once. Names are never reused; the list is append-only.
type migration struct {
	name string
	run  func(Tx) error // in the transaction that notes it in the ledger; nil: nothing
	// before is what takes more than one transaction. It comes first, may be cut off anywhere, and then begins anew.
	before func(*Index, context.Context) error
}

func migrations() []migration {
	return []migration{
		{name: "0001-index-id", run: func(tx Tx) error { return put(tx, metaOwner, Owner{IndexID: uuid.NewString()}) }},
		{name: "0002-usage", before: (*Index).recountAll},
	}
}

// migrate runs what the ledger lacks, each in a transaction with its entry. A ledger that names an unknown migration
// was written by a newer program.
func (x *Index) migrate(ctx context.Context) error {
	known := migrations()
	for {
		next, err := x.prepare(ctx, known)
		if err != nil && next != "" {
			return fmt.Errorf("index: migration %s: %w", next, err)
		}
		if err != nil {
			return err
		}
		done := false
		err = x.update(ctx, failpoint.Migrate, func(tx Tx) error {
			ledger, err := ledgerOf(tx, known)
			if done = len(ledger) == len(known); done || err != nil {
				return err
			}
			next := known[len(ledger)]
			if next.run != nil {
				if err := next.run(tx); err != nil {
					return fmt.Errorf("index: migration %s: %w", next.name, err)
				}
			}
			return put(tx, metaMigrations, append(ledger, next.name))
		})
		if err != nil || done {
			return err
		}
	}
}

// ledgerOf returns the names of the migrations that have run, which are the first of known.
func ledgerOf(tx Tx, known []migration) ([]string, error) {
	ledger, err := get[[]string](tx, metaMigrations)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if len(ledger) > len(known) || !slices.EqualFunc(ledger, known[:len(ledger)], func(s string, m migration) bool { return s == m.name }) {
		return nil, fmt.Errorf("%w: its migrations are %q", ErrNewer, ledger)
	}
	return ledger, nil
}

// prepare does what has to come before the next migration.
func (x *Index) prepare(ctx context.Context, known []migration) (next string, err error) {
	var ledger []string
	err = x.store.View(ctx, func(tx Tx) (err error) {
		ledger, err = ledgerOf(tx, known)
		return err
	})
	if err != nil || len(ledger) == len(known) || known[len(ledger)].before == nil {
		return "", err
	}
	return known[len(ledger)].name, known[len(ledger)].before(x, ctx)
}
