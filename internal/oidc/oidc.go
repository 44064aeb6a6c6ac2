// Package oidc takes tokens that others issue: of a Kubernetes cluster's service accounts, of a CI system's jobs, of a
// company's sign-on. It verifies a token against the keys that its issuer publishes, and a small file of rules says what
// its holder may do here. docs/identity.md is its manual.
//
// Nothing of a token is believed before its signature is checked. An issuer that cannot be asked for its keys makes its
// tokens unavailable: never good, and never bad.
package oidc

import (
	"cmp"
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/cache"
)

// Limits of what is taken, and of what is remembered.
const (
	maxToken   = 16 << 10        // bytes of a token
	maxKnown   = 4096            // tokens that were verified and are not verified again
	knownFor   = 5 * time.Minute // at most, and no longer than the token is good
	maxPlainID = 255             // bytes of a Holder's ID
	maxName    = 128             // characters of a Holder's name
)

// Holder is whom a token stands for.
type Holder struct {
	// ID is the same for every token of the same subject of the same issuer, and for no other: of printable ASCII, 255 bytes
	// at most.
	ID string
	// Name is for people: "oidc:" and what the rules call the holder, 133 bytes at most. No token of the registry's own can
	// have such a name.
	Name string
	// Grants are what the rules give, in their order, each once.
	Grants []ballast.Grant
	// Expires is the end of the token.
	Expires time.Time
}

// Options of a Verifier. The zero value works.
type Options struct {
	Logger *slog.Logger     // nil discards
	Clock  func() time.Time // nil: time.Now
}

// Verifier verifies the tokens of some issuers. It may be used from any goroutine.
type Verifier struct {
	issuers map[string]*issuer // by the URL, as tokens write it
	now     func() time.Time
	limit   int // bytes of a token
	form    func(token string) (header, claims, error)
	strict  func(payload []byte) (claims, error)
	known   *cache.Cache[[sha256.Size]byte, remembered]

	end    context.CancelFunc
	active sync.WaitGroup
}

// remembered is the holder of a token that was verified.
type remembered struct {
	Holder
	until time.Time
}

// issuer is one whose tokens are taken.
type issuer struct {
	Issuer
	config gooidc.Config
	keys   keySource
}

// keySource finds the keys with which a token may be signed.
type keySource interface {
	// of returns the verifier of a signature by the key that a header names. Errors: unauthenticated when the issuer has
	// none such; unavailable when that cannot be known.
	of(ctx context.Context, h header) (gooidc.KeySet, error)
}

// algorithms are those with which a token may be signed: all of a key pair.
var algorithms = []string{
	gooidc.RS256, gooidc.RS384, gooidc.RS512, gooidc.PS256, gooidc.PS384, gooidc.PS512,
	gooidc.ES256, gooidc.ES384, gooidc.ES512, gooidc.EdDSA,
}

// New returns a verifier of the tokens of some issuers, and begins to fetch their keys. Errors: a file that an issuer names
// cannot be used. An issuer that does not answer is none: it is asked again when a token of its comes.
func New(issuers []Issuer, opt Options) (*Verifier, error) {
	v := &Verifier{
		issuers: map[string]*issuer{}, now: opt.Clock, limit: maxToken, form: parse, strict: strictClaims,
		known: cache.New[[sha256.Size]byte, remembered](maxKnown),
	}
	if v.now == nil {
		v.now = time.Now
	}
	log := cmp.Or(opt.Logger, slog.New(slog.DiscardHandler))
	clients := map[string]*http.Client{}
	for _, i := range issuers {
		client, err := newClient(i)
		if err != nil {
			return nil, err
		}
		clients[i.URL] = client
	}
	life, end := context.WithCancel(context.Background())
	v.end = end
	for _, i := range issuers {
		fetch := func(ctx context.Context) (keySet, error) { return fetchKeys(ctx, clients[i.URL], i) }
		k := &keys{issuer: i.URL, fetch: fetch, now: v.now, log: log, life: life, active: &v.active}
		v.issuers[i.URL] = &issuer{i, gooidc.Config{SupportedSigningAlgs: algorithms, Now: v.now}, k}
		k.warm()
	}
	return v, nil
}

// Close ends what is under way.
func (v *Verifier) Close() error {
	v.end()
	v.active.Wait()
	return nil
}

// IsToken reports whether a token has the form of those that are verified here: three parts with two dots between them, which
// no token of the registry's own has.
func IsToken(token string) bool { return strings.Count(token, ".") == 2 }

// Authenticate returns the holder of a token. Errors: unauthenticated for one that is not good, or to whose holder no rule
// gives anything; unavailable when its issuer's keys are not to be had.
func (v *Verifier) Authenticate(ctx context.Context, token string) (Holder, error) {
	if len(token) > v.limit {
		return Holder{}, bad("the token is longer than %d bytes", v.limit)
	}
	sum := sha256.Sum256([]byte(token))
	now := v.now()
	if r, ok := v.known.Get(sum); ok && now.Before(r.until) {
		return r.Holder, nil
	}
	c, from, err := v.verify(ctx, token)
	if err != nil {
		return Holder{}, err
	}
	h, err := from.holder(c)
	if err != nil {
		return Holder{}, err
	}
	v.known.Put(sum, remembered{h, soonest(now.Add(knownFor), c.expiry)}, 1)
	return h, nil
}

func soonest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// verify returns the claims of a token that is good.
func (v *Verifier) verify(ctx context.Context, token string) (claims, *issuer, error) {
	h, said, err := v.form(token)
	if err != nil {
		return claims{}, nil, err
	}
	from := v.issuers[said.text("iss")]
	if from == nil {
		return claims{}, nil, bad("the token is of an issuer that is not set here (--oidc-issuer, --oidc-rules)")
	}
	set, err := from.keys.of(ctx, h)
	if err != nil {
		return claims{}, nil, err
	}
	config := from.config
	config.ClientID = from.audience(said)
	found, err := gooidc.NewVerifier(from.URL, set, &config).Verify(ctx, token)
	if err != nil {
		return claims{}, nil, from.refusal(said, err)
	}
	var payload rawClaims
	if err := found.Claims(&payload); err != nil {
		return claims{}, nil, from.refusal(said, err)
	}
	c, err := v.strict(payload)
	c.expiry = found.Expiry
	return c, from, err
}

// audience is the one of the issuer's that a token is for, or any when it is for none.
func (i *issuer) audience(said claims) string {
	for _, a := range said.texts("aud") {
		if slices.Contains(i.Audiences, a) {
			return a
		}
	}
	return i.Audiences[0]
}

// refusal says why a token was refused. The verifier's own words go to the log: they may hold what the token says.
func (i *issuer) refusal(said claims, err error) error {
	expired := (*gooidc.TokenExpiredError)(nil)
	switch {
	case asExpired(err, &expired):
		return bad("the token ended at %s: get a new one", expired.Expiry.UTC().Format(time.RFC3339))
	case !slices.ContainsFunc(said.texts("aud"), func(a string) bool { return slices.Contains(i.Audiences, a) }):
		return bad("the token is not for this registry: its audience has to be %s", strings.Join(i.Audiences, " or ")).Because(short(err))
	}
	return bad("the token cannot be verified: it was altered, is not yet good, or was signed by somebody else than %s", i.URL).Because(short(err))
}

// bad is the refusal of a token that is not good.
func bad(format string, args ...any) *ballast.Error {
	return ballast.Errorf(ballast.CodeUnauthenticated, format, args...)
}
