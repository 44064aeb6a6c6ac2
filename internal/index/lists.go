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
func (x *Index) Models(ctx context.Context, scopes []ballast.Scope, prefix, after string, limit int) (page []Model, next string, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		var all []Model
		more := false
		for _, scope := range scopes {
			some, full, err := namesIn(tx, scope, strings.ToLower(prefix), after, limit+1)
			if err != nil {
				return err
			}
			all, more = append(all, some...), more || full
		}
		slices.SortStableFunc(all, func(a, b Model) int { return cmp.Compare(a.Name.Name.Fold(), b.Name.Name.Fold()) })
		all = slices.CompactFunc(all, func(a, b Model) bool { return a.Name.Name.Fold() == b.Name.Name.Fold() })
		next = ""
		if len(all) > limit {
			all = all[:limit]
			more = true
		}
		if more && len(all) > 0 {
			next = all[len(all)-1].Name.Name.Fold()
		}
		page = slices.DeleteFunc(all, func(m Model) bool { return m.Name.Ready == 0 })
		return withLatest(tx, page)
	})
	return page, next, err
}

// namesIn returns the names of one scope that shadow others: those that ever had a ready version.
func namesIn(tx Tx, scope ballast.Scope, prefix, after string, limit int) (names []Model, full bool, err error) {
	base := key(kindName, scope.String())
	var from []byte
	if after != "" {
		from = append(append(from, base...), after+"\x00"...)
	}
	for item, err := range tx.Scan(append(base, prefix...), from, false) {
		if err != nil {
			return nil, false, err
		}
		if string(item.Key) == string(from) {
			continue
		}
		n, err := decode[Name](item.Key, item.Value)
		if err != nil {
			return nil, false, err
		}
		if !n.HadReady {
			continue
		}
		if len(names) == limit {
			return names, true, nil
		}
		names = append(names, Model{Scope: scope, Name: n})
	}
	return names, false, nil
}

func withLatest(tx Tx, page []Model) error {
	for i := range page {
		v, ok, err := latest(tx, page[i].Scope, page[i].Name.Name)
		if err != nil {
			return err
		}
		if ok {
			page[i].Latest = v.Version
		}
	}
	return nil
}

// Model returns one name, from the first scope where it has ever had a ready version. Errors: not_found.
func (x *Index) Model(ctx context.Context, scopes []ballast.Scope, name ballast.Name) (m Model, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		m, err = findName(tx, scopes, name)
		if err != nil {
			return err
		}
		one := []Model{m}
		err := withLatest(tx, one)
		m = one[0]
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

// Versions lists the ready versions of a name below `below`, the highest first, at most limit; a zero below begins at
// the highest. next is what to pass as below for the following page, zero at the end.
func (x *Index) Versions(ctx context.Context, scopes []ballast.Scope, name ballast.Name, below ballast.Version, limit int) (page []Version, next ballast.Version, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		page, next = nil, ballast.Version{}
		m, err := findName(tx, scopes, name)
		if err != nil {
			return err
		}
		var from []byte
		if !below.IsZero() {
			from = versionKey(kindVersion, m.Scope, name, below)
		}
		for item, err := range tx.Scan(scopedName(kindVersion, m.Scope, name), from, true) {
			if err != nil {
				return err
			}
			v, err := decode[Version](item.Key, item.Value)
			if err != nil {
				return err
			}
			if v.Status != ballast.StatusReady || string(item.Key) == string(from) {
				continue
			}
			if len(page) == limit {
				next = page[limit-1].Version
				return nil
			}
			page = append(page, v)
		}
		return nil
	})
	return page, next, err
}
