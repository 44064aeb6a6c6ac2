package objstoretest

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// Kind is what a signed request is for.
type Kind string

// The kinds.
const (
	KindPut  Kind = "put"
	KindPart Kind = "part"
	KindGet  Kind = "get"
)

// AssertSigned fails t unless req holds in its signature what a request of its kind must hold: the checksum and, for
// bytes at all, their length; a put also If-None-Match. No checksum may stand in the query, where stores ignore it, and
// none but SHA-256 anywhere.
func AssertSigned(t testing.TB, kind Kind, req ballast.SignedRequest) {
	t.Helper()
	u, err := url.Parse(req.URL)
	if err != nil {
		t.Errorf("signed %s: %v", kind, err)
		return
	}
	signed := strings.Split(u.Query().Get("X-Amz-SignedHeaders"), ";")
	for _, name := range mustSign(kind, req) {
		if !slices.Contains(signed, name) || req.Headers[name] == "" {
			t.Errorf("signed %s: %s is not both in SignedHeaders %q and in the headers to send %v", kind, name, signed, req.Headers)
		}
	}
	for name := range req.Headers {
		if name == "host" || name != strings.ToLower(name) || !slices.Contains(signed, name) {
			t.Errorf("signed %s: header %q: headers to send are signed, lower-case, and never host", kind, name)
		}
	}
	if kind == KindPut && req.Headers["if-none-match"] != "*" {
		t.Errorf("signed put: if-none-match is %q", req.Headers["if-none-match"])
	}
	assertNoStray(t, kind, u, req)
}

func mustSign(kind Kind, req ballast.SignedRequest) []string {
	must := []string{}
	if kind != KindGet {
		must = append(must, "x-amz-checksum-sha256")
		if req.Headers["x-amz-checksum-sha256"] != ballast.ChecksumHeader(ballast.EmptyDigest) {
			must = append(must, "content-length")
		}
	}
	if kind == KindPut {
		must = append(must, "if-none-match")
	}
	return must
}

// assertNoStray looks for checksums where they do harm.
func assertNoStray(t testing.TB, kind Kind, u *url.URL, req ballast.SignedRequest) {
	t.Helper()
	for name := range u.Query() {
		if folded := strings.ToLower(name); strings.Contains(folded, "checksum") {
			t.Errorf("signed %s: %s stands in the query", kind, name)
		}
	}
	for name := range req.Headers {
		if strings.HasPrefix(name, "x-amz-") && name != "x-amz-checksum-sha256" {
			t.Errorf("signed %s: header %s", kind, name)
		}
	}
	if strings.Contains(strings.ToLower(req.URL), "crc32") {
		t.Errorf("signed %s: a CRC32 in %s", kind, u.Path)
	}
	if req.ExpiresAt.IsZero() {
		t.Errorf("signed %s: no expiry", kind)
	}
}

// CheckSigner returns a Signer that holds everything it signs to AssertSigned.
func CheckSigner(t testing.TB, s objstore.Signer) objstore.Signer { return &checkSigner{t, s} }

type checkSigner struct {
	t    testing.TB
	next objstore.Signer
}

func (c *checkSigner) check(kind Kind, req ballast.SignedRequest, err error) (ballast.SignedRequest, error) {
	c.t.Helper()
	if err == nil {
		AssertSigned(c.t, kind, req)
	}
	return req, err
}

func (c *checkSigner) SignPut(ctx context.Context, key string, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	c.t.Helper()
	req, err := c.next.SignPut(ctx, key, content, size, ttl)
	return c.check(KindPut, req, err)
}

func (c *checkSigner) SignPart(ctx context.Context, key, uploadID string, number int, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	c.t.Helper()
	req, err := c.next.SignPart(ctx, key, uploadID, number, content, size, ttl)
	return c.check(KindPart, req, err)
}

func (c *checkSigner) SignGet(ctx context.Context, key, versionID string, ttl time.Duration) (ballast.SignedRequest, error) {
	c.t.Helper()
	req, err := c.next.SignGet(ctx, key, versionID, ttl)
	return c.check(KindGet, req, err)
}
