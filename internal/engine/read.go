package engine

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

func (e *Engine) resolve(ctx context.Context, p Principal, ref ballast.Ref) (index.Version, error) {
	return e.index.Resolve(ctx, p.lookup(ref.Scope, ref.Name), ref)
}

// Version returns the version that a reference means. Errors: not_found, retired, integrity.
func (e *Engine) Version(ctx context.Context, p Principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	p.asks(ctx, ref)
	return e.version(ctx, p.lookup(ref.Scope, ref.Name), ref)
}

// Provenance is Version that also shows what is retired, or whose base is: what people know of it outlives its service.
// Errors: not_found, integrity; retired for latest when nothing else is left.
func (e *Engine) Provenance(ctx context.Context, p Principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	p.asks(ctx, ref)
	l := p.lookup(ref.Scope, ref.Name)
	l.Retired = true
	return e.version(ctx, l, ref)
}

func (e *Engine) version(ctx context.Context, l index.Lookup, ref ballast.Ref) (ballast.VersionInfo, error) {
	v, err := e.index.Resolve(ctx, l, ref)
	if err != nil {
		return ballast.VersionInfo{}, err
	}
	shown, err := e.showVersions(ctx, v)
	if err != nil {
		return ballast.VersionInfo{}, err
	}
	return shown[0], nil
}

func (e *Engine) showVersions(ctx context.Context, versions ...index.Version) ([]ballast.VersionInfo, error) {
	aliases, err := e.index.AliasesOf(ctx, versions)
	if err != nil {
		return nil, err
	}
	shown := make([]ballast.VersionInfo, 0, len(versions))
	for i, v := range versions {
		shown = append(shown, showVersion(v, aliases[i]))
	}
	return shown, nil
}

func showVersion(v index.Version, aliases []ballast.Alias) ballast.VersionInfo {
	return ballast.VersionInfo{
		Key: v.Key().String(), Scope: v.Scope, Name: v.Name, Version: v.Version, Status: v.Status, Stage: v.Stage,
		Digest: v.Digest, ObjectKey: ballast.BlobKey(v.Scope, v.Digest), Size: v.Size, Files: v.Files, Assurance: v.Assurance,
		Weights: v.Weights, Aliases: aliases, Metadata: v.Metadata, CreatedBy: v.CreatedBy, CreatedAt: v.CreatedAt, UpdatedAt: v.UpdatedAt,
		RetiredBy: v.RetiredBy, RetiredAt: v.RetiredAt, Revision: v.Revision,
	}
}

// Models lists the names that the principal sees: its own and the global ones that they do not shadow, or those of one
// named scope.
func (e *Engine) Models(ctx context.Context, p Principal, l ListModels) (ballast.ModelsPage, error) {
	after, err := decodeCursor(l.Cursor)
	if err != nil {
		return ballast.ModelsPage{}, err
	}
	found, next, err := e.index.Models(ctx, p.parts(l.Scope), l.Prefix, after, l.Limit)
	if err != nil {
		return ballast.ModelsPage{}, err
	}
	page := ballast.ModelsPage{Models: make([]ballast.ModelInfo, 0, len(found)), Cursor: encodeCursor(next)}
	for _, m := range found {
		page.Models = append(page.Models, showModel(m))
	}
	return page, nil
}

func showModel(m index.Model) ballast.ModelInfo {
	return ballast.ModelInfo{Scope: m.Scope, Name: m.Name.Name, Latest: m.Latest, Versions: m.Name.Ready, UpdatedAt: m.Name.Updated}
}

// Model returns one name. Errors: not_found.
func (e *Engine) Model(ctx context.Context, p Principal, scope ballast.Scope, name ballast.Name) (ballast.ModelInfo, error) {
	m, err := e.index.Model(ctx, p.lookup(scope, name).Scopes, name)
	if err != nil {
		return ballast.ModelInfo{}, err
	}
	return showModel(m), nil
}

// served resolves a reference for bytes: the one gate. The version is ready, neither it nor its base is retired, and
// every blob of it was verified before it became so.
func (e *Engine) served(ctx context.Context, p Principal, ref ballast.Ref) (index.Version, []ballast.File, error) {
	p.asks(ctx, ref)
	v, err := e.resolve(ctx, p, ref)
	if err != nil {
		return v, nil, err
	}
	if a := audit.Of(ctx); a != nil {
		a.Found(v.Scope, v.Key().String())
	}
	if err := e.pass(ref, v.Status); err != nil {
		return v, nil, err
	}
	files, err := e.files(ctx, v.Scope, v.Digest)
	return v, files, err
}

// pass lets a version through that is ready; what else resolves is about to be.
func (e *Engine) pass(ref ballast.Ref, status ballast.Status) error {
	if status == ballast.StatusReady {
		return nil
	}
	if err := e.owner.verdict(); err != nil {
		return err
	}
	busy := ballast.Errorf(ballast.CodeBusy, "%s is %s; it will be ready in a moment", ref, status)
	busy.RetryAfter = busyRetry
	return busy
}

// maxPartsPerPage bounds the part digests and states of one page of files.
const maxPartsPerPage = 20_000

// Files lists the files of a version by path, with signed requests, and with part digests and chains, when they are asked
// for.
func (e *Engine) Files(ctx context.Context, p Principal, ref ballast.Ref, l ListFiles) (ballast.FilesPage, error) {
	v, files, err := e.served(ctx, p, ref)
	if err != nil {
		return ballast.FilesPage{}, err
	}
	if l.URLs && v.Files == 0 {
		return ballast.FilesPage{}, ballast.Errorf(ballast.CodePrecondition, "%s has no files: it was published for what is said of it, and there is nothing to pull", v.Key())
	}
	after, err := decodeCursor(l.Cursor)
	if err != nil {
		return ballast.FilesPage{}, err
	}
	digestText, path, paged := strings.Cut(after, " ")
	if paged && digestText != v.Digest.String() {
		return ballast.FilesPage{}, errMoved()
	}
	begin, _ := slices.BinarySearchFunc(files, path, func(f ballast.File, p string) int { return strings.Compare(f.Path, p) })
	page := ballast.FilesPage{Key: v.Key().String(), Digest: v.Digest, Files: []ballast.FileInfo{}}
	parts := 0
	for _, f := range files[begin:] {
		if len(page.Files) == l.Limit || parts > maxPartsPerPage {
			page.Cursor = encodeCursor(v.Digest.String() + " " + f.Path)
			break
		}
		info, err := e.file(ctx, v.Scope, f, l.URLs, l.Parts)
		if err != nil {
			return ballast.FilesPage{}, err
		}
		parts += len(info.Parts) + len(info.Chain)
		page.Files = append(page.Files, info)
	}
	return page, nil
}

// Fresh is a context in which File signs anew instead of giving out what it signed before.
func Fresh(ctx context.Context) context.Context { return objstore.Fresh(ctx) }

// File returns one file of a version with its signed request. Errors: those of Version; not_found.
func (e *Engine) File(ctx context.Context, p Principal, ref ballast.Ref, path string) (ballast.FileInfo, error) {
	p.asks(ctx, ref)
	a := audit.Of(ctx)
	a.File(path)
	h, err := e.index.ResolveHead(ctx, p.lookup(ref.Scope, ref.Name), ref)
	if err == nil {
		a.Found(h.Scope, h.Key)
		err = e.pass(ref, h.Status)
	}
	if err != nil {
		return ballast.FileInfo{}, err
	}
	files, err := e.files(ctx, h.Scope, h.Digest)
	if err != nil {
		return ballast.FileInfo{}, err
	}
	f, err := fileAt(ref, files, path)
	if err != nil {
		return ballast.FileInfo{}, err
	}
	return e.file(ctx, h.Scope, f, true, false)
}

// fileAt finds a file of a version by its path. Errors: not_found.
func fileAt(ref ballast.Ref, files []ballast.File, path string) (ballast.File, error) {
	i, ok := slices.BinarySearchFunc(files, path, func(f ballast.File, p string) int { return strings.Compare(f.Path, p) })
	if !ok {
		return ballast.File{}, ballast.Errorf(ballast.CodeNotFound, "%s has no file %q", ref, path)
	}
	return files[i], nil
}

func errMoved() error {
	return ballast.Errorf(ballast.CodeGone, "the reference now means another version than when the list began; begin again, or name the version")
}

func errBytesGone(path string) *ballast.Error {
	return ballast.Errorf(ballast.CodeIntegrity, "%s: its bytes are missing from the registry; its operator has to run fsck", path)
}

func (e *Engine) file(ctx context.Context, scope ballast.Scope, f ballast.File, urls, parts bool) (ballast.FileInfo, error) {
	info := ballast.FileInfo{Path: f.Path, Size: f.Size, SHA256: f.Digest.Encoded(), MediaType: ballast.MediaTypeOf(f.Path)}
	if f.Size == 0 || !urls && !parts {
		return info, nil
	}
	id := index.BlobID{Scope: scope, Digest: f.Digest}
	b, err := e.index.Blob(ctx, id)
	if err != nil {
		return info, err
	}
	if b.State != index.BlobVerified {
		return info, errBytesGone(f.Path)
	}
	if parts {
		if err := e.addHints(ctx, id, b, &info); err != nil {
			return info, err
		}
	}
	if !urls {
		return info, nil
	}
	req, err := e.signer.SignGet(ctx, ballast.BlobKey(scope, f.Digest), b.VersionID, e.limits.GetURLLife)
	info.Request = &req
	audit.Of(ctx).Hands(f.Size)
	return info, storeError(err)
}

// addHints adds what is known of a blob's parts and links.
func (e *Engine) addHints(ctx context.Context, id index.BlobID, b index.Blob, info *ballast.FileInfo) error {
	sums, err := e.index.PartDigests(ctx, id, b)
	if err != nil {
		return err
	}
	chain, err := e.index.Chain(ctx, id, b)
	if err != nil {
		return err
	}
	if len(sums) > 0 {
		info.PartSize, info.Parts = b.PartSize, hexes(sums)
	}
	if len(chain) > 0 {
		info.LinkSize, info.Chain = b.LinkSize, hexes(chain)
	}
	return nil
}

func hexes(sums [][32]byte) []string {
	texts := make([]string, 0, len(sums))
	for _, s := range sums {
		texts = append(texts, hex.EncodeToString(s[:]))
	}
	return texts
}

// Aliases lists the aliases of a name. Errors: not_found.
func (e *Engine) Aliases(ctx context.Context, p Principal, scope ballast.Scope, name ballast.Name) (ballast.AliasesPage, error) {
	found, err := e.index.Aliases(ctx, p.lookup(scope, name).Scopes, name)
	page := ballast.AliasesPage{Aliases: make([]ballast.AliasInfo, 0, len(found))}
	for _, a := range found {
		page.Aliases = append(page.Aliases, showAlias(a.Name, a.Alias))
	}
	return page, err
}

func showAlias(name ballast.Alias, a index.Alias) ballast.AliasInfo {
	return ballast.AliasInfo{Alias: name, Version: a.Version, UpdatedBy: a.UpdatedBy, UpdatedAt: a.UpdatedAt, Revision: a.Revision}
}

// SetAlias points an alias at a ready version. With ifMatch it moves only from that revision, 0 for a new alias.
// Errors: not_found, denied, precondition; too_large for one alias more than MaxAliases.
func (e *Engine) SetAlias(ctx context.Context, p Principal, scope ballast.Scope, name ballast.Name, alias ballast.Alias, to ballast.Version, ifMatch *int64) (ballast.AliasInfo, error) {
	scope, err := e.writable(p, scope, name)
	if err != nil {
		return ballast.AliasInfo{}, err
	}
	a, err := e.index.SetAlias(ctx, scope, name, alias, to, p.By(), ifMatch)
	e.changed.notify(scope)
	return showAlias(alias, a), err
}

// DeleteAlias removes an alias; ifMatch is as for SetAlias.
func (e *Engine) DeleteAlias(ctx context.Context, p Principal, scope ballast.Scope, name ballast.Name, alias ballast.Alias, ifMatch *int64) error {
	scope, err := e.writable(p, scope, name)
	if err != nil {
		return err
	}
	err = e.index.DeleteAlias(ctx, scope, name, alias, p.By(), ifMatch)
	e.changed.notify(scope)
	return err
}

// writable is changeable for a writer.
func (e *Engine) writable(p Principal, named ballast.Scope, name ballast.Name) (ballast.Scope, error) {
	return e.changeable(p, named, name, ballast.Writer)
}

// changeable returns the scope of a change to a name: the one that is named, or the principal's own; never another by fallback.
// Errors: those of a role that is too weak there; unavailable once the prefix is another's.
func (e *Engine) changeable(p Principal, named ballast.Scope, name ballast.Name, role ballast.Role) (ballast.Scope, error) {
	scope := p.scopeOf(named)
	if err := p.need(scope, name, role); err != nil {
		return scope, err
	}
	return scope, e.owner.verdict()
}

// A cursor is opaque to clients: the base64 of where the next page begins.
func encodeCursor(at string) string { return base64.RawURLEncoding.EncodeToString([]byte(at)) }

func decodeCursor(cursor string) (string, error) {
	at, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", errCursor()
	}
	return string(at), nil
}

// formatNumber and parseNumber are for cursors of a number; 0 is none.
func formatNumber(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func parseNumber(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, errCursor()
	}
	return n, nil
}

func errCursor() error {
	return ballast.Errorf(ballast.CodeInvalid, "cursor: not one that this list answered")
}
