package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/weights"
)

// What reading headers may cost. A header of the greatest size, made to be dear, takes some 160 MiB, so few are read at
// once, by whomever, and the scopes take turns.
const (
	maxHeaderBytes  = 32 << 20
	maxHeaderFiles  = 1000      // of one version
	maxHeadersBytes = 256 << 20 // of one version
	headersAtOnce   = 2         // of one version
	inspectsAtOnce  = 1         // versions
	listsAtOnce     = 1         // requests
)

// inspect notes what the headers of an accepted upload's files say, so that the version says it of itself and nobody
// has to be believed. Files that cannot be read are content all the same: the version then says nothing. If we crash
// before it is noted the next run reads again; afterwards it is fixed.
func (e *Engine) inspect(ctx context.Context, u index.Upload, files []ballast.File) error {
	if u.Accepted.Inspected || !slices.ContainsFunc(files, func(f ballast.File) bool { return weights.FormatOf(f.Path) != "" }) {
		return nil
	}
	leave, err := e.inspecting.Take(ctx, u.Scope, 1)
	if err != nil {
		return storeError(err)
	}
	defer leave()
	found, err := inspect(ctx, e.bucket, u.Scope, files, e.index.Blob)
	switch {
	case errors.Is(err, objstore.ErrNotFound), errors.Is(err, objstore.ErrPrecondition):
		e.log.WarnContext(ctx, "a verified object was changed behind the registry; fsck has to look", "upload", u.ID, "error", err)
	case err != nil:
		return storeError(err)
	case found.Weights == nil && len(found.Problems) > 0:
		e.log.LogAttrs(ctx, slog.LevelInfo, "the version will not say what its weights are", slog.String("upload", u.ID),
			slog.String("first", found.Problems[0].String()), slog.Int("problems", len(found.Problems)))
	}
	return e.index.Inspected(ctx, u.ID, found.Weights)
}

// inspect reads the headers that count among the files of a version. blob returns the record of each, which must be
// verified. Errors: index.ErrUnverified, and those of the bucket.
func inspect(ctx context.Context, b objstore.Bucket, scope ballast.Scope, files []ballast.File, blob func(context.Context, index.BlobID) (index.Blob, error)) (weights.Report, error) {
	list := make([]weights.File, 0, len(files))
	for _, f := range files {
		list = append(list, weights.File{Path: f.Path, Source: weights.Source{Size: f.Size, ReadAt: func(ctx context.Context, p []byte, off int64) error {
			id := index.BlobID{Scope: scope, Digest: f.Digest}
			held, err := blob(ctx, id)
			if err != nil {
				return err
			}
			return readBlob(ctx, b, id, held, p, off)
		}}})
	}
	return weights.Inspect(ctx, list, weights.Limits{Files: maxHeaderFiles, Header: maxHeaderBytes, Total: maxHeadersBytes, Parallel: headersAtOnce})
}

// readBlob fills p with a range of a verified blob.
func readBlob(ctx context.Context, b objstore.Bucket, id index.BlobID, held index.Blob, p []byte, off int64) (err error) {
	if held.State != index.BlobVerified {
		return index.ErrUnverified
	}
	r, _, err := b.Get(ctx, ballast.BlobKey(id.Scope, id.Digest), objstore.ReadOptions{Offset: off, Length: int64(len(p)), IfMatch: held.ETag, VersionID: held.VersionID})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	_, err = io.ReadFull(r, p)
	return err
}

// Tensors lists the tensors of one weight file of a version, as its header says. Errors: those of Version; not_found
// for a file that the version does not have; precondition for one that has no such header.
func (e *Engine) Tensors(ctx context.Context, p Principal, ref ballast.Ref, l ListTensors) (ballast.TensorsPage, error) {
	v, files, err := e.served(ctx, p, ref)
	if err != nil {
		return ballast.TensorsPage{}, err
	}
	f, err := fileAt(ref, files, l.Path)
	if err != nil {
		return ballast.TensorsPage{}, err
	}
	begin, err := tensorCursor(v, l.Cursor)
	if err != nil {
		return ballast.TensorsPage{}, err
	}
	h, err := e.header(ctx, p.Turn(), v, f)
	if err != nil {
		return ballast.TensorsPage{}, err
	}
	begin = min(begin, len(h.Tensors))
	end := min(begin+l.Limit, len(h.Tensors))
	page := ballast.TensorsPage{Key: v.Key().String(), Digest: v.Digest, Path: f.Path, Format: h.Format, Total: len(h.Tensors), Tensors: h.Tensors[begin:end]}
	if end < len(h.Tensors) {
		page.Cursor = encodeCursor(v.Digest.String() + " " + strconv.Itoa(end))
	}
	return page, nil
}

// tensorCursor is where a page begins. A cursor is good for one version.
func tensorCursor(v index.Version, cursor string) (int, error) {
	at, err := decodeCursor(cursor)
	if err != nil || at == "" {
		return 0, err
	}
	digestText, number, _ := strings.Cut(at, " ")
	n, err := strconv.Atoi(number)
	switch {
	case err != nil || n < 0:
		return 0, errCursor()
	case digestText != v.Digest.String():
		return 0, errMoved()
	}
	return n, nil
}

// header reads the header of a file of a version, in turn with what others ask for: who asks for many keeps nobody waiting
// but its own scope.
func (e *Engine) header(ctx context.Context, asker ballast.Scope, v index.Version, f ballast.File) (weights.Header, error) {
	format := weights.FormatOf(f.Path)
	if format == "" {
		return weights.Header{}, ballast.Errorf(ballast.CodePrecondition, "%s: tensors are listed of *.safetensors and *.gguf files", f.Path)
	}
	id := index.BlobID{Scope: v.Scope, Digest: f.Digest}
	held, err := e.index.Blob(ctx, id)
	if err != nil {
		return weights.Header{}, err
	}
	leave, err := e.listing.Take(ctx, asker, 1)
	if err != nil {
		return weights.Header{}, storeError(err)
	}
	defer leave()
	h, err := weights.Read(ctx, format, weights.Source{Size: f.Size, ReadAt: func(ctx context.Context, p []byte, off int64) error {
		return readBlob(ctx, e.bucket, id, held, p, off)
	}}, maxHeaderBytes)
	switch {
	case errors.Is(err, weights.ErrFormat):
		return h, ballast.Errorf(ballast.CodePrecondition, "%s %s", f.Path, err)
	case errors.Is(err, index.ErrUnverified), errors.Is(err, objstore.ErrNotFound), errors.Is(err, objstore.ErrPrecondition):
		return h, errBytesGone(f.Path).Because(err)
	}
	return h, storeError(err)
}
