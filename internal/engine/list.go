package engine

import (
	"cmp"
	"context"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// ListVersions narrows a list of versions.
type ListVersions struct {
	Filter ballast.VersionFilter
	Limit  int // 1 … 1000
	Cursor string
}

// ListAllVersions narrows a list of the versions of all names.
type ListAllVersions struct {
	Scope  ballast.Scope        // zero: the principal's own and global, where an own name hides the global one
	Prefix string               // of the name, compared folded
	Order  ballast.VersionOrder // zero: by name
	ListVersions
}

// filtered is a list under way: what it shows, and where the page before ended.
type filtered struct {
	kind string // of the list; a cursor is good for its own kind alone
	keep func(index.Version) bool
	base string // the key that the filter's base stands for
	at   string // the place where the page before ended
}

// begin reads the filter and the cursor of a list. Errors: invalid; not_found for a base that the principal does not
// see; gone when the base's reference now means another version than when the list began.
func (e *Engine) begin(ctx context.Context, p Principal, kind string, l ListVersions) (f filtered, err error) {
	if err := cmp.Or(l.Filter.Check(), e.index.KnowsTask(ctx, l.Filter.Task)); err != nil {
		return f, err
	}
	f.kind = kind
	if l.Filter.Base != (ballast.Ref{}) {
		look := p.lookup(l.Filter.Base.Scope, l.Filter.Base.Name)
		look.Retired = true
		base, err := e.index.Resolve(ctx, look, l.Filter.Base)
		if err != nil {
			return f, err
		}
		f.base = base.Key().String()
	}
	f.keep = func(v index.Version) bool {
		return v.Refused == "" && l.Filter.Matches(v.Status, v.Stage, v.CreatedBy, v.Metadata) && (f.base == "" || v.Metadata.BaseModel == f.base)
	}
	text, err := decodeCursor(l.Cursor)
	if err != nil || text == "" {
		return f, err
	}
	listed, rest, _ := strings.Cut(text, "\n")
	base, at, ok := strings.Cut(rest, "\n")
	if !ok || listed != kind || at == "" {
		return f, errCursor()
	}
	if base != f.base {
		return f, ballast.Errorf(ballast.CodeGone, "base: the reference now means another version than when the list began; begin again, or name the version")
	}
	f.at = at
	return f, nil
}

// cursor is where the next page begins; of no place it is "".
func (f filtered) cursor(place string) string {
	if place == "" {
		return ""
	}
	return encodeCursor(f.kind + "\n" + f.base + "\n" + place)
}

// Versions lists the versions of a name that the filter admits, the highest first. A page may be short, even empty, and
// still have a cursor. Errors: not_found, invalid, gone.
func (e *Engine) Versions(ctx context.Context, p Principal, scope ballast.Scope, name ballast.Name, l ListVersions) (ballast.VersionsPage, error) {
	f, err := e.begin(ctx, p, "versions", l)
	if err != nil {
		return ballast.VersionsPage{}, err
	}
	var below ballast.Version
	if f.at != "" {
		if below, err = ballast.ParseVersion(f.at); err != nil {
			return ballast.VersionsPage{}, errCursor()
		}
	}
	found, next, err := e.index.Versions(ctx, p.lookup(scope, name).Scopes, name, below, l.Limit, f.keep)
	if err != nil {
		return ballast.VersionsPage{}, err
	}
	shown, err := e.showVersions(ctx, found...)
	return ballast.VersionsPage{Versions: shown, Cursor: f.cursor(next.String())}, err
}

// AllVersions lists the versions that the filter admits of all names that the principal sees: its own and the global ones
// that they do not hide, or those of one named scope. Pages are as for Versions. Errors: invalid, gone.
func (e *Engine) AllVersions(ctx context.Context, p Principal, l ListAllVersions) (ballast.VersionsPage, error) {
	order, err := ballast.ParseVersionOrder(string(l.Order))
	if err != nil {
		return ballast.VersionsPage{}, err
	}
	f, err := e.begin(ctx, p, string(order), l.ListVersions)
	if err != nil {
		return ballast.VersionsPage{}, err
	}
	found, next, err := e.index.AllVersions(ctx, index.VersionList{
		Parts: p.parts(l.Scope), Prefix: l.Prefix, Order: order, After: []byte(f.at), Limit: l.Limit, Keep: f.keep,
	})
	if err != nil {
		return ballast.VersionsPage{}, err
	}
	shown, err := e.showVersions(ctx, found...)
	return ballast.VersionsPage{Versions: shown, Cursor: f.cursor(string(next))}, err
}
