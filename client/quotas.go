package client

import (
	"context"
	"iter"
	"net/http"

	"github.com/ballast-registry/ballast"
)

// Quota returns the quota that holds for a scope, or for ballast.EveryTenant that has none of its own, and what is used of
// it. Errors: not_found for a scope that the token does not read.
func (c *Client) Quota(ctx context.Context, scope string) (ballast.QuotaInfo, error) {
	return fetch[ballast.QuotaInfo](ctx, c, call{method: http.MethodGet, path: quotaPath(scope)})
}

// Quotas lists the quotas that the token sees: an admin of global those of all scopes.
func (c *Client) Quotas(ctx context.Context) iter.Seq2[ballast.QuotaInfo, error] {
	return list(ctx, c, "/v1/admin/quotas", nil, func(p ballast.QuotasPage) ([]ballast.QuotaInfo, string) { return p.Quotas, p.Cursor })
}

// SetQuota sets the quota of a scope in the place of the one that it had, which takes an admin of global.
func (c *Client) SetQuota(ctx context.Context, scope string, q ballast.Quota) (ballast.QuotaInfo, error) {
	return fetch[ballast.QuotaInfo](ctx, c, call{method: http.MethodPut, path: quotaPath(scope), in: q})
}

// UnsetQuota removes the quota of a scope, which takes an admin of global; an absent one is success.
func (c *Client) UnsetQuota(ctx context.Context, scope string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: quotaPath(scope)})
	return err
}

func quotaPath(scope string) string { return "/v1/admin/quotas/" + escape(scope) }
