package hf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// Limits of one request to an endpoint.
const (
	maxHops   = 5 // redirects that are followed
	maxAnswer = 64 << 20
	maxTries  = 6 // of a call about the repository
	maxPause  = 30 * time.Second
)

func quote(s string) string { return strconv.Quote(s[:min(len(s), 200)]) }

// noHub says that an answer is none of an endpoint's.
func (h *Origin) noHub(why string) *ballast.Error {
	return ballast.Errorf(ballast.CodeUnavailable, "%s does not answer as Hugging Face does: %s; check HF_ENDPOINT, and what stands between", h.endpoint, why)
}

// send makes a request and follows its redirects. The token goes to the endpoint's own scheme, host and port alone. It
// returns the last answer, which is no redirect, and the header of the first one that has no relative Location: it is the
// endpoint that speaks there of the file, whatever serves the bytes.
func (h *Origin) send(ctx context.Context, at *url.URL, header http.Header) (*http.Response, http.Header, error) {
	var own http.Header
	for range maxHops + 1 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
		if err != nil {
			return nil, nil, h.noHub("it redirects to no URL")
		}
		for name, values := range header {
			req.Header[name] = values
		}
		if h.agent != "" {
			req.Header.Set("User-Agent", h.agent)
		}
		if h.isOwn(at) {
			req.Header.Set("Cache-Control", "no-cache") // each file is opened once: when again, its last URL was refused or broke
			if h.token != "" {
				req.Header.Set("Authorization", "Bearer "+string(h.token))
			}
		}
		resp, err := h.http.Do(req)
		if err != nil {
			return nil, nil, silent(ctx, at.Host, err)
		}
		next, err := h.redirect(at, resp)
		if own == nil && (next == nil || !h.isOwn(next)) {
			own = resp.Header
		}
		if err != nil || next == nil {
			if err != nil {
				_ = resp.Body.Close()
			}
			return resp, own, err
		}
		_ = resp.Body.Close()
		at = next
	}
	return nil, nil, h.noHub(fmt.Sprintf("it redirects more than %d times", maxHops))
}

// redirect is where an answer sends on to; nil when it does not.
func (h *Origin) redirect(from *url.URL, resp *http.Response) (*url.URL, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	next, err := resp.Location()
	switch {
	case err != nil || next.Scheme != "http" && next.Scheme != "https" || next.Host == "":
		return nil, h.noHub("it redirects to no URL")
	case from.Scheme == "https" && next.Scheme == "http":
		return nil, h.noHub("it redirects from HTTPS to plain HTTP, at " + next.Host)
	}
	return next, nil
}

func (h *Origin) isOwn(u *url.URL) bool {
	return u.Scheme == h.endpoint.Scheme && strings.EqualFold(u.Host, h.endpoint.Host)
}

// silent is why there was no answer. It has no URL, which may be signed.
func silent(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	return ballast.Errorf(ballast.CodeUnavailable, "no answer from %s: %w", host, err)
}

// getJSON makes a call about the repository, again while the answer is to try again.
func (h *Origin) getJSON(ctx context.Context, at *url.URL, out any) (http.Header, error) {
	for try := 1; ; try++ {
		header, err := h.tryJSON(ctx, at, out)
		e := ballast.AsError(err)
		if err == nil || ctx.Err() != nil || try == maxTries || e.Code != ballast.CodeUnavailable && e.Code != ballast.CodeRateLimited {
			return header, err
		}
		h.log.InfoContext(ctx, "the endpoint is asked again", "try", try, "error", err)
		pause := min(h.pause<<(try-1), maxPause)
		if asked := e.Retry(); asked > 0 {
			pause = min(asked, maxPause)
		}
		timer := time.NewTimer(pause + rand.N(pause/4+time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		case <-timer.C:
		}
	}
}

func (h *Origin) tryJSON(ctx context.Context, at *url.URL, out any) (http.Header, error) {
	resp, own, err := h.send(ctx, at, http.Header{"Accept": {"application/json"}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, h.refusal(resp, own, "")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, silent(ctx, at.Host, err)
	case len(body) > maxAnswer:
		return nil, h.noHub(fmt.Sprintf("an answer of over %d bytes", maxAnswer))
	case json.Unmarshal(body, out) != nil:
		return nil, h.noHub("it answers no JSON")
	}
	return resp.Header, nil
}

// refusal is an answer other than success, in the words of whoever answered. own is the header of the endpoint's own answer.
func (h *Origin) refusal(resp *http.Response, own http.Header, path string) error {
	defer resp.Body.Close()
	words := wordsOf(resp)
	e := ballast.Errorf(codeOf(resp, h.isOwn(resp.Request.URL)), "%s: %s", h.subject(path), words)
	e.Status = resp.StatusCode
	if n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = float64(n)
	}
	switch {
	case !h.isOwn(resp.Request.URL):
		e.Detail = fmt.Sprintf("%s: %s, which serves its bytes, answered %d: %s", h.subject(path), resp.Request.URL.Host, resp.StatusCode, words)
	case h.token == "" && (e.Code == ballast.CodeUnauthenticated || e.Code == ballast.CodeDenied || own.Get("X-Error-Code") == "RepoNotFound"):
		e.Detail += "; if it is not open to everybody, set HF_TOKEN"
	case e.Code == ballast.CodeUnauthenticated:
		e.Detail += "; look at HF_TOKEN, or at the file that `hf auth login` wrote"
	}
	return e
}

// subject is what an answer is about: a file, or the repository.
func (h *Origin) subject(path string) string {
	if path != "" {
		return fmt.Sprintf("%q: %s", path, h)
	}
	return h.String()
}

// codeOf is what the status of an answer means. One of whoever serves the bytes decides nothing: a fresh address may do.
func codeOf(resp *http.Response, own bool) ballast.Code {
	switch s := resp.StatusCode; {
	case !own:
		return ballast.CodeUnavailable
	case s == http.StatusUnauthorized && resp.Header.Get("X-Error-Code") == "RepoNotFound", s == http.StatusNotFound:
		return ballast.CodeNotFound
	case s == http.StatusUnauthorized:
		return ballast.CodeUnauthenticated
	case s == http.StatusForbidden:
		return ballast.CodeDenied
	case s == http.StatusGone:
		return ballast.CodeRetired
	case s == http.StatusTooManyRequests:
		return ballast.CodeRateLimited
	case s >= 500 && s != http.StatusNotImplemented, s == http.StatusRequestTimeout:
		return ballast.CodeUnavailable
	}
	return ballast.CodePrecondition
}

// wordsOf is what an answer says: a header, or a field of its JSON, else its status.
func wordsOf(resp *http.Response) string {
	var body struct {
		Error any `json:"error"`
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = json.Unmarshal(b, &body)
	text, _ := body.Error.(string)
	if text == "" {
		text = resp.Header.Get("X-Error-Message")
	}
	if text = strings.TrimSpace(text); text == "" {
		return fmt.Sprintf("it answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return text[:min(len(text), 1000)]
}

// openAt opens a range of a file, and holds the answers to what the listing said.
func (h *Origin) openAt(ctx context.Context, at *url.URL, f client.OriginFile, offset, length int64) (io.ReadCloser, error) {
	header := http.Header{"Accept-Encoding": {"identity"}}
	if offset > 0 || length < f.Size {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	}
	resp, own, err := h.send(ctx, at, header)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return nil, h.refusal(resp, own, f.Path)
	}
	err = h.checkOwn(own, f)
	if err == nil {
		err = h.checkRange(resp, f, offset, length)
	}
	if err == nil && resp.StatusCode == http.StatusOK && offset > 0 { // it serves no ranges
		_, err = io.CopyN(io.Discard, resp.Body, offset)
	}
	if err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

// checkOwn refuses another commit or other contents than were listed. Endpoints that do not name them are believed until
// the bytes are there.
func (h *Origin) checkOwn(own http.Header, f client.OriginFile) error {
	etag := own.Get("X-Linked-Etag")
	if etag == "" {
		etag = own.Get("Etag")
	}
	etag = strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)
	isID := f.Digest != "" && sha256Pattern.MatchString(etag) || f.Digest == "" && sha1Pattern.MatchString(etag)
	linked, err := strconv.ParseInt(own.Get("X-Linked-Size"), 10, 64)
	switch commit := own.Get("X-Repo-Commit"); {
	case ballast.IsCommit(commit) && commit != h.commit:
		return replaced(h, f, "its commit is "+commit+" now")
	case isID && etag != f.Version:
		return replaced(h, f, "its ETag is "+etag+" now, and was listed as "+f.Version)
	case err == nil && linked != f.Size:
		return replaced(h, f, fmt.Sprintf("it has %d bytes now, and was listed with %d", linked, f.Size))
	}
	return nil
}

func replaced(h *Origin, f client.OriginFile, why string) error {
	return ballast.Errorf(ballast.CodePrecondition, "%q: %s changed while it was read: %s; import again", f.Path, h, why)
}

var contentRange = regexp.MustCompile(`^bytes (\d+)-(\d+)/(\d+)$`)

// checkRange refuses other bytes than were asked for.
func (h *Origin) checkRange(resp *http.Response, f client.OriginFile, offset, length int64) error {
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return h.noHub("it sends " + quote(f.Path) + " in another encoding, " + quote(encoding))
	}
	if resp.StatusCode == http.StatusOK {
		if resp.ContentLength >= 0 && resp.ContentLength != f.Size {
			return replaced(h, f, fmt.Sprintf("it has %d bytes now, and was listed with %d", resp.ContentLength, f.Size))
		}
		return nil
	}
	got := contentRange.FindStringSubmatch(resp.Header.Get("Content-Range"))
	want := []string{"", strconv.FormatInt(offset, 10), strconv.FormatInt(offset+length-1, 10), strconv.FormatInt(f.Size, 10)}
	switch {
	case got == nil || got[1] != want[1] || got[2] != want[2] && got[3] == want[3]:
		return h.noHub("it sends another range of " + quote(f.Path) + " than it was asked for")
	case got[3] != want[3]:
		return replaced(h, f, fmt.Sprintf("it has %s bytes now, and was listed with %s", got[3], want[3]))
	}
	return nil
}
