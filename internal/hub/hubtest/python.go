// Package hubtest sends what the Python package huggingface_hub sends, in its order, and reads the answers by its rules:
// where an answer lacks what that client needs, or would send it astray, it says so.
//
// The rules are those of huggingface_hub 1.x, and where an older release reads otherwise, of both.
package hubtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Python is one client. Its methods may be called from any goroutine.
type Python struct {
	Endpoint string // without a "/" at its end
	Token    string // "" is none
	Agent    string // "" is that of a current release

	mu   sync.Mutex
	sent []string
}

// Sent returns the requests so far, each "METHOD path", without those to the store.
func (c *Python) Sent() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.sent...)
}

// Refused is an error answer by the name of the exception that it raises.
type Refused struct {
	Exception string // "RepositoryNotFoundError", …; "HfHubHTTPError" for any other
	Status    int
	Message   string
	Commit    string // of EntryNotFound: with it the client need not ask again
}

// Error is the exception with what the user reads.
func (e *Refused) Error() string { return fmt.Sprintf("%s: %d: %s", e.Exception, e.Status, e.Message) }

var exceptions = map[string]string{
	"RepoNotFound": "RepositoryNotFoundError", "RevisionNotFound": "RevisionNotFoundError",
	"EntryNotFound": "RemoteEntryNotFoundError", "GatedRepo": "GatedRepoError",
}

// refused reads an error answer.
func refused(resp *http.Response) error {
	e := &Refused{Exception: "HfHubHTTPError", Status: resp.StatusCode, Commit: resp.Header.Get("X-Repo-Commit")}
	var body struct {
		Error string `json:"error"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&body) // HEAD has no body
	if e.Message = resp.Header.Get("X-Error-Message"); !strings.Contains(e.Message, body.Error) {
		e.Message = body.Error
	}
	if name := exceptions[resp.Header.Get("X-Error-Code")]; name != "" {
		e.Exception = name
	}
	if e.Message == "" {
		return errors.Join(e, errors.New("hubtest: the user reads no reason"))
	}
	return e
}

// send sends one request and follows no redirect.
func (c *Python) send(ctx context.Context, method, to string, body io.Reader, headers ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, to, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.Agent)
	if c.Agent == "" {
		req.Header.Set("User-Agent", "unknown/None; hf_hub/1.29.0; python/3.13.1")
	}
	req.Header.Set("X-Amzn-Trace-Id", "01234567-89ab-cdef-0123-456789abcdef")
	if strings.HasPrefix(to, c.Endpoint+"/") {
		c.mu.Lock()
		c.sent = append(c.sent, method+" "+req.URL.RequestURI())
		c.mu.Unlock()
		if c.Token != "" {
			req.Header.Set("Authorization", "Bearer "+c.Token)
		}
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return http.DefaultTransport.RoundTrip(req)
}

// getJSON reads an answer of the API into v and returns the link to the next page.
func (c *Python) getJSON(ctx context.Context, method, to string, body io.Reader, v any) (next string, err error) {
	resp, err := c.send(ctx, method, to, body, "Content-Type", "application/x-www-form-urlencoded")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= http.StatusBadRequest:
		return "", refused(resp)
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("hubtest: %s answers %d", to, resp.StatusCode)
	case v == nil:
		return "", nil
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return "", fmt.Errorf("hubtest: %s: %w", to, err)
	}
	return nextPage(resp)
}

var linkPattern = regexp.MustCompile(`^<(https?://[^>]+)>; +rel="next"$`)

// nextPage is the link of a page to the one after it. The JavaScript client takes an absolute one only.
func nextPage(resp *http.Response) (string, error) {
	link := resp.Header.Get("Link")
	if link == "" {
		return "", nil
	}
	m := linkPattern.FindStringSubmatch(link)
	if m == nil {
		return "", fmt.Errorf("hubtest: the link %q is no absolute one", link)
	}
	return m[1], nil
}

func pages[T any](ctx context.Context, c *Python, to string) (all []T, err error) {
	for to != "" {
		if !strings.HasPrefix(to, c.Endpoint+"/") {
			return nil, fmt.Errorf("hubtest: the next page is elsewhere, at %s", to)
		}
		var page []T
		if to, err = c.getJSON(ctx, http.MethodGet, to, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page...)
	}
	return all, nil
}

// quote is Python's quote(s, safe=safe).
func quote(s, safe string) string {
	escaped := strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	if safe == "/" {
		escaped = strings.ReplaceAll(escaped, "%2F", "/")
	}
	return escaped
}

// Metadata is what hf_hub_download learns of a file before it fetches it.
type Metadata struct {
	Commit, ETag, Location string
	Size                   int64
}

var commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)

// Metadata asks for a file as get_hf_file_metadata does: HEAD, whose answer is final unless it redirects within the host.
func (c *Python) Metadata(ctx context.Context, repo, revision, path string) (m Metadata, err error) {
	to := c.Endpoint + "/" + repo + "/resolve/" + quote(revision, "") + "/" + quote(path, "/")
	resp, err := c.send(ctx, http.MethodHead, to, nil, "Accept-Encoding", "identity")
	if err != nil {
		return m, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return m, refused(resp)
	}
	h := resp.Header
	for _, name := range []string{"X-Xet-Hash", "X-Xet-Refresh-Route"} {
		if h.Get(name) != "" {
			return m, fmt.Errorf("hubtest: %s sends the client to Xet", name)
		}
	}
	m.Commit, m.Location = h.Get("X-Repo-Commit"), h.Get("Location")
	if m.Location == "" {
		m.Location = to
	}
	etag := h.Get("X-Linked-Etag")
	if etag == "" {
		etag = h.Get("ETag")
	}
	m.ETag = strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)
	size := h.Get("X-Linked-Size")
	if size == "" && resp.StatusCode < http.StatusMultipleChoices {
		size = h.Get("Content-Length")
	}
	m.Size, err = strconv.ParseInt(size, 10, 64)
	switch {
	case err != nil:
		return m, fmt.Errorf("hubtest: FileMetadataError: the size %q is none", size)
	case !commitPattern.MatchString(m.Commit):
		return m, fmt.Errorf("hubtest: FileMetadataError: %q is no commit", m.Commit)
	case m.ETag == "" || strings.ContainsAny(m.ETag, `/\"`):
		return m, fmt.Errorf("hubtest: FileMetadataError: %q cannot name a file of the cache", m.ETag)
	case m.Size != resp.ContentLength && resp.StatusCode == http.StatusOK: // older releases read that one
		return m, fmt.Errorf("hubtest: Content-Length is %d and X-Linked-Size %d", resp.ContentLength, m.Size)
	case h.Get("Content-Encoding") != "":
		return m, errors.New("hubtest: the answer is encoded")
	case m.Size > 50_000_000_000:
		return m, fmt.Errorf("hubtest: ValueError: over 50 GB without Xet; the service says: %s", h.Get("X-HF-Warning"))
	}
	return m, nil
}
