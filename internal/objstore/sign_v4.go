package objstore

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ballast-registry/ballast/internal/cache"
)

// presigner makes a request's URL. It returns with it the headers that the signature binds and a client has to send.
type presigner interface {
	presign(creds aws.Credentials, r request, at time.Time) (signedURL string, headers map[string]string)
}

// request is what is signed, as it goes over the wire.
type request struct {
	method, region string
	at             location
	path           string  // escaped
	query          []field // decoded; what the signature itself adds is not among it
	header         []field // names in lower case, values without spaces at their ends or side by side; not the host
	seconds        int64   // of life
}

// field is a query parameter or a header.
type field struct{ name, value string }

// v4Signer presigns by AWS Signature Version 4 with an unsigned payload, every header signed as a header: a checksum that
// moved to the query would be ignored by stores. Its URLs are those of the SDK's signer, byte for byte, which a test holds
// it to, for less than half the time: a service signs a thousand in one answer.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
type v4Signer struct {
	keys *cache.Cache[keyOf, []byte]
}

// keyOf is all that a signing key is derived from, and the session, so that rotated credentials never mix.
type keyOf struct{ id, secret, session, region, date string }

// maxSigningKeys is more than there are of identities and sessions, in a day and the next.
const maxSigningKeys = 16 + 2*maxSessions

func newV4Signer() *v4Signer { return &v4Signer{cache.New[keyOf, []byte](maxSigningKeys)} }

const (
	signingAlgorithm = "AWS4-HMAC-SHA256"
	unsignedPayload  = "UNSIGNED-PAYLOAD"
)

func (s *v4Signer) presign(creds aws.Credentials, r request, at time.Time) (string, map[string]string) {
	at = at.UTC()
	date, stamp := at.Format("20060102"), at.Format("20060102T150405Z")
	scope := date + "/" + r.region + "/s3/aws4_request"

	var fields [16]field // room for most requests, here and below: it costs the collector nothing
	header := append(fields[:0:4], r.header...)
	header = append(header, field{"host", r.at.host})
	byName(header)
	headers := make(map[string]string, len(r.header))
	names := make([]byte, 0, 64)
	for _, h := range header {
		names = append(append(names, h.name...), ';')
		if h.name != "host" {
			headers[h.name] = h.value
		}
	}
	names = names[:len(names)-1]

	query := append(fields[4:4], r.query...)
	query = append(query,
		field{"X-Amz-Algorithm", signingAlgorithm}, field{"X-Amz-Credential", creds.AccessKeyID + "/" + scope}, field{"X-Amz-Date", stamp},
		field{"X-Amz-Expires", strconv.FormatInt(r.seconds, 10)}, field{"X-Amz-SignedHeaders", string(names)})
	if creds.SessionToken != "" {
		query = append(query, field{"X-Amz-Security-Token", creds.SessionToken})
	}
	byName(query)

	var urlRoom, canonicalRoom [2 << 10]byte
	signed := append(urlRoom[:0], r.at.url.Scheme...)
	signed = append(append(append(signed, "://"...), r.at.url.Host...), r.path...)
	question := len(signed)
	for i, q := range query {
		signed = append(signed, "?&"[min(i, 1)])
		signed = append(appendEscaped(signed, q.name), '=')
		signed = appendEscaped(signed, q.value)
	}

	canonical := append(canonicalRoom[:0], r.method...)
	canonical = append(append(canonical, '\n'), r.path...)
	canonical = append(append(append(canonical, '\n'), signed[question+1:]...), '\n')
	for _, h := range header {
		canonical = append(append(append(append(canonical, h.name...), ':'), h.value...), '\n')
	}
	canonical = append(append(append(append(canonical, '\n'), names...), '\n'), unsignedPayload...)
	sum := sha256.Sum256(canonical)

	text := append(make([]byte, 0, 192), signingAlgorithm...)
	text = append(append(append(append(append(text, '\n'), stamp...), '\n'), scope...), '\n')
	text = hex.AppendEncode(text, sum[:])
	signed = append(signed, "&X-Amz-Signature="...)
	signed = hex.AppendEncode(signed, hmacOf(s.key(creds, r.region, date), text))
	return string(signed), headers
}

// key is the signing key of a day.
func (s *v4Signer) key(creds aws.Credentials, region, date string) []byte {
	of := keyOf{creds.AccessKeyID, creds.SecretAccessKey, creds.SessionToken, region, date}
	if key, ok := s.keys.Get(of); ok {
		return key
	}
	key := []byte("AWS4" + creds.SecretAccessKey)
	for _, part := range []string{date, region, "s3", "aws4_request"} {
		key = hmacOf(key, []byte(part))
	}
	s.keys.Put(of, key, 1)
	return key
}

func hmacOf(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}

func byName(fields []field) {
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
}

// appendEscaped appends s with every byte escaped but letters, digits and -_.~
func appendEscaped(to []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~' {
			to = append(to, c)
		} else {
			to = append(to, '%', digits[c>>4], digits[c&15])
		}
	}
	return to
}
