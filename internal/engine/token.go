package engine

import (
	"context"
	"crypto/subtle"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// errUnauthenticated is the same for every token that is not good, unless its holder has proved to know its secret.
func errUnauthenticated() error {
	return ballast.Errorf(ballast.CodeUnauthenticated, "the token is not known here; set BALLAST_TOKEN to one that `ballast token create` printed")
}

// Authenticate returns the principal that holds a token. Errors: unauthenticated, which says more to who knows a secret that
// was good once.
func (e *Engine) Authenticate(ctx context.Context, token ballast.Secret) (Principal, error) {
	id, ok := tokenID(token.Reveal())
	if !ok {
		return Principal{}, errUnauthenticated()
	}
	t, ok, err := e.index.Token(ctx, id)
	if err != nil {
		return Principal{}, err
	}
	if !ok {
		return Principal{}, errUnauthenticated()
	}
	now := e.now()
	switch until, known := secretOf(t, token); {
	case !known:
		return Principal{}, errUnauthenticated()
	case t.Expired(now):
		return Principal{}, ballast.Errorf(ballast.CodeUnauthenticated, "token %s (%s) expired at %s; ask an admin of %s for another: ballast token create", t.ID, t.Name, t.ExpiresAt.Format(time.RFC3339), homeOf(t))
	case !until.IsZero() && !now.Before(until.Time):
		return Principal{}, ballast.Errorf(ballast.CodeUnauthenticated, "token %s (%s) has another secret since %s; use the one that `ballast token rotate` printed then", t.ID, t.Name, t.RotatedAt.Format(time.RFC3339))
	}
	e.uses.note(t.ID, now)
	return Principal{ID: t.ID, Name: t.Name, Grants: t.Grants, ExpiresAt: t.ExpiresAt}, nil
}

// secretOf finds a secret among those of a token. until is zero for the token's own. All are compared, each in constant
// time.
func secretOf(t index.Token, token ballast.Secret) (until ballast.Time, known bool) {
	hash := hashToken(token.Reveal())
	for _, r := range t.Replaced {
		if subtle.ConstantTimeCompare(r.Hash, hash) == 1 {
			until, known = r.Until, true
		}
	}
	if subtle.ConstantTimeCompare(t.Hash, hash) == 1 {
		return ballast.Time{}, true
	}
	return until, known
}

func homeOf(t index.Token) ballast.Scope { return Principal{Grants: t.Grants}.Home() }

// EnsureAdmin makes the first token, global=admin, when there is no token at all. save keeps it where the operator finds
// it, replacing an older one; it runs before the index knows the token, so that a crash between the two leaves a token
// that is not known rather than one that nobody has.
func (e *Engine) EnsureAdmin(ctx context.Context, save func(token string) error) (created bool, err error) {
	found, _, err := e.index.Tokens(ctx, "", 1, func(index.Token) bool { return true })
	if err != nil || len(found) > 0 {
		return false, err
	}
	id, token, err := newToken()
	if err != nil {
		return false, err
	}
	if err := save(token); err != nil {
		return false, err
	}
	return true, e.index.PutToken(ctx, index.Token{
		ID: id, Name: "admin", Hash: hashToken(token), CreatedBy: "ballast", CreatedAt: ballast.At(e.now()),
		Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Admin}},
	})
}

// mayGrant says whether p administers a scope: an admin of global any, an admin of a tenant its own.
func (p Principal) mayGrant(scope ballast.Scope) bool {
	return p.administersGlobal() || p.Role(scope) >= ballast.Admin
}

// CreateToken mints a token. Its secret is in the answer and never again. Errors: denied for a scope that the
// principal does not administer; invalid.
func (e *Engine) CreateToken(ctx context.Context, p Principal, req ballast.CreateToken) (ballast.TokenInfo, error) {
	if len(req.Grants) == 0 || len(req.Grants) > ballast.MaxGrants {
		return ballast.TokenInfo{}, ballast.Errorf(ballast.CodeInvalid, "grants: give 1 to %d, as in acme=writer", ballast.MaxGrants)
	}
	for _, g := range req.Grants {
		if err := g.Check(); err != nil {
			return ballast.TokenInfo{}, err
		}
		if !p.mayGrant(g.Scope) {
			return ballast.TokenInfo{}, ballast.Errorf(ballast.CodeDenied, "granting %s needs the role admin in that scope, or in global", g)
		}
	}
	expires, err := expiry(req, e.now())
	if err != nil {
		return ballast.TokenInfo{}, err
	}
	if err := e.owner.verdict(); err != nil {
		return ballast.TokenInfo{}, err
	}
	id, token, err := newToken()
	if err != nil {
		return ballast.TokenInfo{}, err
	}
	t := index.Token{ID: id, Name: req.Name, Hash: hashToken(token), Grants: req.Grants, CreatedBy: p.By(), CreatedAt: ballast.At(e.now()), ExpiresAt: expires}
	if t.Name == "" {
		t.Name = id
	}
	if !principalName.MatchString(t.Name) {
		return ballast.TokenInfo{}, ballast.Errorf(ballast.CodeInvalid, "name: 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit")
	}
	if err := e.index.PutToken(ctx, t); err != nil {
		return ballast.TokenInfo{}, err
	}
	e.tokenChanged(t)
	info := e.tokenInfo(t)
	info.Token = ballast.Secret(token)
	return info, nil
}

// expiry is when a token that is asked for ends; zero: never.
func expiry(req ballast.CreateToken, now time.Time) (at ballast.Time, err error) {
	const longest = ballast.MaxTokenSeconds * time.Second
	switch {
	case req.ExpiresIn != nil && !req.ExpiresAt.IsZero():
		return at, ballast.Errorf(ballast.CodeInvalid, "expires_in and expires_at: give one of them")
	case req.ExpiresIn != nil && (*req.ExpiresIn < 1 || *req.ExpiresIn > ballast.MaxTokenSeconds):
		return at, ballast.Errorf(ballast.CodeInvalid, "expires_in: 1 to %d seconds; left out, the token does not expire", ballast.MaxTokenSeconds)
	case req.ExpiresIn != nil:
		return ballast.At(now.Add(time.Duration(*req.ExpiresIn) * time.Second)), nil
	case req.ExpiresAt.IsZero():
		return at, nil
	case !req.ExpiresAt.After(now) || req.ExpiresAt.After(now.Add(longest)):
		return at, ballast.Errorf(ballast.CodeInvalid, "expires_at: %s does not lie ahead, or over 100 years; here it is %s", req.ExpiresAt.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return req.ExpiresAt, nil
}

var principalName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// tokenInfo shows a token, whose last use may not be noted in the index yet.
func (e *Engine) tokenInfo(t index.Token) ballast.TokenInfo {
	used := e.uses.of(t.ID)
	if t.LastUsed.After(used.Time) {
		used = t.LastUsed
	}
	return ballast.TokenInfo{
		ID: t.ID, Name: t.Name, Grants: t.Grants, CreatedBy: t.CreatedBy, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, LastUsedAt: used,
		RotatedAt: t.RotatedAt, OverlapUntil: t.OverlapUntil(e.now()),
	}
}

// administers says whether p may see, rotate and revoke a token: it administers every scope of it.
func (p Principal) administers(t index.Token) bool {
	for _, g := range t.Grants {
		if !p.mayGrant(g.Scope) {
			return false
		}
	}
	return true
}

// Tokens lists the tokens that the principal administers. Errors: denied when it administers nothing.
func (e *Engine) Tokens(ctx context.Context, p Principal, limit int, cursor string) (ballast.TokensPage, error) {
	if !p.isAdmin() {
		return ballast.TokensPage{}, ballast.Errorf(ballast.CodeDenied, "listing tokens needs the role admin in some scope; use a token that has it")
	}
	after, err := decodeCursor(cursor)
	if err != nil {
		return ballast.TokensPage{}, err
	}
	found, next, err := e.index.Tokens(ctx, after, limit, p.administers)
	if err != nil {
		return ballast.TokensPage{}, err
	}
	page := ballast.TokensPage{Tokens: make([]ballast.TokenInfo, 0, len(found)), Cursor: encodeCursor(next)}
	for _, t := range found {
		page.Tokens = append(page.Tokens, e.tokenInfo(t))
	}
	return page, nil
}

func (p Principal) isAdmin() bool {
	return slices.ContainsFunc(p.Grants, func(g ballast.Grant) bool { return p.Role(g.Scope) >= ballast.Admin })
}

// errNoToken is the one answer for a token that is not there and one that the principal has nothing to do with.
func errNoToken(id string) error {
	return ballast.Errorf(ballast.CodeNotFound, "token %q: not found", id)
}

// Token returns a token that the principal administers, or holds. Errors: not_found.
func (e *Engine) Token(ctx context.Context, p Principal, id string) (ballast.TokenInfo, error) {
	t, err := e.theirs(ctx, p, id)
	if err == nil {
		t.LastUsed, err = e.index.LastUse(ctx, id)
	}
	if err != nil {
		return ballast.TokenInfo{}, err
	}
	return e.tokenInfo(t), nil
}

// theirs returns a token that the principal administers, or holds.
func (e *Engine) theirs(ctx context.Context, p Principal, id string) (index.Token, error) {
	t, ok, err := e.index.Token(ctx, id)
	if err == nil && (!ok || id != p.ID && !p.administers(t)) {
		err = errNoToken(id)
	}
	return t, err
}

// RotateToken gives a token another secret, which is in the answer and never again. Its id, name, grants and expiry stay.
// Who may are those who administer it, and its holder: a program renews its own. The secrets before stay good for the
// overlap, so that who shares the token, or lost the answer, is not locked out. Errors: not_found; invalid; precondition for
// a token that has expired, and while too many secrets before its own are good.
func (e *Engine) RotateToken(ctx context.Context, p Principal, id string, req ballast.RotateToken) (ballast.TokenInfo, error) {
	if req.Overlap < 0 || req.Overlap > ballast.MaxOverlapSeconds {
		return ballast.TokenInfo{}, ballast.Errorf(ballast.CodeInvalid, "overlap: 0 to %d seconds, 30 days", ballast.MaxOverlapSeconds)
	}
	if _, err := e.theirs(ctx, p, id); err != nil {
		return ballast.TokenInfo{}, err
	}
	if err := e.owner.verdict(); err != nil {
		return ballast.TokenInfo{}, err
	}
	secret, err := newSecret(id)
	if err != nil {
		return ballast.TokenInfo{}, err
	}
	t, err := e.index.RotateToken(ctx, id, hashToken(secret), time.Duration(req.Overlap)*time.Second, p.By())
	if errors.Is(err, index.ErrNotFound) {
		err = errNoToken(id)
	}
	if err == nil {
		t.LastUsed, err = e.index.LastUse(ctx, id)
	}
	if err != nil {
		return ballast.TokenInfo{}, err
	}
	e.tokenChanged(t)
	info := e.tokenInfo(t)
	info.Token = ballast.Secret(secret)
	return info, nil
}

// RevokeToken removes a token at once. Errors: not_found, also for one that the principal does not administer;
// precondition for the last one that administers global and never expires.
func (e *Engine) RevokeToken(ctx context.Context, p Principal, id string) error {
	t, ok, err := e.index.Token(ctx, id)
	if err != nil {
		return err
	}
	if !ok || !p.administers(t) {
		return errNoToken(id)
	}
	if err := e.owner.verdict(); err != nil {
		return err
	}
	err = e.index.DeleteToken(ctx, id, p.By())
	if err == nil {
		e.uses.forget(id)
	}
	e.tokenChanged(t)
	return err
}
