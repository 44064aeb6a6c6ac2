package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/ballast-registry/ballast"
)

const fsckPath = "/v1/admin/fsck"

// StartFsck begins a check of the whole registry, which takes an admin of global. One that runs and was asked for the same is
// the answer. Errors: conflict while another runs.
func (c *Client) StartFsck(ctx context.Context, want ballast.StartFsck) (ballast.Fsck, error) {
	return fetch[ballast.Fsck](ctx, c, call{method: http.MethodPost, path: fsckPath, in: want})
}

// Fsck returns the last check, or the one that runs, without its findings. With wait > 0 the registry holds the answer that
// long at most while it runs.
func (c *Client) Fsck(ctx context.Context, wait time.Duration) (ballast.Fsck, error) {
	q := url.Values{"limit": {"1"}}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	run, err := fetch[ballast.Fsck](ctx, c, call{method: http.MethodGet, path: fsckPath, query: q, wait: wait})
	run.Findings, run.Cursor = nil, ""
	return run, err
}

// Findings lists what the last check found, as many as the registry keeps.
func (c *Client) Findings(ctx context.Context) iter.Seq2[ballast.Finding, error] {
	return list(ctx, c, fsckPath, nil, func(p ballast.Fsck) ([]ballast.Finding, string) { return p.Findings, p.Cursor })
}
