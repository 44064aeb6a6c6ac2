package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
)

// Limits of one call to the registry.
const (
	callTimeout = 60 * time.Second // of one try, over and above what the call waits for
	maxAnswer   = 64 << 20         // bytes of an answer
	maxPause    = 30 * time.Second // between two tries, even if the registry asks for more
	maxLimited  = 5 * time.Minute  // for which a call goes on although it is rate_limited
)

// call is one request to the registry.
type call struct {
	method string
	path   string // escaped
	query  url.Values
	header map[string]string
	in     any           // sent as JSON
	wait   time.Duration // how long the registry may hold the answer
	// once marks a call whose repetition after an unknown outcome would do something else than the first; it is sent
	// again only when the registry said that it did nothing.
	once   bool
	public bool // sent without the token
	tries  int  // instead of the client's
	sent   *Token
}

// answer is a 2xx response, or a 3xx whose location the caller wants.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// fetch makes a call and decodes its answer.
func fetch[T any](ctx context.Context, c *Client, call call) (out T, err error) {
	a, err := c.do(ctx, call)
	if err != nil {
		return out, err
	}
	return decode[T](c, a)
}

func decode[T any](c *Client, a answer) (out T, err error) {
	if err := json.Unmarshal(a.body, &out); err != nil {
		return out, ballast.Errorf(ballast.CodeUnavailable, "%s answered what no registry answers: check the URL, and that nothing stands between that changes answers", c.base).Because(err)
	}
	return out, nil
}

// do makes a call, again while the answer is to try again.
func (c *Client) do(ctx context.Context, call call) (answer, error) {
	tries, limitedFor := cmp.Or(call.tries, c.tries), c.limitedFor
	if call.tries > 0 {
		limitedFor = 0
	}
	begun := time.Now()
	call.sent = new(Token)
	renewed := false
	unknown := false // whether a try that got no answer may have done its work
	for try, sent := 1, 1; ; sent++ {
		a, err := c.send(ctx, call)
		if err == nil {
			return a, nil
		}
		e := ballast.AsError(err)
		if e.Code == ballast.CodeUnauthenticated && !renewed && c.renews(ctx, *call.sent) {
			renewed = true
			continue
		}
		if e.Code == ballast.CodeNotFound && call.method == http.MethodDelete && unknown {
			return answer{status: http.StatusNoContent}, nil // the lost try removed it
		}
		// One of many who share a limit may come too late time after time, and the registry is well: that is no try.
		patient := e.Code == ballast.CodeRateLimited && time.Since(begun) < limitedFor
		if ctx.Err() != nil || try >= tries && !patient || !repeatable(e, call.once) {
			return answer{}, err
		}
		if !patient {
			try++
		}
		unknown = unknown || e.Status == 0
		c.log.InfoContext(ctx, "the registry is asked again", attrCall, call.method+" "+call.path, attrTry, sent, attrError, err)
		if err := c.backoff(ctx, sent, e.Retry()); err != nil {
			return answer{}, err
		}
	}
}

// renews reports whether there is another token by now than the one that was refused: a file's is replaced before it ends.
func (c *Client) renews(ctx context.Context, refused Token) bool {
	token, err := c.token(ctx)
	return err == nil && token != refused && refused != ""
}

// repeatable reports whether the same call may succeed later, and may be sent again to find out.
func repeatable(e *ballast.Error, once bool) bool {
	switch e.Code {
	case ballast.CodeRateLimited, ballast.CodeBusy:
		return true
	case ballast.CodeUnavailable:
		return !once
	}
	return false
}

// backoff waits before the try after number try: a little more than the other side asked for, else about twice as long
// as before. The jitter keeps clients which failed together from returning together.
func (c *Client) backoff(ctx context.Context, try int, asked time.Duration) error {
	if asked > 0 {
		return sleep(ctx, min(asked, maxPause)+rand.N(min(asked, maxPause)/4+time.Millisecond))
	}
	d := min(c.pause<<min(try-1, 16), maxPause)
	return sleep(ctx, d/2+rand.N(d/2+1))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// send makes one try.
func (c *Client) send(ctx context.Context, call call) (answer, error) {
	limited, cancel := context.WithTimeout(ctx, callTimeout+call.wait)
	defer cancel()
	req, err := c.request(limited, call)
	if err != nil {
		return answer{}, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, c.noAnswer(ctx, err)
	}
	defer resp.Body.Close()
	c.clock.registrySays(dateOf(resp.Header))
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer{}, c.noAnswer(ctx, err)
	}
	switch {
	case len(body) > maxAnswer:
		return answer{}, ballast.Errorf(ballast.CodeUnavailable, "%s answered with more than %d bytes: check the URL", c.base, maxAnswer)
	case resp.StatusCode < 400:
		return answer{resp.StatusCode, resp.Header, body}, c.checkRedirect(call, resp)
	}
	return answer{}, c.problem(call, resp, body)
}

func (c *Client) request(ctx context.Context, call call) (*http.Request, error) {
	target := c.base + call.path
	if len(call.query) > 0 {
		target += "?" + call.query.Encode()
	}
	var body io.Reader
	if call.in != nil {
		b, err := json.Marshal(call.in)
		if err != nil {
			return nil, ballast.Errorf(ballast.CodeInvalid, "request %s: not JSON", call.path).Because(err)
		}
		if len(b) > ballast.MaxBodyBytes {
			return nil, ballast.Errorf(ballast.CodeTooLarge, "request %s: %d bytes, at most %d", call.path, len(b), ballast.MaxBodyBytes)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, call.method, target, body)
	if err != nil {
		return nil, ballast.Errorf(ballast.CodeInvalid, "request %s: %w", call.path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	if c.userAgent != "" {
		req.Header.Set("User-Agent", c.userAgent)
	}
	for k, v := range call.header {
		req.Header.Set(k, v)
	}
	return req, c.authorize(ctx, req, call)
}

func (c *Client) authorize(ctx context.Context, req *http.Request, call call) error {
	if call.public {
		return nil
	}
	token, err := c.token(ctx)
	if call.sent != nil {
		*call.sent = token
	}
	if err == nil && token != "" {
		req.Header.Set("Authorization", "Bearer "+string(token))
	}
	return err
}

// noAnswer turns a failed exchange into an Error, unless the caller gave up.
func (c *Client) noAnswer(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	hint := "check the URL, the network and that the registry runs"
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		hint = "if it is yours, name the file with its authority's certificate in SSL_CERT_FILE"
	} else if strings.Contains(err.Error(), "HTTP response to HTTPS client") {
		hint = "the registry speaks plain HTTP: write http:// instead of https://"
	}
	return ballast.Errorf(ballast.CodeUnavailable, "no answer from %s: %w; %s", c.base, bare(err), hint)
}

// bare strips the URL that net/http puts around an error: of a signed request it is a credential.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// checkRedirect refuses a redirect of a call that expects none: such a URL is not the registry's own.
func (c *Client) checkRedirect(call call, resp *http.Response) error {
	if resp.StatusCode < 300 || call.method == http.MethodGet && strings.Contains(call.path, "/files/") {
		return nil
	}
	where := "elsewhere"
	if u, err := resp.Location(); err == nil {
		where = fmt.Sprintf("to %s://%s", u.Scheme, u.Host)
	}
	return ballast.Errorf(ballast.CodeInvalid, "%s redirects %s; use the registry's own URL", c.base, where)
}

// problem reads an error answer. An answer that is no registry's gets the code that fits its status.
func (c *Client) problem(call call, resp *http.Response, body []byte) *ballast.Error {
	e := &ballast.Error{}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case bytes.HasPrefix(body, []byte("Client sent an HTTP request to an HTTPS server")): // as net/http puts it
		e = ballast.Errorf(ballast.CodeInvalid, "%s speaks HTTPS: write https:// instead of http://", c.base)
	case kind != "application/problem+json" || json.Unmarshal(body, e) != nil || e.Code == "":
		e = ballast.Errorf(codeOfStatus(resp.StatusCode), "%s %s%s answered %d %s without saying why; check the URL and what stands between",
			call.method, c.base, call.path, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	e.Status = resp.StatusCode
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil && e.RetryAfter == 0 {
		e.RetryAfter = float64(s)
	}
	return e
}

// codeOfStatus is the code of an answer that is no registry's. A 404 or 410 of something else says nothing of a model,
// so it is a wrong URL and never not_found, on which scripts publish and removals end well.
func codeOfStatus(status int) ballast.Code {
	switch status {
	case http.StatusUnauthorized:
		return ballast.CodeUnauthenticated
	case http.StatusForbidden:
		return ballast.CodeDenied
	case http.StatusConflict:
		return ballast.CodeConflict
	case http.StatusPreconditionFailed:
		return ballast.CodePrecondition
	case http.StatusRequestEntityTooLarge:
		return ballast.CodeTooLarge
	case http.StatusTooManyRequests:
		return ballast.CodeRateLimited
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return ballast.CodeUnavailable
	}
	if status >= 500 {
		return ballast.CodeInternal
	}
	return ballast.CodeInvalid
}

// dontHurry sleeps a second when a long poll that was asked took less: something between cut its wait short.
func dontHurry(ctx context.Context, asked time.Time) error {
	if time.Since(asked) >= time.Second {
		return nil
	}
	return sleep(ctx, time.Second)
}
