package index

import (
	"context"
	"errors"
	"slices"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Quota is the stored form of a quota.
type Quota struct {
	Limits ballast.Quota `json:"limits"`
	SetBy  string        `json:"set_by"`
	SetAt  ballast.Time  `json:"set_at"`
}

// quotaKey is of a scope, or of every tenant without its own when that is zero.
func quotaKey(scope ballast.Scope) []byte {
	if scope.IsZero() {
		return key(kindQuota, ballast.EveryTenant)
	}
	return key(kindQuota, scope.String())
}

// quotaFor is the quota that holds for a scope: its own, or for a tenant that of all.
func quotaFor(tx Tx, scope ballast.Scope) (q Quota, err error) {
	q, _, err = quotaAndSource(tx, scope)
	return q, err
}

func quotaAndSource(tx Tx, scope ballast.Scope) (q Quota, from ballast.QuotaSource, err error) {
	q, own, err := lookup[Quota](tx, quotaKey(scope))
	if err != nil || own {
		return q, ballast.QuotaOwn, err
	}
	if scope == ballast.Global || scope.IsZero() {
		return q, ballast.QuotaNone, nil
	}
	q, all, err := lookup[Quota](tx, quotaKey(ballast.Scope{}))
	if err != nil || all {
		return q, ballast.QuotaDefault, err
	}
	return q, ballast.QuotaNone, nil
}

// admit closes an account, unless something in it grew past the scope's quota. Errors: quota_exceeded.
func (a *account) admit(tx Tx) error {
	if err := a.check(tx); err != nil {
		return err
	}
	return a.close(tx)
}

// check refuses what in an account grew past the scope's quota. What is over it already and does not grow is let be.
func (a *account) check(tx Tx) error {
	if a.now == a.before {
		return nil
	}
	q, err := quotaFor(tx, a.scope)
	if err != nil {
		return err
	}
	// What was reserved grows no more when it is used, and yet counts as new: the quota may have been lowered meanwhile.
	before, now := q.Limits.Bounds(a.before), q.Limits.Bounds(a.now)
	used, uses := q.Limits.Bounds(unreserved(a.before)), q.Limits.Bounds(unreserved(a.now))
	for i, b := range now {
		grows := max(b.Used-before[i].Used, uses[i].Used-used[i].Used)
		if grows > 0 && b.Used > b.Most() {
			return exceeded(a.scope, i, b, grows)
		}
	}
	return nil
}

func unreserved(u ballast.Usage) ballast.Usage {
	u.ReservedBytes, u.ReservedVersions = 0, 0
	return u
}

// sealable refuses an upload that brought bytes while the scope holds more than it may: the quota was lowered since they
// were let in.
func (a *account) sealable(tx Tx, u Upload) error {
	q, err := quotaFor(tx, a.scope)
	if err != nil || !u.Held.Brought {
		return err
	}
	b := q.Limits.Bounds(unreserved(a.now))[ballast.BoundBytes]
	if b.Used <= b.Most() {
		return nil
	}
	return exceeded(a.scope, ballast.BoundBytes, b, u.Accepted.Size)
}

// exceeded says which bound would be passed, b.Used being what it would come to with needed.
func exceeded(scope ballast.Scope, bound int, b ballast.QuotaBound, needed int64) error {
	const raise = "have an admin of global raise the quota with `ballast quota set`"
	limit, used := b.Most(), max(b.Used-needed, 0)
	switch bound {
	case ballast.BoundVersions:
		return ballast.Errorf(ballast.CodeQuotaExceeded, "scope %s may have %d versions: it has %d, with those that open uploads will make, and this needs %d more; "+
			"delete versions that nobody needs, or "+raise, scope, limit, used, needed)
	case ballast.BoundUploads:
		return ballast.Errorf(ballast.CodeQuotaExceeded, "scope %s may have %d open uploads: it has %d, and this needs %d more; wait for one to end or abort one, or "+raise,
			scope, limit, used, needed)
	case ballast.BoundUploadBytes:
		if needed > limit {
			return ballast.Errorf(ballast.CodeQuotaExceeded, "open uploads of scope %s may have %d bytes on their way, and this alone needs %d; "+raise, scope, limit, needed)
		}
		return ballast.Errorf(ballast.CodeQuotaExceeded, "open uploads of scope %s may have %d bytes on their way: they have %d, and this needs %d more; "+
			"wait for one to end or abort one, or "+raise, scope, limit, used, needed)
	}
	return ballast.Errorf(ballast.CodeQuotaExceeded, "scope %s may hold %d bytes of files: it holds %d, with those that open uploads will send, and this needs %d more; "+
		raise+"; bytes of versions that are deleted still count", scope, limit, used, needed)
}

// SetQuota sets the quota of a scope; a zero scope is every tenant without its own. One that is below what is used removes
// nothing and lets nothing new in.
func (x *Index) SetQuota(ctx context.Context, scope ballast.Scope, limits ballast.Quota, by string) error {
	return x.update(ctx, failpoint.SetQuota, func(tx Tx) error {
		old, set, err := lookup[Quota](tx, quotaKey(scope))
		if err != nil {
			return err
		}
		fields := changedBounds(old.Limits, limits)
		if set && len(fields) == 0 {
			return nil
		}
		q := Quota{limits, by, ballast.At(x.now())}
		return errors.Join(put(tx, quotaKey(scope), q), x.emitQuota(tx, scope, q.SetAt, by, fields))
	})
}

// UnsetQuota removes the quota of a scope, or of every tenant without its own; an absent one is success.
func (x *Index) UnsetQuota(ctx context.Context, scope ballast.Scope, by string) error {
	return x.update(ctx, failpoint.UnsetQuota, func(tx Tx) error {
		old, set, err := lookup[Quota](tx, quotaKey(scope))
		if err != nil || !set {
			return err
		}
		fields := changedBounds(old.Limits, ballast.Quota{})
		return errors.Join(tx.Delete(quotaKey(scope)), x.emitQuota(tx, scope, ballast.At(x.now()), by, fields))
	})
}

// emitQuota tells of a change. That of every tenant's is told in global, which everybody hears.
func (x *Index) emitQuota(tx Tx, scope ballast.Scope, at ballast.Time, by string, fields []string) error {
	e := Event{At: at, By: by, Kind: ballast.EventQuota, Scope: scope, Fields: fields}
	if scope.IsZero() {
		e.Scope, e.Fields = ballast.Global, append(fields, "every_tenant")
	}
	slices.Sort(e.Fields)
	return x.emit(tx, e)
}

// changedBounds names the bounds that two quotas set differently.
func changedBounds(a, b ballast.Quota) (fields []string) {
	to := b.Bounds(ballast.Usage{})
	for i, from := range a.Bounds(ballast.Usage{}) {
		if (from.Limit == nil) != (to[i].Limit == nil) || from.Most() != to[i].Most() {
			fields = append(fields, from.Name)
		}
	}
	return fields
}

// ScopeQuota is a scope with the quota that holds for it and what it uses.
type ScopeQuota struct {
	Scope ballast.Scope // zero: every tenant without its own
	Quota
	Source ballast.QuotaSource
	Usage  ballast.Usage
}

// Quota returns the quota that holds for a scope, and what it uses. A scope that nobody has heard of uses nothing.
func (x *Index) Quota(ctx context.Context, scope ballast.Scope) (q ScopeQuota, err error) {
	err = x.store.View(ctx, func(tx Tx) (err error) {
		q, err = scopeQuota(tx, scope)
		return err
	})
	return q, err
}

func scopeQuota(tx Tx, scope ballast.Scope) (q ScopeQuota, err error) {
	q.Scope = scope
	if q.Quota, q.Source, err = quotaAndSource(tx, scope); err != nil || scope.IsZero() {
		return q, err
	}
	q.Usage, _, err = lookup[ballast.Usage](tx, usageKey(scope))
	return q, err
}

// Quotas lists the scopes that have a quota of their own or used something ever, by name behind every tenant's, at most
// limit. next is what to pass as after for the following page, "" at the end.
func (x *Index) Quotas(ctx context.Context, after string, limit int) (page []ScopeQuota, next string, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		page, next = nil, ""
		var names []string
		for _, kind := range []byte{kindQuota, kindUsage} {
			var from []byte
			if after != "" {
				from = behind(key(kind, after))
			}
			found := 0
			for item, err := range tx.Scan([]byte{kind}, from, false) {
				if err != nil && len(item.Key) == 0 {
					return err
				}
				names = append(names, partAfter(item.Key, []byte{kind}))
				if found++; found > limit {
					break
				}
			}
		}
		slices.Sort(names)
		names = slices.Compact(names)
		if len(names) > limit {
			names, next = names[:limit], names[limit-1]
		}
		for _, name := range names {
			scope, err := quotaScope(name)
			var q ScopeQuota
			if err == nil {
				q, err = scopeQuota(tx, scope)
			}
			if err == nil {
				page = append(page, q)
			} else if err := skip(key(kindUsage, name), err); err != nil {
				return err
			}
		}
		return nil
	})
	return page, next, err
}

func quotaScope(name string) (ballast.Scope, error) {
	if name == ballast.EveryTenant {
		return ballast.Scope{}, nil
	}
	scope, err := ballast.ParseScope(name)
	if err != nil {
		return scope, badKey(key(kindUsage, name), err)
	}
	return scope, nil
}
