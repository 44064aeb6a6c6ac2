package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// movesAtOnce is how many sources are removed between two notes of it.
const movesAtOnce = 100

// removeSources removes the sources of an import that moves them, once it is done: only objects that still are what was
// copied. If we crash between a removal and its note, the next run finds the object gone and notes that.
func (e *Engine) removeSources(ctx context.Context, id string) error {
	u, err := e.index.Upload(ctx, id)
	if ballast.CodeOf(err) == ballast.CodeNotFound || err == nil && (u.Import == nil || !u.Import.Moving) {
		return nil
	}
	if err != nil {
		return err
	}
	sources, err := e.index.Sources(ctx, id)
	if err != nil {
		return err
	}
	at, allowed := e.locate(u.Scope, u.Import.Source)
	for batch := range slices.Chunk(sources, movesAtOnce) {
		var gone []int
		kept := map[int]ballast.Kept{}
		for _, f := range batch {
			why := "it lies where the scope may not import from any more"
			if allowed {
				if why, err = e.removeSource(ctx, at, f); err != nil {
					break // what was removed is noted all the same
				}
			}
			if why == "" {
				gone = append(gone, f.Number)
			} else {
				kept[f.Number] = ballast.Kept{Path: shorten(f.Path), Why: why}
			}
		}
		if err := errors.Join(err, e.index.MovedSources(ctx, id, gone, kept)); err != nil {
			return err
		}
		e.changed.notify(u.Scope)
	}
	e.log.InfoContext(ctx, "an import removed its sources", "import", id, "source", u.Import.Source.String(), "by", u.CreatedBy)
	return nil
}

// removeSource removes one object. why says for what reason it stays; an error means: try again later.
func (e *Engine) removeSource(ctx context.Context, at located, f index.SourceFile) (why string, err error) {
	switch err := at.bucket.DeleteMatch(ctx, at.key(f.Path), f.ETag); {
	case err == nil || errors.Is(err, objstore.ErrNotFound):
		return "", nil
	case errors.Is(err, objstore.ErrPrecondition):
		return "it was replaced since it was copied", nil
	case errors.Is(err, objstore.ErrUnreadable):
		return "it cannot be looked at any more", nil
	case errors.Is(err, objstore.ErrDenied):
		if look := e.owner.refresh(ctx); look != nil {
			return "", look
		}
		return "the object store does not let the registry remove it", nil
	default:
		return "", storeError(err)
	}
}
