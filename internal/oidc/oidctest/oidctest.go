// Package oidctest is an OpenID Connect issuer for tests: discovery and keys over real HTTP, tokens with real signatures. It
// signs by itself, so that what it makes is no echo of the library which verifies it, and signs whatever it is told to.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Key is a key pair with an id.
type Key struct {
	ID     string
	Signer crypto.Signer // *rsa.PrivateKey or *ecdsa.PrivateKey of P-256
	// Says is added to what is published of it, and may replace some.
	Says map[string]any
}

// NewKey returns a key of P-256.
func NewKey(id string) Key {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return Key{ID: id, Signer: k}
}

// NewRSAKey returns an RSA key.
func NewRSAKey(id string, bits int) Key {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return Key{ID: id, Signer: k}
}

// Algorithm is what Sign signs with.
func (k Key) Algorithm() string {
	if _, ok := k.Signer.(*rsa.PrivateKey); ok {
		return "RS256"
	}
	return "ES256"
}

// JWK is the key as it is published.
func (k Key) JWK() map[string]any {
	jwk := map[string]any{"kid": k.ID, "use": "sig"}
	switch s := k.Signer.(type) {
	case *rsa.PrivateKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", encode(s.N.Bytes()), encode(big.NewInt(int64(s.E)).Bytes())
	case *ecdsa.PrivateKey:
		jwk["kty"], jwk["crv"], jwk["x"], jwk["y"] = "EC", "P-256", encode(s.X.FillBytes(make([]byte, 32))), encode(s.Y.FillBytes(make([]byte, 32)))
	}
	maps.Copy(jwk, k.Says)
	return jwk
}

// Sign returns the token with a header and a payload, taken as they are.
func (k Key) Sign(header, payload string) string {
	text := encode([]byte(header)) + "." + encode([]byte(payload))
	sum := sha256.Sum256([]byte(text))
	if s, ok := k.Signer.(*ecdsa.PrivateKey); ok {
		r, v, err := ecdsa.Sign(rand.Reader, s, sum[:])
		if err != nil {
			panic(err)
		}
		return text + "." + encode(append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...))
	}
	sig, err := k.Signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return text + "." + encode(sig)
}

// Header is the usual one.
func (k Key) Header() string {
	return text(map[string]any{"alg": k.Algorithm(), "kid": k.ID, "typ": "JWT"})
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Audience is that of tokens which say nothing else.
const Audience = "ballast"

// Issuer is one, until the test ends.
type Issuer struct {
	URL string
	CA  string // file with its certificate, when it speaks HTTPS

	mu     sync.Mutex
	keys   []Key
	doctor func(http.ResponseWriter, *http.Request) bool
	asked  map[string]int
}

// New starts an issuer with one key.
func New(t testing.TB) *Issuer {
	i := &Issuer{keys: []Key{NewKey("one")}, asked: map[string]int{}}
	srv := httptest.NewServer(i)
	t.Cleanup(srv.Close)
	i.URL = srv.URL
	return i
}

// NewTLS starts an issuer that speaks HTTPS.
func NewTLS(t testing.TB) *Issuer {
	i := &Issuer{keys: []Key{NewKey("one")}, asked: map[string]int{}}
	srv := httptest.NewTLSServer(i)
	t.Cleanup(srv.Close)
	i.URL, i.CA = srv.URL, filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(i.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

// Key is the one that Token signs with.
func (i *Issuer) Key() Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[0]
}

// Publish replaces all keys; Token signs with the first.
func (i *Issuer) Publish(keys ...Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// Doctor has f answer requests, those for which it returns true; nil ends that.
func (i *Issuer) Doctor(f func(http.ResponseWriter, *http.Request) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.doctor = f
}

// Down makes it answer 502.
func (i *Issuer) Down() {
	i.Doctor(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
}

// Up ends what Down and Doctor began.
func (i *Issuer) Up() { i.Doctor(nil) }

// Paths of an issuer.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/openid/v1/jwks"
)

// Asked is how often a path was asked for.
func (i *Issuer) Asked(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked[path]
}

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.asked[r.URL.Path]++
	doctor, keys := i.doctor, i.keys
	i.mu.Unlock()
	if doctor != nil && doctor(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case DiscoveryPath:
		_, _ = w.Write([]byte(text(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + KeysPath, "id_token_signing_alg_values_supported": []string{"RS256"}})))
	case KeysPath:
		published := []any{}
		for _, k := range keys {
			published = append(published, k.JWK())
		}
		_, _ = w.Write([]byte(text(map[string]any{"keys": published})))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// Claims are those of a token of a subject, good for ten minutes, with more added or, when they are nil, left out.
func (i *Issuer) Claims(subject string, more map[string]any) map[string]any {
	now := time.Now()
	all := map[string]any{"iss": i.URL, "sub": subject, "aud": Audience, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
	maps.Copy(all, more)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// Token is a token of a subject.
func (i *Issuer) Token(subject string, more map[string]any) string {
	k := i.Key()
	return k.Sign(k.Header(), text(i.Claims(subject, more)))
}
