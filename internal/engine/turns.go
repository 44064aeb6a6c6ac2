package engine

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/ballast-registry/ballast"
)

// turns lets so many imports list and hash at once, and so many of one scope, each in the order in which they asked.
type turns struct {
	all   *semaphore.Weighted
	limit int64 // of one scope

	mu     sync.Mutex
	scopes map[ballast.Scope]*scopeTurns
}

type scopeTurns struct {
	*semaphore.Weighted
	users int
}

func newTurns(all, ofOneScope int) *turns {
	return &turns{all: semaphore.NewWeighted(int64(all)), limit: int64(ofOneScope), scopes: map[ballast.Scope]*scopeTurns{}}
}

// take waits for a turn and returns how to give it back. A scope's own bound comes first, so that those who wait for it
// keep nobody else waiting.
func (t *turns) take(ctx context.Context, scope ballast.Scope) (leave func(), err error) {
	own := t.enter(scope)
	if err := own.Acquire(ctx, 1); err != nil {
		t.exit(scope, own)
		return nil, err
	}
	if err := t.all.Acquire(ctx, 1); err != nil {
		own.Release(1)
		t.exit(scope, own)
		return nil, err
	}
	return func() {
		t.all.Release(1)
		own.Release(1)
		t.exit(scope, own)
	}, nil
}

func (t *turns) enter(scope ballast.Scope) *scopeTurns {
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

func (t *turns) exit(scope ballast.Scope, own *scopeTurns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(t.scopes, scope)
	}
}
