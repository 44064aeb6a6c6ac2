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
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/encoding/httpbinding"
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

const (
	unsignedPayload = "UNSIGNED-PAYLOAD"
	// maxSignedLife is the longest that S3 accepts.
	maxSignedLife = 7 * 24 * time.Hour
)

// presigner is the part of the SDK's signer that is used.
type presigner interface {
	PresignHTTP(ctx context.Context, creds aws.Credentials, r *http.Request, payloadHash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) (string, http.Header, error)
}

// newV4Signer signs headers as headers: a checksum that moved to the query would be ignored by stores.
func newV4Signer() *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableHeaderHoisting = true
		o.DisableURIPathEscaping = true // S3 signs the path as it is sent
	})
}

// location is where a bucket is found: scheme, host, and a path that may hold the bucket.
type location struct{ url url.URL }

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
	return location{found.URI}, nil
}

// object is the URL of a full key. It escapes what S3 escapes, so that the path is signed as it is sent.
func (l location) object(fullKey string) *url.URL {
	u := l.url
	base := strings.TrimSuffix(u.EscapedPath(), "/")
	u.RawPath = base + "/" + httpbinding.EscapePath(fullKey, false)
	u.Path = strings.TrimSuffix(u.Path, "/") + "/" + fullKey
	return &u
}

// SignPut implements Signer.
func (s *S3) SignPut(ctx context.Context, key string, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	if size < 0 || size > ballast.MaxPutSize {
		return ballast.SignedRequest{}, fmt.Errorf("objstore: sign put %q: a size of %d bytes", key, size)
	}
	return s.presign(ctx, s.put, s.public, signPut(key, content, size), ttl)
}

func signPut(key string, content digest.Digest, size int64) signing {
	r := signing{method: http.MethodPut, key: key, size: size, header: http.Header{}}
	r.header.Set("If-None-Match", "*")
	r.header.Set("X-Amz-Checksum-Sha256", ballast.ChecksumHeader(content))
	return r
}

// SignPart implements Signer.
func (s *S3) SignPart(ctx context.Context, key, uploadID string, number int, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	if size < 0 || size > ballast.MaxPartSize || number < 1 || number > ballast.MaxParts {
		return ballast.SignedRequest{}, fmt.Errorf("objstore: sign part %q: number %d of %d bytes", key, number, size)
	}
	return s.presign(ctx, s.put, s.public, signPart(key, uploadID, number, content, size), ttl)
}

func signPart(key, uploadID string, number int, content digest.Digest, size int64) signing {
	r := signing{method: http.MethodPut, key: key, size: size, header: http.Header{}}
	r.query = url.Values{"partNumber": {strconv.Itoa(number)}, "uploadId": {uploadID}}
	r.header.Set("X-Amz-Checksum-Sha256", ballast.ChecksumHeader(content))
	return r
}

// SignGet implements Signer.
func (s *S3) SignGet(ctx context.Context, key, versionID string, ttl time.Duration) (ballast.SignedRequest, error) {
	r := signing{method: http.MethodGet, key: key}
	if versionID != "" {
		r.query = url.Values{"versionId": {versionID}}
	}
	return s.presign(ctx, s.get, s.public, r, ttl)
}

// signing is a request to be signed. The SDK signs its length when it is over 0.
type signing struct {
	method, key string
	query       url.Values
	header      http.Header
	size        int64
}

func (s *S3) presign(ctx context.Context, id *identity, at location, r signing, ttl time.Duration) (ballast.SignedRequest, error) {
	if err := s.check(r.key); err != nil {
		return ballast.SignedRequest{}, err
	}
	ttl = min(ttl, maxSignedLife)
	creds, err := id.credentials(ctx, ttl)
	if err != nil {
		return ballast.SignedRequest{}, s.wrap("sign", r.key, classify(ctx, err))
	}
	now := s.now().UTC().Truncate(time.Second) // the signature's own precision
	expires := now.Add(ttl)
	if creds.CanExpire && creds.Expires.Before(expires) {
		expires = creds.Expires
	}
	life := expires.Sub(now) / time.Second
	if life < 1 {
		return ballast.SignedRequest{}, fmt.Errorf("objstore: sign %q: %w: no life is left in the credentials of %s, or in the request", r.key, ErrUnavailable, id.name)
	}
	request := r.request(ctx, at.object(s.prefix+r.key), int(life))
	signed, headers, err := s.signer.PresignHTTP(ctx, creds, request, unsignedPayload, "s3", s.region, now)
	if err != nil {
		return ballast.SignedRequest{}, s.wrap("sign", r.key, err)
	}
	if err := r.binds(signed, headers); err != nil {
		return ballast.SignedRequest{}, s.wrap("sign", r.key, err)
	}
	return ballast.SignedRequest{
		Method: r.method, URL: signed, Headers: toSend(headers), ExpiresAt: ballast.At(now.Add(life * time.Second)),
	}, nil
}

func (r signing) request(ctx context.Context, u *url.URL, seconds int) *http.Request {
	query := url.Values{"X-Amz-Expires": {strconv.Itoa(seconds)}}
	for name, values := range r.query {
		query[name] = values
	}
	u.RawQuery = query.Encode()
	header := r.header
	if header == nil {
		header = http.Header{}
	}
	return (&http.Request{Method: r.method, URL: u, Host: u.Host, Header: header, ContentLength: r.size}).WithContext(ctx)
}

// binds refuses a signature that leaves a client free to send other bytes than it declared: every header of r, and the
// length of a body, must be signed as a header, and no checksum may have moved to the query. The SDK's defaults on this
// have changed before, and stores answer 200 to what they then do not check.
func (r signing) binds(signedURL string, signed http.Header) error {
	for name := range r.header {
		if signed.Get(name) != r.header.Get(name) {
			return fmt.Errorf("objstore: the signer left out %s", name)
		}
	}
	if r.size > 0 && signed.Get("Content-Length") != strconv.FormatInt(r.size, 10) {
		return fmt.Errorf("objstore: the signer left out Content-Length")
	}
	u, err := url.Parse(signedURL)
	if err != nil {
		return err
	}
	for name := range u.Query() {
		if strings.Contains(strings.ToLower(name), "checksum") {
			return fmt.Errorf("objstore: the signer put %s into the query", name)
		}
	}
	return nil
}

// toSend is what the client sends: every signed header but the host, which its URL says.
func toSend(signed http.Header) map[string]string {
	headers := make(map[string]string, len(signed))
	for name, values := range signed {
		if name != "Host" {
			headers[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	return headers
}
