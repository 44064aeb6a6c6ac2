package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/ballast-registry/ballast"
)

// StartGC starts a run of gc, or returns the one that is under way; it takes an admin of global. Errors: conflict when the
// one under way is a dry run and this is none, or the other way round.
func (c *Client) StartGC(ctx context.Context, req ballast.GCRequest) (ballast.GCRun, error) {
	return fetch[ballast.GCRun](ctx, c, call{method: http.MethodPost, path: "/v1/admin/gc", in: req})
}

// GC returns the run of gc that is under way, or the last one; wait holds the answer while it runs.
func (c *Client) GC(ctx context.Context, wait time.Duration) (ballast.GCRun, error) {
	q := url.Values{}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	return fetch[ballast.GCRun](ctx, c, call{method: http.MethodGet, path: "/v1/admin/gc", query: q, wait: wait})
}
