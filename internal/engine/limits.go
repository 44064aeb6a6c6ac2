package engine

import (
	"cmp"
	"fmt"
	"time"
)

// Limits are the engine's times and bounds. docs/limits.md shows the defaults in one table.
type Limits struct {
	PutURLLife    time.Duration // of signed writes
	GetURLLife    time.Duration // of signed reads
	Lease         time.Duration // of a pending upload, renewed by any call
	Grace         time.Duration // between a blob's last reference or pin and its removal
	FenceAge      time.Duration // age of the last look at owner.json that a write may rely on
	TakeOverWait  time.Duration // between raising the epoch and the first write of a take-over
	RecordTimeout time.Duration // of one record PUT or DELETE
	CommitWait    time.Duration // how long a commit holds its answer for a 200 rather than a 202
	VerifyLease   time.Duration // of one job of the verify queue, renewed while the worker lives
	VerifyRetry   time.Duration // pause after a failed re-read
	ReclaimRetry  time.Duration // pause between tries to remove an object
	GCInterval    time.Duration // between two runs of gc; negative: it runs by hand only
	ClockSlack    time.Duration // clock offset between service and store that the other times allow for
	RecordLife    time.Duration // between the end of the last signed URL of an absent blob and the end of its record
	VerifyWorkers int           // objects re-read side by side
	VerifyRanges  int           // ranges of one object in flight
	VerifyRange   int64         // bytes of one range; half of it where others have taken the memory
	VerifyMemory  int64         // bytes of the ranges in flight of all objects that are re-read; at least one VerifyRange
	ManifestCache int64         // bytes of manifests kept parsed
	EventLife     time.Duration // how long events are kept
	UseInterval   time.Duration // between two looks at which tokens were used, to write it down

	SnapshotInterval time.Duration // between two snapshots of the index, when something changed; below 0: none
	SnapshotKeep     int           // snapshots that stay in the bucket

	SourceMemory   int64 // bytes of the ranges that imports read ahead, all together; at least one VerifyRange
	Imports        int   // imports that list and hash at once
	ImportsOfScope int   // of these, imports into one scope
	OpenImports    int   // imports into one scope that are under way, those that wait for their turn included
	Copies         int   // objects that the store copies at once
	CopiesOfScope  int   // of these, objects that it copies into one scope
}

// DefaultLimits returns what a zero field stands for.
func DefaultLimits() Limits {
	return Limits{
		PutURLLife: time.Hour, GetURLLife: time.Hour, Lease: 15 * time.Minute, Grace: 24 * time.Hour,
		FenceAge: 15 * time.Second, TakeOverWait: 60 * time.Second, RecordTimeout: 30 * time.Second,
		CommitWait: 10 * time.Second, VerifyLease: time.Minute, VerifyRetry: 10 * time.Second, ReclaimRetry: 2 * time.Second,
		GCInterval: time.Hour, ClockSlack: 15 * time.Minute, RecordLife: 24 * time.Hour,
		VerifyWorkers: 4, VerifyRanges: 4, VerifyRange: 8 << 20, VerifyMemory: 32 << 20, ManifestCache: 8 << 20, EventLife: 30 * 24 * time.Hour, UseInterval: time.Minute,
		SnapshotInterval: time.Hour, SnapshotKeep: 24,
		SourceMemory: 32 << 20, Imports: 8, ImportsOfScope: 2, OpenImports: 32, Copies: 16, CopiesOfScope: 8,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	return Limits{
		PutURLLife: cmp.Or(l.PutURLLife, d.PutURLLife), GetURLLife: cmp.Or(l.GetURLLife, d.GetURLLife),
		Lease: cmp.Or(l.Lease, d.Lease), Grace: cmp.Or(l.Grace, d.Grace), FenceAge: cmp.Or(l.FenceAge, d.FenceAge),
		TakeOverWait: cmp.Or(l.TakeOverWait, d.TakeOverWait), RecordTimeout: cmp.Or(l.RecordTimeout, d.RecordTimeout),
		CommitWait: cmp.Or(l.CommitWait, d.CommitWait), VerifyLease: cmp.Or(l.VerifyLease, d.VerifyLease),
		VerifyRetry: cmp.Or(l.VerifyRetry, d.VerifyRetry), ReclaimRetry: cmp.Or(l.ReclaimRetry, d.ReclaimRetry),
		GCInterval: cmp.Or(l.GCInterval, d.GCInterval), ClockSlack: cmp.Or(l.ClockSlack, d.ClockSlack), RecordLife: cmp.Or(l.RecordLife, d.RecordLife),
		VerifyWorkers: cmp.Or(l.VerifyWorkers, d.VerifyWorkers), VerifyRanges: cmp.Or(l.VerifyRanges, d.VerifyRanges),
		VerifyRange: cmp.Or(l.VerifyRange, d.VerifyRange), VerifyMemory: cmp.Or(l.VerifyMemory, d.VerifyMemory), ManifestCache: cmp.Or(l.ManifestCache, d.ManifestCache),
		SnapshotInterval: cmp.Or(l.SnapshotInterval, d.SnapshotInterval), SnapshotKeep: cmp.Or(l.SnapshotKeep, d.SnapshotKeep),
		EventLife: cmp.Or(l.EventLife, d.EventLife), UseInterval: cmp.Or(l.UseInterval, d.UseInterval), SourceMemory: cmp.Or(l.SourceMemory, d.SourceMemory), Imports: cmp.Or(l.Imports, d.Imports),
		ImportsOfScope: cmp.Or(l.ImportsOfScope, d.ImportsOfScope), OpenImports: cmp.Or(l.OpenImports, d.OpenImports), Copies: cmp.Or(l.Copies, d.Copies),
		CopiesOfScope: cmp.Or(l.CopiesOfScope, d.CopiesOfScope),
	}
}

// Check refuses limits with which no engine opens, in words for an operator; those that are 0 stand for the defaults.
func (l Limits) Check() error { return l.withDefaults().check() }

// check refuses limits under which something pinned, signed for or owned by another could be deleted.
func (l Limits) check() error {
	switch {
	case l.Grace <= max(l.PutURLLife, l.GetURLLife)+l.ClockSlack:
		return fmt.Errorf("the grace %s must be longer than the life of a URL and a clock offset of %s together: set --gc-grace above %s, or a shorter --url-life",
			l.Grace, l.ClockSlack, max(l.PutURLLife, l.GetURLLife)+l.ClockSlack)
	case l.RecordLife <= l.ClockSlack:
		return fmt.Errorf("engine: the record of a blob must outlive its last signed URL by more than a clock offset of %s", l.ClockSlack)
	case l.ClockSlack < 0:
		return fmt.Errorf("engine: a clock offset of %s is none", l.ClockSlack)
	case l.TakeOverWait <= l.FenceAge+l.RecordTimeout:
		return fmt.Errorf("engine: a take-over must wait longer than %s, the fence's age and a record's time-out together", l.FenceAge+l.RecordTimeout)
	case l.SourceMemory < l.VerifyRange:
		return fmt.Errorf("engine: %d bytes for the sources of imports do not hold one range of %d", l.SourceMemory, l.VerifyRange)
	case l.VerifyMemory < l.VerifyRange:
		return fmt.Errorf("engine: %d bytes for the objects that are re-read do not hold one range of %d", l.VerifyMemory, l.VerifyRange)
	case max(l.PutURLLife, l.GetURLLife) > 7*24*time.Hour:
		return fmt.Errorf("engine: a signed URL lives 7 days at most")
	}
	return nil
}
