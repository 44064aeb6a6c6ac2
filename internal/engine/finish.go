package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// waitForBlobs is how long a finisher sleeps at most before it looks at its blobs again unasked.
const waitForBlobs = 5 * time.Second

// finish takes an accepted commit or an import to its end, and removes the sources of an import that moves them. It is what
// a commit runs and what start-up runs; each step can be repeated. An error means: try again later.
func (e *Engine) finish(ctx context.Context, id string) error {
	if err := e.publish(ctx, id); err != nil {
		return err
	}
	return e.removeSources(ctx, id)
}

// publish ends with the upload sealed and ready, failed, or pending again when bytes went missing.
func (e *Engine) publish(ctx context.Context, id string) error {
	for {
		u, err := e.index.Upload(ctx, id)
		if ballast.CodeOf(err) == ballast.CodeNotFound || err == nil && !u.Status.Unattended() {
			return nil
		}
		if err != nil {
			return err
		}
		if u.Sealed {
			return e.rollForward(ctx, ballast.Key{Scope: u.Scope, Name: u.Name, Version: u.Version})
		}
		again := true
		if u.Status == ballast.UploadImporting {
			err = e.gather(ctx, u)
		} else {
			again, err = e.advance(ctx, u)
		}
		if err == nil && again {
			continue
		}
		return e.fail(ctx, u, err)
	}
}

// fail ends the upload when the error is a verdict about it. Any other error is returned.
func (e *Engine) fail(ctx context.Context, u index.Upload, err error) error {
	if errors.Is(err, errSourceDenied) {
		return e.settle(ctx, u, ballast.UploadFailed, ballast.AsError(err))
	}
	switch ballast.CodeOf(err) {
	case "":
		return nil
	case ballast.CodeIntegrity, ballast.CodeInvalid, ballast.CodeTooLarge, ballast.CodePrecondition, ballast.CodeRetired, ballast.CodeAlreadyExists,
		ballast.CodeQuotaExceeded:
		return e.settle(ctx, u, ballast.UploadFailed, ballast.AsError(err))
	case ballast.CodeLeaseLost:
		return nil
	}
	return err
}

// advance makes all blobs verified, reads what is inside, notes that the manifest uses them, and publishes. again asks for
// another round: the state moved under it.
func (e *Engine) advance(ctx context.Context, u index.Upload) (again bool, err error) {
	files, err := e.files(ctx, u.Scope, u.Accepted.Manifest)
	if err != nil {
		return false, err
	}
	copies := u.Copies()
	missing, err := e.verifyAll(ctx, u, files)
	switch {
	case copies && ballast.CodeOf(err) == ballast.CodeIntegrity:
		return false, errOthersBytes(err)
	case err != nil:
		return false, err
	case copies && len(missing) > 0:
		return true, e.copyMissing(ctx, u, files, missing)
	}
	if len(missing) > 0 {
		e.log.InfoContext(ctx, "bytes of a committed upload are missing again", "upload", u.ID, "blobs", len(missing))
		err := e.index.Reopen(ctx, u.ID, e.limits.Lease)
		e.changed.notify(u.Scope)
		return false, err
	}
	if err := e.inspect(ctx, u, files); err != nil {
		return errors.Is(err, index.ErrUnverified), ignore(err, index.ErrUnverified)
	}
	if err := e.reference(ctx, u, files); err != nil {
		return errors.Is(err, index.ErrUnverified), ignore(err, index.ErrUnverified)
	}
	if err := e.flush(ctx, failpoint.SyncSeal); err != nil {
		return false, err
	}
	if err := e.owner.check(ctx); err != nil {
		return false, err
	}
	// If we crash before Seal nothing is visible and the commit is finished anew; after it, only rollForward is left.
	v, err := e.index.Seal(ctx, u.ID, e.recordKey.nextRecord)
	if err != nil {
		return errors.Is(err, index.ErrUnverified), ignore(err, index.ErrUnverified)
	}
	e.changed.notify(u.Scope) // files that the name already has end the upload here, without a record
	e.releaseBell.ring()
	return false, e.rollForward(ctx, v.Key())
}

// errOthersBytes is what it means that a blob which is to be copied is there, and a lie: nobody who sends bytes is at fault
// here. It is being removed, and then it is copied.
func errOthersBytes(err error) error {
	again := ballast.Errorf(ballast.CodeBusy, "what lay where the registry was to copy to is being removed; ask again").Because(err)
	again.RetryAfter = busyRetry
	return again
}

func ignore(err, sentinel error) error {
	if errors.Is(err, sentinel) {
		return nil
	}
	return err
}

// verifyAll returns once every file's blob is verified, or some are missing.
func (e *Engine) verifyAll(ctx context.Context, u index.Upload, files []ballast.File) (missing []digest.Digest, err error) {
	todo := slices.Collect(distinct(files, index.MaxWants))
	changed, leave := e.changed.listen(u.Scope)
	defer leave()
	for {
		var left [][]ballast.File
		for _, batch := range todo {
			lacking, waiting, err := e.settleBatch(ctx, u, batch, e.completeParts)
			if err != nil {
				return nil, err
			}
			if missing = append(missing, lacking...); waiting > 0 {
				left = append(left, batch)
			}
		}
		if todo = left; len(missing) > 0 || len(todo) == 0 {
			return missing, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		case <-time.After(waitForBlobs):
		}
		now, err := e.index.Upload(ctx, u.ID)
		if err != nil {
			return nil, err
		}
		if now.Status != ballast.UploadVerifying {
			return nil, ballast.Errorf(ballast.CodeLeaseLost, "upload %s is %s", u.ID, now.Status)
		}
	}
}

// reference notes, chunk by chunk, that the manifest uses its blobs. Until the last chunk the upload's pins protect them.
func (e *Engine) reference(ctx context.Context, u index.Upload, files []ballast.File) error {
	batches := slices.Collect(distinct(files, index.MaxWants))
	if len(batches) == 0 {
		return e.index.Reference(ctx, u.ID, nil, true)
	}
	for i, batch := range batches {
		if err := e.index.Reference(ctx, u.ID, digestsOf(batch), i == len(batches)-1); err != nil {
			return err
		}
	}
	return nil
}

// rollForward writes the record that a version waits for; a sealed one then becomes ready. The store lets one writer
// have each record number: what is there already is ours when its bytes are, else the bucket knows more than the index.
func (e *Engine) rollForward(ctx context.Context, k ballast.Key) error {
	p, pending, err := e.index.PendingRecord(ctx, k)
	if err != nil || !pending {
		return err
	}
	k = p.Version.Key() // as it was published: the record's key and HMAC are made of it
	if err := e.awaitSurvey(ctx); err != nil {
		return err
	}
	if err := e.owner.check(ctx); err != nil {
		return err
	}
	wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.limits.RecordTimeout)
	defer cancel()
	path := recordPath(k, p.Number)
	err = failpoint.Do(wctx, failpoint.PutRecord, func(ctx context.Context) error {
		_, err := e.bucket.Put(ctx, path, p.Record, objstore.Condition{IfAbsent: true})
		return err
	})
	if errors.Is(err, objstore.ErrPrecondition) {
		err = e.sameRecord(wctx, k, path, p.Record)
	}
	if err != nil {
		return storeError(fmt.Errorf("engine: writing record %s: %w", path, err))
	}
	// If we crash here the next start finds the record pending, meets its own bytes in the bucket, and goes on.
	if err := e.flush(wctx, failpoint.SyncRecord); err != nil {
		return err
	}
	var v index.Version
	if p.Version.Status == ballast.StatusSealed {
		v, err = e.index.Ready(wctx, k)
	} else {
		v, err = e.index.Recorded(wctx, k, p.Number)
	}
	if err != nil {
		return err
	}
	e.log.LogAttrs(ctx, slog.LevelInfo, "version "+string(v.Status), slog.String("key", k.String()), slog.String("digest", v.Digest.String()),
		slog.Int64("bytes", v.Size), slog.Int("files", v.Files), slog.String("by", cmp.Or(v.DeletedBy, v.RetiredBy, v.CreatedBy)))
	e.changed.notify(k.Scope)
	e.releaseBell.ring()
	return nil
}

// sameRecord passes when the bucket holds exactly these bytes under path; otherwise it stops all writes.
func (e *Engine) sameRecord(ctx context.Context, k ballast.Key, path string, want []byte) error {
	got, _, err := readAll(ctx, e.bucket, path, maxRecordBytes)
	if err != nil && !errors.Is(err, errOversize) {
		return err
	}
	if err == nil && string(got) == string(want) {
		return nil
	}
	e.log.ErrorContext(ctx, "the bucket holds a record that the index does not know: all writes stop; run ballast rebuild", "key", k.String(), "object", path)
	return e.owner.behind(fmt.Sprintf("the bucket holds another record of %s than the index", k))
}
