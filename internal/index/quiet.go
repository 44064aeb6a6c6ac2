package index

import (
	"context"
	"sync/atomic"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/cache"
)

// quietStore knows when nothing has changed. The index is the only one who writes to its store, so what a View read while
// no Update ran is what a View would read now, as long as no Update has begun since.
type quietStore struct {
	Store
	moves atomic.Uint64 // Updates begun, above quietBits bits for those that run
}

const quietBits = 20

// Update implements Store.
func (q *quietStore) Update(ctx context.Context, fn func(Tx) error) error {
	q.moves.Add(1<<quietBits + 1)
	defer q.moves.Add(^uint64(0)) // one less that runs
	return q.Store.Update(ctx, fn)
}

// still returns a number that stays the same while no Update begins; ok is false while one runs.
func (q *quietStore) still() (at uint64, ok bool) {
	at = q.moves.Load()
	return at, at&(1<<quietBits-1) == 0
}

// answers keeps what reads of one kind found, each for as long as nothing at all changes in the index. Whoever gets one
// could have got it from a View that began at that moment: a token that was revoked or a version that was retired is
// refused from then on. Values are shared: nobody may change what they point at.
type answers[K comparable, T any] struct {
	store *quietStore
	held  *cache.Cache[K, answer[T]]
}

type answer[T any] struct {
	at    uint64
	value T
}

func newAnswers[K comparable, T any](store *quietStore, most int64) answers[K, T] {
	return answers[K, T]{store, cache.New[K, answer[T]](most)}
}

// get returns what read would. What read finds is kept unless it says that it must not be.
func (a answers[K, T]) get(k K, read func() (value T, keep bool, err error)) (T, error) {
	at, quiet := a.store.still()
	if quiet {
		if held, ok := a.held.Get(k); ok && held.at == at {
			return held.value, nil
		}
	}
	value, keep, err := read()
	if now, _ := a.store.still(); quiet && keep && err == nil && now == at {
		a.held.Put(k, answer[T]{at, value}, 1)
	}
	return value, err
}

// reads are the answers that a registry gives over and over.
type reads struct {
	tokens   answers[string, Token]
	heads    answers[question, Head]
	versions answers[question, Version]
	blobs    answers[BlobID, Blob]
	aliases  answers[ballast.Key, []ballast.Alias]
}

// How many of each are kept. A version's metadata may take 100 KiB decoded.
const (
	maxTokens   = 4096
	maxHeads    = 4096
	maxVersions = 128
	maxBlobs    = 16384
)

func newReads(store *quietStore) reads {
	return reads{
		newAnswers[string, Token](store, maxTokens), newAnswers[question, Head](store, maxHeads), newAnswers[question, Version](store, maxVersions),
		newAnswers[BlobID, Blob](store, maxBlobs), newAnswers[ballast.Key, []ballast.Alias](store, maxHeads),
	}
}

// question is a reference and where it is looked up. What it finds ready does not depend on who sees sealed versions.
type question struct {
	scopes  [2]ballast.Scope
	retired bool
	ref     ballast.Ref
}

func questionOf(l Lookup, ref ballast.Ref) (q question, ok bool) {
	if len(l.Scopes) > len(q.scopes) {
		return q, false
	}
	copy(q.scopes[:], l.Scopes)
	q.retired, q.ref = l.Retired, ref
	return q, true
}
