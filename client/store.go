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

// stallTimeout ends a transfer that moves no byte for so long.
const stallTimeout = 2 * time.Minute

// storeError is an answer of the object store other than success. It holds no URL: a signed URL is a credential.
type storeError struct {
	Status  int
	Code    string `xml:"Code"`
	Message string `xml:"Message"`
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
	return nil, e
}

// errSilent marks a transfer that ended without an answer, or in the midst of it, so that it may be tried again.
var errSilent = errors.New("no full answer from the object store")

func storeSilent(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w %s: %w", errSilent, host, bare(err))
}

// put sends size bytes of body by a signed request. Expect lets the store refuse before the bytes have travelled.
func (c *Client) put(ctx context.Context, sr ballast.SignedRequest, body io.Reader, size int64) error {
	ctx, alive, stop := withStall(ctx)
	defer stop()
	resp, err := c.roundTrip(ctx, sr, io.NopCloser(&lively{body, alive}), size, map[string]string{"Expect": "100-continue"})
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // lets the connection be used again
	return resp.Body.Close()
}

// get opens a stream at an offset. Every Read must be followed by another within stallTimeout; the caller closes it.
func (c *Client) get(ctx context.Context, sr ballast.SignedRequest, offset, size int64) (io.ReadCloser, error) {
	extra := map[string]string{"Accept-Encoding": "identity"} // or net/http would unpack an object that is a gzip file
	if offset > 0 {
		extra["Range"] = fmt.Sprintf("bytes=%d-", offset)
	}
	ctx, alive, stop := withStall(ctx)
	resp, err := c.roundTrip(ctx, sr, http.NoBody, 0, extra)
	if err == nil {
		err = checkStart(resp, offset, size)
	}
	if err != nil {
		stop()
		return nil, err
	}
	return &stream{lively{resp.Body, alive}, resp.Body, stop}, nil
}

// checkStart refuses an answer with other bytes than the asked ones, and one that says it has another size.
func checkStart(resp *http.Response, offset, size int64) (err error) {
	ranged := resp.StatusCode == http.StatusPartialContent
	switch from, total, ok := parseContentRange(resp.Header.Get("Content-Range")); {
	case offset > 0 && (!ranged || !ok || from != offset):
		err = fmt.Errorf("%w: it does not serve ranges", errSilent)
	case ranged && total != size || !ranged && resp.ContentLength >= 0 && resp.ContentLength != size:
		err = ballast.Errorf(ballast.CodeIntegrity, "the stored object has %d bytes instead of %d; ask the registry's operator to check it", max(total, resp.ContentLength), size)
	}
	if err != nil {
		resp.Body.Close()
	}
	return err
}

var contentRange = regexp.MustCompile(`^bytes (\d+)-\d+/(\d+)$`)

// parseContentRange reads where the bytes of an answer begin, and how many there are in all.
func parseContentRange(header string) (from, total int64, ok bool) {
	m := contentRange.FindStringSubmatch(header)
	if m == nil {
		return 0, 0, false
	}
	from, fromErr := strconv.ParseInt(m[1], 10, 64)
	total, totalErr := strconv.ParseInt(m[2], 10, 64)
	return from, total, fromErr == nil && totalErr == nil
}

type stream struct {
	lively
	body io.Closer
	stop func()
}

func (s *stream) Close() error {
	s.stop()
	return s.body.Close()
}

// lively tells of every read that moved bytes.
type lively struct {
	r     io.Reader
	alive func()
}

func (l *lively) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if n > 0 {
		l.alive()
	}
	return n, err
}

var errStalled = errors.New("no byte moved for two minutes")

// withStall returns a context that ends when alive has not been called for stallTimeout.
func withStall(ctx context.Context) (_ context.Context, alive, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	return ctx, func() { timer.Reset(stallTimeout) }, func() { timer.Stop(); cancel(nil) }
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
		return ballast.Errorf(ballast.CodeUnavailable, "%q: the object store refuses freshly signed requests (%s): the registry's clock, its store credentials or their rights are wrong; tell its operator", path, e.Error())
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
