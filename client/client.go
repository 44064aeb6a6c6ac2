// Package client is the Go client of a Ballast registry.
//
// A [Client] has a method for each call of the HTTP API, and on top of them [Client.Push], which publishes a folder, and
// [Client.Pull], which fetches one. The bytes of models go straight between this process and the object store, by
// requests that the registry signed; both ways they are checked against their SHA-256.
//
// Every error that a registry answers is a [*ballast.Error]; so is the lack of an answer, with ballast.CodeUnavailable.
package client

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
)

// Token is a registry token. It does not show itself when printed or logged.
type Token = ballast.Secret

// TokenSource returns the token for a request. It is asked before each one, so that a token may change while the
// client runs; it may be called from several goroutines.
type TokenSource func(context.Context) (Token, error)

// TokenFile is a TokenSource that reads the file at path for each request; white space around the token is dropped.
func TokenFile(path string) TokenSource {
	return func(context.Context) (Token, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", ballast.Errorf(ballast.CodeUnauthenticated, "token file: %w", err)
		}
		return Token(strings.TrimSpace(string(b))), nil
	}
}

// Options configure a Client. Only URL is required.
type Options struct {
	URL         string      // of the registry: http or https, a path in front of /v1 allowed
	Token       Token       // ignored when TokenSource is set
	TokenSource TokenSource // without both, requests carry no token
	// Transport carries the requests to the registry and to the object store. nil: one with the standard library's
	// defaults and a connection pool that suits Push and Pull.
	Transport http.RoundTripper
	UserAgent string
	Logger    *slog.Logger // tells of tries that are repeated; nil: silence
	// Stall ends a transfer from the object store that brings no byte for so long; it is tried again. 0 means 30 s.
	Stall time.Duration
	// Tries is how often a request is sent at most while the answer is "try again". 0 means 6, which spans 6 seconds or
	// what the registry asks for; of answers that too much is asked, as many as come within 5 minutes.
	Tries int
}

// Keys of log attributes.
const (
	attrCall   = "call"
	attrError  = "error"
	attrFile   = "file"
	attrOffset = "offset" // bytes
	attrTry    = "try"
	attrUpload = "upload"
)

// Client calls one registry. It is safe for concurrent use.
type Client struct {
	base       string // no trailing slash
	token      TokenSource
	http       *http.Client // of the registry and of the object store
	userAgent  string
	log        *slog.Logger
	tries      int
	limitedFor time.Duration // with answers that are rate_limited
	stall      time.Duration
	pause      time.Duration // before the first repetition; doubles
	clock      clock
}

// New returns a Client. It makes no request. Errors: invalid for a URL that is none.
func New(o Options) (*Client, error) {
	base, err := parseBase(o.URL)
	if err != nil {
		return nil, err
	}
	c := &Client{
		base: base, token: o.TokenSource, userAgent: o.UserAgent, log: o.Logger, tries: o.Tries,
		stall: cmp.Or(o.Stall, fetchStall), pause: 200 * time.Millisecond,
	}
	if c.token == nil {
		c.token = func(context.Context) (Token, error) { return o.Token, nil }
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.tries <= 0 {
		c.tries, c.limitedFor = 6, maxLimited
	}
	transport := o.Transport
	if transport == nil {
		transport = newTransport()
	}
	// Neither side's redirects are followed: the registry's would repeat the token or the call elsewhere, and a signed
	// request is for one place only.
	c.http = &http.Client{Transport: transport, CheckRedirect: stay}
	return c, nil
}

func parseBase(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		shown := s[strings.LastIndexByte(s, '@')+1:] // before it a password may stand
		return "", ballast.Errorf(ballast.CodeInvalid, "registry URL %q: write one like https://models.example.com", shown)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", ballast.Errorf(ballast.CodeInvalid, "registry URL of %s: leave out user, query and fragment", u.Host)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newTransport is the default one with room for the parallel transfers of a push or pull. HTTP/2 would put all of them
// into one connection, and so have one core decrypt them and one congestion window pace them.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.TLSClientConfig, t.TLSNextProto = nil, nil // the clone offers HTTP/2 in its handshakes, and would not speak it
	t.MaxIdleConnsPerHost = 64
	t.ExpectContinueTimeout = 5 * time.Second
	return t
}

// URL returns the registry's URL without a trailing slash.
func (c *Client) URL() string { return c.base }
