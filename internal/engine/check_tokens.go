package engine

import (
	"crypto/sha256"

	"github.com/ballast-registry/ballast/internal/index"
)

// tokens checks that what a token may do can be told, and that nothing is kept of one that is gone.
func (c *checker) tokens() {
	for id, t := range c.Tokens {
		if t.ID != id {
			c.report(InvariantKept, "token %s lies under the key of %s", t.ID, id)
		}
		for _, g := range t.Grants {
			if err := g.Check(); err != nil {
				c.report(InvariantScopes, "token %s: %v", id, err)
			}
		}
		if len(t.Hash) != sha256.Size {
			c.report(InvariantBounded, "token %s: the hash of its secret has %d bytes", id, len(t.Hash))
		}
		if len(t.Replaced) > index.MaxReplaced {
			c.report(InvariantBounded, "token %s: %d secrets before its own are kept", id, len(t.Replaced))
		}
	}
	for id := range c.TokenUses {
		if _, ok := c.Tokens[id]; !ok {
			c.report(InvariantKept, "when token %s was used is kept, and there is no such token", id)
		}
	}
}
