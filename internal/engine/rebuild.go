package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// RebuildOptions of Rebuild. Index, Bucket and RecordKey are required.
type RebuildOptions struct {
	Index     *index.Index // that holds nothing, or what a rebuild left that was cut off
	Bucket    objstore.Bucket
	RecordKey RecordKey
	// AcceptUnsigned takes versions whose records are signed with unknown keys, once every byte of them was hashed anew, and
	// appends the last record of each once more under RecordKey.
	AcceptUnsigned bool
	// KeepTokens lets the tokens of the snapshot be good again. It takes a snapshot whose signature is right.
	KeepTokens bool
	// SaveAdmin keeps the admin token that is made, before the index knows it.
	SaveAdmin func(token string) error
	// Dir is where a snapshot is fetched to.
	Dir string
	// Wait is the time that a former owner of the prefix gets to stop; default Limits.TakeOverWait.
	Wait time.Duration
	Sync func(context.Context) error // as in Options
	Now  func() time.Time            // default time.Now
	// Progress hears what goes on, a few times a second at most. Nil: nobody does.
	Progress func(stage string, done int64)
	Logger   *slog.Logger // default slog.Default
}

// Refused is something in the bucket that a rebuild does not believe.
type Refused struct {
	What string `json:"what"` // the key of an object, or of a version
	Why  string `json:"why"`
}

// Report says what a rebuild made.
type Report struct {
	index.Tally
	Blobs         int64        `json:"blobs"` // objects that versions use
	Bytes         int64        `json:"bytes"`
	LostVersions  []string     `json:"lost_versions"`     // keys; bytes of them are missing
	RefusedThings []Refused    `json:"refused_things"`    // records, versions and snapshots
	Unsigned      []string     `json:"unsigned_versions"` // keys that AcceptUnsigned let in
	Snapshot      string       `json:"snapshot"`          // that was taken; empty: none
	Filled        index.Filled `json:"filled"`
	LeftOut       []string     `json:"left_out"` // of the snapshot
	Epoch         int64        `json:"epoch"`
	Elapsed       Duration     `json:"elapsed_seconds"`
}

// Duration is written as seconds.
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", time.Duration(d).Seconds()), nil
}

// ErrUnknownKey says that records are signed with a key that is not at hand.
var ErrUnknownKey = errors.New("records of the bucket are signed with a key that is not here")

// UnknownKeyChoices is what can be done about a record key that is not at hand.
const UnknownKeyChoices = `put back a copy of record.key (or name it with --record-key), or, if it is lost,
  ballast rebuild --accept-unsigned   reads and hashes every file of every version instead of believing signatures, takes the
                                      versions whose bytes are right, lists them, and signs the last record of each anew.
                                      Whoever could write to the bucket may have forged what it takes: names, labels,
                                      descriptions, and that a version was not retired. Look through the list.`

// rebuild is one under way.
type rebuild struct {
	RebuildOptions
	owner   *owner
	bucket  fencedBucket
	began   time.Time
	version atomic.Bool // the bucket has versions of objects

	mu       sync.Mutex
	report   Report
	progress map[string]int64
	wrong    map[index.BlobID]bool // blobs that were hashed and are others
	told     time.Time
}

// Rebuild makes an index from the bucket alone: versions and their states from the chains of records, sizes from one listing
// of the blobs, and from the newest snapshot that is whole and signed what records don't hold. It owns the prefix
// afterwards. What is wrong is refused by name and never makes something servable. Cut off anywhere, it begins anew the next
// time. Errors: index.ErrNotBlank, ErrUnknownKey; what a store answers that is no verdict ends it.
func Rebuild(ctx context.Context, opt RebuildOptions) (Report, error) {
	r := &rebuild{RebuildOptions: opt, progress: map[string]int64{}, wrong: map[index.BlobID]bool{}}
	r.Wait = cmp.Or(r.Wait, DefaultLimits().TakeOverWait)
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Logger == nil {
		r.Logger = slog.Default()
	}
	if r.Sync == nil {
		r.Sync = func(context.Context) error { return nil }
	}
	r.began = r.Now()
	r.owner = &owner{bucket: r.Bucket, index: r.Index, sync: r.Sync, now: r.Now, maxAge: DefaultLimits().FenceAge, onStop: func() {}, life: ctx}
	r.bucket = fencedBucket{r.Bucket, r.owner}
	err := r.run(ctx)
	r.report.Elapsed = Duration(r.Now().Sub(r.began))
	return r.report, err
}

// run takes the steps. If we crash in any of them the index is marked as half-built, and the next run begins anew.
func (r *rebuild) run(ctx context.Context) error {
	if err := r.worthwhile(ctx); err != nil {
		return err
	}
	if err := r.Index.BeginRebuild(ctx); err != nil {
		return err
	}
	if err := r.claim(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.chains, r.blobs, r.fill, r.ready, r.admin} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := flush(ctx, syncRebuild, r.Sync); err != nil {
		return err
	}
	if err := r.owner.check(ctx); err != nil {
		return err
	}
	return r.Index.EndRebuild(ctx, r.owner.mark.Epoch)
}

// worthwhile refuses a prefix without any record before anything is changed: it is likely the wrong one.
func (r *rebuild) worthwhile(ctx context.Context) error {
	for scope, err := range scopesIn(ctx, r.Bucket) {
		if err != nil {
			return fmt.Errorf("engine: listing the bucket: %w", err)
		}
		for _, err := range r.Bucket.List(ctx, scope.Path()+"/models/", "") {
			return err
		}
	}
	return errNothing
}

var errNothing = errors.New("nothing to rebuild: there is no record of a version under this prefix of the bucket; is it the right bucket and prefix?")

// claim raises the epoch and waits until a former owner has noticed and its last write has ended.
func (r *rebuild) claim(ctx context.Context) error {
	mine, err := r.Index.Owner(ctx)
	if err != nil {
		return err
	}
	mine.Claimed = false
	mark, etag, err := readOwner(ctx, r.Bucket)
	cond := objstore.Condition{IfMatch: etag}
	if errors.Is(err, objstore.ErrNotFound) {
		cond, err = objstore.Condition{IfAbsent: true}, nil
	}
	if err != nil {
		return fmt.Errorf("engine: reading %s: %w", ownerKey, err)
	}
	if err := r.owner.write(ctx, mine, mark, cond); err != nil {
		return err
	}
	r.report.Epoch = r.owner.mark.Epoch
	r.say("waiting until a former owner has stopped", int64(r.Wait.Seconds()))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.Wait):
	}
	return r.owner.look(ctx)
}

// say tells of progress.
func (r *rebuild) say(stage string, done int64) {
	if r.Progress != nil {
		r.Progress(stage, done)
	}
}

// step counts one more of a stage, and tells of it twice a second.
func (r *rebuild) step(stage string, more int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress[stage] += more
	if now := time.Now(); now.Sub(r.told) > 500*time.Millisecond {
		r.told = now
		r.say(stage, r.progress[stage])
	}
}

func (r *rebuild) refuse(what, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.RefusedThings = append(r.report.RefusedThings, Refused{what, why})
}

// note changes the report.
func (r *rebuild) note(change func(*Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.report)
}

// ready gives every version its final state.
func (r *rebuild) ready(ctx context.Context) (err error) {
	r.report.Tally, err = r.Index.RebuildReady(ctx, func(v index.Version) {
		if v.Refused != "" {
			r.refuse(v.Key().String(), v.Refused)
		} else {
			r.note(func(t *Report) { t.LostVersions = append(t.LostVersions, v.Key().String()) })
		}
	})
	slices.Sort(r.report.LostVersions)
	r.report.LostVersions = slices.Compact(r.report.LostVersions)
	slices.Sort(r.report.Unsigned)
	slices.SortFunc(r.report.RefusedThings, func(a, b Refused) int { return cmp.Compare(a.What, b.What) })
	return err
}

// admin makes a token with all rights.
func (r *rebuild) admin(ctx context.Context) error {
	id, token, err := newToken()
	if err != nil {
		return err
	}
	if err := r.SaveAdmin(token); err != nil {
		return err
	}
	return r.Index.PutToken(ctx, index.Token{
		ID: id, Name: "admin", Hash: hashToken(token), CreatedBy: "ballast rebuild", CreatedAt: ballast.At(r.Now()),
		Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Admin}},
	})
}
