package engine

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/ballast-registry/ballast"
)

// Turns lets so much be under way at once, and so much of one scope, each in the order in which they asked: no scope takes all
// that there is for all.
type Turns struct {
	all   *semaphore.Weighted
	limit int64 // of one scope

	mu     sync.Mutex
	scopes map[ballast.Scope]*scopeTurns
}

type scopeTurns struct {
	*semaphore.Weighted
	users int
}

// NewTurns returns turns of any unit.
func NewTurns(all, ofOneScope int64) *Turns {
	return &Turns{all: semaphore.NewWeighted(all), limit: ofOneScope, scopes: map[ballast.Scope]*scopeTurns{}}
}

// Take waits for n, which is no more than one scope may have, and returns how to give it back. A scope's own bound comes
// first, so that those who wait for it keep nobody else waiting. Errors: the context's.
func (t *Turns) Take(ctx context.Context, scope ballast.Scope, n int64) (leave func(), err error) {
	own := t.enter(scope)
	if err := own.Acquire(ctx, n); err != nil {
		t.exit(scope, own)
		return nil, err
	}
	if err := t.all.Acquire(ctx, n); err != nil {
		own.Release(n)
		t.exit(scope, own)
		return nil, err
	}
	return func() {
		t.all.Release(n)
		own.Release(n)
		t.exit(scope, own)
	}, nil
}

func (t *Turns) enter(scope ballast.Scope) *scopeTurns {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.scopes[scope]
	if own == nil {
		own = &scopeTurns{Weighted: semaphore.NewWeighted(t.limit)}
		t.scopes[scope] = own
	}
	own.users++
	return own
}

func (t *Turns) exit(scope ballast.Scope, own *scopeTurns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(t.scopes, scope)
	}
}
