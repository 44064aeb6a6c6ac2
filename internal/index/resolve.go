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
// version whose bytes were lost. What the version's metadata points at is shared: it is not to be changed.
func (x *Index) Resolve(ctx context.Context, l Lookup, ref ballast.Ref) (Version, error) {
	return ask(x.reads.versions, l, ref, func() (v Version, ready bool, err error) {
		err = x.store.View(ctx, func(tx Tx) error {
			f, err := resolve(tx, l, ref)
			if err != nil {
				return err
			}
			v, err = recall[Version](x, f.item.Key, f.item.Value)
			return err
		})
		return v, v.Status == ballast.StatusReady, err
	})
}

// ResolveHead is Resolve for who needs to know no more than where the bytes are, and of which version.
func (x *Index) ResolveHead(ctx context.Context, l Lookup, ref ballast.Ref) (Head, error) {
	return ask(x.reads.heads, l, ref, func() (h Head, ready bool, err error) {
		err = x.store.View(ctx, func(tx Tx) error {
			f, err := resolve(tx, l, ref)
			h = f.Head
			h.base = nil // bytes of the transaction
			if err != nil {
				return err
			}
			h.Key, err = f.keyText()
			return err
		})
		return h, h.Status == ballast.StatusReady, err
	})
}

// ask gets the answer to a question, as far as that can be kept.
func ask[T any](from answers[question, T], l Lookup, ref ballast.Ref, read func() (T, bool, error)) (T, error) {
	q, ok := questionOf(l, ref)
	if !ok {
		v, _, err := read()
		return v, err
	}
	return from.get(q, read)
}

func resolve(tx Tx, l Lookup, ref ballast.Ref) (found, error) {
	for _, scope := range l.Scopes {
		f, err := resolveIn(tx, l, scope, ref)
		f.Scope = scope
		switch {
		case errors.Is(err, errElsewhere):
		case err != nil || l.Retired:
			return f, err
		default:
			return f, servable(tx, f)
		}
	}
	return found{}, NotFound(ref)
}

// NotFound is the one answer for what is absent and what the caller may not see. It is made of ref alone.
func NotFound(ref ballast.Ref) *ballast.Error {
	return ballast.Errorf(ballast.CodeNotFound, "%s: not found, or not open to this token; "+
		"`ballast ls` lists the models that are, `ballast ls NAME` a model's versions", ref)
}

func resolveIn(tx Tx, l Lookup, scope ballast.Scope, ref ballast.Ref) (found, error) {
	switch {
	case !ref.Version.IsZero():
		return exact(tx, l, versionKey(kindVersion, scope, ref.Name, ref.Version), scope, ref)
	case ref.Digest != "":
		return byDigest(tx, l, scope, ref)
	}
	// What an alias or a candidate shows is that the name had a ready version; only without one the name is asked.
	f, ok, err := pointed(tx, l, scope, ref)
	if err != nil || ok {
		return f, err
	}
	name, ok, err := lookup[Name](tx, scopedName(kindName, scope, ref.Name))
	switch {
	case err != nil:
		return f, err
	case !ok || !name.HadReady:
		return f, errElsewhere
	case ref.Alias.IsZero():
		return f, noneServable(tx, scope, ref)
	case ref.Alias == ballast.ProductionAlias():
		return f, noProduction(scope, ref)
	}
	return f, NotFound(ref)
}

// pointed finds what latest, an alias or production points at; ok is false when there is no such thing.
func pointed(tx Tx, l Lookup, scope ballast.Scope, ref ballast.Ref) (f found, ok bool, err error) {
	switch {
	case ref.Alias.IsZero():
		return latest(tx, scope, ref.Name)
	case ref.Alias == ballast.ProductionAlias():
		return inProduction(tx, l, scope, ref)
	}
	order, ok, err := pointsAt(tx, aliasKey(scope, ref.Name, ref.Alias))
	if err != nil || !ok {
		return f, false, err
	}
	f, err = exact(tx, l, append(scopedName(kindVersion, scope, ref.Name), order...), scope, ref)
	if errors.Is(err, errElsewhere) {
		err = NotFound(ref)
	}
	return f, true, err
}

// exact finds the version under a key. errElsewhere says that there is none.
func exact(tx Tx, l Lookup, key []byte, scope ballast.Scope, ref ballast.Ref) (found, error) {
	f, err := find(tx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return f, errElsewhere
	case err != nil:
		return f, err
	}
	switch f.Status {
	case ballast.StatusReady:
		return f, nil
	case ballast.StatusRetired:
		if l.Retired {
			return f, nil
		}
		return f, f.retired()
	case ballast.StatusLost:
		v, err := f.version()
		if err != nil {
			return f, err
		}
		if v.Refused != "" {
			return f, errRefused(v)
		}
		return f, errLost(v)
	case ballast.StatusSealed:
		if l.SeesSealed != nil && l.SeesSealed(scope) {
			return f, nil
		}
	}
	return f, NotFound(ref)
}

func errLost(v Version) *ballast.Error {
	return ballast.Errorf(ballast.CodeIntegrity, "%s: bytes of it are missing from the bucket; push the same files again to heal it", v.Key())
}

// refused reports whether nothing is believed of a version: it may have been retired.
func (f found) refused() bool { return f.Status == ballast.StatusLost && f.Digest == "" }

// retired refuses a version by its name.
func (f found) retired() error {
	v, err := f.version()
	if err != nil {
		return err
	}
	return retired(v)
}

func retired(v Version) error {
	return ballast.Errorf(ballast.CodeRetired, "%s was retired and is not served any more", v.Key())
}

// byDigest finds the highest version with a digest that is served. Only when none is, it answers why, or with l.Retired
// the highest that was.
func byDigest(tx Tx, l Lookup, scope ballast.Scope, ref ballast.Ref) (found, error) {
	prefix := key(kindByDigest, scope.String(), ref.Name.Fold(), ref.Digest.Encoded())
	var refused error = errElsewhere
	var known *found
	for item, err := range tx.Scan(prefix, nil, true) {
		if err != nil {
			return found{}, err
		}
		f, err := find(tx, append(scopedName(kindVersion, scope, ref.Name), item.Key[len(prefix):]...))
		if err != nil {
			return f, err
		}
		if known == nil && (f.Status == ballast.StatusReady || f.Status == ballast.StatusRetired) {
			known = &f
		}
		switch {
		case f.Status == ballast.StatusLost:
			v, err := f.version()
			if err != nil {
				return f, err
			}
			refused = errLost(v)
		case f.Status == ballast.StatusReady:
			if err := servable(tx, f); err != nil {
				refused = err
				continue
			}
			return f, nil
		case f.Status == ballast.StatusRetired:
			refused = f.retired()
		case errors.Is(refused, errElsewhere):
			refused = NotFound(ref)
		}
	}
	if l.Retired && known != nil {
		return *known, nil
	}
	return found{}, refused
}

// latest is the highest release among the ready versions that are neither archived nor deprecated, else the highest
// pre-release.
func latest(tx Tx, scope ballast.Scope, name ballast.Name) (f found, ok bool, err error) {
	prefix := scopedName(kindCandidate, scope, name)
	item, ok, err := first(tx.Scan(prefix, nil, true))
	if err != nil || !ok {
		return f, false, err
	}
	f, err = find(tx, append(scopedName(kindVersion, scope, name), item.Key[len(prefix)+1:]...))
	return f, err == nil, err
}

// noneServable says why a name has no latest: retired when that is the only reason.
func noneServable(tx Tx, scope ballast.Scope, ref ballast.Ref) error {
	var last *found
	for item, err := range tx.Scan(scopedName(kindVersion, scope, ref.Name), nil, true) {
		if err != nil {
			return err
		}
		f, err := openHead(item)
		if err != nil {
			return err
		}
		if f.Status == ballast.StatusReady || f.Status == ballast.StatusLost {
			return NotFound(ref)
		}
		if f.Status == ballast.StatusRetired && last == nil {
			last = &f
		}
	}
	if last == nil {
		return NotFound(ref)
	}
	return last.retired()
}

// servable refuses a version one of whose bases was retired.
func servable(tx Tx, f found) error {
	base, ok, err := retiredBase(tx, f.base)
	if err != nil || !ok {
		return err
	}
	v, err := f.version()
	if err != nil {
		return err
	}
	return baseRetired(v, base)
}

// retiredBase finds the first retired version among a base, as a head names it, and those behind it.
func retiredBase(tx Tx, base []byte) (v Version, ok bool, err error) {
	err = lineage(tx, base, func(f found) (err error) {
		if (f.Status == ballast.StatusRetired || f.refused()) && !ok {
			v, err = f.version()
			ok = err == nil
		}
		return err
	})
	return v, ok, err
}

func baseRetired(v, base Version) error {
	if base.Refused != "" {
		return ballast.Errorf(ballast.CodeIntegrity, "%s is not served: its base is not either, and may have been retired; %s", v.Key(), errRefused(base).Detail)
	}
	return ballast.Errorf(ballast.CodeRetired, "%s is not served any more: its base %s was retired", v.Key(), base.Key())
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
