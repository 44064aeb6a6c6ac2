package client

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
)

// A transfer that moves no byte for so long is ended. A store may take long to answer a PUT whose bytes it has.
const (
	sendStall  = 2 * time.Minute
	fetchStall = 30 * time.Second
)

// storeError is an answer of the object store other than success. It holds no URL: a signed URL is a credential.
type storeError struct {
	Status  int
	Code    string `xml:"Code"`
	Message string `xml:"Message"`

	retryAfter time.Duration // that the store asked for
	why        string        // what a refusal means, in words; see reasonOf
}

func (e *storeError) Error() string {
	return fmt.Sprintf("the object store answered %d %s", e.Status, strings.TrimSpace(e.Code+" "+e.Message))
}

// expired reports whether a fresh signed request may help. Stores answer an expired URL and a skewed clock alike.
func (e *storeError) expired() bool {
	return e.Status == http.StatusForbidden || e.Code == "ExpiredToken" || e.Code == "RequestTimeTooSkewed"
}

// transient reports whether the same request may succeed later.
func (e *storeError) transient() bool {
	return e.Status >= 500 && e.Status != http.StatusNotImplemented || e.Status == http.StatusTooManyRequests ||
		e.Status == http.StatusRequestTimeout || e.Code == "RequestTimeout" || e.Code == "SlowDown" ||
		e.Status == http.StatusConflict
}

// absent reports whether the store says that the object is not there. A 404 in other words may be of anything between.
func (e *storeError) absent() bool { return e.Code == "NoSuchKey" || e.Code == "NoSuchVersion" }

// wrongBytes reports whether the store found other bytes than the request was signed for.
func (e *storeError) wrongBytes() bool {
	switch e.Code {
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidDigest", "IncompleteBody",
		"InvalidRequest", "EntityTooLarge", "EntityTooSmall", "MissingContentLength":
		return true
	}
	return false
}

// roundTrip sends a signed request as it is: its headers and no others, no token, no redirect. It returns a 2xx
// response, a *storeError, or why there was no answer.
func (c *Client) roundTrip(ctx context.Context, sr ballast.SignedRequest, body io.Reader, size int64, extra map[string]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, sr.Method, sr.URL, body)
	if err != nil {
		return nil, ballast.Errorf(ballast.CodeUnavailable, "the registry signed an unusable request: check its public store endpoint")
	}
	req.ContentLength = size
	for k, v := range sr.Headers {
		if strings.EqualFold(k, "Content-Length") || strings.EqualFold(k, "Host") {
			continue // net/http writes them, from ContentLength and the URL
		}
		req.Header.Set(k, v)
	}
	for k, v := range extra {
		req.Header.Set(k, v)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, storeSilent(ctx, req.URL.Host, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &storeError{}
	_ = xml.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(e) // what is no XML leaves the status alone
	e.Status = resp.StatusCode
	if n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.retryAfter = time.Duration(n) * time.Second
	}
	e.why = c.clock.reasonOf(sr, e, dateOf(resp.Header))
	return nil, e
}

// errSilent marks a transfer that ended without an answer, or in the midst of it, so that it may be tried again.
var errSilent = errors.New("no full answer from the object store")

func storeSilent(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w %s: %w%s", errSilent, host, bare(err), wrongHost(err))
}

// put sends size bytes of body by a signed request. Expect lets the store refuse before the bytes have travelled. A
// transfer that stands still is ended early, one that waits for the store's answer late.
func (c *Client) put(ctx context.Context, sr ballast.SignedRequest, body io.Reader, size int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(c.stall, func() { cancel(fmt.Errorf("%w for %s", errStalled, c.stall)) })
	defer timer.Stop()
	left := size
	moved := func(n int) {
		limit := c.stall
		if left -= int64(n); left <= 0 {
			limit = max(limit, sendStall)
		}
		timer.Reset(limit)
	}
	resp, err := c.roundTrip(ctx, sr, io.NopCloser(&lively{body, moved}), size, map[string]string{"Expect": "100-continue"})
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // lets the connection be used again
	return resp.Body.Close()
}

// get opens a stream of the bytes from offset to end of an object of size bytes. Every Read must be followed by another
// within the client's patience; the caller closes it.
func (c *Client) get(ctx context.Context, sr ballast.SignedRequest, offset, end, size int64) (io.ReadCloser, error) {
	extra := map[string]string{"Accept-Encoding": "identity"} // or net/http would unpack an object that is a gzip file
	if offset > 0 || end < size {
		extra["Range"] = fmt.Sprintf("bytes=%d-%d", offset, end-1)
	}
	ctx, alive, stop := withStall(ctx, c.stall)
	resp, err := c.roundTrip(ctx, sr, http.NoBody, 0, extra)
	if err == nil {
		err = checkRange(resp, offset, end, size)
	}
	if err != nil {
		stop()
		return nil, err
	}
	return &stream{lively{resp.Body, func(int) { alive() }}, resp.Body, ctx, stop}, nil
}

// checkRange refuses an answer with other bytes than the asked ones, and one that says it has another size.
func checkRange(resp *http.Response, offset, end, size int64) (err error) {
	from, to, total, ranged := parseContentRange(resp.Header.Get("Content-Range"))
	ranged = ranged && resp.StatusCode == http.StatusPartialContent
	if !ranged { // all of it
		from, to, total = 0, size-1, size
		if resp.ContentLength >= 0 {
			total = resp.ContentLength
		}
	}
	switch {
	case resp.StatusCode == http.StatusPartialContent && !ranged, from != offset, total == size && to != end-1:
		err = fmt.Errorf("%w: it does not serve ranges", errSilent)
	case total != size:
		err = ballast.Errorf(ballast.CodeIntegrity, "the stored object has %d bytes instead of %d; ask the registry's operator to check it", total, size)
	}
	if err != nil {
		resp.Body.Close()
	}
	return err
}

var contentRange = regexp.MustCompile(`^bytes (\d+)-(\d+)/(\d+)$`)

// parseContentRange reads where the bytes of an answer begin and end, and how many there are in all.
func parseContentRange(header string) (from, to, total int64, ok bool) {
	m := contentRange.FindStringSubmatch(header)
	if m == nil {
		return 0, 0, 0, false
	}
	from, fromErr := strconv.ParseInt(m[1], 10, 64)
	to, toErr := strconv.ParseInt(m[2], 10, 64)
	total, totalErr := strconv.ParseInt(m[3], 10, 64)
	return from, to, total, fromErr == nil && toErr == nil && totalErr == nil
}

type stream struct {
	lively
	body io.Closer
	ctx  context.Context
	stop func()
}

// Read tells of a stall by its name, whatever the transport makes of it.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.lively.Read(p)
	if cause := context.Cause(s.ctx); err != nil && errors.Is(cause, errStalled) {
		err = cause
	}
	return n, err
}

func (s *stream) Close() error {
	s.stop()
	return s.body.Close()
}

// lively tells of every read that moved bytes.
type lively struct {
	r     io.Reader
	alive func(n int)
}

func (l *lively) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if n > 0 {
		l.alive(n)
	}
	return n, err
}

var errStalled = errors.New("no byte moved")

// withStall returns a context that ends when alive has not been called for limit.
func withStall(ctx context.Context, limit time.Duration) (_ context.Context, alive, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("%w for %s", errStalled, limit)) })
	return ctx, func() { timer.Reset(limit) }, func() { timer.Stop(); cancel(nil) }
}

// retryStore reports whether a transfer may be tried again with the same or a fresh request.
func retryStore(err error) bool {
	var e *storeError
	if errors.As(err, &e) {
		return e.expired() || e.transient() || e.Code == "NoSuchUpload"
	}
	return errors.Is(err, errSilent) || errors.Is(err, errStalled)
}

// gaveUp turns the last error of a transfer into one that says what to do; again is that where another try may help.
func gaveUp(path string, err error, again string) error {
	var e *storeError
	switch {
	case errors.As(err, &e) && e.expired():
		return ballast.Errorf(ballast.CodeUnavailable, "%q: %s; %s", path, e.Error(), e.why)
	case errors.As(err, &e) && e.absent():
		return ballast.Errorf(ballast.CodeIntegrity, "%q: the object store does not have it (%s); tell the registry's operator", path, e.Error())
	case errors.As(err, &e) || errors.Is(err, errSilent) || errors.Is(err, errStalled):
		return ballast.Errorf(ballast.CodeUnavailable, "%q: %s; %s", path, err.Error(), again).Because(err)
	}
	return about(path, err)
}

// about puts a file's path in front of an Error's detail.
func about(path string, err error) error {
	var e *ballast.Error
	if errors.As(err, &e) && strings.HasPrefix(e.Detail, strconv.Quote(path)) {
		return err
	}
	return before(strconv.Quote(path)+": ", err)
}

// before puts text in front of an Error's detail; another error stays as it is.
func before(text string, err error) error {
	var e *ballast.Error
	if !errors.As(err, &e) {
		return err
	}
	more := *e
	more.Detail = text + e.Detail
	return &more
}
