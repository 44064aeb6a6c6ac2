package hubtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxRedirects is how many a download follows.
const maxRedirects = 5

// open sends a GET and follows redirects as httpx does: the token stays behind when scheme, host or port change.
func (c *Python) open(ctx context.Context, to string, headers ...string) (*http.Response, error) {
	for range maxRedirects {
		resp, err := c.send(ctx, http.MethodGet, to, nil, headers...)
		if err != nil || resp.StatusCode < 300 || resp.StatusCode > 399 {
			return resp, err
		}
		resp.Body.Close()
		from, err := url.Parse(to)
		if err != nil {
			return nil, err
		}
		next, err := from.Parse(resp.Header.Get("Location"))
		if err != nil {
			return nil, err
		}
		if next.Hostname() == from.Hostname() {
			return nil, fmt.Errorf("hubtest: %s is on the registry's own host: clients would send the token along", next.Host)
		}
		to = next.String()
	}
	return nil, fmt.Errorf("hubtest: more than %d redirects", maxRedirects)
}

// Download fetches a file as hf_hub_download does: HEAD, then GET of where that says, and a stream that breaks is
// resumed there from where it was, after which the size must be what HEAD said.
func (c *Python) Download(ctx context.Context, repo, revision, path string) ([]byte, Metadata, error) {
	m, err := c.Metadata(ctx, repo, revision, path)
	if err != nil {
		return nil, m, err
	}
	body, err := c.Resume(ctx, m, nil)
	return body, m, err
}

// resumes is how often a broken stream is taken up again without progress.
const resumes = 5

// Resume fetches what follows have, which came before the stream broke.
func (c *Python) Resume(ctx context.Context, m Metadata, have []byte) ([]byte, error) {
	for left := resumes; ; {
		rest, again, err := c.stream(ctx, m, have)
		if len(rest) > 0 {
			left = resumes
		}
		if have = append(have, rest...); err == nil || !again {
			if err == nil && int64(len(have)) != m.Size {
				err = fmt.Errorf("hubtest: %d bytes, and HEAD said %d", len(have), m.Size)
			}
			return have, err
		}
		if left--; left == 0 {
			return have, err
		}
	}
}

// stream reads what follows have; again says that the stream broke on the way.
func (c *Python) stream(ctx context.Context, m Metadata, have []byte) (rest []byte, again bool, err error) {
	headers := []string{"Accept-Encoding", "identity"}
	if len(have) > 0 {
		headers = append(headers, "Range", fmt.Sprintf("bytes=%d-", len(have)))
	}
	resp, err := c.open(ctx, m.Location, headers...)
	if err != nil {
		return nil, false, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= http.StatusBadRequest:
		return nil, false, refused(resp)
	case len(have) > 0 && resp.StatusCode != http.StatusPartialContent:
		return nil, false, fmt.Errorf("hubtest: a range is answered with %d", resp.StatusCode)
	case len(have) > 0 && !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", len(have))):
		return nil, false, fmt.Errorf("hubtest: the range from %d on is answered with %q", len(have), resp.Header.Get("Content-Range"))
	}
	var got bytes.Buffer
	_, err = io.Copy(&got, resp.Body)
	return got.Bytes(), err != nil, err
}
