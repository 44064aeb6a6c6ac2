package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// ownerKey holds which index owns the prefix. One index owns one prefix: two would delete each other's blobs.
const ownerKey = "index/owner.json"

// maxOwnerBytes bounds what is read of ownerKey.
const maxOwnerBytes = 64 << 10

type ownerMark struct {
	IndexID string `json:"index_id"`
	Epoch   int64  `json:"epoch"`
}

// owner is this index's claim on the prefix, and the fence that stops the instance once the claim is lost.
type owner struct {
	bucket objstore.Bucket
	index  *index.Index
	sync   func(context.Context) error
	now    func() time.Time
	maxAge time.Duration

	mark ownerMark // what owner.json must hold; set by claim

	onStop func()          // wakes who waits for work that this instance may not do any more
	life   context.Context // of looks, which outlive the request that began them

	looks singleflight.Group

	mu      sync.Mutex // never held over a look
	seen    time.Time  // when the last good look began
	stopped *ballast.Error
}

// stop refuses all writes from now on, for good. The caller holds mu.
func (o *owner) stop(why *ballast.Error) error {
	if o.stopped == nil {
		o.stopped = why
		o.onStop()
	}
	return o.stopped
}

// verdict is why the instance may write no more, or nil.
func (o *owner) verdict() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped == nil {
		return nil
	}
	return o.stopped
}

// check passes when owner.json was seen to be ours at most maxAge ago, looking again if need be. Once it was seen to be
// another's, it refuses for good.
func (o *owner) check(ctx context.Context) error {
	o.mu.Lock()
	stopped, fresh := o.stopped, o.now().Sub(o.seen) < o.maxAge
	o.mu.Unlock()
	switch {
	case stopped != nil:
		return stopped
	case fresh:
		return nil
	}
	return o.lookTogether(ctx)
}

// refresh looks before check has to, so that requests do not wait for it.
func (o *owner) refresh(ctx context.Context) error {
	if o.verdict() != nil {
		return nil
	}
	return o.lookTogether(ctx)
}

// lookTogether looks once for all who ask at the same moment, and waits no longer than ctx.
func (o *owner) lookTogether(ctx context.Context) error {
	select {
	case look := <-o.looks.DoChan("", func() (any, error) { return nil, o.look(o.life) }):
		return look.Err
	case <-ctx.Done():
		return storeError(ctx.Err())
	}
}

func (o *owner) look(ctx context.Context) error {
	began := o.now()
	ctx, cancel := context.WithTimeout(ctx, o.maxAge)
	defer cancel()
	mark, _, err := readOwner(ctx, o.bucket)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil && !errors.Is(err, objstore.ErrNotFound):
		return unsure(err)
	case err != nil || mark != o.mark:
		return o.stop(ballast.Errorf(ballast.CodeUnavailable, "another service took over this registry's bucket; this one is read-only until it is restarted"))
	}
	o.seen = began
	return nil
}

// unsure is the error of a look that told nothing: the claim may still stand, so this is for now only.
func unsure(err error) error {
	if err = storeError(err); ballast.CodeOf(err) != ballast.CodeInternal {
		return err
	}
	e := ballast.Errorf(ballast.CodeUnavailable, "the registry cannot read its claim on the bucket; try again, and tell its operator if that lasts").Because(err)
	e.RetryAfter = 2
	return e
}

// behind stops all writes because the bucket holds what the index does not know.
func (o *owner) behind(what string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stop(ballast.Errorf(ballast.CodeUnavailable, "%s: the index is older than the bucket; its operator has to put back a newer copy, or to rebuild it", what))
}

// readOwner returns owner.json and its ETag.
func readOwner(ctx context.Context, b objstore.Bucket) (mark ownerMark, etag string, err error) {
	body, obj, err := readAll(ctx, b, ownerKey, maxOwnerBytes)
	if err != nil {
		return mark, "", err
	}
	if err := json.Unmarshal(body, &mark); err != nil {
		return mark, "", fmt.Errorf("engine: %s is damaged: %w", ownerKey, err)
	}
	return mark, obj.ETag, nil
}

// errOversize says that an object is larger than anything the registry writes under its key.
var errOversize = errors.New("engine: object larger than it can be")

// readAll reads a small object whole, at most limit bytes. Errors: errOversize.
func readAll(ctx context.Context, b objstore.Bucket, key string, limit int64) (body []byte, obj objstore.Object, err error) {
	r, obj, err := b.Get(ctx, key, objstore.ReadOptions{})
	if err != nil {
		return nil, obj, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if body, err = io.ReadAll(io.LimitReader(r, limit+1)); err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("%w: %q has over %d bytes", errOversize, key, limit)
	}
	return body, obj, err
}

// Refusals to start. Their text names the choices.
var (
	errForeign = errors.New("another index owns this prefix of the bucket")
	errBehind  = errors.New("the bucket holds more than this index knows")
	errNoOwner = errors.New("the bucket's prefix has lost its owner marker")
)

const choices = `choose one:
  * start the service that owns the prefix, with its data folder, or put back a copy of its index.db
  * ballast rebuild            make a new index from the bucket (in a later release; not in this one)
  * ballast serve --take-over  make this index the owner (only when it knows every version in the bucket)
  * ballast serve --s3-prefix  use another prefix, or another bucket`

// withChoices appends the choices to a refusal to start.
func withChoices(err error) error {
	for _, refusal := range []error{errForeign, errBehind, errNoOwner} {
		if errors.Is(err, refusal) {
			return fmt.Errorf("%w\n%s", err, choices)
		}
	}
	return err
}

// claim makes this index the owner of the prefix, or refuses. The intent is in the index before the epoch is in the
// bucket, so that the bucket's epoch is above the intent only when the index is an old copy.
func (o *owner) claim(ctx context.Context, takeOver bool, wait time.Duration, log *slog.Logger) error {
	mine, err := o.index.Owner(ctx)
	if err != nil {
		return err
	}
	mark, etag, err := readOwner(ctx, o.bucket)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		if mine.Claimed && !takeOver {
			return fmt.Errorf("engine: %w, though this index has owned it: is it the right bucket?", errNoOwner)
		}
		if mine.Claimed {
			return o.takeOver(ctx, mine, ownerMark{}, objstore.Condition{IfAbsent: true}, wait, log)
		}
		if err := o.knowsAll(ctx); err != nil {
			return err
		}
		mine.Intent = 0 // a first start has epoch 1, however many tries were cut off
		return o.raise(ctx, mine, ownerMark{}, objstore.Condition{IfAbsent: true})
	case err != nil:
		return fmt.Errorf("engine: reading %s: %w", ownerKey, err)
	}
	own := mark.IndexID == mine.IndexID && mark.Epoch <= mine.Intent
	if own && (mine.Claimed || mark.Epoch == 1) {
		return o.raise(ctx, mine, mark, objstore.Condition{IfMatch: etag})
	}
	if !own && !takeOver {
		return o.refuse(ctx, mine, mark)
	}
	return o.takeOver(ctx, mine, mark, objstore.Condition{IfMatch: etag}, wait, log)
}

func (o *owner) refuse(ctx context.Context, mine index.Owner, mark ownerMark) error {
	if mark.IndexID == mine.IndexID {
		return fmt.Errorf("%w: the bucket was last started at epoch %d, this index at %d; it is an older copy", errBehind, mark.Epoch, mine.Intent)
	}
	if err := o.knowsAll(ctx); errors.Is(err, errBehind) {
		return fmt.Errorf("%w; and %w", err, errForeign)
	}
	return fmt.Errorf("%w: it belongs to index %s at epoch %d, this is index %s", errForeign, mark.IndexID, mark.Epoch, mine.IndexID)
}

// takeOver raises the epoch, waits until the former owner has noticed and its last write has ended, and looks again
// before it relies on what the bucket holds. Until then the prefix is not claimed: a start after a crash in here waits
// again.
func (o *owner) takeOver(ctx context.Context, mine index.Owner, mark ownerMark, cond objstore.Condition, wait time.Duration, log *slog.Logger) error {
	if err := o.knowsAll(ctx); err != nil {
		return err
	}
	mine.Claimed = false
	if err := o.write(ctx, mine, mark, cond); err != nil {
		return err
	}
	log.LogAttrs(ctx, slog.LevelInfo, "taking over; waiting until the former owner has stopped", slog.Duration("wait", wait))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
	}
	if err := o.knowsAll(ctx); err != nil {
		return err
	}
	if err := o.look(ctx); err != nil {
		return err
	}
	return o.index.SaveIntent(ctx, o.mark.Epoch, true)
}

func (o *owner) raise(ctx context.Context, mine index.Owner, mark ownerMark, cond objstore.Condition) error {
	if err := o.write(ctx, mine, mark, cond); err != nil {
		return err
	}
	return o.index.SaveIntent(ctx, o.mark.Epoch, true)
}

// write puts the next epoch into the bucket to stay, its intent into the index first. An index that says it has claimed
// the prefix does not start on a bucket whose mark is gone.
func (o *owner) write(ctx context.Context, mine index.Owner, old ownerMark, cond objstore.Condition) error {
	o.mark = ownerMark{IndexID: mine.IndexID, Epoch: max(old.Epoch, mine.Intent) + 1}
	if err := o.index.SaveIntent(ctx, o.mark.Epoch, mine.Claimed); err != nil {
		return err
	}
	body, err := json.Marshal(o.mark)
	if err != nil {
		return err
	}
	began := o.now()
	err = failpoint.Do(ctx, failpoint.PutOwner, func(ctx context.Context) error {
		_, err := o.bucket.Put(ctx, ownerKey, body, cond)
		return err
	})
	if err != nil && !o.written(ctx, err) {
		if errors.Is(err, objstore.ErrPrecondition) {
			return fmt.Errorf("another service started on this prefix at the same moment: %w", errForeign)
		}
		return fmt.Errorf("engine: writing %s: %w", ownerKey, err)
	}
	if err := flush(ctx, failpoint.SyncOwner, o.sync); err != nil {
		return err
	}
	o.seen = began
	return nil
}

// written settles an uncertain write by reading.
func (o *owner) written(ctx context.Context, err error) bool {
	if !errors.Is(err, objstore.ErrUnavailable) && !errors.Is(err, objstore.ErrPrecondition) {
		return false
	}
	mark, _, err := readOwner(ctx, o.bucket)
	return err == nil && mark == o.mark
}

// knowsAll refuses when the bucket holds a version record that the index does not know.
func (o *owner) knowsAll(ctx context.Context) error {
	unknown, example := 0, ""
	for scope, err := range scopesIn(ctx, o.bucket) {
		if err != nil {
			return fmt.Errorf("engine: listing the bucket: %w", err)
		}
		for obj, err := range o.bucket.List(ctx, scope.Path()+"/models/", "") {
			if err != nil {
				return fmt.Errorf("engine: listing the bucket: %w", err)
			}
			known, err := o.knows(ctx, scope, obj.Key)
			if err != nil {
				return err
			}
			if !known {
				unknown, example = unknown+1, obj.Key
			}
		}
	}
	if unknown == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d records, %s among them", errBehind, unknown, example)
}

// knows reports whether the index knows of a record: a version that it has as ready may be retired in the bucket. What is
// no record's key is nobody's concern here.
func (o *owner) knows(ctx context.Context, scope ballast.Scope, key string) (bool, error) {
	k, n, ok := parseRecordPath(scope, key)
	if !ok {
		return true, nil
	}
	return o.index.KnowsRecord(ctx, k, n)
}

// parseRecordPath reads what recordPath wrote; name and version are folded.
func parseRecordPath(scope ballast.Scope, key string) (k ballast.Key, n int, ok bool) {
	rest, ok := strings.CutPrefix(key, scope.Path()+"/models/")
	if !ok {
		return k, 0, false
	}
	name, tail, ok := strings.Cut(rest, "/versions/")
	if !ok {
		return k, 0, false
	}
	version, file, _ := strings.Cut(tail, "/")
	if _, err := fmt.Sscanf(file, "%08d.json", &n); err != nil || n < 1 {
		return k, 0, false
	}
	var err error
	k.Scope = scope
	if k.Name, err = ballast.ParseName(name); err != nil {
		return k, 0, false
	}
	if k.Version, err = ballast.ParseVersion(version); err != nil {
		return k, 0, false
	}
	return k, n, recordPath(k, n) == key
}

// scopesIn yields the scopes that have objects, without listing the objects: it jumps from one tenant to the next.
func scopesIn(ctx context.Context, b objstore.Bucket) iter.Seq2[ballast.Scope, error] {
	return func(yield func(ballast.Scope, error) bool) {
		if !yield(ballast.Global, nil) {
			return
		}
		after := ""
		for {
			tenant, err := nextTenant(ctx, b, after)
			if err != nil {
				yield(ballast.Scope{}, err)
				return
			}
			if tenant == "" {
				return
			}
			if scope, err := ballast.ParseScope(tenant); err == nil && !yield(scope, nil) {
				return
			}
			after = "tenants/" + tenant + "0" // the first text after everything that begins with "tenants/<tenant>/"
		}
	}
}

func nextTenant(ctx context.Context, b objstore.Bucket, after string) (string, error) {
	for obj, err := range b.List(ctx, "tenants/", after) {
		if err != nil {
			return "", err
		}
		tenant, _, _ := strings.Cut(strings.TrimPrefix(obj.Key, "tenants/"), "/")
		return tenant, nil
	}
	return "", nil
}
