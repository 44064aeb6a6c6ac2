package oidc

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/oidc/oidctest"
)

// world is two issuers, and a verifier of the first one's tokens that everybody may come in with whose subject is robot.
type world struct {
	*Verifier
	issuer, other *oidctest.Issuer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{issuer: oidctest.New(t), other: oidctest.New(t)}
	w.issuer.Publish(rsaKey(), oidctest.NewKey("ec"))
	w.other.Publish(oidctest.NewKey("theirs"))
	w.Verifier = open(t, w.issuer.URL, robots, Options{})
	return w
}

// rsaKey is one for all tests: making one takes long.
var rsaKey = sync.OnceValue(func() oidctest.Key { return oidctest.NewRSAKey("rsa", 2048) })

const robots = "rules:\n  - match: {sub: robot}\n    grants: [acme=writer]\n"

// open returns a verifier of an issuer's tokens by a file of rules.
func open(t *testing.T, url, rules string, opt Options) *Verifier {
	t.Helper()
	issuers, err := Parse([]byte(rules), &Issuer{URL: url, Audiences: []string{oidctest.Audience, "second"}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(issuers, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func (w *world) only() *issuer { return w.issuers[w.issuer.URL] }

// believe has signatures go unchecked.
type believe struct{}

func (believe) of(context.Context, header) (gooidc.KeySet, error) { return believe{}, nil }
func (believe) VerifySignature(_ context.Context, token string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
}

// secret takes a public key for the secret of an HMAC.
type secret []byte

func (s secret) of(context.Context, header) (gooidc.KeySet, error) { return s, nil }
func (s secret) VerifySignature(_ context.Context, token string) ([]byte, error) {
	text, sig := token[:strings.LastIndexByte(token, '.')], token[strings.LastIndexByte(token, '.')+1:]
	if want := s.sign(text); want != sig {
		return nil, errors.New("another signature")
	}
	return base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
}

func (s secret) sign(text string) string {
	mac := hmac.New(sha256.New, s)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// these has a signature by any of some keys be good, whatever the header names.
type these []crypto.PublicKey

func (k these) of(context.Context, header) (gooidc.KeySet, error) {
	return &gooidc.StaticKeySet{PublicKeys: k}, nil
}

func (w *world) theirs() these { return these{w.other.Key().Signer.Public()} }

func raw(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func publicDER(k oidctest.Key) secret {
	b, err := x509.MarshalPKIXPublicKey(k.Signer.Public())
	if err != nil {
		panic(err)
	}
	return b
}

// lax takes what encoding/json does.
func lax(payload []byte) (c claims, err error) { return c, json.Unmarshal(payload, &c.all) }

// laxForm reads a token like parse, whatever is in its header.
func laxForm(token string) (header, claims, error) {
	parts := strings.Split(token, ".")
	var h struct{ Alg, Kid string }
	var c claims
	for i, to := range []any{&h, &c.all} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(b, to)
		}
		if err != nil {
			return header{}, c, err
		}
	}
	return header{h.Alg, h.Kid}, c, nil
}

// forgery is a token that must be refused, and how to break the one check that refuses it.
type forgery struct {
	token  func(w *world, k oidctest.Key) string
	says   string // part of the refusal
	breaks func(w *world)
}

func claimsOf(more map[string]any) func(*world, oidctest.Key) string {
	return func(w *world, _ oidctest.Key) string { return w.issuer.Token("robot", more) }
}

func headerOf(header string) func(*world, oidctest.Key) string {
	return func(w *world, k oidctest.Key) string { return k.Sign(header, raw(w.issuer.Claims("robot", nil))) }
}

// payloadOf signs claims with some text in front of them.
func payloadOf(first string, more map[string]any) func(*world, oidctest.Key) string {
	return func(w *world, k oidctest.Key) string {
		return k.Sign(k.Header(), "{"+first+raw(w.issuer.Claims("robot", more))[1:])
	}
}

func forgeries() map[string]forgery {
	ago := time.Now().Add(-time.Second).Unix()
	noExpiry := func(w *world) { w.only().config.SkipExpiryCheck = true }
	noStrict := func(w *world) { w.strict = lax }
	anyForm := func(w *world) { w.form = laxForm }
	unsigned := func(w *world) { w.only().keys = believe{} }
	return map[string]forgery{
		"expired":         {claimsOf(map[string]any{"exp": ago}), "the token ended at", noExpiry},
		"without an end":  {claimsOf(map[string]any{"exp": nil}), "the token ended at", noExpiry},
		"not yet good":    {claimsOf(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), "not yet good", noExpiry},
		"wrong audience":  {claimsOf(map[string]any{"aud": "vault"}), "its audience has to be ballast or second", func(w *world) { w.only().config.SkipClientIDCheck = true }},
		"other audiences": {claimsOf(map[string]any{"aud": []string{"vault", "ballast2"}}), "its audience", func(w *world) { w.only().config.SkipClientIDCheck = true }},
		"no audience":     {claimsOf(map[string]any{"aud": nil}), "its audience", func(w *world) { w.only().config.SkipClientIDCheck = true }},
		"wrong issuer": {claimsOf(map[string]any{"iss": "https://evil.example"}), "an issuer that is not set here", func(w *world) {
			w.only().config.SkipIssuerCheck = true
			w.issuers["https://evil.example"] = w.only()
		}},
		"alg none": {func(w *world, _ oidctest.Key) string {
			return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"rsa"}`)) + "." + strings.Split(w.issuer.Token("robot", nil), ".")[1] + "."
		}, "cannot be verified", func(w *world) { w.only().config.InsecureSkipSignatureCheck = true }},
		"HS256 with the public key": {func(w *world, k oidctest.Key) string {
			text := strings.Join(strings.Split(k.Sign(`{"alg":"HS256","kid":"rsa"}`, raw(w.issuer.Claims("robot", nil))), ".")[:2], ".")
			return text + "." + publicDER(k).sign(text)
		}, "cannot be verified", func(w *world) {
			w.only().config.SupportedSigningAlgs = []string{"HS256"}
			w.only().keys = publicDER(w.issuer.Key())
		}},
		"the key of another issuer": {func(w *world, _ oidctest.Key) string {
			k := w.other.Key()
			return k.Sign(k.Header(), raw(w.issuer.Claims("robot", nil)))
		}, "a key that http://127.0.0.1:", func(w *world) { w.only().keys = w.theirs() }},
		"the key of another under a known id": {func(w *world, _ oidctest.Key) string {
			k := w.other.Key()
			k.ID = "ec"
			return k.Sign(k.Header(), raw(w.issuer.Claims("robot", nil)))
		}, "cannot be verified", func(w *world) { w.only().keys = w.theirs() }},
		"a key in the header": {func(w *world, _ oidctest.Key) string {
			k := w.other.Key()
			return k.Sign(raw(map[string]any{"alg": "ES256", "kid": "ec", "jwk": k.JWK()}), raw(w.issuer.Claims("robot", nil)))
		}, "cannot be verified", func(w *world) { w.only().keys = w.theirs() }},
		"other claims under the signature": {func(w *world, k oidctest.Key) string {
			parts := strings.Split(w.issuer.Token("robber", nil), ".")
			parts[1] = base64.RawURLEncoding.EncodeToString([]byte(raw(w.issuer.Claims("robot", nil))))
			return strings.Join(parts, ".")
		}, "cannot be verified", unsigned},
		"no signature": {func(w *world, _ oidctest.Key) string {
			token := w.issuer.Token("robot", nil)
			return token[:strings.LastIndexByte(token, '.')+1]
		}, "cannot be verified", unsigned},
		"no key id":                  {headerOf(`{"alg":"RS256"}`), "does not say by which key", func(w *world) { w.form, w.only().keys = laxForm, these{w.issuer.Key().Signer.Public()} }},
		"a logout token":             {headerOf(`{"alg":"RS256","kid":"rsa","typ":"logout+jwt"}`), "of a type", anyForm},
		"oversized":                  {claimsOf(map[string]any{"x": strings.Repeat("x", maxToken)}), "longer than 16384 bytes", func(w *world) { w.limit = 1 << 20 }},
		"a claim twice":              {payloadOf(`"sub":"nobody",`, nil), "one is there twice", func(w *world) { w.form, w.strict = laxForm, lax }},
		"a claim twice, deep inside": {payloadOf(`"x":{"y":1,"y":2},`, nil), "one is there twice", func(w *world) { w.form, w.strict = laxForm, lax }},
		"the audience in capitals": {func(w *world, k oidctest.Key) string {
			payload := raw(w.issuer.Claims("robot", map[string]any{"aud": "vault"}))
			return k.Sign(k.Header(), strings.TrimSuffix(payload, "}")+`,"AUD":"ballast"}`)
		}, "can be read in two ways", noStrict},
		"the end in capitals": {func(w *world, k oidctest.Key) string {
			payload := raw(w.issuer.Claims("robot", map[string]any{"exp": ago}))
			return k.Sign(k.Header(), strings.TrimSuffix(payload, "}")+`,"EXP":9999999999}`)
		}, "can be read in two ways", noStrict},
		"the issuer in another letter": {payloadOf(`"iſs":"https://evil.example",`, nil), "can be read in two ways", noStrict},
		"without a subject":            {claimsOf(map[string]any{"sub": nil}), "whose it is", func(w *world) { w.strict = lax; w.only().Rules = anybody() }},
		"a subject that is a number":   {claimsOf(map[string]any{"sub": 7}), "cannot be verified", nil},
		"nobody a rule knows":          {func(w *world, _ oidctest.Key) string { return w.issuer.Token("nobody", nil) }, "it has the claims aud, exp, iat, iss, nbf, sub:", func(w *world) { w.only().Rules = anybody() }},
	}
}

func anybody() []Rule {
	return []Rule{{grants: []grant{{Grant: ballast.Grant{Scope: ballast.Global, Role: ballast.Reader}}}}}
}

// TestForgeries: each is refused in its own words; and with the one check broken that is for it, each is taken. Only what no
// library would read has no check of ours.
func TestForgeries(t *testing.T) {
	for name, f := range forgeries() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			token := f.token(w, w.issuer.Key())
			_, err := w.Authenticate(t.Context(), token)
			if ballast.CodeOf(err) != ballast.CodeUnauthenticated || !strings.Contains(err.Error(), f.says) {
				t.Errorf("%v, want %q", err, f.says)
			}
			if f.breaks == nil {
				return
			}
			f.breaks(w)
			if _, err := w.Authenticate(t.Context(), token); err != nil {
				t.Errorf("is refused without the check that is to refuse it: %v", err)
			}
		})
	}
}

// TestGoodTokens: what is to be taken is, whatever its key is.
func TestGoodTokens(t *testing.T) {
	w := newWorld(t)
	ec := oidctest.NewKey("ec-2")
	ps := oidctest.NewKey("without use")
	ps.Says = map[string]any{"use": nil, "key_ops": []string{"verify"}, "alg": "ES256"}
	w.issuer.Publish(w.issuer.Key(), ec, ps)
	v := open(t, w.issuer.URL, robots, Options{}) // the world's may have fetched the keys before, and asks again in 10 s at the soonest
	for name, token := range map[string]string{
		"RS256":                 w.issuer.Token("robot", nil),
		"ES256":                 ec.Sign(ec.Header(), raw(w.issuer.Claims("robot", nil))),
		"a key without a use":   ps.Sign(ps.Header(), raw(w.issuer.Claims("robot", nil))),
		"one of two audiences":  w.issuer.Token("robot", map[string]any{"aud": []string{"vault", "second"}}),
		"a clock that is ahead": w.issuer.Token("robot", map[string]any{"nbf": time.Now().Add(4 * time.Minute).Unix()}),
		"an access token":       ec.Sign(`{"alg":"ES256","kid":"ec-2","typ":"at+JWT"}`, raw(w.issuer.Claims("robot", nil))),
	} {
		h, err := v.Authenticate(t.Context(), token)
		if err != nil || len(h.Grants) != 1 || h.Grants[0].String() != "acme=writer" || h.ID != "oidc:"+withoutScheme(w.issuer.URL)+"#robot" || h.Name != "oidc:robot" {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

// TestKeysThatAreNone: what an issuer publishes beside its keys verifies nothing, and spoils nothing.
func TestKeysThatAreNone(t *testing.T) {
	weak := oidctest.NewRSAKey("weak", 1024)
	for name, k := range map[string]oidctest.Key{
		"weak":                      weak,
		"for encryption":            {ID: "k", Signer: oidctest.NewKey("k").Signer, Says: map[string]any{"use": "enc"}},
		"for other operations":      {ID: "k", Signer: oidctest.NewKey("k").Signer, Says: map[string]any{"key_ops": []string{"encrypt"}}},
		"for another algorithm":     {ID: "k", Signer: oidctest.NewKey("k").Signer, Says: map[string]any{"alg": "ES384"}},
		"for one that is not taken": {ID: "k", Signer: oidctest.NewKey("k").Signer, Says: map[string]any{"alg": "HS256"}},
		"of a kind nobody knows":    {ID: "k", Signer: oidctest.NewKey("k").Signer, Says: map[string]any{"kty": "PQ"}},
		"a secret":                  {ID: "k", Signer: oidctest.NewKey("k").Signer, Says: map[string]any{"kty": "oct", "k": "c2VjcmV0"}},
		"without an id":             {ID: "k", Signer: oidctest.NewKey("k").Signer, Says: map[string]any{"kid": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			i := oidctest.New(t)
			good := i.Key()
			i.Publish(k, good)
			v := open(t, i.URL, robots, Options{})
			if _, err := v.Authenticate(t.Context(), i.Token("robot", nil)); ballast.CodeOf(err) != ballast.CodeUnauthenticated {
				t.Errorf("taken: %v", err)
			}
			if _, err := v.Authenticate(t.Context(), good.Sign(good.Header(), raw(i.Claims("robot", nil)))); err != nil {
				t.Errorf("the good one beside it: %v", err)
			}
			i.Publish(oidctest.Key{ID: k.ID, Signer: oidctest.NewKey("k").Signer}, good)
			if k.ID == "k" { // the control: what is published is what refuses it
				plain := oidctest.Key{ID: "k", Signer: k.Signer}
				i.Publish(plain)
				if _, err := open(t, i.URL, robots, Options{}).Authenticate(t.Context(), i.Token("robot", nil)); err != nil {
					t.Errorf("control: %v", err)
				}
			}
		})
	}
}

// TestPrivateClient: an issuer with a certificate of its own is asked with the one that is named, and with the token in the
// file as it is then.
func TestPrivateClient(t *testing.T) {
	i := oidctest.NewTLS(t)
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "first\n")
	i.Doctor(func(w http.ResponseWriter, r *http.Request) bool {
		refused := r.Header.Get("Authorization") != "Bearer first"
		if refused {
			w.WriteHeader(http.StatusUnauthorized)
		}
		return refused
	})
	with := Issuer{URL: i.URL, Audiences: []string{oidctest.Audience}, CA: i.CA, Token: file}
	for name, c := range map[string]struct {
		breaks func(*Issuer)
		want   ballast.Code
	}{
		"as it should be":   {func(*Issuer) {}, ""},
		"the keys' URL":     {func(i *Issuer) { i.Keys = i.URL + oidctest.KeysPath }, ""},
		"no certificate":    {func(i *Issuer) { i.CA = "" }, ballast.CodeUnavailable},
		"no token":          {func(i *Issuer) { i.Token = "" }, ballast.CodeUnavailable},
		"keys in the clear": {func(i *Issuer) { i.Keys = "http://issuer.example/keys" }, ballast.CodeUnavailable},
	} {
		one := must(Parse([]byte(robots), &with))[0]
		c.breaks(&one)
		v := must(New([]Issuer{one}, Options{}))
		if _, err := v.Authenticate(t.Context(), i.Token("robot", nil)); ballast.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		_ = v.Close()
	}
	clock := newClock()
	v := must(New(must(Parse([]byte(robots), &with)), Options{Clock: clock.now}))
	defer v.Close()
	if _, err := v.Authenticate(t.Context(), i.Token("robot", nil)); err != nil {
		t.Fatal(err)
	}
	write(t, file, "second\n")
	i.Doctor(func(w http.ResponseWriter, r *http.Request) bool {
		refused := r.Header.Get("Authorization") != "Bearer second"
		if refused {
			w.WriteHeader(http.StatusUnauthorized)
		}
		return refused
	})
	clock.add(2 * keysTrusted)
	if _, err := v.Authenticate(t.Context(), i.Token("robot", map[string]any{"exp": clock.now().Add(time.Minute).Unix()})); err != nil {
		t.Errorf("with a token that was replaced: %v", err)
	}
}

// TestFilesThatCannotBeUsed are said at the start.
func TestFilesThatCannotBeUsed(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	write(t, none+".crt", "no certificate")
	for want, i := range map[string]Issuer{
		"the certificates": {CA: none}, "holds none in PEM": {CA: none + ".crt"}, "the token for": {Token: none},
	} {
		i.URL = "https://issuer.example"
		if _, err := New([]Issuer{i}, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// clock stands still unless it is set.
type clock struct {
	start time.Time
	ahead atomic.Int64
}

func newClock() *clock { return &clock{start: time.Now()} }

func (c *clock) now() time.Time      { return c.start.Add(time.Duration(c.ahead.Load())) }
func (c *clock) add(d time.Duration) { c.ahead.Add(int64(d)) }
