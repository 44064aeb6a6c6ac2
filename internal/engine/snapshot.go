package engine

import (
	"context"
	"errors"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// MaxContent is the largest file that Content reads, in bytes.
const MaxContent = 1 << 20

// Snapshot is a version that the gate let through, and its files.
type Snapshot struct {
	Version ballast.VersionInfo // without its aliases
	Files   []ballast.File      // sorted by path; shared, so not to be changed
}

// Snapshot returns the version that a reference means with all its files. Errors: those of Version; busy while the
// version is sealed.
func (e *Engine) Snapshot(ctx context.Context, p Principal, ref ballast.Ref) (Snapshot, error) {
	v, files, err := e.served(ctx, p, ref)
	if err != nil {
		return Snapshot{}, err
	}
	return Snapshot{showVersion(v, nil), files}, nil
}

// AtCommit completes the first hex digits of a version's digest to a reference: versions of one digest have the same
// files, so that one of them that is served is as good as another. Errors: not_found; conflict when the digits stand for
// more than one digest.
func (e *Engine) AtCommit(ctx context.Context, p Principal, name ballast.Name, digits string) (ballast.Ref, error) {
	p.asks(ctx, ballast.Ref{Name: name})
	return e.index.FindCommit(ctx, p.lookup(ballast.Scope{}, name).Scopes, name, digits)
}

// Content returns the bytes of a file of at most MaxContent bytes, which are what its digest says: nobody checks them
// after the service. Errors: those of File; too_large; integrity.
func (e *Engine) Content(ctx context.Context, p Principal, ref ballast.Ref, path string) ([]byte, error) {
	a := audit.Of(ctx)
	a.File(path)
	v, files, err := e.served(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	f, err := fileAt(ref, files, path)
	if err != nil || f.Size == 0 {
		return nil, err
	}
	if f.Size > MaxContent {
		return nil, ballast.Errorf(ballast.CodeTooLarge, "%s has %d bytes; the service itself hands out %d at most", f.Path, f.Size, MaxContent)
	}
	id := index.BlobID{Scope: v.Scope, Digest: f.Digest}
	held, err := e.index.Blob(ctx, id)
	if err != nil {
		return nil, err
	}
	body := make([]byte, f.Size)
	err = readBlob(ctx, e.bucket, id, held, body, 0)
	switch {
	case errors.Is(err, index.ErrUnverified), errors.Is(err, objstore.ErrNotFound), errors.Is(err, objstore.ErrPrecondition):
		return nil, errBytesGone(f.Path).Because(err)
	case err != nil:
		return nil, storeError(err)
	case ballast.DigestOf(body) != f.Digest:
		return nil, errBytesGone(f.Path)
	}
	a.Hands(f.Size)
	return body, nil
}
