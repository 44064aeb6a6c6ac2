package index

import (
	"context"
	"errors"

	"github.com/ballast-registry/ballast"
)

// Lookup says where a reference is looked up: in each scope in turn, the caller's own before global.
type Lookup struct {
	Scopes []ballast.Scope
	// SeesSealed says in which scopes the caller may write, and so sees a sealed version by its exact label.
	SeesSealed func(ballast.Scope) bool
	// Retired also finds retired versions, and those whose base was retired: for what people know of them, not for bytes.
	Retired bool
}

// errElsewhere says that a scope has nothing to do with a reference, so that the next one decides.
var errElsewhere = errors.New("index: not in this scope")

// Resolve finds the version that a reference means, in one snapshot, and refuses what must not be served.
//
// From its first ready version on a scope's own name decides for latest and aliases, whatever it answers; an exact
// version or digest goes on to the next scope only when the own name never had it.
//
// Errors: not_found, the same for absent and invisible; retired, naming the version or its base; integrity for a
// version whose bytes were lost.
func (x *Index) Resolve(ctx context.Context, l Lookup, ref ballast.Ref) (v Version, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		for _, scope := range l.Scopes {
			v, err = resolveIn(tx, l, scope, ref)
			if !errors.Is(err, errElsewhere) {
				if l.Retired {
					return err
				}
				return servable(tx, v, err)
			}
		}
		return NotFound(ref)
	})
	return v, err
}

// NotFound is the one answer for what is absent and what the caller may not see.
func NotFound(ref ballast.Ref) *ballast.Error {
	return ballast.Errorf(ballast.CodeNotFound, "%s: not found", ref)
}

func resolveIn(tx Tx, l Lookup, scope ballast.Scope, ref ballast.Ref) (Version, error) {
	switch {
	case !ref.Version.IsZero():
		return exact(tx, l, scope, ref)
	case ref.Digest != "":
		return byDigest(tx, l, scope, ref)
	}
	name, ok, err := lookup[Name](tx, scopedName(kindName, scope, ref.Name))
	if err != nil {
		return Version{}, err
	}
	if !ok || !name.HadReady {
		return Version{}, errElsewhere
	}
	if ref.Alias == ballast.ProductionAlias() {
		return inProduction(tx, l, scope, ref)
	}
	if !ref.Alias.IsZero() {
		return byAlias(tx, l, scope, ref)
	}
	v, ok, err := latest(tx, scope, ref.Name)
	if err != nil || ok {
		return v, err
	}
	return v, noneServable(tx, scope, ref)
}

func exact(tx Tx, l Lookup, scope ballast.Scope, ref ballast.Ref) (Version, error) {
	v, err := getVersion(tx, scope, ref.Name, ref.Version)
	switch {
	case errors.Is(err, ErrNotFound):
		return v, errElsewhere
	case err != nil:
		return v, err
	}
	switch v.Status {
	case ballast.StatusReady:
		return v, nil
	case ballast.StatusRetired:
		if l.Retired {
			return v, nil
		}
		return v, retired(v)
	case ballast.StatusLost:
		return v, ballast.Errorf(ballast.CodeIntegrity, "%s: bytes of it are missing from the bucket; push the same files again to heal it", v.Key())
	case ballast.StatusSealed:
		if l.SeesSealed != nil && l.SeesSealed(scope) {
			return v, nil
		}
	}
	return v, NotFound(ref)
}

func retired(v Version) *ballast.Error {
	return ballast.Errorf(ballast.CodeRetired, "%s was retired and is not served any more", v.Key())
}

// byDigest finds the highest version with a digest that is served. Only when none is, it answers why, or with l.Retired
// the highest that was.
func byDigest(tx Tx, l Lookup, scope ballast.Scope, ref ballast.Ref) (Version, error) {
	prefix := key(kindByDigest, scope.String(), ref.Name.Fold(), ref.Digest.Encoded())
	var refused error = errElsewhere
	var known *Version
	for item, err := range tx.Scan(prefix, nil, true) {
		if err != nil {
			return Version{}, err
		}
		v, err := get[Version](tx, append(scopedName(kindVersion, scope, ref.Name), item.Key[len(prefix):]...))
		if err != nil {
			return v, err
		}
		if known == nil && (v.Status == ballast.StatusReady || v.Status == ballast.StatusRetired) {
			known = &v
		}
		switch {
		case v.Status == ballast.StatusReady:
			err := servable(tx, v, nil)
			if err == nil {
				return v, nil
			}
			refused = err
		case v.Status == ballast.StatusRetired:
			refused = retired(v)
		case errors.Is(refused, errElsewhere):
			refused = NotFound(ref)
		}
	}
	if l.Retired && known != nil {
		return *known, nil
	}
	return Version{}, refused
}

func byAlias(tx Tx, l Lookup, scope ballast.Scope, ref ballast.Ref) (Version, error) {
	a, ok, err := lookup[Alias](tx, aliasKey(scope, ref.Name, ref.Alias))
	if err != nil {
		return Version{}, err
	}
	if !ok {
		return Version{}, NotFound(ref)
	}
	v, err := exact(tx, l, scope, ballast.Ref{Scope: scope, Name: ref.Name, Version: a.Version})
	if errors.Is(err, errElsewhere) {
		return v, NotFound(ref)
	}
	return v, err
}

// latest is the highest release among the ready versions that are neither archived nor deprecated, else the highest
// pre-release.
func latest(tx Tx, scope ballast.Scope, name ballast.Name) (v Version, ok bool, err error) {
	prefix := scopedName(kindCandidate, scope, name)
	item, ok, err := first(tx.Scan(prefix, nil, true))
	if err != nil || !ok {
		return v, false, err
	}
	v, err = get[Version](tx, append(scopedName(kindVersion, scope, name), item.Key[len(prefix)+1:]...))
	return v, err == nil, err
}

// noneServable says why a name has no latest: retired when that is the only reason.
func noneServable(tx Tx, scope ballast.Scope, ref ballast.Ref) error {
	var last Version
	for item, err := range tx.Scan(scopedName(kindVersion, scope, ref.Name), nil, true) {
		if err != nil {
			return err
		}
		v, err := decode[Version](item.Key, item.Value)
		if err != nil {
			return err
		}
		if v.Status == ballast.StatusReady || v.Status == ballast.StatusLost {
			return NotFound(ref)
		}
		if v.Status == ballast.StatusRetired && last.Version.IsZero() {
			last = v
		}
	}
	if last.Version.IsZero() {
		return NotFound(ref)
	}
	return retired(last)
}

// servable refuses a version one of whose bases was retired.
func servable(tx Tx, v Version, err error) error {
	if err != nil {
		return err
	}
	return lineage(tx, v, func(base Version) error {
		if base.Status == ballast.StatusRetired {
			return ballast.Errorf(ballast.CodeRetired, "%s is not served any more: its base %s was retired", v.Key(), base.Key())
		}
		return nil
	})
}

// KnowsRecord reports whether record n of a version may be in the bucket by what the index knows: it is, or is about to
// be written. A version whose item is damaged the index knew, and passes over: such a version must not stop the registry.
func (x *Index) KnowsRecord(ctx context.Context, k ballast.Key, n int) (known bool, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		key := versionKey(kindVersion, k.Scope, k.Name, k.Version)
		v, ok, err := lookup[Version](tx, key)
		if err != nil {
			known = true
			return skip(key, err)
		}
		if known = ok && n <= v.Records; !ok || n != v.Records+1 {
			return nil
		}
		known, err = exists(tx, versionKey(kindRecord, k.Scope, k.Name, k.Version))
		return err
	})
	return known && err == nil, err
}

// Version returns a version by its key, in whatever state. Errors: ErrNotFound.
func (x *Index) Version(ctx context.Context, k ballast.Key) (v Version, err error) {
	err = x.store.View(ctx, func(tx Tx) (err error) {
		v, err = getVersion(tx, k.Scope, k.Name, k.Version)
		return err
	})
	return v, err
}
