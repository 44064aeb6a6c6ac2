package engine

import (
	"context"
	"errors"
	"regexp"
	"time"

	"github.com/google/uuid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

var attemptPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{16,64}$`)

// CreateUpload opens an upload and holds its label, or answers the open one of the same principal and attempt.
// Errors: already_exists, conflict, denied, quota_exceeded.
func (e *Engine) CreateUpload(ctx context.Context, p Principal, req ballast.CreateUpload) (ballast.Upload, bool, error) {
	if req.Name.IsZero() {
		return ballast.Upload{}, false, ballast.Errorf(ballast.CodeInvalid, "name: is required")
	}
	if !attemptPattern.MatchString(req.Attempt) {
		return ballast.Upload{}, false, ballast.Errorf(ballast.CodeInvalid, "attempt: 16 to 64 of A-Z a-z 0-9 _ -, random and kept by the client")
	}
	if req.Size < 0 || req.Size > ballast.MaxFiles*ballast.MaxFileSize {
		return ballast.Upload{}, false, ballast.Errorf(ballast.CodeInvalid, "size: %d; it is the bytes of all files together, or 0 when they are not known", req.Size)
	}
	p.asks(ctx, ballast.Ref{Scope: req.Scope, Name: req.Name})
	scope, err := e.writable(p, req.Scope, req.Name)
	if err != nil {
		return ballast.Upload{}, false, err
	}
	if err := e.owner.check(ctx); err != nil {
		return ballast.Upload{}, false, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return ballast.Upload{}, false, err
	}
	u, created, err := e.index.CreateUpload(ctx, index.Upload{
		ID: id.String(), Scope: scope, Name: req.Name, Version: req.Version, Attempt: req.Attempt, Principal: p.ID, CreatedBy: p.By(),
		Size: req.Size,
	}, e.limits.Lease)
	if ballast.CodeOf(err) == ballast.CodeConflict {
		e.reapBell.ring() // the holder may be dead
	}
	if err != nil {
		return ballast.Upload{}, false, err
	}
	shown, err := e.showUpload(ctx, u)
	return shown, created, err
}

// upload returns an upload that the principal may write to; any other is not_found.
func (e *Engine) upload(ctx context.Context, p Principal, id string) (index.Upload, error) {
	u, err := e.index.Upload(ctx, id)
	if err != nil {
		return u, err
	}
	if !p.sees(u.Scope, u.Name) {
		return u, ballast.Errorf(ballast.CodeNotFound, "upload %q: not found; settled uploads are kept for 24 hours", id)
	}
	return u, p.need(u.Scope, u.Name, ballast.Writer)
}

// pushed returns an upload that takes its files from a client. Errors: those of upload; conflict for an import.
func (e *Engine) pushed(ctx context.Context, p Principal, id string) (index.Upload, error) {
	u, err := e.upload(ctx, p, id)
	if err == nil && u.Import != nil {
		err = ballast.Errorf(ballast.CodeConflict, "upload %s is an import: the registry itself finds its files", id)
	}
	return u, err
}

// CheckUpload returns nil for an upload that the principal may write to. Errors: not_found, denied.
func (e *Engine) CheckUpload(ctx context.Context, p Principal, id string) error {
	_, err := e.upload(ctx, p, id)
	return err
}

// MaxWait is the longest that Upload holds its answer.
const MaxWait = time.Minute

// Upload returns an upload, after at most wait while it is not settled. It renews the lease of a pending one.
func (e *Engine) Upload(ctx context.Context, p Principal, id string, wait time.Duration) (ballast.Upload, error) {
	u, err := e.upload(ctx, p, id)
	if err != nil {
		return ballast.Upload{}, err
	}
	if at := e.now(); u.Status == ballast.UploadPending && at.Sub(u.Renewed.Time) > e.limits.Lease/3 {
		if err := e.index.Renew(ctx, id, e.limits.Lease); err != nil {
			return ballast.Upload{}, err
		}
		e.usedLease(LeaseRenewed, u, at)
	}
	if u, err = e.await(ctx, u, min(wait, MaxWait), index.Upload.Settled); err != nil {
		return ballast.Upload{}, err
	}
	return e.showUpload(ctx, u)
}

// await returns the upload once it is one to stop at, or as it is when the wait is over. Errors: unavailable when it is left
// to this instance, which may not finish it any more.
func (e *Engine) await(ctx context.Context, u index.Upload, wait time.Duration, stop func(index.Upload) bool) (index.Upload, error) {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	changed, leave := e.changed.listen(u.Scope)
	defer leave()
	for {
		u, err := e.index.Upload(ctx, u.ID)
		if err != nil || stop(u) {
			return u, err
		}
		if err := e.owner.verdict(); err != nil && u.Status.Unattended() {
			return u, err
		}
		select {
		case <-changed:
		case <-timeout.C:
			return u, nil
		case <-ctx.Done():
			return u, nil
		case <-e.hurry.Done():
			return u, nil
		}
	}
}

// AbortUpload gives an upload up; any writer of its name may. A settled one is left as it is. Errors: conflict once
// the version is sealed.
func (e *Engine) AbortUpload(ctx context.Context, p Principal, id string) error {
	u, err := e.upload(ctx, p, id)
	if err != nil {
		return err
	}
	if err := e.owner.verdict(); err != nil {
		return err
	}
	return e.settle(ctx, u, ballast.UploadAborted, nil)
}

func (e *Engine) settle(ctx context.Context, u index.Upload, status ballast.UploadStatus, why *ballast.Error) error {
	_, err := e.index.Settle(ctx, u.ID, status, why)
	e.settled(u.Scope)
	return err
}

// settled tells whoever waits that an upload into a scope may have ended, and has its pins dropped.
func (e *Engine) settled(scope ballast.Scope) {
	e.changed.notify(scope)
	e.releaseBell.ring()
}

func (e *Engine) showUpload(ctx context.Context, u index.Upload) (ballast.Upload, error) {
	shown := ballast.Upload{ID: u.ID, Scope: u.Scope, Name: u.Name, Version: u.Version, Status: u.Status, CreatedBy: u.CreatedBy, CreatedAt: u.CreatedAt, Error: u.Error}
	if !u.Version.IsZero() {
		shown.Key = ballast.Key{Scope: u.Scope, Name: u.Name, Version: u.Version}.String()
	}
	switch u.Status {
	case ballast.UploadPending:
		shown.ExpiresAt = u.LeaseUntil
	case ballast.UploadVerifying:
		progress, err := e.progress(ctx, u)
		if err != nil {
			return shown, err
		}
		shown.Progress = progress
	case ballast.UploadDone:
		v, err := e.index.Version(ctx, ballast.Key{Scope: u.Scope, Name: u.Name, Version: u.Version})
		if err != nil {
			return shown, err
		}
		info, err := e.showVersions(ctx, v)
		if err != nil {
			return shown, err
		}
		shown.Result = &info[0]
	}
	return shown, nil
}

// progress counts what a verifying upload has behind it.
func (e *Engine) progress(ctx context.Context, u index.Upload) (*ballast.Progress, error) {
	files, err := e.files(ctx, u.Scope, u.Accepted.Manifest)
	if err != nil {
		return nil, err
	}
	p := &ballast.Progress{}
	for batch := range distinct(files, index.MaxWants) {
		blobs, err := e.index.Blobs(ctx, u.Scope, digestsOf(batch))
		if err != nil {
			return nil, err
		}
		for i, f := range batch {
			p.Blobs++
			p.Bytes += f.Size
			if blobs[i].State == index.BlobVerified {
				p.BlobsVerified++
				p.BytesVerified += f.Size
				continue
			}
			p.BytesVerified += e.reading.of(index.BlobID{Scope: u.Scope, Digest: f.Digest})
		}
	}
	return p, nil
}

const reapBatch = 100

// reap ends uploads whose lease is over, unless parts still arrive, and forgets settled ones after a day. It also picks
// up accepted commits that nobody finishes, should a request have died right after its commit was accepted.
func (e *Engine) reap(ctx context.Context) error {
	var failed failures
	failed.add(e.resume(ctx))
	for after, more := "", true; more && ctx.Err() == nil; more = after != "" {
		due, next, err := e.index.Due(ctx, after, reapBatch)
		failed.add(err)
		for _, u := range due {
			failed.add(e.reapOne(ctx, u))
		}
		after = next
	}
	return failed.err()
}

func (e *Engine) reapOne(ctx context.Context, u index.Upload) error {
	if u.Status.Settled() {
		return e.index.Forget(ctx, u.ID)
	}
	_, err := e.expireOne(ctx, u)
	return err
}

// expires reports whether expireOne would end an upload.
func (e *Engine) expires(ctx context.Context, u index.Upload) (bool, error) {
	active, err := e.partsArrive(ctx, u)
	return err == nil && !active, err
}

// expireOne ends an upload whose lease is over, unless parts still arrive.
func (e *Engine) expireOne(ctx context.Context, u index.Upload) (expired bool, err error) {
	active, err := e.partsArrive(ctx, u)
	if err != nil {
		return false, err
	}
	if active {
		if err = e.index.Renew(ctx, u.ID, e.limits.Lease); err == nil {
			e.usedLease(LeaseParts, u, e.now())
		}
		return false, err
	}
	ended, err := e.index.Expire(ctx, u.ID)
	if expired = err == nil && ended.Status == ballast.UploadExpired; expired {
		e.usedLease(LeaseExpired, u, e.now())
		e.settled(u.Scope)
	}
	return expired, err
}

// partsArrive reports whether the store took a part that this upload declared since its lease was renewed: a client
// that only talks to the store is alive.
func (e *Engine) partsArrive(ctx context.Context, u index.Upload) (bool, error) {
	open, err := e.index.PinnedMultiparts(ctx, u)
	if err != nil {
		return false, err
	}
	for d, b := range open {
		declared, err := e.index.DeclaredParts(ctx, u.ID, d, b.PartSize, ballast.MaxParts)
		if err != nil {
			return false, err
		}
		for part, err := range e.bucket.ListParts(ctx, ballast.BlobKey(u.Scope, d), b.MultipartID, 0) {
			if errors.Is(err, objstore.ErrNoSuchUpload) {
				break
			}
			if err != nil {
				return false, err
			}
			if part.Modified.After(u.Renewed.Time) && matchesDeclared(part, declared) {
				return true, nil
			}
		}
	}
	return false, nil
}

// release drops the pins of settled uploads. One that cannot be released does not hold up the others.
func (e *Engine) release(ctx context.Context) error {
	ids, err := e.index.Releasing(ctx)
	if err != nil {
		return err
	}
	var failed failures
	for _, id := range ids {
		failed.add(e.releaseOne(ctx, id))
	}
	if len(ids) > 0 {
		e.reclaimBell.ring()
	}
	return failed.err()
}

func (e *Engine) releaseOne(ctx context.Context, id string) error {
	u, err := e.index.Upload(ctx, id)
	if err != nil {
		return err
	}
	defer e.changed.notify(u.Scope)
	for {
		more, err := e.index.Release(ctx, id, releaseBatch)
		if err != nil || !more {
			return err
		}
	}
}

// releaseBatch keeps a Release within the limits of a transaction: a blob has up to 10 pages of parts and 4 other keys.
const releaseBatch = 50
