package engine

import (
	"cmp"
	"context"
	"slices"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// Quota returns the quota that holds for a scope, and what is used of it; of a zero scope, that of every tenant without its
// own, which an admin of global sees. Errors: not_found, denied.
func (e *Engine) Quota(ctx context.Context, p Principal, scope ballast.Scope) (ballast.QuotaInfo, error) {
	if err := p.seesQuota(scope); err != nil {
		return ballast.QuotaInfo{}, err
	}
	return e.quota(ctx, scope)
}

func (e *Engine) quota(ctx context.Context, scope ballast.Scope) (ballast.QuotaInfo, error) {
	q, err := e.index.Quota(ctx, scope)
	return showQuota(q), err
}

func showQuota(q index.ScopeQuota) ballast.QuotaInfo {
	info := ballast.QuotaInfo{Scope: ballast.EveryTenant, Quota: q.Limits, Source: q.Source, SetBy: q.SetBy, SetAt: q.SetAt}
	if !q.Scope.IsZero() {
		info.Scope, info.Usage = q.Scope.String(), &q.Usage
	}
	return info
}

// seesQuota lets an admin of global see all, and readers the scopes that they read: all of a scope, whose usage tells of
// every name.
func (p Principal) seesQuota(scope ballast.Scope) error {
	switch {
	case p.administersGlobal():
		return nil
	case scope.IsZero():
		return ballast.Errorf(ballast.CodeDenied, "the quota of every tenant is shown to an admin of global; ask for that of a scope, which tells whether it holds there")
	}
	return p.need(scope, ballast.Name{}, ballast.Reader)
}

// Quotas lists the scopes that have a quota or use something: to an admin of global all of them, by name behind that of every
// tenant; to anybody else the ones that were granted, in the order of the grants.
func (e *Engine) Quotas(ctx context.Context, p Principal, limit int, cursor string) (page ballast.QuotasPage, err error) {
	page.Quotas = []ballast.QuotaInfo{}
	after, err := decodeCursor(cursor)
	if err != nil {
		return page, err
	}
	if !p.administersGlobal() {
		var seen []ballast.Scope // at most ballast.MaxGrants, on one page
		for _, g := range p.Grants {
			if slices.Contains(seen, g.Scope) || p.Role(g.Scope) < ballast.Reader {
				continue
			}
			seen = append(seen, g.Scope)
			q, err := e.quota(ctx, g.Scope)
			if err != nil {
				return page, err
			}
			page.Quotas = append(page.Quotas, q)
		}
		return page, nil
	}
	found, next, err := e.index.Quotas(ctx, after, limit)
	if err != nil {
		return page, err
	}
	for _, q := range found {
		page.Quotas = append(page.Quotas, showQuota(q))
	}
	page.Cursor = encodeCursor(next)
	return page, nil
}

// SetQuota sets the quota of a scope, or of every tenant without its own when that is zero, in the place of the one that it
// had. It takes an admin of global. One below what is used removes nothing and lets nothing new in. Errors: denied, invalid.
func (e *Engine) SetQuota(ctx context.Context, p Principal, scope ballast.Scope, q ballast.Quota) (ballast.QuotaInfo, error) {
	if err := cmp.Or(q.Check(), e.maySetQuotas(p)); err != nil {
		return ballast.QuotaInfo{}, err
	}
	if err := e.index.SetQuota(ctx, scope, q, p.By()); err != nil {
		return ballast.QuotaInfo{}, err
	}
	e.quotaChanged(scope)
	return e.quota(ctx, scope)
}

// UnsetQuota removes the quota of a scope; a tenant then has that of every tenant. It takes an admin of global. An absent one
// is success. Errors: denied.
func (e *Engine) UnsetQuota(ctx context.Context, p Principal, scope ballast.Scope) error {
	if err := e.maySetQuotas(p); err != nil {
		return err
	}
	err := e.index.UnsetQuota(ctx, scope, p.By())
	if err == nil {
		e.quotaChanged(scope)
	}
	return err
}

// quotaChanged tells those who hear of a scope's quota; that of every tenant is told of in global.
func (e *Engine) quotaChanged(scope ballast.Scope) { e.changed.notify(cmp.Or(scope, ballast.Global)) }

func (e *Engine) maySetQuotas(p Principal) error {
	if !p.administersGlobal() {
		return ballast.Errorf(ballast.CodeDenied, "setting a quota takes the role admin in global; ask an operator of the registry")
	}
	return e.owner.verdict()
}
