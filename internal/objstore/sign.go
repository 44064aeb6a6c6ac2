package objstore

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// maxSignedLife is the longest that S3 accepts.
const maxSignedLife = 7 * 24 * time.Hour

// location is where a bucket is found: scheme, host, and a path that may hold the bucket.
type location struct {
	url  url.URL
	host string // as it is signed: without the scheme's own port
}

func locate(ctx context.Context, cfg Config, region, endpoint string) (location, error) {
	if endpoint != "" {
		if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return location{}, fmt.Errorf("objstore: endpoint %q: write http:// or https:// and a host", endpoint)
		}
	}
	found, err := s3.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, s3.EndpointParameters{
		Bucket: &cfg.Bucket, Region: &region, Endpoint: optional(endpoint), ForcePathStyle: &cfg.PathStyle,
	}.WithDefaults())
	if err != nil {
		return location{}, fmt.Errorf("objstore: bucket %q at %q: %w", cfg.Bucket, endpoint, err)
	}
	l := location{found.URI, found.URI.Host}
	if port := l.url.Port(); l.url.Scheme == "http" && port == "80" || l.url.Scheme == "https" && port == "443" {
		l.host = l.url.Hostname()
	}
	return l, nil
}

// object is the URL of a full key.
func (l location) object(fullKey string) *url.URL {
	u := l.url
	u.RawPath, u.Path = l.path(fullKey), strings.TrimSuffix(u.Path, "/")+"/"+fullKey
	return &u
}

// path is the path of a full key. It escapes what S3 escapes, so that the path is signed as it is sent.
func (l location) path(fullKey string) string {
	base := strings.TrimSuffix(l.url.EscapedPath(), "/")
	to := append(append(make([]byte, 0, len(base)+len(fullKey)+16), base...), '/')
	for i, segment := range strings.Split(fullKey, "/") {
		if i > 0 {
			to = append(to, '/')
		}
		to = appendEscaped(to, segment)
	}
	return string(to)
}

// SignPut implements Signer.
func (s *S3) SignPut(ctx context.Context, key string, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	if size < 0 || size > ballast.MaxPutSize {
		return ballast.SignedRequest{}, fmt.Errorf("objstore: sign put %q: a size of %d bytes", key, size)
	}
	return s.presign(ctx, s.put, s.public, signPut(key, content, size), ttl)
}

func signPut(key string, content digest.Digest, size int64) signing {
	return signing{method: http.MethodPut, key: key, header: append(bodyHeader(content, size), field{"if-none-match", "*"})}
}

// SignPart implements Signer.
func (s *S3) SignPart(ctx context.Context, key, uploadID string, number int, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	if size < 0 || size > ballast.MaxPartSize || number < 1 || number > ballast.MaxParts {
		return ballast.SignedRequest{}, fmt.Errorf("objstore: sign part %q: number %d of %d bytes", key, number, size)
	}
	return s.presign(ctx, s.put, s.public, signPart(key, uploadID, number, content, size), ttl)
}

func signPart(key, uploadID string, number int, content digest.Digest, size int64) signing {
	query := []field{{"partNumber", strconv.Itoa(number)}, {"uploadId", uploadID}}
	return signing{method: http.MethodPut, key: key, query: query, header: bodyHeader(content, size)}
}

const checksumHeader = "x-amz-checksum-sha256"

// bodyHeader binds a body. A length of 0 is not signed: nobody sends it.
func bodyHeader(content digest.Digest, size int64) []field {
	header := append(make([]field, 0, 3), field{checksumHeader, ballast.ChecksumHeader(content)})
	if size > 0 {
		header = append(header, field{"content-length", strconv.FormatInt(size, 10)})
	}
	return header
}

type freshKey struct{}

// Fresh is a context in which SignGet signs anew what it would give out again: for who was refused what it had.
func Fresh(ctx context.Context) context.Context { return context.WithValue(ctx, freshKey{}, true) }

// SignGet implements Signer. A request that was signed is given out again until half its life is over, unless ctx is Fresh.
func (s *S3) SignGet(ctx context.Context, key, versionID string, ttl time.Duration) (ballast.SignedRequest, error) {
	r := signing{method: http.MethodGet, key: key}
	if versionID != "" {
		r.query = []field{{"versionId", versionID}}
	}
	terms, err := s.agree(ctx, s.get, r, ttl)
	if err != nil {
		return ballast.SignedRequest{}, err
	}
	of, by := getOf{key, versionID, ttl}, signedBy{terms.creds.AccessKeyID, terms.creds.SecretAccessKey, terms.creds.SessionToken}
	if held, ok := s.gets.Get(of); ok && held.by == by && held.fresh(s.now()) && ctx.Value(freshKey{}) == nil {
		return held.request(), nil
	}
	if err := s.check(key); err != nil { // one that is held was looked at
		return ballast.SignedRequest{}, err
	}
	req, err := s.sign(s.public, r, terms)
	if err != nil {
		return ballast.SignedRequest{}, err
	}
	s.gets.Put(of, signedGet{by, req.URL, terms.at, req.ExpiresAt}, int64(len(req.URL)+len(key)+getOverhead))
	return req, nil
}

// getOf is what is asked for by a signed GET.
type getOf struct {
	key, versionID string
	ttl            time.Duration
}

// signedBy are the credentials of a signature. No URL outlives the rotation of what signed it, the session included.
type signedBy struct{ id, secret, session string }

// signedGet is a GET that was signed.
type signedGet struct {
	by      signedBy
	url     string
	at      time.Time
	expires ballast.Time
}

// Bounds of the signed GETs that are kept, in bytes of memory.
const (
	maxGetBytes = 8 << 20
	getOverhead = 400 // of one, beside its texts
)

// fresh reports whether half of the life is left or more. A clock that was set back before the signature makes none fresh.
func (g signedGet) fresh(now time.Time) bool {
	return !now.Before(g.at) && now.Sub(g.at) < g.expires.Sub(g.at)/2
}

func (g signedGet) request() ballast.SignedRequest {
	return ballast.SignedRequest{Method: http.MethodGet, URL: g.url, Headers: map[string]string{}, ExpiresAt: g.expires}
}

// signing is a request to be signed.
type signing struct {
	method, key   string
	query, header []field
}

// terms are what a signature stands on: whose it is, from when, and for how many seconds.
type terms struct {
	creds   aws.Credentials
	at      time.Time
	seconds int64
}

// agree finds the credentials, which may end a request's life before its time.
func (s *S3) agree(ctx context.Context, by signatory, r signing, ttl time.Duration) (t terms, err error) {
	ttl = min(ttl, maxSignedLife)
	if t.creds, err = by.credentials(ctx, r.key, ttl); err != nil {
		return t, s.wrap("sign", r.key, classify(ctx, err))
	}
	t.at = s.now().UTC().Truncate(time.Second) // the signature's own precision
	expires := t.at.Add(ttl)
	if t.creds.CanExpire && t.creds.Expires.Before(expires) {
		expires = t.creds.Expires
	}
	if t.seconds = int64(expires.Sub(t.at) / time.Second); t.seconds < 1 {
		return t, fmt.Errorf("objstore: sign %q: %w: no life is left in the credentials of %s, or in the request", r.key, ErrUnavailable, by.called())
	}
	return t, nil
}

func (s *S3) presign(ctx context.Context, by signatory, at location, r signing, ttl time.Duration) (ballast.SignedRequest, error) {
	if err := s.check(r.key); err != nil {
		return ballast.SignedRequest{}, err
	}
	terms, err := s.agree(ctx, by, r, ttl)
	if err != nil {
		return ballast.SignedRequest{}, err
	}
	return s.sign(at, r, terms)
}

func (s *S3) sign(at location, r signing, t terms) (ballast.SignedRequest, error) {
	signed, headers := s.signer.presign(t.creds, request{
		method: r.method, region: s.region, at: at, path: at.path(s.prefix + r.key), query: r.query, header: r.header, seconds: t.seconds,
	}, t.at)
	if err := r.binds(signed, headers); err != nil {
		return ballast.SignedRequest{}, s.wrap("sign", r.key, err)
	}
	return ballast.SignedRequest{
		Method: r.method, URL: signed, Headers: headers, ExpiresAt: ballast.At(t.at.Add(time.Duration(t.seconds) * time.Second)),
	}, nil
}

// binds refuses a signature that leaves a client free to send other bytes than it declared: every header of r must be
// signed as a header, and say so in the URL, and no checksum may have moved to the query. Stores answer 200 to what they
// then do not check.
func (r signing) binds(signedURL string, signed map[string]string) error {
	_, query, _ := strings.Cut(signedURL, "?")
	var names string
	for param := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(param, "=")
		if containsFold(name, "checksum") {
			return fmt.Errorf("objstore: the signer put %s into the query", name)
		}
		if name == "X-Amz-SignedHeaders" {
			names = value
		}
	}
	for _, h := range r.header {
		if value, ok := signed[h.name]; !ok || value != h.value || !holdsName(names, h.name) {
			return fmt.Errorf("objstore: the signer left out %s", h.name)
		}
	}
	return nil
}

// containsFold is strings.Contains of ASCII letters of either case. It allocates nothing: every signature is looked at.
func containsFold(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// holdsName reports whether a list of header names holds one; between them stands an escaped semicolon.
func holdsName(names, name string) bool {
	for n := range strings.SplitSeq(names, "%3B") {
		if n == name {
			return true
		}
	}
	return false
}
