package index

import (
	"context"
	"errors"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Token is the stored form of a token: never its secret.
type Token struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Hash      []byte          `json:"hash"` // SHA-256 of the whole token
	Grants    []ballast.Grant `json:"grants"`
	CreatedBy string          `json:"created_by"`
	CreatedAt ballast.Time    `json:"created_at"`
}

// home is the scope of the first grant, in which the token shows in the feed.
func (t Token) home() ballast.Scope {
	if len(t.Grants) == 0 {
		return ballast.Scope{}
	}
	return t.Grants[0].Scope
}

// PutToken stores a token.
func (x *Index) PutToken(ctx context.Context, t Token) error {
	return x.update(ctx, failpoint.PutToken, func(tx Tx) error {
		return errors.Join(put(tx, key(kindToken, t.ID), t), x.emit(tx, Event{By: t.CreatedBy, Kind: ballast.EventTokenMinted, Scope: t.home(), Token: t.ID}))
	})
}

// Token returns a token by its id; ok is false when there is none. Its grants are shared: they are not to be changed.
func (x *Index) Token(ctx context.Context, id string) (t Token, ok bool, err error) {
	t, err = x.reads.tokens.get(id, func() (t Token, found bool, err error) {
		err = x.store.View(ctx, func(tx Tx) (err error) {
			t, found, err = recallAt[Token](x, tx, key(kindToken, id))
			return err
		})
		return t, found, err
	})
	return t, t.ID != "", err
}

// Tokens lists the tokens that see admits, by id, at most limit. next is what to pass as after for the following page.
func (x *Index) Tokens(ctx context.Context, after string, limit int, see func(Token) bool) (page []Token, next string, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		page, next = nil, ""
		var from []byte
		if after != "" {
			from = key(kindToken, after)
		}
		for item, err := range readable[Token](tx.Scan([]byte{kindToken}, from, false), skip) {
			if err != nil {
				return err
			}
			t := item.value
			if t.ID == after || !see(t) {
				continue
			}
			if len(page) == limit {
				next = page[limit-1].ID
				return nil
			}
			page = append(page, t)
		}
		return nil
	})
	return page, next, err
}

// DeleteToken removes a token; an absent one is success. Errors: precondition for the last one that administers global:
// nobody could mint another.
func (x *Index) DeleteToken(ctx context.Context, id, by string) error {
	return x.update(ctx, failpoint.DeleteToken, func(tx Tx) error {
		t, ok, err := lookup[Token](tx, key(kindToken, id))
		if err != nil || !ok {
			return err
		}
		if err := notTheLast(tx, t); err != nil {
			return err
		}
		return errors.Join(tx.Delete(key(kindToken, id)), x.emit(tx, Event{By: by, Kind: ballast.EventTokenGone, Scope: t.home(), Token: id}))
	})
}

// notTheLast refuses the only token that administers global. One that cannot be read counts for none.
func notTheLast(tx Tx, t Token) error {
	if !t.administersGlobal() {
		return nil
	}
	for item, err := range tx.Scan([]byte{kindToken}, nil, false) {
		if err != nil {
			continue
		}
		if other, err := decode[Token](item.Key, item.Value); err == nil && other.ID != t.ID && other.administersGlobal() {
			return nil
		}
	}
	return ballast.Errorf(ballast.CodePrecondition, "token %s is the last one that administers global; mint another with global=admin first", t.ID)
}

func (t Token) administersGlobal() bool {
	for _, g := range t.Grants {
		if g.Scope == ballast.Global && g.Role >= ballast.Admin {
			return true
		}
	}
	return false
}
