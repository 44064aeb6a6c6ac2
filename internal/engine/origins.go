package engine

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// Place is a folder of a bucket.
type Place struct {
	Bucket string // by its name at the store; empty: not known
	Prefix string // of the keys in it: "", or ends in "/"
}

// source writes the place out as users do; in a bucket whose name is not known it is the inbox.
func (p Place) source(rest string) (ballast.Source, error) {
	if p.Bucket == "" {
		return ballast.ParseSource("inbox:" + rest)
	}
	return ballast.ParseSource("s3://" + p.Bucket + "/" + p.Prefix + rest)
}

// overlaps reports whether one of the two holds the other. Case does not count: some stores lie on file systems that do not
// tell it apart.
func (p Place) overlaps(q Place) bool {
	a, b := strings.ToLower(p.Prefix), strings.ToLower(q.Prefix)
	return strings.EqualFold(p.Bucket, q.Bucket) && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a))
}

// Origin is a place outside of the registry's own prefix that a scope may import from.
type Origin struct {
	Scope ballast.Scope
	Place
	Store objstore.Bucket // the whole of Place.Bucket
}

// Check refuses an origin in which other tenants' files could be reached, or that no store can hold. home is where the
// registry lies.
func (o Origin) Check(home Place) error {
	if err := objstore.CheckBucket(o.Bucket); err != nil {
		return err
	}
	if o.Prefix != "" {
		if err := checkPlainKey(strings.TrimSuffix(o.Prefix, "/")); err != nil {
			return err
		}
	}
	if o.overlaps(home) {
		return fmt.Errorf("it is the registry's own s3://%s/%s, or lies in it, or holds it, and the files of all tenants are there; what a scope has in its own inbox it may import anyway", home.Bucket, home.Prefix)
	}
	return nil
}

// checkPlainKey is objstore.CheckKey that also refuses what some stores read as a slash.
func checkPlainKey(key string) error {
	if strings.ContainsRune(key, '\\') {
		return fmt.Errorf("%w %.80q: it holds a backslash", objstore.ErrBadKey, key)
	}
	return objstore.CheckKey(key)
}

// origin is a place that a scope may import from, as the engine reaches it: below base in a bucket.
type origin struct {
	Place
	bucket fencedBucket
	base   string
	beside string // name of the bucket, where it is not the registry's own
}

// originsOf are the places that a scope may import from: its inbox, and what the operator allows it. Nothing else in the
// registry's prefix ever is: whatever is asked for is looked up below one of these.
func (e *Engine) originsOf(scope ballast.Scope) []origin {
	inbox := scope.Path() + "/inbox/"
	all := []origin{{Place: Place{e.home.Bucket, e.home.Prefix + inbox}, bucket: e.bucket, base: inbox}}
	for _, o := range e.origins {
		if o.Scope == scope {
			all = append(all, origin{Place: o.Place, bucket: fencedBucket{o.Store, e.owner}, base: o.Prefix, beside: o.Bucket})
		}
	}
	return all
}

// ImportSources are the places that the principal may import from, for each scope in which it may write.
func (e *Engine) ImportSources(p Principal) ([]ballast.ImportSources, error) {
	all := []ballast.ImportSources{}
	seen := map[ballast.Scope]bool{}
	for _, g := range p.Grants {
		if _, ok := p.part(g.Scope, ballast.Writer); seen[g.Scope] || !ok {
			continue
		}
		seen[g.Scope] = true
		in := ballast.ImportSources{Scope: g.Scope}
		for _, o := range e.originsOf(g.Scope) {
			s, err := o.source("")
			if err != nil {
				return nil, err
			}
			in.Sources = append(in.Sources, s)
		}
		all = append(all, in)
	}
	return all, nil
}

// located is a source below an origin.
type located struct {
	origin
	rest string // of the key: one object, or a folder that ends in "/", or "" for all of the origin
}

// locate finds the origin that a source lies in. ok is false for any other place, and for what no key can be.
func (e *Engine) locate(scope ballast.Scope, s ballast.Source) (at located, ok bool) {
	for _, o := range e.originsOf(scope) {
		rest, ok := s.Key(), s.Bucket() == "" && o.beside == "" // below the inbox
		if place, err := o.source(""); !ok && err == nil {
			rest, ok = s.Below(place)
		}
		if ok && (rest == "" || checkPlainKey(strings.TrimSuffix(rest, "/")) == nil) {
			return located{o, rest}, true
		}
	}
	return located{}, false
}

// absentSource is the one answer about a source that is not there, is empty, or is none of the scope's.
func (e *Engine) absentSource(scope ballast.Scope, s ballast.Source) error {
	inbox, err := e.originsOf(scope)[0].source("")
	if err != nil {
		return err
	}
	return ballast.Errorf(ballast.CodeNotFound, "%s: there is nothing to import into scope %s; put the files into its inbox, %s, or name a place that its operator lets it import from", s, scope, inbox)
}

// settle tells an object from a folder where the source does not end in "/", and returns the source in its full form.
// Errors: those of the bucket.
func (l located) settle(ctx context.Context) (located, ballast.Source, error) {
	if l.rest != "" && !strings.HasSuffix(l.rest, "/") {
		exact := false
		for obj, err := range l.bucket.List(ctx, l.base+l.rest, "") {
			if err != nil {
				return l, ballast.Source{}, err
			}
			exact = obj.Key == l.base+l.rest // which sorts before all that begin with it
			break
		}
		if !exact {
			l.rest += "/"
		}
	}
	s, err := l.source(l.rest)
	return l, s, err
}

// isFolder reports whether a settled source is a folder.
func (l located) isFolder() bool { return l.rest == "" || strings.HasSuffix(l.rest, "/") }

// key is the key of a file of the source in its bucket.
func (l located) key(path string) string {
	if !l.isFolder() {
		return l.base + l.rest
	}
	return l.base + l.rest + path
}

// of is what the store is told to copy for a file of the source.
func (l located) of(f index.SourceFile) objstore.Source {
	return objstore.Source{Bucket: l.beside, Key: l.key(f.Path), ETag: f.ETag, Size: f.Size}
}

// objects yields what lies below a settled source, each with its path below it.
func (l located) objects(ctx context.Context) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		for obj, err := range l.bucket.List(ctx, l.base+l.rest, "") {
			if err == nil && !l.isFolder() {
				if obj.Key == l.base+l.rest {
					obj.Key = l.rest[strings.LastIndexByte(l.rest, '/')+1:]
					yield(obj, nil)
				}
				return
			}
			obj.Key = strings.TrimPrefix(obj.Key, l.base+l.rest)
			if !yield(obj, err) {
				return
			}
		}
	}
}
