// Package engine publishes and serves versions: uploads, verification, commit, the one gate that issues bytes, and the
// work that goes on behind them. It knows neither HTTP nor an SDK.
//
// The index is the truth about states, the bucket about bytes and records. Whatever the engine does in several steps it
// does by one function that start-up runs as well, so that a crash between two steps needs no repair of its own.
package engine

import (
	"context"
	"crypto/cipher"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/cache"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// Options of an Engine. Index, Bucket, Signer and RecordKey are required.
type Options struct {
	Index     *index.Index
	Bucket    objstore.Bucket
	Signer    objstore.Signer
	RecordKey RecordKey
	// Sync makes durable what the store has acknowledged, for stores that do not do so themselves. Nil: nothing to do.
	Sync func(context.Context) error
	// Room refuses to let the store make an object of this many bytes when its disk is too full. Nil: no such store.
	Room func(context.Context, int64) error
	// Disk refuses in words while the disk of the index is nearly full: the engine is not ready then. Nil: nobody looks.
	Disk func(context.Context) error
	// Home is where Bucket is; left out, sources in an inbox are written inbox:… alone.
	Home Place
	// Origins are the places beside the inboxes that scopes may import from. None may overlap Home.
	Origins []Origin
	// Audit reads what the face wrote of requests. Nil: none is kept.
	Audit *audit.Reader
	// Snapshots is a folder for the copies of the index that go to the bucket. Empty: none do.
	Snapshots string
	// Leases hears, of the lease of each pending upload, what was left of it when it was used or had run out; it must not
	// wait. Nil: nobody does.
	Leases func(use LeaseUse, left time.Duration)
	// TakeOver lets this index claim a prefix that another one owns.
	TakeOver bool
	Now      func() time.Time // default time.Now
	Logger   *slog.Logger     // default slog.Default
	Limits   Limits           // zero fields take their default
}

// Engine is the registry without its faces. Its methods may be called from any goroutine; every error that a caller can
// act on is a *ballast.Error, or becomes one by AsError.
type Engine struct {
	index     *index.Index
	bucket    fencedBucket
	signer    auditedSigner
	recordKey RecordKey
	sync      func(context.Context) error
	room      func(context.Context, int64) error
	disk      func(context.Context) error
	home      Place
	origins   []Origin
	now       func() time.Time
	log       *slog.Logger
	limits    Limits
	owner     *owner
	audit     *audit.Reader
	cursors   cipher.AEAD // of the audit
	uses      uses        // of tokens
	leases    func(LeaseUse, time.Duration)
	began     time.Time
	snapshots snapshots
	fscks     fsckRuns

	blobs                                          keyLocks                                   // one at a time for a blob's multipart
	changed                                        broadcast                                  // something moved that an upload may wait for
	reading, copying                               meter[index.BlobID]                        // bytes re-read and copied so far
	hashing                                        meter[string]                              // bytes of an import that are hashed and not noted yet
	finishing                                      finishers                                  // one goroutine a thing that has to be finished
	manifests                                      *cache.Cache[index.BlobID, []ballast.File] // parsed file lists, by the bytes of their manifests
	inspecting, listing                            *Turns                                     // of headers being read, to publish and on request
	copies                                         *Turns                                     // of objects that the store copies
	sourceMemory                                   *semaphore.Weighted                        // bytes of sources in flight
	verifyMemory                                   *semaphore.Weighted                        // bytes of objects in flight that are re-read
	buffers                                        buffers                                    // of ranges in flight
	turns                                          *Turns                                     // of imports
	reapBell, releaseBell, reclaimBell, verifyBell bell
	gcBell                                         bell
	gc                                             gcRuns
	freed                                          freed

	stop context.CancelFunc
	work sync.WaitGroup
	ctx  context.Context // of background work, ends with Close

	surveyed chan struct{}   // closed once the index was seen to know every version of the bucket
	hurry    context.Context // of requests that wait for something to happen; ends with Hurry or Close
	rush     context.CancelFunc
}

// Open claims the prefix for the index, rolls forward what an earlier run left behind, and starts the background work.
// It refuses with words when another index owns the prefix, or when the index is empty or older than the bucket.
func Open(ctx context.Context, opt Options) (*Engine, error) {
	e := &Engine{
		index: opt.Index, recordKey: opt.RecordKey, sync: opt.Sync, room: opt.Room, disk: opt.Disk, home: opt.Home, origins: opt.Origins,
		audit: opt.Audit, cursors: newCursorCipher(), now: opt.Now, log: opt.Logger, limits: opt.Limits.withDefaults(),
		reapBell: newBell(), releaseBell: newBell(), reclaimBell: newBell(), verifyBell: newBell(), gcBell: newBell(),
		leases: opt.Leases, surveyed: make(chan struct{}), snapshots: snapshots{dir: opt.Snapshots},
	}
	if e.now == nil {
		e.now = time.Now
	}
	if e.log == nil {
		e.log = slog.Default()
	}
	e.began = e.now()
	if e.leases == nil {
		e.leases = func(LeaseUse, time.Duration) {}
	}
	if e.sync == nil {
		e.sync = func(context.Context) error { return nil }
	}
	if e.room == nil {
		e.room = func(context.Context, int64) error { return nil }
	}
	if e.disk == nil {
		e.disk = func(context.Context) error { return nil }
	}
	if err := e.limits.check(); err != nil {
		return nil, err
	}
	for _, o := range e.origins {
		if err := o.Check(e.home); err != nil {
			return nil, fmt.Errorf("engine: scope %s cannot import from s3://%s/%s: %w", o.Scope, o.Bucket, o.Prefix, err)
		}
	}
	e.copies, e.sourceMemory = NewTurns(int64(e.limits.Copies), int64(e.limits.CopiesOfScope)), semaphore.NewWeighted(e.limits.SourceMemory)
	e.verifyMemory, e.buffers.size = semaphore.NewWeighted(e.limits.VerifyMemory), e.limits.VerifyRange
	e.turns = NewTurns(int64(e.limits.Imports), int64(e.limits.ImportsOfScope))
	e.inspecting, e.listing = NewTurns(inspectsAtOnce, inspectsAtOnce), NewTurns(listsAtOnce, listsAtOnce)
	e.manifests = cache.New[index.BlobID, []ballast.File](e.limits.ManifestCache)
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.hurry, e.rush = context.WithCancel(e.ctx)
	e.owner = &owner{bucket: opt.Bucket, index: opt.Index, sync: e.sync, now: e.now, maxAge: e.limits.FenceAge, onStop: func() { e.changed.notify() }, life: e.ctx}
	e.bucket, e.signer = fencedBucket{opt.Bucket, e.owner}, auditedSigner{fencedSigner{opt.Signer, e.owner}}
	err := notHalf(ctx, opt.Index)
	if err == nil {
		err = e.owner.claim(ctx, opt.TakeOver, e.limits.TakeOverWait, e.log)
	}
	if err == nil {
		err = e.resume(ctx)
	}
	if err != nil {
		e.stop()
		return nil, withChoices(err)
	}
	e.start()
	return e, nil
}

// pendingBatch bounds how many pending records one look takes up; the reaper looks again.
const pendingBatch = 1000

// resume takes up the accepted commits and pending records that an earlier run left.
func (e *Engine) resume(ctx context.Context) error {
	ids, err := e.index.Verifying(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		e.finishLater(id)
	}
	ended, err := e.index.PendingEnds(ctx, pendingBatch)
	for _, k := range ended {
		e.recordLater(k)
	}
	return err
}

func (e *Engine) start() {
	e.work.Go(e.survey)
	e.loop("owner", e.limits.FenceAge/3, nil, e.owner.refresh)
	e.loop("reap", e.limits.Lease/10, e.reapBell, e.reap)
	e.loop("release", time.Minute, e.releaseBell, e.release)
	e.loop("events", time.Hour, nil, e.dropEvents)
	e.loop("snapshots", e.snapshotLook(), nil, e.snapshot)
	e.loop("uses", e.limits.UseInterval, nil, e.storeUses)
	e.loop("reclaim", e.limits.ReclaimRetry, e.reclaimBell, e.reclaim)
	if e.limits.GCInterval > 0 {
		e.loop("gc", e.limits.GCInterval, e.gcBell, e.gcByClock)
	}
	for range e.limits.VerifyWorkers {
		e.loop("verify", e.limits.VerifyRetry, e.verifyBell, e.verify)
	}
}

// loop runs task at once, whenever the bell rings and at least every interval, until the engine closes.
func (e *Engine) loop(name string, every time.Duration, bell bell, task func(context.Context) error) {
	e.work.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if err := task(e.ctx); err != nil && e.ctx.Err() == nil {
				e.log.LogAttrs(e.ctx, slog.LevelWarn, "background work", slog.String("task", name), slog.Any("error", err))
			}
			select {
			case <-e.ctx.Done():
				return
			case <-tick.C:
			case <-bell:
			}
		}
	})
}

// Hurry makes whoever waits for an upload or an event get the answer that there is now, from here on: the service is about
// to stop.
func (e *Engine) Hurry() {
	_ = failpoint.Do(e.ctx, failpoint.BeginDrain, func(context.Context) error { e.rush(); return nil })
}

// Close takes the last snapshot, stops the background work and waits for it. What it leaves unfinished is finished by the next start. The index
// stays open.
func (e *Engine) Close() error {
	e.lastSnapshot()
	defer e.work.Wait() // whatever is made of the step
	defer e.stop()
	return failpoint.Do(context.WithoutCancel(e.ctx), failpoint.EndWork, func(context.Context) error {
		e.stop()
		e.work.Wait()
		e.lastUses()
		return nil
	})
}

// flush makes durable what the store has acknowledged so far.
func (e *Engine) flush(ctx context.Context, step failpoint.Step) error {
	return flush(ctx, step, e.sync)
}

func flush(ctx context.Context, step failpoint.Step, sync func(context.Context) error) error {
	if err := failpoint.Do(ctx, step, sync); err != nil {
		return fmt.Errorf("engine: syncing the store: %w", err)
	}
	return nil
}

// Ready reports whether the engine can serve: it is not about to stop, it owns the prefix, which the store told a moment ago,
// the disk of the index has room, and the index takes writes. That the bucket was not looked through yet is no reason: reads
// are right without it.
func (e *Engine) Ready(ctx context.Context) error {
	if e.hurry.Err() != nil {
		return ballast.Errorf(ballast.CodeUnavailable, "the registry is stopping; try again in a moment")
	}
	if err := e.owner.check(ctx); err != nil {
		return err
	}
	if err := e.disk(ctx); err != nil {
		return err
	}
	return e.index.Writable(ctx)
}

// ReadOnly is why the engine changes nothing any more until it is opened anew, or nil.
func (e *Engine) ReadOnly() error { return e.owner.verdict() }

// failures are the errors of a pass over many things, each of which is tried whatever became of the others.
type failures struct {
	n     int
	first error
}

func (f *failures) add(err error) {
	if err == nil {
		return
	}
	if f.n++; f.n == 1 {
		f.first = err
	}
}

func (f *failures) err() error {
	if f.n > 1 {
		return fmt.Errorf("%d failed, of which the first: %w", f.n, f.first)
	}
	return f.first
}

// bell wakes a loop; ringing it twice before the loop looks is once.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// keyLocks is one mutex a blob.
type keyLocks struct {
	mu    sync.Mutex
	locks map[index.BlobID]*keyLock
}

type keyLock struct {
	sync.Mutex
	users int
}

// lock waits for the blob's mutex and returns its release.
func (k *keyLocks) lock(id index.BlobID) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[index.BlobID]*keyLock{}
	}
	l := k.locks[id]
	if l == nil {
		l = &keyLock{}
		k.locks[id] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.locks, id)
		}
	}
}
