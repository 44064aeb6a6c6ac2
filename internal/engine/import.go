package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// CreateImport begins an import: an upload whose files the registry itself lists, hashes and has the store copy, from the
// scope's inbox or from a place that the operator allows it. It goes on whoever is gone and however often the service starts
// anew. The same import asked for again while it is under way is the one that there is; created is false then.
//
// A label that a version has already is no refusal yet: the import ends done when its files are that version's.
//
// Errors: not_found for a source that is not there, is empty, or is none of the scope's: these are one answer. Those of
// CreateUpload for the label, and of Commit for the metadata; rate_limited while too many are open; unavailable when the
// store does not let the registry look.
func (e *Engine) CreateImport(ctx context.Context, p Principal, req ballast.CreateImport) (shown ballast.Import, created bool, err error) {
	if req.Name.IsZero() || req.Source.IsZero() {
		return shown, false, ballast.Errorf(ballast.CodeInvalid, "name and source: are required")
	}
	scope, err := e.writable(p, req.Scope, req.Name)
	if err != nil {
		return shown, false, err
	}
	attempt, err := importAttempt(scope, req)
	if err != nil {
		return shown, false, err
	}
	if err := req.Metadata.Check(); err != nil {
		return shown, false, err
	}
	if err := e.index.KnowsTask(ctx, req.Metadata.Task); err != nil {
		return shown, false, err
	}
	if err := e.fixBase(ctx, p, scope, &req.Metadata); err != nil {
		return shown, false, err
	}
	if err := e.owner.check(ctx); err != nil {
		return shown, false, err
	}
	source, err := e.findSource(ctx, scope, req.Source)
	if err != nil {
		return shown, false, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return shown, false, err
	}
	u, created, err := e.index.CreateImport(ctx, index.Upload{
		ID: id.String(), Scope: scope, Name: req.Name, Version: req.Version, Attempt: attempt, Principal: p.ID, CreatedBy: p.By(),
		Import: &index.Import{Source: source, Move: req.Move, Metadata: req.Metadata},
	}, e.limits.OpenImports)
	if ballast.CodeOf(err) == ballast.CodeConflict {
		e.reapBell.ring() // the holder may be dead
	}
	if err != nil {
		return shown, false, err
	}
	e.finishLater(u.ID)
	shown, err = e.showImport(ctx, u)
	return shown, created, err
}

// importAttempt is the same for the same import, so that who asks again gets the open one.
func importAttempt(scope ballast.Scope, req ballast.CreateImport) (string, error) {
	req.Scope = scope
	text, err := json.Marshal(req)
	sum := sha256.Sum256(text)
	return "import-" + hex.EncodeToString(sum[:16]), err
}

// findSource looks whether there is a file below a source, and returns the source in its full form.
func (e *Engine) findSource(ctx context.Context, scope ballast.Scope, s ballast.Source) (ballast.Source, error) {
	at, ok := e.locate(scope, s)
	if !ok {
		return s, e.absentSource(scope, s)
	}
	at, full, err := at.settle(ctx)
	if err != nil {
		return s, storeError(err)
	}
	looked := 0
	for obj, err := range at.objects(ctx) {
		if err != nil {
			return s, storeError(err)
		}
		if looked++; !isMarker(obj) || looked == ballast.MaxFiles {
			return full, nil
		}
	}
	return s, e.absentSource(scope, s)
}

// Import returns an import, after at most wait while it is not settled or still moves its sources. Errors: not_found.
func (e *Engine) Import(ctx context.Context, p Principal, id string, wait time.Duration) (ballast.Import, error) {
	u, err := e.importOf(ctx, p, id)
	if err != nil {
		return ballast.Import{}, err
	}
	u, err = e.await(ctx, u, min(wait, MaxWait), func(u index.Upload) bool { return u.Status.Settled() && !u.Import.Moving })
	if err != nil {
		return ballast.Import{}, err
	}
	return e.showImport(ctx, u)
}

// importOf returns an upload that is an import and that the principal may write to; any other is not_found.
func (e *Engine) importOf(ctx context.Context, p Principal, id string) (index.Upload, error) {
	u, err := e.upload(ctx, p, id)
	if err == nil && u.Import == nil || ballast.CodeOf(err) == ballast.CodeNotFound {
		return u, ballast.Errorf(ballast.CodeNotFound, "import %q: not found; settled imports are kept for 24 hours", id)
	}
	return u, err
}

// CancelImport gives an import up; any writer of its name may. A settled one is left as it is: one that moves its sources
// has published them. Errors: not_found; conflict once the version is sealed.
func (e *Engine) CancelImport(ctx context.Context, p Principal, id string) error {
	if _, err := e.importOf(ctx, p, id); err != nil {
		return err
	}
	return e.AbortUpload(ctx, p, id)
}

// ListImports narrows a list of imports.
type ListImports struct {
	Scope  ballast.Scope // zero: the principal's own
	Limit  int           // 1 … 1000
	Cursor string
}

// Imports lists the imports of one scope into names that the principal may write, the newest first, without their results.
// Errors: denied, not_found for a scope that it may not write to.
func (e *Engine) Imports(ctx context.Context, p Principal, l ListImports) (ballast.ImportsPage, error) {
	scope := p.scopeOf(l.Scope)
	part, ok := p.part(scope, ballast.Writer)
	if !ok {
		return ballast.ImportsPage{}, p.need(scope, ballast.Name{}, ballast.Writer)
	}
	below, err := decodeCursor(l.Cursor)
	if err != nil {
		return ballast.ImportsPage{}, err
	}
	if strings.ContainsRune(below, 0) {
		return ballast.ImportsPage{}, errCursor()
	}
	found, next, err := e.index.Imports(ctx, part, below, l.Limit)
	if err != nil {
		return ballast.ImportsPage{}, err
	}
	page := ballast.ImportsPage{Imports: make([]ballast.Import, 0, len(found)), Cursor: encodeCursor(next)}
	for _, u := range found {
		shown, err := e.outlineImport(ctx, u)
		if err != nil {
			return ballast.ImportsPage{}, err
		}
		page.Imports = append(page.Imports, shown)
	}
	return page, nil
}

// showImport is outlineImport with the version that it became.
func (e *Engine) showImport(ctx context.Context, u index.Upload) (ballast.Import, error) {
	shown, err := e.outlineImport(ctx, u)
	if err != nil || u.Status != ballast.UploadDone {
		return shown, err
	}
	done, err := e.showUpload(ctx, u)
	shown.Result = done.Result
	return shown, err
}

func (e *Engine) outlineImport(ctx context.Context, u index.Upload) (shown ballast.Import, err error) {
	m := u.Import
	shown = ballast.Import{
		ID: u.ID, Source: m.Source, Move: m.Move, Scope: u.Scope, Name: u.Name, Version: u.Version, Status: u.Status,
		CreatedBy: u.CreatedBy, CreatedAt: u.CreatedAt, Skipped: m.Skipped, Error: u.Error,
	}
	if !u.Version.IsZero() {
		shown.Key = ballast.Key{Scope: u.Scope, Name: u.Name, Version: u.Version}.String()
	}
	if m.Move && u.Status == ballast.UploadDone {
		shown.Moved = &ballast.Moved{Done: !m.Moving, Files: m.Moved, Left: m.Left, Kept: m.Kept}
	}
	if !u.Status.Settled() || m.Moving {
		shown.Waiting = e.finishing.trouble(uploadWork(u.ID))
	}
	if m.Listed && u.Status.Unattended() {
		shown.Progress, err = e.importProgress(ctx, u)
	}
	return shown, err
}

// importProgress counts what an import has behind it.
func (e *Engine) importProgress(ctx context.Context, u index.Upload) (*ballast.ImportProgress, error) {
	m := u.Import
	p := &ballast.ImportProgress{Files: m.Files, FilesHashed: m.Hashed, Bytes: m.Bytes, BytesHashed: min(m.Bytes, m.HashedBytes+e.hashing.of(u.ID))}
	if u.Status != ballast.UploadVerifying {
		return p, nil
	}
	files, err := e.files(ctx, u.Scope, u.Accepted.Manifest)
	if err != nil {
		return nil, err
	}
	for batch := range slices.Chunk(files, index.MaxWants) {
		blobs, err := e.index.Blobs(ctx, u.Scope, digestsOf(batch))
		if err != nil {
			return nil, err
		}
		for i, f := range batch {
			copied, verified := e.behind(index.BlobID{Scope: u.Scope, Digest: f.Digest}, blobs[i], f.Size)
			p.BytesCopied, p.BytesVerified = p.BytesCopied+copied, p.BytesVerified+verified
		}
	}
	return p, nil
}

// behind is how much of a blob that the store copies is there, and verified.
func (e *Engine) behind(id index.BlobID, b index.Blob, size int64) (copied, verified int64) {
	switch b.State {
	case index.BlobVerified:
		return size, size
	case index.BlobStored:
		return size, min(size, e.reading.of(id))
	}
	return min(size, e.copying.of(id)), 0
}
