package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// gather lists an import's files, hashes them and fixes what it publishes; from there on it is an upload like any other,
// whose missing blobs are copied from the source. It may begin anew after any crash: the list and every digest are in the
// index as they come.
func (e *Engine) gather(ctx context.Context, u index.Upload) error {
	files, err := e.hashedSources(ctx, u)
	if err != nil {
		return err
	}
	_, manifest, err := ballast.BuildManifest(files)
	if err != nil {
		return err
	}
	if u.Import.Expect != "" {
		if settled, err := e.index.Unchanged(ctx, u.ID, ballast.DigestOf(manifest)); err != nil || settled {
			e.settled(u.Scope)
			return err
		}
		return ballast.Errorf(ballast.CodeBusy, "%s is being published", u.Target())
	}
	if err = e.adopt(ctx, u, files, manifest, index.Accepted{Metadata: u.Import.Metadata}); ballast.CodeOf(err) == ballast.CodeIntegrity {
		return errOthersBytes(err)
	}
	return err
}

// hashedSources returns the files of an import with their digests, once it is the import's turn.
func (e *Engine) hashedSources(ctx context.Context, u index.Upload) ([]ballast.File, error) {
	ctx, stop := e.while(ctx, u, ballast.UploadImporting)
	defer stop()
	leave, err := e.turns.Take(ctx, u.Scope, 1)
	if err != nil {
		return nil, context.Cause(ctx)
	}
	defer leave()
	at, ok := e.locate(u.Scope, u.Import.Source)
	if !ok {
		return nil, noSuchOrigin(u)
	}
	if !u.Import.Listed {
		err = e.listSource(ctx, u, at)
	}
	var files []ballast.File
	if err == nil {
		files, err = e.hashSources(ctx, u, at)
	}
	if cause := context.Cause(ctx); err != nil && ballast.CodeOf(cause) == ballast.CodeLeaseLost {
		return nil, cause
	}
	return files, err
}

func noSuchOrigin(u index.Upload) error {
	return ballast.Errorf(ballast.CodePrecondition, "scope %s may not import from %s any more; its operator has changed that", u.Scope, u.Import.Source)
}

// sourceFilesAtOnce bounds the files of one import that are hashed side by side; what they hold in memory Limits bound.
const sourceFilesAtOnce = 16

// hashSources hashes what was not hashed yet, and returns all files.
func (e *Engine) hashSources(ctx context.Context, u index.Upload, at located) ([]ballast.File, error) {
	sources, err := e.index.Sources(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	defer e.hashing.forget(u.ID)
	notes := digestNotes{index: e.index, id: u.ID, counted: e.hashing.count(u.ID)}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(sourceFilesAtOnce)
	for i, f := range sources {
		if f.Digest != "" {
			continue
		}
		group.Go(func() (err error) {
			if gctx.Err() != nil {
				return gctx.Err()
			}
			if sources[i].Digest, err = e.hashSource(gctx, u, at, f); err != nil {
				return err
			}
			return notes.add(gctx, sources[i])
		})
	}
	if err := errors.Join(group.Wait(), notes.flush(context.WithoutCancel(ctx))); err != nil {
		return nil, err
	}
	files := make([]ballast.File, len(sources))
	for i, f := range sources {
		files[i] = ballast.File{Path: f.Path, Size: f.Size, Digest: f.Digest}
	}
	return files, nil
}

// hashSource reads one file of the source, which must be what was listed.
func (e *Engine) hashSource(ctx context.Context, u index.Upload, at located, f index.SourceFile) (digest.Digest, error) {
	if f.Size == 0 {
		return ballast.EmptyDigest, nil
	}
	all, before := e.hashing.count(u.ID), int64(0) // of which digestNotes takes away what it has noted
	d, err := e.digestOf(ctx, ranged{
		bucket: at.bucket, key: at.key(f.Path), of: objstore.ReadOptions{IfMatch: f.ETag}, size: f.Size, memory: e.sourceMemory,
		seen: func(n int64) { all.Add(n - before); before = n },
	})
	if err != nil {
		all.Add(-before)
		return "", e.sourceError(ctx, quotePath(f.Path), err)
	}
	return d, nil
}

// errSourceDenied says that the store lets the registry read its own objects and not those of a source.
var errSourceDenied = errors.New("engine: the source may not be read")

// sourceError is what an error means that came of reading a file of a source, or what. A file that is gone or another was
// changed while it was imported. A refusal is a verdict once the registry's own objects can still be read: else it says
// something of its credentials.
func (e *Engine) sourceError(ctx context.Context, what string, err error) error {
	switch {
	case errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrPrecondition):
		return changedSource(what).Because(err)
	case errors.Is(err, objstore.ErrUnreadable):
		return ballast.Errorf(ballast.CodePrecondition, "%s cannot be read as it is: it lies in an archive, or is encrypted with a key of its owner's; put it there as a plain object and import again", what).Because(err)
	case errors.Is(err, objstore.ErrDenied):
		if look := e.owner.refresh(ctx); look != nil {
			return look
		}
		return ballast.Errorf(ballast.CodeUnavailable, "the object store does not let the registry read %s; its operator has to allow that, and then import again", what).Because(errors.Join(errSourceDenied, err))
	}
	return storeError(err)
}

func changedSource(what string) *ballast.Error {
	return ballast.Errorf(ballast.CodePrecondition, "%s was replaced or removed at its source while it was imported, and nothing was published; let its writer finish and import again", what)
}

// shorten cuts a path of a source to a readable length; what is kept of an import has to fit into one value of the index.
func shorten(path string) string {
	if len(path) > 120 {
		return strings.ToValidUTF8(path[:120], "") + "…"
	}
	return path
}

func quotePath(path string) string { return fmt.Sprintf("%q", shorten(path)) }

// digestNotes puts digests into the index as they come, several in one transaction.
type digestNotes struct {
	index   *index.Index
	id      string
	counted *atomic.Int64 // bytes that are hashed and not noted yet

	mu    sync.Mutex
	notes map[int]digest.Digest
	bytes int64 // of the files noted there
}

// noteBytes is of how many bytes the digests wait for others: so much is hashed again after a crash.
const noteBytes = 256 << 20

func (n *digestNotes) add(ctx context.Context, f index.SourceFile) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.notes == nil {
		n.notes, n.bytes = map[int]digest.Digest{}, 0
	}
	n.notes[f.Number] = f.Digest
	n.bytes += f.Size
	if len(n.notes) < index.MaxSources && n.bytes < noteBytes {
		return nil
	}
	return n.flushLocked(ctx)
}

func (n *digestNotes) flush(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.flushLocked(ctx)
}

func (n *digestNotes) flushLocked(ctx context.Context) error {
	if len(n.notes) == 0 {
		return nil
	}
	err := n.index.HashedSources(ctx, n.id, n.notes)
	if err == nil {
		n.counted.Add(-n.bytes)
		n.notes = nil
	}
	return err
}
