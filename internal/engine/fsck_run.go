package engine

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// MaxFindings is how many findings a run beside a service keeps. All are counted.
const MaxFindings = 10000

// fsckRuns is the last check, or the one that runs: one at a time.
type fsckRuns struct {
	mu    sync.Mutex
	last  *ballast.Fsck // nil before the first; Findings are all that are kept
	check *fsck         // of last
	ended chan struct{} // closed once last is over
}

func newFsck(x *index.Index, b objstore.Bucket, key RecordKey, limits Limits, now func() time.Time, reader *Engine, want ballast.StartFsck, report FsckReport) *fsck {
	f := &fsck{
		index: x, bucket: b, key: key, limits: limits, now: now, reader: reader, want: want,
		memory: semaphore.NewWeighted(limits.VerifyMemory), report: report, counts: map[ballast.FindingKind]ballast.FindingCount{}, doubts: map[ballast.Scope]ballast.Key{},
	}
	if want.Rate > 0 {
		f.bytes = rate.NewLimiter(rate.Limit(want.Rate), int(max(min(want.Rate, 1<<30), limits.VerifyRange)))
	}
	return f
}

// StartFsck begins a check of the whole registry, beside everything else that goes on. It takes an admin of global.
// One that runs and was asked for the same is the answer. Errors: denied, invalid; conflict while another runs; unavailable
// when it is to change something and this instance may not, or not yet.
func (e *Engine) StartFsck(ctx context.Context, p Principal, want ballast.StartFsck) (ballast.Fsck, error) {
	if !p.administersGlobal() {
		return ballast.Fsck{}, ballast.Errorf(ballast.CodeDenied, "checking the registry takes an admin of global")
	}
	if err := want.Check(); err != nil {
		return ballast.Fsck{}, err
	}
	if want.Repair || want.RemoveOrphans {
		if err := e.owner.check(ctx); err != nil {
			return ballast.Fsck{}, err
		}
	}
	if want.RemoveOrphans {
		if err := e.mayRemove("fsck --remove-orphans"); err != nil {
			return ballast.Fsck{}, err
		}
	}
	r := &e.fscks
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil && r.last.State == ballast.FsckRunning {
		if r.last.StartFsck == want {
			return r.check.show(r.last, 0, 0), nil
		}
		return ballast.Fsck{}, ballast.Errorf(ballast.CodeConflict, "another check of the registry runs since %s; wait for its end: ballast fsck --last", r.last.StartedAt.UTC().Format(time.RFC3339))
	}
	if e.ctx.Err() != nil {
		return ballast.Fsck{}, ballast.Errorf(ballast.CodeUnavailable, "the service is going down; try again")
	}
	r.last = &ballast.Fsck{ID: uuid.Must(uuid.NewV7()).String(), StartFsck: want, State: ballast.FsckRunning, StartedAt: ballast.At(e.now())}
	r.ended = make(chan struct{})
	last := r.last
	r.check = newFsck(e.index, e.bucket, e.recordKey, e.limits, e.now, e, want, func(f ballast.Finding) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(last.Findings) < MaxFindings {
			last.Findings = append(last.Findings, f)
		}
	})
	r.check.run = true
	check, ended := r.check, r.ended
	e.work.Go(func() {
		err := check.all(e.ctx)
		r.mu.Lock()
		last.State, last.EndedAt = ballast.FsckDone, ballast.At(e.now())
		if err != nil {
			last.State, last.Error = ballast.FsckFailed, AsError(storeError(err))
		}
		r.mu.Unlock()
		close(ended)
		if err != nil && e.ctx.Err() == nil {
			e.log.LogAttrs(e.ctx, slog.LevelWarn, "the check of the registry could not look at everything", slog.Any("error", err))
		}
	})
	return check.show(last, 0, 0), nil
}

// Fsck returns the last check, or the one that runs, and a page of what it found; wait holds the answer while it runs.
// Errors: denied; invalid for a cursor of another run.
func (e *Engine) Fsck(ctx context.Context, p Principal, limit int, cursor string, wait time.Duration) (ballast.Fsck, error) {
	if !p.administersGlobal() {
		return ballast.Fsck{}, ballast.Errorf(ballast.CodeDenied, "checking the registry takes an admin of global")
	}
	r := &e.fscks
	r.mu.Lock()
	last, check, ended := r.last, r.check, r.ended
	r.mu.Unlock()
	if last == nil {
		return ballast.Fsck{State: ballast.FsckNone, Counts: []ballast.FindingCount{}, Findings: []ballast.Finding{}}, nil
	}
	at := 0
	if cursor != "" {
		var id string
		if n, err := fmt.Sscanf(cursor, "%d-%s", &at, &id); n != 2 || err != nil || at < 0 || id != last.ID {
			return ballast.Fsck{}, ballast.Errorf(ballast.CodeInvalid, "cursor: it is of another check; begin without one")
		}
	}
	timer := time.NewTimer(min(wait, MaxWait))
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-ctx.Done():
		return ballast.Fsck{}, storeError(ctx.Err())
	case <-e.hurry.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return check.show(last, at, limit), nil
}

// show copies what is there of a run, with a page of its findings. The caller holds the lock of runs.
func (f *fsck) show(last *ballast.Fsck, at, limit int) ballast.Fsck {
	page := *last
	f.fill(&page)
	at = min(at, len(last.Findings))
	end := min(at+limit, len(last.Findings))
	page.Findings = slices.Clone(last.Findings[at:end])
	if page.Findings == nil {
		page.Findings = []ballast.Finding{}
	}
	if end < len(last.Findings) {
		page.Cursor = strconv.Itoa(end) + "-" + last.ID
	}
	return page
}

// fill notes what was looked at and counted so far.
func (f *fsck) fill(to *ballast.Fsck) {
	to.Objects, to.Blobs, to.Versions, to.Items, to.Bytes = f.objects.Load(), f.blobs.Load(), f.versions.Load(), f.items.Load(), f.hashed.Load()
	f.mu.Lock()
	defer f.mu.Unlock()
	to.Counts = []ballast.FindingCount{}
	for _, c := range f.counts {
		to.Counts = append(to.Counts, c)
	}
	slices.SortFunc(to.Counts, func(a, b ballast.FindingCount) int { return cmp.Compare(a.Kind, b.Kind) })
	to.Skipped = slices.Clone(f.skipped)
}

// FsckOffline checks an index and its bucket that no service uses, and reports each finding when it is found. With Repair it
// changes the index; it never changes the bucket. The result holds no findings. Zero fields of limits take their default.
func FsckOffline(ctx context.Context, x *index.Index, b objstore.Bucket, key RecordKey, limits Limits, want ballast.StartFsck, report FsckReport) (ballast.Fsck, error) {
	if err := want.Check(); err != nil {
		return ballast.Fsck{}, err
	}
	if want.RemoveOrphans {
		return ballast.Fsck{}, ballast.Errorf(ballast.CodeInvalid, "objects are removed by the running service alone; leave out --offline")
	}
	limits = limits.withDefaults()
	reader := &Engine{limits: limits}
	reader.buffers.size = limits.VerifyRange
	f := newFsck(x, b, key, limits, time.Now, reader, want, report)
	run := ballast.Fsck{ID: uuid.Must(uuid.NewV7()).String(), StartFsck: want, State: ballast.FsckDone, StartedAt: ballast.At(time.Now()), Findings: []ballast.Finding{}}
	err := f.all(ctx)
	if err != nil {
		run.State, run.Error = ballast.FsckFailed, AsError(storeError(err))
	}
	run.EndedAt = ballast.At(time.Now())
	f.fill(&run)
	return run, err
}
