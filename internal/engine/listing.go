package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// isMarker reports whether an object stands for an empty folder, as consoles make them, and is no file.
func isMarker(o objstore.Object) bool {
	return o.Size == 0 && (o.Key == "" || strings.HasSuffix(o.Key, "/"))
}

// maxETagBytes is more than any store's ETag has.
const maxETagBytes = 256

// maxListed bounds the objects that one import looks at, files or not.
const maxListed = 10 * ballast.MaxFiles

// listSource puts the list of a source's files into the index.
func (e *Engine) listSource(ctx context.Context, u index.Upload, at located) error {
	for more := true; more; { // what a crash left of a list
		var err error
		if more, err = e.index.DropSources(ctx, u.ID); err != nil {
			return err
		}
	}
	l := listing{}
	for obj, err := range at.objects(ctx) {
		if err != nil {
			return e.sourceError(ctx, "the source", err)
		}
		if err := l.add(obj); err != nil {
			return err
		}
	}
	if err := l.check(); err != nil {
		return err
	}
	for batch := range slices.Chunk(l.files, index.MaxSources) {
		if err := e.index.PutSources(ctx, u.ID, batch); err != nil {
			return err
		}
	}
	return e.index.Listed(ctx, u.ID, len(l.files), l.bytes, l.skipped)
}

// listing is the list of a source's files in the making.
type listing struct {
	files   []index.SourceFile
	bytes   int64
	skipped []string
	looked  int
}

// add takes an object whose key is its path below the source.
func (l *listing) add(obj objstore.Object) error {
	if l.looked++; l.looked > maxListed {
		return ballast.Errorf(ballast.CodeTooLarge, "the source holds over %d objects, most of them no part of a model; remove those, or import from a folder below it", maxListed)
	}
	if isMarker(obj) || l.skips(obj.Key) {
		return nil
	}
	if err := ballast.CheckPath(obj.Key); err != nil {
		return ballast.Errorf(ballast.CodeInvalid, "the source holds an object that can be no file: %s", ballast.AsError(err).Detail)
	}
	if obj.ETag == "" || len(obj.ETag) > maxETagBytes {
		return fmt.Errorf("engine: %w: the store listed %q with an ETag of %d bytes", objstore.ErrUnknown, obj.Key, len(obj.ETag))
	}
	if len(l.files) == ballast.MaxFiles {
		return ballast.Errorf(ballast.CodeTooLarge, "the source holds more than %d files; a version holds no more: import from a folder below it, or pack small files together", ballast.MaxFiles)
	}
	l.files = append(l.files, index.SourceFile{Path: obj.Key, Size: obj.Size, ETag: obj.ETag, Number: len(l.files)})
	l.bytes += obj.Size
	return nil
}

// skips leaves out what is no part of a model, and notes it once for all that lies in one folder.
func (l *listing) skips(path string) bool {
	beginning, skip := ballast.NotOfAModel(path)
	if what := shorten(beginning); skip && !slices.Contains(l.skipped, what) && len(l.skipped) < ballast.MaxSkipped {
		l.skipped = append(l.skipped, what)
	}
	return skip
}

// check refuses files that cannot be together in a version, before any is hashed: their digests are stood in for.
func (l *listing) check() error {
	if len(l.files) == 0 {
		return ballast.Errorf(ballast.CodePrecondition, "the source holds no file to import")
	}
	files := make([]ballast.File, len(l.files))
	for i, f := range l.files {
		files[i] = ballast.File{Path: f.Path, Size: f.Size, Digest: ballast.DigestOf([]byte(f.Path))}
		if f.Size == 0 {
			files[i].Digest = ballast.EmptyDigest
		}
	}
	return ballast.CheckFiles(files)
}
