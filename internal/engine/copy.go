package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// Copy publishes the files of a version, and what is said of it, under another name or in another scope. It is a push
// whose bytes the store copies: the same gate as for a pull at its source, the same rules as for a push at its target.
// From the moment that the upload is accepted the finisher copies what the target's scope lacks, whoever is gone and
// however often the service starts anew. Within one scope no byte moves.
//
// The answer is done, or still verifying when that takes longer than Limits.CommitWait; the same copy asked for again
// joins it, and once it is done answers its version. Stage and aliases do not travel.
//
// Errors: those of a read of the source, and of CreateUpload and Commit for the target; precondition when the base model
// could not be seen from there; busy while what lay where it copies to is removed, and for a label that has the same files
// and is not ready yet.
func (e *Engine) Copy(ctx context.Context, p Principal, from ballast.Ref, req ballast.CopyVersion) (ballast.Upload, error) {
	scope, err := e.writable(p, req.Scope, req.Name)
	if err != nil {
		return ballast.Upload{}, err
	}
	v, files, err := e.served(ctx, p, from)
	if err != nil {
		return ballast.Upload{}, err
	}
	// Who reads a version out of its scope has a line there, like one who pulls it.
	defer func() {
		a := audit.Of(ctx)
		a.Asks(ballast.AuditRead)
		a.Found(v.Scope, v.Key().String())
		a.Hands(v.Size)
	}()
	if err := baseSeen(v, scope); err != nil {
		return ballast.Upload{}, err
	}
	opened, _, err := e.CreateUpload(ctx, p, ballast.CreateUpload{Scope: scope, Name: req.Name, Version: req.Version, Attempt: copyAttempt(v, scope, req), Size: v.Size})
	if refused := ballast.AsError(err); ballast.CodeOf(err) == ballast.CodeAlreadyExists {
		return e.copiedBefore(ctx, p, v, scope, req, refused)
	}
	if err != nil {
		return ballast.Upload{}, err
	}
	u, err := e.index.Upload(ctx, opened.ID)
	if err != nil {
		return ballast.Upload{}, err
	}
	if u.Status == ballast.UploadPending {
		if err := e.acceptCopy(ctx, u, v, files); err != nil && !e.overtaken(ctx, u.ID) {
			if ballast.CodeOf(err) == ballast.CodeQuotaExceeded { // nobody else would give back what it has pinned
				err = cmp.Or(e.settle(ctx, u, ballast.UploadFailed, ballast.AsError(err)), err)
			}
			return ballast.Upload{}, err
		}
		e.finishLater(u.ID)
	}
	if u, err = e.await(ctx, u, e.limits.CommitWait, notVerifying); err != nil {
		return ballast.Upload{}, err
	}
	return e.committed(ctx, u, v.Digest)
}

// baseSeen refuses to copy a version to where its base could not be seen: a global version's base is global.
func baseSeen(v index.Version, scope ballast.Scope) error {
	if v.Metadata.BaseModel == "" {
		return nil
	}
	base, err := ballast.ParseKey(v.Metadata.BaseModel)
	if err != nil || base.Scope == scope || base.Scope == ballast.Global {
		return err
	}
	return ballast.Errorf(ballast.CodePrecondition, "%s was made from %s, which cannot be seen from scope %s; copy it within %s, "+
		"or copy the base to global first and push this one anew with --base naming that copy", v.Key(), base, scope, base.Scope)
}

// copyAttempt is the same for the same copy, so that who asks again gets the open upload.
func copyAttempt(v index.Version, scope ballast.Scope, req ballast.CopyVersion) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s", v.Key(), scope, req.Name.Fold(), req.Version.Fold()))
	return "copy-" + hex.EncodeToString(sum[:16])
}

// copiedBefore answers a label that is taken: with its version when that has the same files.
func (e *Engine) copiedBefore(ctx context.Context, p Principal, v index.Version, scope ballast.Scope, req ballast.CopyVersion, refused *ballast.Error) (ballast.Upload, error) {
	if refused.Expected != v.Digest {
		other := *refused
		other.Actual = v.Digest
		return ballast.Upload{}, &other
	}
	ref := ballast.Ref{Scope: scope, Name: req.Name, Version: req.Version}
	info, err := e.Version(ctx, p, ref)
	if err == nil {
		err = e.pass(ref, info.Status) // one that is sealed is not done
	}
	if err != nil {
		return ballast.Upload{}, err
	}
	return ballast.Upload{Scope: info.Scope, Name: info.Name, Version: info.Version, Key: info.Key, Status: ballast.UploadDone, CreatedBy: info.CreatedBy, CreatedAt: info.CreatedAt, Result: &info}, nil
}

// acceptCopy fixes what a copy publishes. Until then the upload has a lease like any other, and a crash leaves one that runs
// out or is taken up by the same copy.
func (e *Engine) acceptCopy(ctx context.Context, u index.Upload, v index.Version, files []ballast.File) error {
	_, manifest, err := ballast.BuildManifest(files)
	if err != nil {
		return err
	}
	if d := ballast.DigestOf(manifest); d != v.Digest {
		return fmt.Errorf("engine: the files of %s make the manifest %s, not %s", v.Key(), d, v.Digest)
	}
	a := index.Accepted{Metadata: v.Metadata}
	if v.Scope != u.Scope {
		a.From = v.Scope
	}
	if err = e.adopt(ctx, u, files, manifest, a); ballast.CodeOf(err) == ballast.CodeIntegrity {
		return errOthersBytes(err)
	}
	return err
}

// adopt pins the blobs of files that the store is to copy, writes their manifest and fixes what the upload publishes.
func (e *Engine) adopt(ctx context.Context, u index.Upload, files []ballast.File, manifest []byte, a index.Accepted) error {
	var wants []index.Want
	for batch := range distinct(files, index.MaxWants) {
		for _, f := range batch {
			w, err := parseWant(ballast.BlobRequest{Digest: f.Digest, Size: f.Size})
			if err != nil {
				return err
			}
			wants = append(wants, w)
		}
	}
	asked, err := e.ask(ctx, u, wants)
	if err != nil {
		return err
	}
	for i, got := range asked {
		if got.Blob.State == index.BlobDeleting || got.Blob.State == index.BlobAborting { // and so it is not pinned
			again := ballast.Errorf(ballast.CodeBusy, "blob %s is being removed from scope %s; ask again", wants[i].Digest, u.Scope)
			again.RetryAfter = busyRetry
			return again
		}
	}
	a.Manifest, a.ManifestSize, a.Files = ballast.DigestOf(manifest), int64(len(manifest)), len(files)
	for _, f := range files {
		a.Size += f.Size
	}
	if err := e.writeOwn(ctx, u, a.Manifest, manifest); err != nil {
		return storeError(err)
	}
	_, err = e.index.Accept(ctx, u.ID, a)
	e.changed.notify(u.Scope)
	return err
}

// copiesAtOnce bounds the objects that the store copies side by side for one upload; Limits.Copies those of all, and
// Limits.CopiesOfScope those into one scope.
const copiesAtOnce = 4

// copyMissing has the store copy the blobs that an upload's scope lacks, and returns when they were looked at. It may
// begin anew after any crash: what became of an earlier copy is decided by looking at the key.
func (e *Engine) copyMissing(ctx context.Context, u index.Upload, files []ballast.File, missing []digest.Digest) error {
	ctx, stop := e.while(ctx, u, ballast.UploadVerifying)
	defer stop()
	lacks := make(map[digest.Digest]bool, len(missing))
	for _, d := range missing {
		lacks[d] = true
	}
	todo := slices.DeleteFunc(slices.Clone(files), func(f ballast.File) bool { return !lacks[f.Digest] })
	find, err := e.copiesFrom(ctx, u)
	if err != nil {
		return err
	}
	for batch := range distinct(todo, index.MaxWants) {
		sources, err := find(ctx, batch)
		if err != nil {
			return err
		}
		blobs, err := e.index.BeginCopy(ctx, u.ID, digestsOf(batch))
		if err != nil {
			return err
		}
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(copiesAtOnce)
		for i, f := range batch {
			if blobs[i].State == index.BlobUploading {
				group.Go(func() error { return e.copyInTurn(gctx, u, f, sources[i]) })
			}
		}
		if err := group.Wait(); err != nil {
			if cause := context.Cause(ctx); ballast.CodeOf(cause) == ballast.CodeLeaseLost {
				return cause
			}
			return err
		}
	}
	return nil
}

// copied is where a blob is to be copied from.
type copied struct {
	objstore.Source
	unusable error                 // why nothing can be copied from there
	failed   func(err error) error // what it means that the store read another object there than it was told, or none
}

// findCopied returns where each of at most MaxWants blobs is to be copied from.
type findCopied func(ctx context.Context, batch []ballast.File) ([]copied, error)

func (e *Engine) copiesFrom(ctx context.Context, u index.Upload) (findCopied, error) {
	if u.Import != nil {
		return e.copiesFromSource(ctx, u)
	}
	return func(ctx context.Context, batch []ballast.File) ([]copied, error) {
		blobs, err := e.index.Blobs(ctx, u.Accepted.From, digestsOf(batch))
		all := make([]copied, len(blobs))
		for i, b := range blobs {
			all[i] = copyOfBlob(u.Accepted.From, batch[i], b)
		}
		return all, err
	}, nil
}

// copyOfBlob copies a verified blob of another scope.
func copyOfBlob(from ballast.Scope, f ballast.File, b index.Blob) copied {
	gone := ballast.Errorf(ballast.CodePrecondition, "blob %s is not in scope %s any more: the version that was to be copied is being removed", f.Digest, from)
	c := copied{
		Source: objstore.Source{Key: ballast.BlobKey(from, f.Digest), VersionID: b.VersionID, ETag: b.ETag, Size: b.Size},
		failed: func(err error) error {
			if errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrPrecondition) {
				return gone.Because(err)
			}
			return storeError(err)
		},
	}
	switch {
	case b.State != index.BlobVerified:
		c.unusable = gone
	case b.Size != f.Size:
		c.unusable = otherSize(f, b.Size)
	}
	return c
}

// copiesFromSource copies what an import hashed: the very objects.
func (e *Engine) copiesFromSource(ctx context.Context, u index.Upload) (findCopied, error) {
	at, ok := e.locate(u.Scope, u.Import.Source)
	if !ok {
		return nil, noSuchOrigin(u)
	}
	sources, err := e.index.Sources(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	of := make(map[digest.Digest]index.SourceFile, len(sources))
	for _, f := range sources {
		of[f.Digest] = f
	}
	return func(ctx context.Context, batch []ballast.File) ([]copied, error) {
		all := make([]copied, len(batch))
		for i, want := range batch {
			f, ok := of[want.Digest]
			if !ok { // the registry's own: the service writes it, and it has no source
				all[i].unusable = fmt.Errorf("engine: no file of import %s has the digest %s", u.ID, want.Digest)
				continue
			}
			all[i] = copied{at.of(f), nil, func(err error) error { return e.sourceError(ctx, quotePath(f.Path), err) }}
		}
		return all, nil
	}, nil
}

// copyInTurn is copyOne once it is its turn among all that the store copies.
func (e *Engine) copyInTurn(ctx context.Context, u index.Upload, f ballast.File, from copied) error {
	if from.unusable != nil {
		return from.unusable
	}
	leave, err := e.copies.Take(ctx, u.Scope, 1)
	if err != nil {
		return err
	}
	defer leave()
	return e.copyOne(ctx, u, f, from)
}

// copyOne has the store copy one blob and takes over what then lies under its key: a copy, or what somebody else sent
// meanwhile, which a copy never replaces.
func (e *Engine) copyOne(ctx context.Context, u index.Upload, f ballast.File, from copied) error {
	if err := e.room(ctx, 2*f.Size); err != nil { // the embedded store writes the part, and then the object
		return err
	}
	id := index.BlobID{Scope: u.Scope, Digest: f.Digest}
	defer e.copying.forget(id)
	behind := e.copying.count(id)
	from.Copied = func(n int64) { behind.Add(n) }
	_, cerr := e.bucket.Copy(ctx, ballast.BlobKey(u.Scope, f.Digest), from.Source)
	// If we crash here the finisher meets the object when it looks whether the blob is still missing, or copies again.
	maker := u.ID
	if errors.Is(cerr, objstore.ErrPrecondition) {
		maker = "" // somebody else's bytes lie there: a lie in them is not this upload's
	}
	before, err := e.index.Blob(ctx, id)
	if err != nil {
		return err
	}
	done, err := e.completed(ctx, id, maker)
	switch {
	case ballast.CodeOf(err) == ballast.CodeIntegrity && maker == "":
		return nil // it is removed, and then the blob is missing again
	case err != nil:
		return err
	case done:
		if before.State == index.BlobUploading && before.MultipartID != "" {
			e.abortQuietly(ctx, id, before.MultipartID)
		}
		return nil
	case cerr == nil:
		return nil // removed since; the next look decides
	}
	return from.failed(fmt.Errorf("engine: copying %s: %w", f.Digest, cerr))
}

// while returns a context that ends when the upload leaves a status, with lease_lost as its cause. The caller calls stop.
func (e *Engine) while(ctx context.Context, u index.Upload, status ballast.UploadStatus) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		u, err := e.await(ctx, u, math.MaxInt64, func(u index.Upload) bool { return u.Status != status })
		switch {
		case ctx.Err() != nil:
		case err != nil:
			cancel(err)
		default:
			cancel(ballast.Errorf(ballast.CodeLeaseLost, "upload %s is %s", u.ID, u.Status))
		}
	})
	return ctx, func() { cancel(nil); watch.Wait() }
}
