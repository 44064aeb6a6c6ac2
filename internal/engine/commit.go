package engine

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// Commit fixes what an upload publishes and hands it to the finisher. The answer is done, or still verifying when that
// takes longer than Limits.CommitWait. Repeating a commit answers the same version.
//
// Errors: missing with the digests to send; integrity when bytes in the store are not what they were declared as;
// precondition for a base that is not ready; busy while what lies under the manifest's key is removed or verified;
// already_exists, lease_lost, invalid, too_large.
func (e *Engine) Commit(ctx context.Context, p Principal, id string, req ballast.CommitRequest) (ballast.Upload, error) {
	u, err := e.pushed(ctx, p, id)
	if err != nil {
		return ballast.Upload{}, err
	}
	_, manifest, err := ballast.BuildManifest(req.Files)
	if err != nil {
		return ballast.Upload{}, err
	}
	if u.Status == ballast.UploadPending {
		if err := e.accept(ctx, p, u, req, manifest); err != nil && !e.overtaken(ctx, id) {
			return ballast.Upload{}, err
		}
		e.finishLater(id)
	}
	if u, err = e.await(ctx, u, e.limits.CommitWait, notVerifying); err != nil {
		return ballast.Upload{}, err
	}
	return e.committed(ctx, u, ballast.DigestOf(manifest))
}

func notVerifying(u index.Upload) bool { return u.Status != ballast.UploadVerifying }

// overtaken reports whether the upload moved on while its commit was being checked, and so has an answer of its own:
// another commit of it was accepted, as when a client's first try still runs, or it ended and its bytes went missing.
func (e *Engine) overtaken(ctx context.Context, id string) bool {
	u, err := e.index.Upload(ctx, id)
	return err == nil && u.Status != ballast.UploadPending
}

// committed is the answer to a commit whose upload has got this far.
func (e *Engine) committed(ctx context.Context, u index.Upload, manifest digest.Digest) (ballast.Upload, error) {
	switch u.Status {
	case ballast.UploadFailed:
		return ballast.Upload{}, u.Error
	case ballast.UploadPending:
		again := ballast.Errorf(ballast.CodeMissing, "bytes went missing while the upload was being finished; ask about the blobs again and repeat the commit")
		return ballast.Upload{}, again
	case ballast.UploadExpired, ballast.UploadAborted:
		return ballast.Upload{}, ballast.Errorf(ballast.CodeLeaseLost, "upload %s is %s; start a new upload", u.ID, u.Status)
	}
	if u.Accepted != nil && u.Accepted.Manifest != manifest {
		e := ballast.Errorf(ballast.CodeConflict, "upload %s was committed with other files", u.ID)
		e.Expected, e.Actual = u.Accepted.Manifest, manifest
		return ballast.Upload{}, e
	}
	return e.showUpload(ctx, u)
}

// accept checks everything that can be checked before the upload leaves its client's hands.
func (e *Engine) accept(ctx context.Context, p Principal, u index.Upload, req ballast.CommitRequest, manifest []byte) error {
	at := e.now()
	if err := req.Metadata.Check(); err != nil {
		return err
	}
	if err := e.index.KnowsTask(ctx, req.Metadata.Task); err != nil {
		return err
	}
	if err := e.fixBase(ctx, p, u.Scope, &req.Metadata); err != nil {
		return err
	}
	if err := e.index.Renew(ctx, u.ID, e.limits.Lease); err != nil {
		return err
	}
	if err := e.writeEmpty(ctx, u, req.Files); err != nil {
		return storeError(err)
	}
	if err := e.allThere(ctx, u, req.Files); err != nil {
		return err
	}
	d := ballast.DigestOf(manifest)
	if err := e.writeOwn(ctx, u, d, manifest); err != nil {
		return storeError(err)
	}
	var size int64
	for _, f := range req.Files {
		size += f.Size
	}
	_, err := e.index.Accept(ctx, u.ID, index.Accepted{Manifest: d, ManifestSize: int64(len(manifest)), Files: len(req.Files), Size: size, Metadata: req.Metadata})
	e.changed.notify(u.Scope)
	if err == nil {
		e.usedLease(LeaseCommitted, u, at)
	}
	if ballast.CodeOf(err) == ballast.CodeAlreadyExists { // the label is that of a version whose bytes are missing, and whose files are others
		return errors.Join(ballast.AsError(err), e.settle(ctx, u, ballast.UploadFailed, ballast.AsError(err)))
	}
	return err
}

// fixBase replaces the reference to a base model by the exact key of a version that is ready and visible. A global version's
// base is global: everybody reads its key, and hears when it is retired.
func (e *Engine) fixBase(ctx context.Context, p Principal, scope ballast.Scope, m *ballast.Metadata) error {
	if m.BaseModel == "" {
		return nil
	}
	ref, err := ballast.ParseRef(m.BaseModel)
	if err != nil {
		return ballast.Errorf(ballast.CodeInvalid, "base model: %s", ballast.AsError(err).Detail)
	}
	base, err := e.resolve(ctx, p, ref)
	switch code := ballast.CodeOf(err); {
	case code == ballast.CodeNotFound || err == nil && base.Status != ballast.StatusReady:
		return ballast.Errorf(ballast.CodePrecondition, "base model %s: no such ready version; push it first, or name another", ref)
	case code == ballast.CodeRetired:
		return ballast.Errorf(ballast.CodePrecondition, "base model %s: %s; name another", ref, ballast.AsError(err).Detail)
	case err != nil:
		return err
	}
	if scope == ballast.Global && base.Scope != ballast.Global {
		return ballast.Errorf(ballast.CodePrecondition, "base model %s: not everybody who reads global sees it; copy it to global first, or publish in scope %s", base.Key(), base.Scope)
	}
	if depth, err := e.index.Depth(ctx, base); err != nil || depth >= index.MaxLineage {
		return cmp.Or(err, error(ballast.Errorf(ballast.CodePrecondition, "base model %s: %d bases stand behind it already; at most %d may", base.Key(), depth, index.MaxLineage)))
	}
	m.BaseModel = base.Key().String()
	return nil
}

// writeEmpty writes the empty file for a client that listed one without asking about it.
func (e *Engine) writeEmpty(ctx context.Context, u index.Upload, files []ballast.File) error {
	if !slices.ContainsFunc(files, func(f ballast.File) bool { return f.Size == 0 }) {
		return nil
	}
	return e.writeOwn(ctx, u, ballast.EmptyDigest, nil)
}

// writeOwn pins, writes and settles a blob of the service's own making. Errors: busy until it is verified, as when its
// key was taken by bytes that have to be re-read.
func (e *Engine) writeOwn(ctx context.Context, u index.Upload, d digest.Digest, body []byte) error {
	f := ballast.File{Digest: d, Size: int64(len(body))}
	asked, err := e.ask(ctx, u, []index.Want{{Digest: d, Size: f.Size, Method: ballast.MethodPut, Own: true}})
	if err != nil {
		return err
	}
	b := asked[0].Blob
	if b.State == index.BlobUploading {
		if err := e.writeBlob(ctx, u.Scope, d, body); err != nil {
			return err
		}
		if _, err := e.settlePuts(ctx, u, []ballast.File{f}); err != nil {
			return err
		}
		id, multipart := index.BlobID{Scope: u.Scope, Digest: d}, b.MultipartID
		if b, err = e.index.Blob(ctx, id); err != nil {
			return err
		}
		if multipart != "" && b.MultipartID == "" { // a client began to send the same bytes in parts
			e.abortQuietly(ctx, id, multipart)
		}
	}
	if b.State == index.BlobVerified {
		return nil
	}
	again := ballast.Errorf(ballast.CodeBusy, "blob %s is being removed or verified; repeat the commit", d)
	again.RetryAfter = busyRetry
	return again
}

// maxMissing is how many digests a refusal lists.
const maxMissing = 1000

// allThere refuses a commit some of whose bytes are not in the store, naming up to 1,000 of them. An upload whose bytes
// are a lie fails here and now.
func (e *Engine) allThere(ctx context.Context, u index.Upload, files []ballast.File) error {
	var missing []digest.Digest
	for batch := range distinct(files, index.MaxWants) {
		unpinned, err := e.index.Pinned(ctx, u, batch)
		if err != nil {
			return err
		}
		lacking, _, err := e.settleBatch(ctx, u, batch, e.hasParts)
		if ballast.CodeOf(err) == ballast.CodeIntegrity {
			return errors.Join(ballast.AsError(err), e.settle(ctx, u, ballast.UploadFailed, ballast.AsError(err)))
		}
		if err != nil {
			return err
		}
		missing = append(missing, unpinned...)
		for _, d := range lacking {
			if !slices.Contains(unpinned, d) {
				missing = append(missing, d)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	err := ballast.Errorf(ballast.CodeMissing, "%d blobs are not there yet; ask about them in POST …/blobs, send them, and repeat the commit", len(missing))
	err.Missing = missing[:min(len(missing), maxMissing)]
	return err
}

// partsFunc does what one pass does with a multipart blob, and reports whether bytes are missing.
type partsFunc func(ctx context.Context, u index.Upload, f ballast.File, b index.Blob) (missing bool, err error)

func (e *Engine) hasParts(ctx context.Context, u index.Upload, f ballast.File, b index.Blob) (bool, error) {
	all, err := e.hasAllParts(ctx, u, f, b)
	return !all, err
}

func (e *Engine) completeParts(ctx context.Context, u index.Upload, f ballast.File, _ index.Blob) (bool, error) {
	return e.complete(ctx, u, f)
}

// completesAtOnce bounds the multiparts of one upload that are completed side by side.
const completesAtOnce = 4

// settleBatch drives a batch of at most MaxWants blobs as far as it goes without waiting. missing are those whose bytes
// are not in the store, waiting is the number that only the verifier or the reclaimer can move.
func (e *Engine) settleBatch(ctx context.Context, u index.Upload, batch []ballast.File, parts partsFunc) (missing []digest.Digest, waiting int, err error) {
	blobs, err := e.index.Blobs(ctx, u.Scope, digestsOf(batch))
	if err != nil {
		return nil, 0, err
	}
	var puts []ballast.File
	var mu sync.Mutex
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(completesAtOnce)
	for i, f := range batch {
		switch b := blobs[i]; {
		case b.State == index.BlobVerified && b.Size != f.Size:
			return nil, 0, errors.Join(otherSize(f, b.Size), group.Wait())
		case b.State == index.BlobVerified:
		case b.State == index.BlobAbsent:
			mu.Lock()
			missing = append(missing, f.Digest)
			mu.Unlock()
		case b.State != index.BlobUploading:
			waiting++
		case b.Method == ballast.MethodPut:
			puts = append(puts, f)
		default:
			group.Go(func() error {
				lacks, err := parts(gctx, u, f, b)
				mu.Lock()
				defer mu.Unlock()
				if lacks {
					missing = append(missing, f.Digest)
				} else {
					waiting++
				}
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, 0, err
	}
	lacking, err := e.settlePuts(ctx, u, puts)
	return append(missing, lacking...), waiting, err
}

func digestsOf(files []ballast.File) []digest.Digest {
	all := make([]digest.Digest, 0, len(files))
	for _, f := range files {
		all = append(all, f.Digest)
	}
	return all
}

// distinct yields the files with distinct digests in batches of n.
func distinct(files []ballast.File, n int) iter.Seq[[]ballast.File] {
	seen := make(map[digest.Digest]bool, len(files))
	var once []ballast.File
	for _, f := range files {
		if !seen[f.Digest] {
			seen[f.Digest] = true
			once = append(once, f)
		}
	}
	return slices.Chunk(once, n)
}

// finishers holds one goroutine per thing that has to be finished: an accepted commit, a pending record.
type finishers struct {
	mu      sync.Mutex
	running map[string]error // why the last try came to nothing
}

func (f *finishers) begin(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running == nil {
		f.running = map[string]error{}
	}
	if _, running := f.running[id]; running {
		return false
	}
	f.running[id] = nil
	return true
}

// stuck notes why a try came to nothing.
func (f *finishers) stuck(id string, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running[id] = why
}

// trouble is why something is not finished yet, as a caller may hear it; nil while nothing is in its way.
func (f *finishers) trouble(id string) *ballast.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return AsError(f.running[id])
}

func (f *finishers) end(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, id)
}

// finishLater finishes an accepted commit in the background, however long the store takes to come back.
func (e *Engine) finishLater(id string) {
	e.persist(uploadWork(id), func(ctx context.Context) error { return e.finish(ctx, id) })
}

func uploadWork(id string) string { return "upload " + id }

// persist does something in the background, again and again until it succeeds or this instance may do it no more. What is
// under way already is not begun anew.
func (e *Engine) persist(what string, do func(context.Context) error) {
	if !e.finishing.begin(what) {
		return
	}
	e.work.Go(func() {
		defer e.finishing.end(what)
		for pause := time.Second; ; pause = min(2*pause, time.Minute) {
			e.finishing.stuck(what, nil)
			err := do(e.ctx)
			if err == nil || e.ctx.Err() != nil || e.owner.verdict() != nil {
				return
			}
			e.finishing.stuck(what, err)
			e.log.WarnContext(e.ctx, "finishing what was begun", "what", what, "error", err, "retry_in", pause)
			select {
			case <-e.ctx.Done():
				return
			case <-time.After(pause):
			}
		}
	})
}
