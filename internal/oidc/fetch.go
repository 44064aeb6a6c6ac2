package oidc

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// Limits of what an issuer may answer.
const (
	maxAnswer     = 1 << 20 // bytes
	maxKeys       = 256
	minRSABits    = 2048
	answerLimit   = 5 * time.Second // until an answer begins
	maxTokenBytes = 64 << 10        // of the file with a token for the issuer
)

// newClient returns the client that an issuer is asked with.
func newClient(i Issuer) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if i.CA != "" {
		pem, err := os.ReadFile(i.CA)
		if err != nil {
			return nil, fmt.Errorf("the certificates of the issuer %s: %w", i.URL, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the certificates of the issuer %s: %s holds none in PEM", i.URL, i.CA)
		}
	}
	if i.Token != "" {
		if _, err := tokenFor(i); err != nil {
			return nil, err
		}
	}
	// An issuer is asked every ten minutes: a connection that is kept would only be one that has died.
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		ResponseHeaderTimeout: answerLimit, MaxResponseHeaderBytes: maxTokenBytes,
	}
	return &http.Client{
		Transport:     &asking{i, transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       fetchLimit,
	}, nil
}

// tokenFor reads the token that is sent to an issuer. Kubernetes replaces such a file every hour.
func tokenFor(i Issuer) (string, error) {
	f, err := os.Open(i.Token)
	if err != nil {
		return "", fmt.Errorf("the token for the issuer %s: %w", i.URL, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTokenBytes))
	if err != nil {
		return "", fmt.Errorf("the token for the issuer %s: %w", i.URL, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// asking asks an issuer and nobody else in the clear, with its token, and reads no answer without an end.
type asking struct {
	issuer Issuer
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (a *asking) RoundTrip(req *http.Request) (*http.Response, error) {
	if !mayAsk(req.URL) {
		return nil, fmt.Errorf("keys at %s://%s: they come by https alone", req.URL.Scheme, req.URL.Host)
	}
	if a.issuer.Token != "" {
		token, err := tokenFor(a.issuer)
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := a.next.RoundTrip(req)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// fetchKeys asks an issuer for its keys.
func fetchKeys(ctx context.Context, client *http.Client, i Issuer) (keySet, error) {
	at := i.Keys
	if at == "" {
		provider, err := gooidc.NewProvider(gooidc.ClientContext(ctx, client), i.URL)
		if err != nil {
			return nil, fmt.Errorf("oidc: discovery: %w", bare(err))
		}
		var says struct {
			Keys string `json:"jwks_uri"`
		}
		if err := provider.Claims(&says); err != nil || says.Keys == "" {
			return nil, errors.New("oidc: discovery: the issuer does not say where its keys are (jwks_uri)")
		}
		at = says.Keys
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("oidc: keys: %w", err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("oidc: keys: %w", bare(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("oidc: keys: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("oidc: keys: %s answers %s", req.URL.Host, resp.Status)
	}
	return parseKeys(body)
}

// bare strips the URL that net/http puts around an error: that of keys may hold what is nobody's business.
func bare(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// parseKeys reads the keys that tokens can be signed with. What else an issuer publishes beside them is passed over, as
// RFC 7517 wants it. Errors: there is none.
func parseKeys(body []byte) (keySet, error) {
	var published struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &published); err != nil {
		return nil, fmt.Errorf("oidc: keys: %w", err)
	}
	if len(published.Keys) > maxKeys {
		return nil, fmt.Errorf("oidc: keys: %d of them, at most %d", len(published.Keys), maxKeys)
	}
	set := keySet{}
	for _, raw := range published.Keys {
		if id, key, ok := parseKey(raw); ok {
			set[id] = append(set[id], key)
		}
	}
	if len(set) == 0 {
		return nil, errors.New("oidc: keys: none that a token can be signed with")
	}
	return set, nil
}

func parseKey(raw []byte) (id string, key publicKey, ok bool) {
	var about struct {
		Operations []string `json:"key_ops"`
	}
	var k jose.JSONWebKey
	if json.Unmarshal(raw, &about) != nil || json.Unmarshal(raw, &k) != nil {
		return "", key, false
	}
	if r, isRSA := k.Key.(*rsa.PublicKey); isRSA && r.N.BitLen() < minRSABits {
		return "", key, false
	}
	ok = k.KeyID != "" && k.IsPublic() && (k.Use == "" || k.Use == "sig") &&
		(k.Algorithm == "" || slices.Contains(algorithms, k.Algorithm)) &&
		(len(about.Operations) == 0 || slices.Contains(about.Operations, "verify"))
	return k.KeyID, publicKey{k.Key, k.Algorithm}, ok
}
