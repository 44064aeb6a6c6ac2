package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/ballast-registry/ballast"
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

// lookNow passes when owner.json is ours at this moment: a removal relies on no look that was before it.
func (o *owner) lookNow(ctx context.Context) error {
	if err := o.verdict(); err != nil {
		return err
	}
	return o.look(ctx)
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
