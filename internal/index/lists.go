package index

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
)

// Model is a name with what lists show of it.
type Model struct {
	Scope  ballast.Scope
	Name   Name
	Latest ballast.Version // zero when nothing is servable
}

// Models lists names that begin with prefix (folded) and sort after `after` (folded), in the order of their folds, at
// most limit. A name of an earlier scope shadows those of later ones; names without a ready version are left out. next
// is what to pass as after for the following page, "" at the end.
func (x *Index) Models(ctx context.Context, parts []Part, prefix, after string, limit int) (page []Model, next string, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		page, next = nil, ""
		all, more, err := visibleNames(tx, parts, strings.ToLower(prefix), after, limit, skip)
		if err != nil {
			return err
		}
		next = more
		for _, l := range all {
			if l.Name.Ready == 0 {
				continue
			}
			m, err := withLatest(tx, l.Model)
			if err == nil {
				page = append(page, m)
			} else if err := skip(scopedName(kindCandidate, m.Scope, m.Name.Name), err); err != nil {
				return err
			}
		}
		return nil
	})
	return page, next, err
}

// visibleNames returns up to limit names behind `after` that no earlier scope hides, in the order of their folds. next is
// the last one's fold when there are further ones.
func visibleNames(tx Tx, parts []Part, prefix, after string, limit int, skip skip) (all []listed, next string, err error) {
	for _, part := range parts {
		some, err := namesIn(tx, part, prefix, after, limit+1, skip)
		if err != nil {
			return nil, "", err
		}
		all = append(all, some...)
	}
	slices.SortStableFunc(all, func(a, b listed) int { return cmp.Compare(a.fold, b.fold) })
	all = slices.CompactFunc(all, func(a, b listed) bool { return a.fold == b.fold })
	if len(all) > limit {
		all = all[:limit]
		next = all[limit-1].fold
	}
	return all, next, nil
}

// listed is a name in the making of a list. The Model of one that cannot be read is zero: it is not shown, and still
// shadows the same name of later scopes, which may not be what its owners mean.
type listed struct {
	fold string
	Model
}

// namesIn returns the names of one part that shadow others: those that ever had a ready version.
func namesIn(tx Tx, part Part, prefix, after string, limit int, skip skip) (names []listed, err error) {
	base := key(kindName, part.Scope.String())
	var from []byte
	if after != "" {
		from = append(append(from, base...), after+"\x00"...)
	}
	for item, err := range part.scan(tx, base, prefix, from) {
		if len(names) == limit {
			break
		}
		if after != "" && string(item.Key) == string(from) {
			continue
		}
		var m Model
		if err == nil {
			m.Scope = part.Scope
			m.Name, err = decode[Name](item.Key, item.Value)
		}
		if err != nil {
			if err := skip(item.Key, err); err != nil {
				return nil, err
			}
			m = Model{}
		} else if !m.Name.HadReady {
			continue
		}
		names = append(names, listed{partAfter(item.Key, base), m})
	}
	return names, nil
}

func withLatest(tx Tx, m Model) (Model, error) {
	f, ok, err := latest(tx, m.Scope, m.Name.Name)
	if err != nil || !ok {
		return m, err
	}
	v, err := f.version()
	m.Latest = v.Version
	return m, err
}

// Model returns one name, from the first scope where it has ever had a ready version. Errors: not_found.
func (x *Index) Model(ctx context.Context, scopes []ballast.Scope, name ballast.Name) (m Model, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		if m, err = findName(tx, scopes, name); err != nil {
			return err
		}
		m, err = withLatest(tx, m)
		return err
	})
	return m, err
}

func findName(tx Tx, scopes []ballast.Scope, name ballast.Name) (Model, error) {
	for _, scope := range scopes {
		n, ok, err := lookup[Name](tx, scopedName(kindName, scope, name))
		if err != nil {
			return Model{}, err
		}
		if ok && n.HadReady {
			return Model{Scope: scope, Name: n}, nil
		}
	}
	return Model{}, NotFound(ballast.Ref{Name: name})
}

// Versions lists the versions of a name that keep admits, below `below`, the highest first, at most limit; a zero below
// begins at the highest. A page may be short; next is what to pass as below for the one that follows, zero at the end.
// Errors: not_found.
func (x *Index) Versions(ctx context.Context, scopes []ballast.Scope, name ballast.Name, below ballast.Version, limit int, keep func(Version) bool) (page []Version, next ballast.Version, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		page, next = nil, ballast.Version{}
		m, err := findName(tx, scopes, name)
		if err != nil {
			return err
		}
		from := ""
		if !below.IsZero() {
			from = string(below.Order())
		}
		c := &collector{keep: keep, limit: limit, left: x.scan}
		if _, err := versionsOf(tx, m.Scope, name.Fold(), from, c, skip); err != nil {
			return err
		}
		if page = c.page; c.done {
			next = c.last.version
		}
		return nil
	})
	return page, next, err
}
