package index

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Production is the stored form of what is in production under a name: at most one version.
type Production struct {
	Version ballast.Version `json:"version,omitzero"` // zero when nothing is
	Changes int64           `json:"changes"`          // number of the last Promotion
}

func promotionKey(scope ballast.Scope, name ballast.Name, number int64) []byte {
	return binary.BigEndian.AppendUint64(scopedName(kindHistory, scope, name), uint64(number))
}

// note writes what is in production now, and that it came about.
func note(tx Tx, scope ballast.Scope, name ballast.Name, p Production, how ballast.Promotion) error {
	p.Version, p.Changes = how.To, p.Changes+1
	how.Number = p.Changes
	return errors.Join(put(tx, scopedName(kindProduction, scope, name), p), put(tx, promotionKey(scope, name, how.Number), how))
}

// clearProduction notes that the version in production leaves it and nothing takes its place.
func clearProduction(tx Tx, v Version, by string, at ballast.Time) error {
	p, _, err := lookup[Production](tx, scopedName(kindProduction, v.Scope, v.Name))
	if err != nil || p.Version.Fold() != v.Version.Fold() {
		return err
	}
	return note(tx, v.Scope, v.Name, p, ballast.Promotion{Kind: ballast.Cleared, From: v.Version, By: by, At: at})
}

// Promote puts a version of the stages none, validated or staged into production, and the one that was there back to
// staged, at one time. Promoting what is in production changes nothing. Errors: not_found; retired when it, or its
// base, is not served; precondition for another revision or stage.
func (x *Index) Promote(ctx context.Context, k ballast.Key, c Change, reason string) (v Version, err error) {
	err = x.update(ctx, failpoint.Promote, func(tx Tx) error {
		if v, err = changeable(tx, k, c); err != nil {
			return err
		}
		if err := serves(tx, v); err != nil {
			return err
		}
		if v.Stage == ballast.StageProduction {
			return nil
		}
		if !v.Stage.Active() {
			return unpromotable(tx, v)
		}
		return x.intoProduction(tx, &v, ballast.Promotion{Kind: ballast.Promoted, Reason: reason, By: c.By})
	})
	return v, err
}

// unpromotable says where an archived or deprecated version can go. A rollback takes it back only if it was in production.
func unpromotable(tx Tx, v Version) error {
	back, looked := "", 0
	for item, err := range tx.Scan(scopedName(kindHistory, v.Scope, v.Name), nil, true) {
		if err != nil {
			return err
		}
		how, err := decode[ballast.Promotion](item.Key, item.Value)
		if err != nil {
			return err
		}
		if looked++; looked > maxRollback {
			break
		}
		if how.To.Fold() == v.Version.Fold() {
			back = ", or rolled back to, since it was in production"
			break
		}
	}
	return ballast.Errorf(ballast.CodePrecondition, "%s is %s and cannot be promoted; from there it can be moved to %s%s", v.Key(), v.Stage, v.Stage.Next()[0], back)
}

// serves refuses a version that the gate would refuse.
func serves(tx Tx, v Version) error {
	switch v.Status {
	case ballast.StatusReady:
		h, err := headOf(v)
		if err != nil {
			return err
		}
		base, ok, err := retiredBase(tx, h.base)
		if err == nil && ok {
			err = baseRetired(v, base)
		}
		return err
	case ballast.StatusRetired:
		return retired(v)
	}
	return ballast.Errorf(ballast.CodePrecondition, "%s is %s; only a ready version goes into production", v.Key(), v.Status)
}

// intoProduction makes v the version in production and puts the one that was there back to staged, at one time. Each of
// the two has its event.
func (x *Index) intoProduction(tx Tx, v *Version, how ballast.Promotion) error {
	p, _, err := lookup[Production](tx, scopedName(kindProduction, v.Scope, v.Name))
	if err != nil {
		return err
	}
	how.From, how.To, how.At = p.Version, v.Version, ballast.At(x.now())
	if !p.Version.IsZero() {
		if err := x.demote(tx, v.Scope, v.Name, p.Version, how); err != nil {
			return err
		}
	}
	before := v.Revision
	if err := setStage(tx, v, ballast.StageProduction); err != nil {
		return err
	}
	kind := ballast.EventPromoted
	if how.Kind == ballast.RolledBack {
		kind = ballast.EventRolledBack
	}
	return errors.Join(
		touch(tx, v, how.At),
		note(tx, v.Scope, v.Name, p, how),
		x.emit(tx, Event{At: how.At, By: how.By, Kind: kind, Scope: v.Scope, Name: v.Name, Version: v.Version, From: how.From, Before: before, After: v.Revision, Fields: []string{"stage"}}),
	)
}

// demote puts the version in production back to staged.
func (x *Index) demote(tx Tx, scope ballast.Scope, name ballast.Name, version ballast.Version, how ballast.Promotion) error {
	v, err := getVersion(tx, scope, name, version)
	if err != nil {
		return err
	}
	before := v.Revision
	if err := setStage(tx, &v, ballast.StageStaged); err != nil {
		return err
	}
	return errors.Join(
		touch(tx, &v, how.At),
		x.emit(tx, Event{At: how.At, By: how.By, Kind: ballast.EventChanged, Scope: v.Scope, Name: v.Name, Version: v.Version, Before: before, After: v.Revision, Fields: []string{"stage"}}),
	)
}

// maxRollback bounds how many earlier promotions a rollback looks through.
const maxRollback = 900

// Rollback puts the newest earlier version of production that is still servable back into production, whatever its stage
// is now, and the present one to staged, with its reason. Earlier is meant in time: a second rollback comes back to what
// the first one left. Errors: not_found; precondition when there is no such version.
func (x *Index) Rollback(ctx context.Context, scope ballast.Scope, name ballast.Name, by, reason string) (v Version, err error) {
	err = x.update(ctx, failpoint.Rollback, func(tx Tx) error {
		if _, err := findName(tx, []ballast.Scope{scope}, name); err != nil {
			return err
		}
		p, _, err := lookup[Production](tx, scopedName(kindProduction, scope, name))
		if err != nil {
			return err
		}
		looked := 0
		for item, err := range tx.Scan(scopedName(kindHistory, scope, name), nil, true) {
			if err != nil {
				return err
			}
			how, err := decode[ballast.Promotion](item.Key, item.Value)
			if err != nil {
				return err
			}
			if looked++; looked > maxRollback {
				break
			}
			if how.To.IsZero() || how.To.Fold() == p.Version.Fold() {
				continue
			}
			if v, err = getVersion(tx, scope, name, how.To); err != nil {
				return err
			}
			switch err := serves(tx, v); ballast.CodeOf(err) {
			case "":
				return x.intoProduction(tx, &v, ballast.Promotion{Kind: ballast.RolledBack, Reason: reason, By: by})
			case ballast.CodeRetired, ballast.CodePrecondition:
			default:
				return err // not known to be refused
			}
		}
		return ballast.Errorf(ballast.CodePrecondition, "%s has no earlier version of production that is still served; promote the version that is to serve", ballast.Ref{Scope: scope, Name: name})
	})
	return v, err
}

// Production returns what is in production under a name, from the first scope where the name ever had a ready version,
// and up to limit promotions below the number `below`, the newest first; 0 begins at the newest. next is what to pass as
// below for the following page, 0 at the end. Errors: not_found.
func (x *Index) Production(ctx context.Context, scopes []ballast.Scope, name ballast.Name, below int64, limit int) (m Model, now ballast.Version, page []ballast.Promotion, next int64, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		page, next = nil, 0
		if m, err = findName(tx, scopes, name); err != nil {
			return err
		}
		p, _, err := lookup[Production](tx, scopedName(kindProduction, m.Scope, name))
		if err != nil {
			return err
		}
		now = p.Version
		var from []byte
		if below > 0 {
			from = promotionKey(m.Scope, name, below-1)
		}
		for item, err := range readable[ballast.Promotion](tx.Scan(scopedName(kindHistory, m.Scope, name), from, true), skip) {
			if err != nil {
				return err
			}
			if len(page) == limit {
				next = page[limit-1].Number
				return nil
			}
			page = append(page, item.value)
		}
		return nil
	})
	return m, now, page, next, err
}

// inProduction finds the version behind name@production; ok is false when there is none.
func inProduction(tx Tx, l Lookup, scope ballast.Scope, ref ballast.Ref) (f found, ok bool, err error) {
	p, _, err := lookup[Production](tx, scopedName(kindProduction, scope, ref.Name))
	if err != nil || p.Version.IsZero() {
		return f, false, err
	}
	f, err = exact(tx, l, versionKey(kindVersion, scope, ref.Name, p.Version), scope, ballast.Ref{Scope: scope, Name: ref.Name, Version: p.Version})
	return f, true, err
}

// noProduction is said only of a name that the caller sees.
func noProduction(scope ballast.Scope, ref ballast.Ref) error {
	name := ballast.Ref{Scope: scope, Name: ref.Name}
	return ballast.Errorf(ballast.CodeNotFound, "nothing is in production under %s; what was: `ballast production %s`", name, name)
}
