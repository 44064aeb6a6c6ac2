package index

import (
	"context"
	"errors"
	"slices"
	"time"

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
	ExpiresAt ballast.Time    `json:"expires_at,omitzero"` // zero: never
	RotatedAt ballast.Time    `json:"rotated_at,omitzero"`
	Replaced  []Replaced      `json:"replaced,omitempty"` // the secrets before Hash, the newest last

	LastUsed ballast.Time `json:"-"` // as Tokens and LastUse know it: it has a key of its own
}

// Replaced is a secret in whose place a rotation put another.
type Replaced struct {
	Hash  []byte       `json:"hash"`
	Until ballast.Time `json:"until"` // it is good before
}

// MaxReplaced bounds the secrets of one token that are good beside its own.
const MaxReplaced = 4

// TokenUse is when a token was used last. It has a key of its own so that noting it leaves the token alone.
type TokenUse struct {
	At ballast.Time `json:"at"`
}

// Expired reports whether a token's end has come.
func (t Token) Expired(now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt.Time)
}

// OverlapUntil is until when a secret before the token's own is good; zero when none is.
func (t Token) OverlapUntil(now time.Time) (until ballast.Time) {
	for _, r := range t.Replaced {
		if r.Until.After(until.Time) && r.Until.After(now) {
			until = r.Until
		}
	}
	return until
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

// RotateToken gives a token another secret, and lets those that were good stay so for the overlap at most; with none they
// end at once. Errors: ErrNotFound; precondition for a token whose end has come, and while MaxReplaced secrets before its
// own are still good.
func (x *Index) RotateToken(ctx context.Context, id string, hash []byte, overlap time.Duration, by string) (t Token, err error) {
	err = x.update(ctx, failpoint.RotateToken, func(tx Tx) (err error) {
		if t, err = get[Token](tx, key(kindToken, id)); err != nil {
			return err
		}
		now := ballast.At(x.now())
		if t.Expired(now.Time) {
			return ballast.Errorf(ballast.CodePrecondition, "token %s expired at %s and stays so; mint another", id, t.ExpiresAt.Format(time.RFC3339))
		}
		until := ballast.At(now.Add(overlap))
		kept := slices.DeleteFunc(slices.Clone(t.Replaced), func(r Replaced) bool { return !r.Until.After(now.Time) })
		for i := range kept {
			if kept[i].Until.After(until.Time) {
				kept[i].Until = until
			}
		}
		if overlap <= 0 {
			kept = nil // however many there are: a secret that leaked has to end
		}
		if len(kept) >= MaxReplaced {
			first := slices.MinFunc(kept, func(a, b Replaced) int { return a.Until.Compare(b.Until.Time) })
			return ballast.Errorf(ballast.CodePrecondition, "token %s: %d secrets before its own are still good; wait until %s, or rotate without an overlap", id, MaxReplaced, first.Until.Format(time.RFC3339))
		}
		t.Replaced = append(kept, Replaced{Hash: t.Hash, Until: until})
		t.Hash, t.RotatedAt = hash, now
		return errors.Join(put(tx, key(kindToken, id), t), x.emit(tx, Event{By: by, Kind: ballast.EventTokenRotated, Scope: t.home(), Token: id}))
	})
	return t, err
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
			use, _, err := lookup[TokenUse](tx, key(kindTokenUse, t.ID))
			if err != nil {
				if err := skip(key(kindTokenUse, t.ID), err); err != nil {
					return err
				}
			}
			t.LastUsed = use.At
			page = append(page, t)
		}
		return nil
	})
	return page, next, err
}

// LastUse is when a token was used last, as far as that was noted; zero: never.
func (x *Index) LastUse(ctx context.Context, id string) (at ballast.Time, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		use, _, err := lookup[TokenUse](tx, key(kindTokenUse, id))
		at = use.At
		return err
	})
	return at, err
}

// MaxUses bounds what one UsedTokens notes.
const MaxUses = 300

// UsedTokens notes when up to MaxUses tokens were used last. Those that are gone it passes over.
func (x *Index) UsedTokens(ctx context.Context, uses map[string]ballast.Time) error {
	return x.update(ctx, failpoint.UsedTokens, func(tx Tx) error {
		for id, at := range uses {
			there, err := exists(tx, key(kindToken, id))
			if err != nil {
				return err
			}
			if !there {
				continue
			}
			if err := put(tx, key(kindTokenUse, id), TokenUse{at}); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteToken removes a token; an absent one is success. Errors: precondition for the last one that administers global
// and never expires: nobody could mint another.
func (x *Index) DeleteToken(ctx context.Context, id, by string) error {
	return x.update(ctx, failpoint.DeleteToken, func(tx Tx) error {
		t, ok, err := lookup[Token](tx, key(kindToken, id))
		if err != nil || !ok {
			return err
		}
		if err := notTheLast(tx, t); err != nil {
			return err
		}
		return errors.Join(deleteAll(tx, key(kindToken, id), key(kindTokenUse, id)), x.emit(tx, Event{By: by, Kind: ballast.EventTokenGone, Scope: t.home(), Token: id}))
	})
}

// notTheLast refuses the only token that administers global for good. One with an end does not count, since a day comes
// when it is none; nor does one that cannot be read.
func notTheLast(tx Tx, t Token) error {
	if !t.administersForGood() {
		return nil
	}
	for item, err := range tx.Scan([]byte{kindToken}, nil, false) {
		if err != nil {
			continue
		}
		if other, err := decode[Token](item.Key, item.Value); err == nil && other.ID != t.ID && other.administersForGood() {
			return nil
		}
	}
	return ballast.Errorf(ballast.CodePrecondition, "token %s is the last one that administers global and never expires; mint another with global=admin and no expiry first", t.ID)
}

func (t Token) administersForGood() bool {
	return t.ExpiresAt.IsZero() && slices.ContainsFunc(t.Grants, func(g ballast.Grant) bool {
		return g.Scope == ballast.Global && g.Role >= ballast.Admin && g.Names.IsZero()
	})
}
