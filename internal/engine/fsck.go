package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

const (
	fsckWorkers  = 4    // shards of the bucket that are listed side by side
	fsckPage     = 1000 // items of the index read in one snapshot
	fsckShards   = 256  // of a scope with more blobs than fsckPage
	maxFileBytes = 1 << 30
)

// FsckReport receives what a check finds, one call at a time. It may be called by several goroutines, never by two at once.
type FsckReport func(ballast.Finding)

// fsck checks that index, bucket and digests agree. One that runs beside pushes reports none of them: what looks wrong is
// looked at again, first in the index, then in the bucket, then in the index.
type fsck struct {
	index  *index.Index
	bucket objstore.Bucket // for reading; fenced
	key    RecordKey
	now    func() time.Time
	limits Limits
	reader *Engine // hashes
	want   ballast.StartFsck
	run    bool // beside a service: its work goes on

	parts  atomic.Bool         // an open multipart was found at a blob's key
	memory *semaphore.Weighted // bytes of objects in flight
	bytes  *rate.Limiter       // nil: no bound

	objects, blobs, versions, items, hashed atomic.Int64

	telling sync.Mutex
	report  FsckReport

	doubting sync.Mutex
	doubts   map[ballast.Scope]ballast.Key // of scopes that were looked through: a version that a rebuild refused; zero: none

	mu      sync.Mutex
	counts  map[ballast.FindingKind]ballast.FindingCount
	skipped []string
}

// all checks everything, in an order in which a repair has what it builds on: first the index by itself, then the bytes,
// then the records.
func (f *fsck) all(ctx context.Context) error {
	before, err := f.halfDone(ctx)
	if err != nil {
		return err
	}
	began := f.now()
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"the index", f.inspect},
		{"the file of the index", f.file},
		{"the bucket", f.scopes},
		{"what is counted", f.usage},
		{"multipart uploads", f.multiparts},
		{"what lies beside the scopes", f.roots},
	} {
		if err := part.do(ctx); err != nil {
			return fmt.Errorf("engine: fsck of %s: %w", part.name, err)
		}
	}
	return f.stillHalfDone(ctx, before, began)
}

// found reports a finding, and mends it when that is asked for. mend returns whether it is right now; nil: nothing to do.
func (f *fsck) found(ctx context.Context, finding ballast.Finding, mend func(context.Context) (bool, error)) error {
	if mend != nil && f.want.Repair {
		done, err := mend(ctx)
		if err != nil {
			return err
		}
		finding.Repaired = done
	}
	f.tell(finding)
	return nil
}

// tell counts a finding and hands it on.
func (f *fsck) tell(finding ballast.Finding) {
	f.mu.Lock()
	c := f.counts[finding.Kind]
	c.Kind, c.Count = finding.Kind, c.Count+1
	if finding.Repaired {
		c.Repaired++
	}
	f.counts[finding.Kind] = c
	f.mu.Unlock()
	f.telling.Lock() // its own lock: who is told may look at the counts
	defer f.telling.Unlock()
	f.report(finding)
}

func (f *fsck) skip(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.skipped = append(f.skipped, fmt.Sprintf(format, args...))
}

// scopes checks the scopes that the index has, and then those that the bucket alone has.
func (f *fsck) scopes(ctx context.Context) error {
	if err := f.scope(ctx, ballast.Global); err != nil {
		return err
	}
	var after ballast.Scope
	for {
		scope, ok, err := f.index.ScopeBehind(ctx, after)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if after = scope; scope == ballast.Global {
			continue
		}
		if err := f.scope(ctx, scope); err != nil {
			return err
		}
	}
	for scope, err := range scopesIn(ctx, f.bucket) {
		if err != nil {
			return err
		}
		known, err := f.index.HasScope(ctx, scope)
		if err == nil && !known && scope != ballast.Global {
			err = f.scope(ctx, scope)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *fsck) scope(ctx context.Context, scope ballast.Scope) error {
	return errors.Join(f.blobsOf(ctx, scope), f.recordsOf(ctx, scope))
}

// inspect holds every item of the index to its rules. A repair goes on until there is nothing left to mend: what leads to an
// item that was dropped dangles then.
func (f *fsck) inspect(ctx context.Context) error {
	for pass := range inspectPasses {
		mended, err := f.inspectAll(ctx, pass == 0)
		if err != nil || !mended {
			return err
		}
	}
	return nil
}

const inspectPasses = 4

// inspectAll goes once through the index. Only the first time it reports what it does not mend.
func (f *fsck) inspectAll(ctx context.Context, first bool) (mended bool, err error) {
	for after := []byte(nil); ; {
		flaws, seen, last, err := f.index.Inspect(ctx, after, fsckPage)
		if err != nil {
			return mended, err
		}
		for _, flaw := range flaws {
			if !first && !flaw.Mendable {
				continue
			}
			if err := f.flaw(ctx, flaw); err != nil {
				return mended, err
			}
			mended = mended || flaw.Mendable && f.want.Repair
		}
		if first {
			f.items.Add(int64(seen))
		}
		if last == nil {
			return mended, nil
		}
		after = last
	}
}

func (f *fsck) flaw(ctx context.Context, flaw index.Flaw) error {
	finding := ballast.Finding{Kind: flawKinds(flaw.Kind), What: flaw.What, Do: doRebuild}
	if !flaw.Scope.IsZero() {
		finding.Scope = flaw.Scope.String()
	}
	if flaw.Version != "" {
		finding.Versions = []string{flaw.Version}
	}
	if !flaw.Mendable {
		return f.found(ctx, finding, nil)
	}
	finding.Do, finding.Repair = doRepair, map[index.FlawKind]string{
		index.FlawDangling: "the item is dropped", index.FlawUnlisted: "what leads to it is written anew", index.FlawCounter: "it is counted anew",
	}[flaw.Kind]
	return f.found(ctx, finding, func(ctx context.Context) (bool, error) {
		mended, err := f.index.Mend(ctx, flaw.Key)
		return len(mended) > 0, err
	})
}

func flawKinds(kind index.FlawKind) ballast.FindingKind {
	switch kind {
	case index.FlawDangling:
		return ballast.FindingDangling
	case index.FlawUnlisted:
		return ballast.FindingUnlisted
	case index.FlawCounter:
		return ballast.FindingCounter
	}
	return ballast.FindingUnreadable
}

// What to do, for many kinds.
const (
	doRepair  = "run ballast fsck --repair --yes"
	doRebuild = "stop the service and run ballast rebuild, or put back a newer copy of the index"
)

// file has the store of the index check its own file.
func (f *fsck) file(ctx context.Context) error {
	most := int64(0)
	if f.run {
		most = maxFileBytes
	}
	faults, err := f.index.CheckFile(ctx, most)
	if errors.Is(err, index.ErrNotChecked) {
		f.skip("the pages of the index file: %v", err)
		return nil
	}
	for _, fault := range faults {
		finding := ballast.Finding{Kind: ballast.FindingIndexFile, What: "the index file is damaged: " + fault, Do: doRebuild}
		err = errors.Join(err, f.found(ctx, finding, nil))
	}
	return err
}
