package client

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

const (
	pollWait   = 5 * time.Second // how long the registry holds an answer about an upload; progress comes so often
	resends    = 3               // how often one blob is sent again because the commit misses it
	maxReopens = 10              // how often a committed upload may come back for missing bytes
)

// publish commits and waits until the version is ready. What the registry misses is sent again.
func (p *push) publish(ctx context.Context) (ballast.VersionInfo, error) {
	times := make(map[digest.Digest]int)
	for reopened := 0; ; {
		u, err := p.c.Commit(ctx, p.upload.ID, ballast.CommitRequest{Files: p.fileList(), Metadata: p.o.Metadata})
		if err == nil {
			u, err = p.c.follow(ctx, u, p.o.Progress)
		}
		switch e := ballast.AsError(err); {
		case err == nil && u.Status == ballast.UploadDone && u.Result != nil:
			p.unchanged = u.Result.CreatedAt.Before(p.upload.CreatedAt.Time)
			return *u.Result, nil
		case err == nil: // pending again: the next commit says what is missing
			if reopened++; reopened > maxReopens {
				return ballast.VersionInfo{}, ballast.Errorf(ballast.CodeUnavailable, "the registry keeps losing what was sent to upload %s; tell its operator", u.ID)
			}
			continue
		case e.Code != ballast.CodeMissing || p.tooOften(times, e):
			return ballast.VersionInfo{}, err
		default:
			p.note("the registry misses some bytes; sending them again")
			if err := p.supply.resend(ctx, e.Missing); err != nil {
				return ballast.VersionInfo{}, err
			}
		}
	}
}

// tooOften counts how often each blob is missing. An error that lists none means any of them, so all are asked about.
func (p *push) tooOften(times map[digest.Digest]int, e *ballast.Error) bool {
	if len(e.Missing) == 0 {
		e.Missing = slices.Collect(maps.Keys(p.blobs))
	}
	most := 0
	for _, d := range e.Missing {
		times[d]++
		most = max(most, times[d])
	}
	return most > resends
}

// follow waits while the registry finishes an upload. It returns it done or pending; any other end is an error.
func (c *Client) follow(ctx context.Context, u ballast.Upload, progress Progress) (_ ballast.Upload, err error) {
	var behind int64
	for u.Status.Unattended() {
		if pr := u.Progress; pr != nil {
			if behind == 0 {
				progress.tell(Event{Phase: PhaseVerify, Files: pr.Blobs, Total: pr.Bytes})
			}
			progress.bytes(PhaseVerify, "", pr.BytesVerified-behind)
			behind = pr.BytesVerified
		}
		asked := time.Now()
		if u, err = c.Upload(ctx, u.ID, pollWait); err != nil {
			return u, err
		}
		if u.Status.Unattended() {
			if err := dontHurry(ctx, asked); err != nil {
				return u, err
			}
		}
	}
	switch u.Status {
	case ballast.UploadDone, ballast.UploadPending:
		return u, nil
	case ballast.UploadFailed:
		if u.Error != nil {
			return u, u.Error
		}
		return u, ballast.Errorf(ballast.CodeInternal, "upload %s failed without saying why; the service's log has the detail", u.ID)
	}
	return u, ballast.Errorf(ballast.CodeLeaseLost, "upload %s is %s", u.ID, u.Status)
}
