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
	maxHalfDoneAs = 20               // named when no service runs
	halfDoneAfter = 30 * time.Second // that the registry has to move what it began, at least
)

// halfDone is something that the registry has begun and not ended.
type halfDone struct {
	finding ballast.Finding // as it is reported when it does not move
	begun   time.Time       // since when at the latest; zero: a moment ago will do
	takes   time.Duration   // what it may take from then on: large files take their time
	state   any             // all that is known of it: whatever moves, changes this
}

// halfDone collects what is begun and not ended.
func (f *fsck) halfDone(ctx context.Context) (all []halfDone, err error) {
	h, err := f.index.HalfDone(ctx, maxHalfDone)
	if err != nil {
		return nil, err
	}
	for _, b := range h.Removals {
		all = append(all, f.blobHalfDone(b, halfDone{}, fmt.Sprintf("is %s: its object and its parts are to be removed", b.Blob.State), "the store refuses to remove it, or does not answer"))
	}
	for _, b := range h.Rereads {
		waits := halfDone{begun: b.Blob.SignedUntil.Time, takes: f.limits.Grace}
		if waits.begun.IsZero() { // nobody sent it: a copy, and its upload tells
			waits.begun = f.now()
		}
		all = append(all, f.blobHalfDone(b, waits, "was sent in parts, and is to be read again before it is believed", "the store does not let it be read"))
	}
	for _, v := range h.Records {
		all = append(all, halfDone{state: v, finding: ballast.Finding{
			Kind: ballast.FindingHalfDone, Scope: v.Scope.String(), Versions: []string{v.Key().String()}, Digest: v.Digest,
			What: fmt.Sprintf("%s is %s, and the record that says so is not in the bucket", v.Key(), v.Status), Do: seeLog + "the store does not take the record",
		}})
	}
	for _, u := range h.Uploads {
		all = append(all, f.uploadHalfDone(u))
	}
	for _, u := range h.Lapsed {
		all = append(all, halfDone{state: u, begun: u.LeaseUntil.Time, takes: f.limits.Lease, finding: ballast.Finding{
			Kind: ballast.FindingHalfDone, Scope: u.Scope.String(), Versions: []string{u.Target()},
			What: fmt.Sprintf("upload %s of %s was given up, its lease was over at %s, and it still holds its label and its blobs", u.ID, u.Target(), u.LeaseUntil.UTC().Format(time.RFC3339)),
			Do:   seeLog + "the store does not list its parts",
		}})
	}
	return all, nil
}

const seeLog = "look at the log of the service for why: "

func (f *fsck) blobHalfDone(b index.KeptBlob, h halfDone, what, why string) halfDone {
	h.state, h.finding = b, ballast.Finding{
		Kind: ballast.FindingHalfDone, Scope: b.ID.Scope.String(), Digest: b.ID.Digest, Object: ballast.BlobKey(b.ID.Scope, b.ID.Digest),
		What: fmt.Sprintf("blob %s %s", b.ID.Digest, what), Do: seeLog + why,
	}
	return h
}

// uploadHalfDone is an upload that the registry finishes by itself.
func (f *fsck) uploadHalfDone(u index.Upload) halfDone {
	h := halfDone{state: u, takes: f.limits.Grace}
	what, why := "", ""
	switch {
	case u.Status == ballast.UploadImporting:
		h.begun = u.CreatedAt.Time
		what, why = "import %s into %s is under way: its files are listed and hashed", "the source cannot be read, or other imports go first"
	case u.Status == ballast.UploadVerifying:
		h.begun = u.Renewed.Time
		what, why = "upload %s of %s is committed, and its files are being verified", "the store does not let them be looked at"
	default:
		h.begun = u.SettledAt.Time
		what, why = "import %s into %s is done, and its sources are being removed", "the source's store does not let them be removed"
	}
	h.finding = ballast.Finding{
		Kind: ballast.FindingHalfDone, Scope: u.Scope.String(), Versions: []string{u.Target()}, What: fmt.Sprintf(what, u.ID, u.Target()), Do: seeLog + why,
	}
	return h
}

// stillHalfDone reports what was there at the beginning and has not moved since, at least for a while. Without a service
// nothing moves, and the next start takes it up.
func (f *fsck) stillHalfDone(ctx context.Context, before []halfDone, began time.Time) error {
	if len(before) == 0 {
		return nil
	}
	if !f.run {
		for i, h := range before {
			if i == maxHalfDoneAs {
				f.skip("whether %d others move on", len(before)-i)
				break
			}
			f.skip("whether this moves on, for no service runs: %s; the next start goes on with it", h.finding.What)
		}
		return nil
	}
	if err := f.pause(ctx, min(halfDoneAfter, 10*f.limits.ReclaimRetry+time.Second)-f.now().Sub(began)); err != nil {
		return err
	}
	now, err := f.halfDone(ctx)
	if err != nil {
		return err
	}
	for _, h := range both(before, now) {
		if f.now().Sub(h.begun) < h.takes {
			continue
		}
		h.finding.What += fmt.Sprintf("; nothing of that has moved since %s at least", began.UTC().Format(time.RFC3339))
		if err := f.found(ctx, h.finding, nil); err != nil {
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
func both(a, b []halfDone) (same []halfDone) {
	type name struct{ scope, what string }
	then := map[name]halfDone{}
	for _, h := range b {
		then[name{h.finding.Scope, h.finding.What}] = h
	}
	for _, h := range a {
		if now, ok := then[name{h.finding.Scope, h.finding.What}]; ok && reflect.DeepEqual(h.state, now.state) {
			same = append(same, h)
		}
	}
	return same
}
