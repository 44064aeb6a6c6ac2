package index

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Alias is the stored form of an alias.
type Alias struct {
	Version   ballast.Version `json:"version"`
	UpdatedBy string          `json:"updated_by"`
	UpdatedAt ballast.Time    `json:"updated_at"`
	Revision  int64           `json:"revision"`
}

func aliasKey(scope ballast.Scope, name ballast.Name, a ballast.Alias) []byte {
	return key(kindAlias, scope.String(), name.Fold(), a.String())
}

// aliasOfKey holds the order in hex, because something follows it.
func aliasOfKey(scope ballast.Scope, name ballast.Name, v ballast.Version, parts ...string) []byte {
	return key(kindAliasOf, append([]string{scope.String(), name.Fold(), hex.EncodeToString(v.Order())}, parts...)...)
}

// NamedAlias is an alias with its name.
type NamedAlias struct {
	Name ballast.Alias
	Alias
}

// SetAlias points an alias at a ready version of the same name and scope. ifRevision, unless nil, must be the alias's
// present revision, 0 for one that does not exist; otherwise precondition. Setting it where it points changes nothing. A new
// one of a name that has MaxAliases is too_large.
func (x *Index) SetAlias(ctx context.Context, scope ballast.Scope, name ballast.Name, alias ballast.Alias, to ballast.Version, by string, ifRevision *int64) (a Alias, err error) {
	err = x.update(ctx, failpoint.SetAlias, func(tx Tx) error {
		ref := ballast.Ref{Scope: scope, Name: name, Version: to}
		v, err := getVersion(tx, scope, name, to)
		if errors.Is(err, ErrNotFound) || err == nil && (v.Status == ballast.StatusSealed || v.Status == ballast.StatusDeleted) {
			return NotFound(ref)
		}
		if err != nil {
			return err
		}
		if v.Status != ballast.StatusReady {
			return ballast.Errorf(ballast.CodePrecondition, "%s is %s; an alias points at a ready version", v.Key(), v.Status)
		}
		old, had, err := lookup[Alias](tx, aliasKey(scope, name, alias))
		if err != nil {
			return err
		}
		if err := matches(alias, old, ifRevision); err != nil {
			return err
		}
		if a = old; had && old.Version == v.Version {
			return nil
		}
		if had {
			err = tx.Delete(aliasOfKey(scope, name, old.Version, alias.String()))
		} else {
			err = roomForAlias(tx, scope, name)
		}
		if err != nil {
			return err
		}
		a = Alias{Version: v.Version, UpdatedBy: by, UpdatedAt: ballast.At(x.now()), Revision: old.Revision + 1}
		return errors.Join(
			put(tx, aliasKey(scope, name, alias), a),
			tx.Put(aliasOfKey(scope, name, v.Version, alias.String()), nil),
			x.emit(tx, Event{By: by, Kind: ballast.EventAliasSet, Scope: scope, Name: v.Name, Version: v.Version, Alias: alias, Before: old.Revision, After: a.Revision}),
		)
	})
	return a, err
}

// roomForAlias refuses an alias to a name that has as many as it may: they are shown together, and with each version.
func roomForAlias(tx Tx, scope ballast.Scope, name ballast.Name) error {
	n := 0
	for _, err := range tx.Scan(scopedName(kindAlias, scope, name), nil, false) {
		if err != nil {
			return err
		}
		if n++; n == ballast.MaxAliases {
			return ballast.Errorf(ballast.CodeTooLarge, "%s has %d aliases, and can have no more; remove some that are not used", name, n)
		}
	}
	return nil
}

func matches(alias ballast.Alias, a Alias, ifRevision *int64) error {
	if ifRevision == nil || *ifRevision == a.Revision {
		return nil
	}
	return ballast.Errorf(ballast.CodePrecondition, "alias %s is at revision %d, not %d; read it again", alias, a.Revision, *ifRevision)
}

// DeleteAlias removes an alias; ifRevision is as for SetAlias. Errors: not_found.
func (x *Index) DeleteAlias(ctx context.Context, scope ballast.Scope, name ballast.Name, alias ballast.Alias, by string, ifRevision *int64) error {
	return x.update(ctx, failpoint.DeleteAlias, func(tx Tx) error {
		a, ok, err := lookup[Alias](tx, aliasKey(scope, name, alias))
		if err != nil {
			return err
		}
		if !ok {
			return NotFound(ballast.Ref{Scope: scope, Name: name, Alias: alias})
		}
		if err := matches(alias, a, ifRevision); err != nil {
			return err
		}
		known, err := get[Name](tx, scopedName(kindName, scope, name))
		if err != nil {
			return err
		}
		return errors.Join(
			deleteAll(tx, aliasKey(scope, name, alias), aliasOfKey(scope, name, a.Version, alias.String())),
			x.emit(tx, Event{By: by, Kind: ballast.EventAliasGone, Scope: scope, Name: known.Name, Alias: alias, Before: a.Revision}),
		)
	})
}

// Aliases lists the aliases of a name, sorted, from the first scope where the name ever had a ready version.
func (x *Index) Aliases(ctx context.Context, scopes []ballast.Scope, name ballast.Name) (all []NamedAlias, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		all = nil
		m, err := findName(tx, scopes, name)
		if err != nil {
			return err
		}
		prefix := scopedName(kindAlias, m.Scope, name)
		for item, err := range readable[Alias](tx.Scan(prefix, nil, false), skip) {
			if err != nil {
				return err
			}
			alias, err := ballast.ParseAlias(partAfter(item.key, prefix))
			if err != nil {
				if err := skip(item.key, badKey(item.key, err)); err != nil {
					return err
				}
				continue
			}
			all = append(all, NamedAlias{alias, item.value})
		}
		return nil
	})
	return all, err
}

// AliasesOf lists the aliases that point at each of some versions, sorted. The lists are shared: they are not to be changed.
func (x *Index) AliasesOf(ctx context.Context, versions []Version) (of [][]ballast.Alias, err error) {
	if len(versions) != 1 {
		of, _, err = x.aliasesOf(ctx, versions)
		return of, err
	}
	one, err := x.reads.aliases.get(versions[0].Key(), func() ([]ballast.Alias, bool, error) {
		of, whole, err := x.aliasesOf(ctx, versions)
		if err != nil {
			return nil, false, err
		}
		return of[0], whole, nil
	})
	return [][]ballast.Alias{one}, err
}

// aliasesOf also says whether it passed over none.
func (x *Index) aliasesOf(ctx context.Context, versions []Version) (of [][]ballast.Alias, whole bool, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		of, whole = make([][]ballast.Alias, len(versions)), true
		pass := skip
		skip = func(key []byte, err error) error {
			whole = false
			return pass(key, err)
		}
		for i, v := range versions {
			prefix := aliasOfKey(v.Scope, v.Name, v.Version)
			found, err := readableKeys(tx, prefix, skip)
			if err != nil {
				return err
			}
			for _, k := range found {
				a, err := ballast.ParseAlias(partAfter(k, prefix))
				if err == nil {
					of[i] = append(of[i], a)
				} else if err := skip(k, badKey(k, err)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return of, whole, err
}
