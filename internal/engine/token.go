package engine

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// A token is bal_<id>_<secret>: 10 characters of id, 40 of secret, and 6 of checksum at the secret's end, all base62.
// The checksum is the CRC-32 (IEEE) of everything before it, so that a scanner can tell a leaked token from noise and a
// mistyped one is refused without a look-up. The secret's 238 random bits need no slow hash: SHA-256 is stored.
const (
	tokenPrefix   = "bal_"
	tokenIDLen    = 10
	tokenSecret   = 40
	tokenChecksum = 6
	base62        = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

func newToken() (id, token string, err error) {
	if id, err = randomText(tokenIDLen); err != nil {
		return "", "", err
	}
	secret, err := randomText(tokenSecret)
	if err != nil {
		return "", "", err
	}
	body := tokenPrefix + id + "_" + secret
	return id, body + checksum(body), nil
}

func randomText(n int) (string, error) {
	var b strings.Builder
	for range n {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(len(base62))))
		if err != nil {
			return "", err
		}
		b.WriteByte(base62[i.Int64()])
	}
	return b.String(), nil
}

func checksum(body string) string {
	n := crc32.ChecksumIEEE([]byte(body))
	out := make([]byte, tokenChecksum)
	for i := range out {
		out[tokenChecksum-1-i] = base62[n%62]
		n /= 62
	}
	return string(out)
}

// tokenID returns the id of a well-formed token.
func tokenID(token string) (string, bool) {
	id, secret, ok := strings.Cut(strings.TrimPrefix(token, tokenPrefix), "_")
	if !ok || !strings.HasPrefix(token, tokenPrefix) || len(id) != tokenIDLen || len(secret) != tokenSecret+tokenChecksum || !isBase62(id) || !isBase62(secret) {
		return "", false
	}
	body := token[:len(token)-tokenChecksum]
	return id, checksum(body) == token[len(body):]
}

func isBase62(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return false
		}
	}
	return true
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// errUnauthenticated is the same for every token that is not good.
func errUnauthenticated() error {
	return ballast.Errorf(ballast.CodeUnauthenticated, "the token is not known here; set BALLAST_TOKEN to one that `ballast token create` printed")
}

// Authenticate returns the principal that holds a token. Errors: unauthenticated.
func (e *Engine) Authenticate(ctx context.Context, token string) (Principal, error) {
	id, ok := tokenID(token)
	if !ok {
		return Principal{}, errUnauthenticated()
	}
	t, ok, err := e.index.Token(ctx, id)
	if err != nil {
		return Principal{}, err
	}
	if !ok || subtle.ConstantTimeCompare(t.Hash, hashToken(token)) != 1 {
		return Principal{}, errUnauthenticated()
	}
	return Principal{ID: t.ID, Name: t.Name, Grants: t.Grants}, nil
}

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
	return p.Role(ballast.Global) >= ballast.Admin || p.Role(scope) >= ballast.Admin
}

const maxGrants = 64

// CreateToken mints a token. Its secret is in the answer and never again. Errors: denied for a scope that the
// principal does not administer.
func (e *Engine) CreateToken(ctx context.Context, p Principal, req ballast.CreateToken) (ballast.TokenInfo, error) {
	if len(req.Grants) == 0 || len(req.Grants) > maxGrants {
		return ballast.TokenInfo{}, ballast.Errorf(ballast.CodeInvalid, "grants: give 1 to %d, as in acme=writer", maxGrants)
	}
	for _, g := range req.Grants {
		if g.Scope.IsZero() || g.Role == ballast.NoRole {
			return ballast.TokenInfo{}, ballast.Errorf(ballast.CodeInvalid, "grants: each needs a scope and a role")
		}
		if !p.mayGrant(g.Scope) {
			return ballast.TokenInfo{}, ballast.Errorf(ballast.CodeDenied, "granting %s needs the role admin in that scope, or in global", g)
		}
	}
	if err := e.owner.verdict(); err != nil {
		return ballast.TokenInfo{}, err
	}
	id, token, err := newToken()
	if err != nil {
		return ballast.TokenInfo{}, err
	}
	t := index.Token{ID: id, Name: req.Name, Hash: hashToken(token), Grants: req.Grants, CreatedBy: p.By(), CreatedAt: ballast.At(e.now())}
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
	info := tokenInfo(t)
	info.Token = token
	return info, nil
}

var principalName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func tokenInfo(t index.Token) ballast.TokenInfo {
	return ballast.TokenInfo{ID: t.ID, Name: t.Name, Grants: t.Grants, CreatedBy: t.CreatedBy, CreatedAt: t.CreatedAt}
}

// administers says whether p may see and revoke a token: it administers every scope of it.
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
		page.Tokens = append(page.Tokens, tokenInfo(t))
	}
	return page, nil
}

func (p Principal) isAdmin() bool {
	for _, g := range p.Grants {
		if g.Role >= ballast.Admin {
			return true
		}
	}
	return false
}

// RevokeToken removes a token at once. Errors: not_found, also for one that the principal does not administer;
// precondition for the last one that administers global.
func (e *Engine) RevokeToken(ctx context.Context, p Principal, id string) error {
	t, ok, err := e.index.Token(ctx, id)
	if err != nil {
		return err
	}
	if !ok || !p.administers(t) {
		return ballast.Errorf(ballast.CodeNotFound, "token %q: not found", id)
	}
	if err := e.owner.verdict(); err != nil {
		return err
	}
	err = e.index.DeleteToken(ctx, id, p.By())
	e.tokenChanged(t)
	return err
}
