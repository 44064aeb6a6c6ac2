package engine

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

const (
	maxHalfDone   = 1000             // looked at of each kind
	halfDoneAfter = 30 * time.Second // that the registry has to move what it began, at least
)

// halfDone is work that the registry has begun.
type halfDone struct {
	blobs    []index.KeptBlob
	versions []index.Version
	uploads  []index.Upload
}

func (f *fsck) halfDone(ctx context.Context) (h halfDone, err error) {
	h.blobs, h.versions, h.uploads, err = f.index.HalfDone(ctx, maxHalfDone)
	return h, err
}

// stillHalfDone reports what was there at the beginning and has not moved since, at least for a while. Without a service
// nothing moves, and the next start takes it up.
func (f *fsck) stillHalfDone(ctx context.Context, before halfDone, began time.Time) error {
	if len(before.blobs)+len(before.versions)+len(before.uploads) == 0 {
		return nil
	}
	if !f.run {
		f.skip("%d blobs to be removed, %d records to be written and %d uploads to be finished: the service does that once it runs", len(before.blobs), len(before.versions), len(before.uploads))
		return nil
	}
	if err := f.pause(ctx, min(halfDoneAfter, 10*f.limits.ReclaimRetry+time.Second)-f.now().Sub(began)); err != nil {
		return err
	}
	now, err := f.halfDone(ctx)
	if err != nil {
		return err
	}
	for _, b := range both(before.blobs, now.blobs) {
		err := f.found(ctx, ballast.Finding{
			Kind: ballast.FindingHalfDone, Scope: b.ID.Scope.String(), Digest: b.ID.Digest, Object: ballast.BlobKey(b.ID.Scope, b.ID.Digest),
			What: fmt.Sprintf("blob %s is %s since %s at least", b.ID.Digest, b.Blob.State, began.UTC().Format(time.RFC3339)),
			Do:   "look at the log of the service: the store refuses to delete, or does not answer",
		}, nil)
		if err != nil {
			return err
		}
	}
	for _, v := range both(before.versions, now.versions) {
		err := f.found(ctx, ballast.Finding{
			Kind: ballast.FindingHalfDone, Scope: v.Scope.String(), Versions: []string{v.Key().String()}, Digest: v.Digest,
			What: fmt.Sprintf("%s is %s, and its record is not in the bucket since %s at least", v.Key(), v.Status, began.UTC().Format(time.RFC3339)),
			Do:   "look at the log of the service: the store does not take the record",
		}, nil)
		if err != nil {
			return err
		}
	}
	for _, u := range both(before.uploads, now.uploads) {
		if u.Status != ballast.UploadVerifying || f.now().Sub(u.Renewed.Time) < f.limits.Grace {
			continue // large files take their time
		}
		err := f.found(ctx, ballast.Finding{
			Kind: ballast.FindingHalfDone, Scope: u.Scope.String(), Versions: []string{u.Target()},
			What: fmt.Sprintf("upload %s of %s is being verified since %s", u.ID, u.Target(), u.Renewed.UTC().Format(time.RFC3339)), Do: "look at the log of the service",
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *fsck) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// both are those of a that are in b as they were.
func both[T any](a, b []T) (same []T) {
	for _, one := range a {
		for _, other := range b {
			if reflect.DeepEqual(one, other) {
				same = append(same, one)
				break
			}
		}
	}
	return same
}
