package engine

import (
	"sync"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// anyToken is what to listen to for the tokens of all scopes. It is no scope.
var anyToken = ballast.Scope{}

// broadcast tells those who wait for something in a scope that something changed there. Nobody is woken by what happens in
// scopes that it does not listen to: waiting costs tenants nothing of one another's.
type broadcast struct {
	mu      sync.Mutex
	all     map[bell]struct{}
	byScope map[ballast.Scope]map[bell]struct{}
}

// listen returns a bell that rings at whatever is notified of scopes, until leave is called; without scopes it rings only
// when everybody is told. Listen before you look at the state: what happens in between then rings.
func (b *broadcast) listen(scopes ...ballast.Scope) (heard bell, leave func()) {
	heard = newBell()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all, b.byScope = map[bell]struct{}{}, map[ballast.Scope]map[bell]struct{}{}
	}
	b.all[heard] = struct{}{}
	for _, scope := range scopes {
		if b.byScope[scope] == nil {
			b.byScope[scope] = map[bell]struct{}{}
		}
		b.byScope[scope][heard] = struct{}{}
	}
	return heard, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.all, heard)
		for _, scope := range scopes {
			if delete(b.byScope[scope], heard); len(b.byScope[scope]) == 0 {
				delete(b.byScope, scope)
			}
		}
	}
}

// notify tells those who listen to one of scopes; without scopes it tells everybody.
func (b *broadcast) notify(scopes ...ballast.Scope) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(scopes) == 0 {
		ringAll(b.all)
	}
	for _, scope := range scopes {
		ringAll(b.byScope[scope])
	}
}

func ringAll(bells map[bell]struct{}) {
	for b := range bells {
		b.ring()
	}
}

// listensTo are the scopes whose changes the principal hears of.
func (p Principal) listensTo() []ballast.Scope {
	var all []ballast.Scope
	for _, part := range p.everything() {
		all = append(all, part.Scope)
	}
	if p.mayGrant(anyToken) {
		all = append(all, anyToken)
	}
	return all
}

// tokenChanged tells those who hear of a token that something happened to it.
func (e *Engine) tokenChanged(t index.Token) {
	told := []ballast.Scope{anyToken}
	for _, g := range t.Grants {
		told = append(told, g.Scope)
	}
	e.changed.notify(told...)
}
