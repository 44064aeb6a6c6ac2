package objstoretest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

const (
	checksumHeader = "X-Amz-Checksum-Sha256"
	dateLayout     = "20060102T150405Z"
	memSecret      = "in memory only"
)

// SetCredentialsEnd bounds the life of what is signed from now on, as credentials of a role do. The zero time lifts it.
func (m *Mem) SetCredentialsEnd(end time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.credits = end
}

// Serve starts a loopback server for the signed requests until the test ends; what is signed from now on points to it.
func (m *Mem) Serve(t testing.TB) *httptest.Server {
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.base = server.URL
	return server
}

// Client returns an HTTP client whose requests all end in this store, without a network.
func (m *Mem) Client() *http.Client {
	return &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		w := httptest.NewRecorder()
		if r.Body == nil {
			r.Body = http.NoBody
		}
		m.ServeHTTP(w, r)
		return w.Result(), nil
	})}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Do is a client that sends body with a signed request and with headers nobody signed, which win over the signed
// ones. It returns the status.
func (m *Mem) Do(req ballast.SignedRequest, body []byte, extra http.Header) (status int) {
	resp, err := Send(context.Background(), m.Client(), req, body, extra)
	if err != nil {
		return http.StatusBadRequest
	}
	resp.Body.Close()
	return resp.StatusCode
}

// Send sends body with a signed request and with headers nobody signed, which win over the signed ones.
func Send(ctx context.Context, client *http.Client, req ballast.SignedRequest, body []byte, extra http.Header) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, req.Method, req.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range req.Headers {
		r.Header.Set(name, value)
	}
	maps.Copy(r.Header, extra)
	r.Header.Del("Content-Length") // the transport derives it from the body
	return client.Do(r)
}

// SignPut implements objstore.Signer.
func (m *Mem) SignPut(ctx context.Context, key string, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	headers := contentHeaders(content, size)
	headers["if-none-match"] = "*"
	return m.sign(ctx, http.MethodPut, key, nil, headers, ttl)
}

// SignPart implements objstore.Signer.
func (m *Mem) SignPart(ctx context.Context, key, uploadID string, number int, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	query := url.Values{"uploadId": {uploadID}, "partNumber": {strconv.Itoa(number)}}
	return m.sign(ctx, http.MethodPut, key, query, contentHeaders(content, size), ttl)
}

// SignGet implements objstore.Signer.
func (m *Mem) SignGet(ctx context.Context, key, versionID string, ttl time.Duration) (ballast.SignedRequest, error) {
	query := url.Values{}
	if versionID != "" {
		query.Set("versionId", versionID)
	}
	return m.sign(ctx, http.MethodGet, key, query, map[string]string{}, ttl)
}

func contentHeaders(content digest.Digest, size int64) map[string]string {
	headers := map[string]string{strings.ToLower(checksumHeader): ballast.ChecksumHeader(content)}
	if size > 0 {
		headers["content-length"] = strconv.FormatInt(size, 10)
	}
	return headers
}

func (m *Mem) sign(ctx context.Context, method, key string, query url.Values, headers map[string]string, ttl time.Duration) (req ballast.SignedRequest, err error) {
	err = m.call(ctx, OpSign, key, func() error {
		now := m.now().UTC().Truncate(time.Second)
		expires := now.Add(ttl.Truncate(time.Second))
		if !m.credits.IsZero() && m.credits.Before(expires) {
			expires = m.credits
		}
		u, err := url.Parse(m.base)
		if err != nil {
			return err
		}
		u.Path = "/" + key
		if query == nil {
			query = url.Values{}
		}
		query.Set("X-Amz-Date", now.Format(dateLayout))
		query.Set("X-Amz-Expires", strconv.Itoa(int(expires.Sub(now)/time.Second)))
		query.Set("X-Amz-SignedHeaders", strings.Join(append(slices.Sorted(maps.Keys(headers)), "host"), ";"))
		u.RawQuery = query.Encode()
		u.RawQuery += "&X-Amz-Signature=" + signature(method, u, func(name string) string { return headers[name] })
		req = ballast.SignedRequest{Method: method, URL: u.String(), Headers: headers, ExpiresAt: ballast.At(expires)}
		return nil
	})
	return only(req, err)
}

// signature covers the method, the path, the query and the headers that the query names as signed.
func signature(method string, u *url.URL, header func(string) string) string {
	query := u.Query()
	query.Del("X-Amz-Signature")
	mac := hmac.New(sha256.New, []byte(memSecret))
	fmt.Fprintf(mac, "%s\n%s\n%s\n", method, u.EscapedPath(), query.Encode())
	for name := range strings.SplitSeq(query.Get("X-Amz-SignedHeaders"), ";") {
		if name != "host" {
			fmt.Fprintf(mac, "%s:%s\n", name, header(name))
		}
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// ServeHTTP answers requests made with signed URLs, as a strict store does.
func (m *Mem) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if why := m.refuses(r); why != "" {
		http.Error(w, why, http.StatusForbidden)
		return
	}
	key, query := strings.TrimPrefix(r.URL.Path, "/"), r.URL.Query()
	var err error
	switch {
	case r.Method == http.MethodGet:
		m.serveGet(w, r, key)
		return
	case query.Has("uploadId"):
		err = m.receivePart(w, r, key, query)
	default:
		err = m.receivePut(w, r, key)
	}
	if err != nil {
		http.Error(w, err.Error(), statusOf(err))
	}
}

// refuses says why a request is not what was signed, or "".
func (m *Mem) refuses(r *http.Request) string {
	header := func(name string) string {
		if name == "content-length" {
			return strconv.FormatInt(r.ContentLength, 10)
		}
		return r.Header.Get(name)
	}
	query := r.URL.Query()
	begin, err := time.Parse(dateLayout, query.Get("X-Amz-Date"))
	life, err2 := strconv.Atoi(query.Get("X-Amz-Expires"))
	m.mu.Lock()
	now := m.now()
	m.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "":
		return "two ways of authentication"
	case !hmac.Equal([]byte(query.Get("X-Amz-Signature")), []byte(signature(r.Method, r.URL, header))):
		return "the signature does not match"
	case err != nil || err2 != nil || now.After(begin.Add(time.Duration(life)*time.Second)):
		return "the request has expired"
	case r.Header.Get("X-Amz-Copy-Source") != "":
		return "the identity may not read"
	case r.Header.Get("X-Amz-Content-Sha256") != "" && strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-"):
		return "streaming payloads are not signed for"
	}
	return ""
}

var errBadDigest = errors.New("the checksum did not match the bytes")

func statusOf(err error) int {
	switch {
	case errors.Is(err, objstore.ErrPrecondition):
		return http.StatusPreconditionFailed
	case errors.Is(err, objstore.ErrNoSuchUpload), errors.Is(err, objstore.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, errBadDigest), errors.Is(err, objstore.ErrBadKey):
		return http.StatusBadRequest
	}
	return http.StatusServiceUnavailable
}

func (m *Mem) receivePut(w http.ResponseWriter, r *http.Request, key string) error {
	body, sum, err := readChecked(r)
	if err != nil {
		return err
	}
	return m.call(r.Context(), OpClientPut, key, func() error {
		if err := m.holds(key, objstore.Condition{IfAbsent: r.Header.Get("If-None-Match") == "*"}); err != nil {
			return err
		}
		m.store(key, body, quoteMD5(body), sum)
		dress(m.latest(key), r.Header)
		w.Header().Set("ETag", quoteMD5(body))
		return nil
	})
}

func (m *Mem) receivePart(w http.ResponseWriter, r *http.Request, key string, query url.Values) error {
	body, sum, err := readChecked(r)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(query.Get("partNumber"))
	if err != nil || number < 1 || number > ballast.MaxParts {
		return fmt.Errorf("%w: part number", errBadDigest)
	}
	return m.call(r.Context(), OpClientPart, key, func() error {
		u, err := m.upload(key, query.Get("uploadId"))
		if err != nil {
			return err
		}
		u.parts[number] = memPart{body: body, Part: objstore.Part{
			Number: number, Size: int64(len(body)), ETag: quoteMD5(body), SHA256: sum, Modified: m.now().UTC().Truncate(time.Millisecond),
		}}
		w.Header().Set("ETag", quoteMD5(body))
		return nil
	})
}

// readChecked reads a body and holds it to its declared checksum.
func readChecked(r *http.Request) (body []byte, sum digest.Digest, err error) {
	body, err = io.ReadAll(r.Body)
	if err != nil {
		return nil, "", err
	}
	if sum = ballast.DigestOf(body); r.Header.Get(checksumHeader) != ballast.ChecksumHeader(sum) {
		return nil, "", errBadDigest
	}
	return body, sum, nil
}

// dress records the unsigned headers that S3 keeps with an object.
func dress(o *memObject, h http.Header) {
	if enc := h.Get("Content-Encoding"); enc != "" {
		o.Oddities = append(o.Oddities, "Content-Encoding "+enc)
	}
	for name := range h {
		if strings.HasPrefix(name, "X-Amz-Meta-") {
			o.Oddities = append(o.Oddities, "user metadata "+name)
		}
	}
	if h.Get("X-Amz-Website-Redirect-Location") != "" {
		o.Oddities = append(o.Oddities, "a website redirect")
	}
	o.StorageClass = h.Get("X-Amz-Storage-Class")
	o.unreadable = h.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm") != ""
}

func (m *Mem) serveGet(w http.ResponseWriter, r *http.Request, key string) {
	var found memObject
	err := m.call(r.Context(), OpClientGet, key, func() error {
		o, err := m.find(key, r.URL.Query().Get("versionId"))
		if err == nil {
			found = *o
		}
		return err
	})
	if err != nil {
		http.Error(w, err.Error(), statusOf(err))
		return
	}
	w.Header().Set("ETag", found.ETag)
	http.ServeContent(w, r, "", found.Modified, bytes.NewReader(found.body))
}
