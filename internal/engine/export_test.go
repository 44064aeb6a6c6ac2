package engine

import (
	"context"
	"testing"

	"github.com/ballast-registry/ballast"
)

// NewSecret is another token of an id.
func NewSecret(t *testing.T, id string) ballast.Secret {
	t.Helper()
	token, err := newSecret(id)
	if err != nil {
		t.Fatal(err)
	}
	return ballast.Secret(token)
}

// WellFormed reports whether a text is a token by its form and checksum.
func WellFormed(token string) bool {
	_, ok := tokenID(token)
	return ok
}

// StoreUses takes to the index when tokens were used, as the engine does from time to time.
func (e *Engine) StoreUses(ctx context.Context) error { return e.storeUses(ctx) }
