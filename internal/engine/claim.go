package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// Refusals to start. Their text names the choices.
var (
	errForeign = errors.New("another index owns this prefix of the bucket")
	errBehind  = errors.New("the bucket holds more than this index knows")
	errHalf    = errors.New("this index is half-built: a rebuild of it has begun and not ended; run ballast rebuild again, which begins anew")
	errNoOwner = errors.New("the bucket's prefix has lost its owner marker")
)

const choices = `choose one:
  * start the service that owns the prefix, with its data folder, or put back a copy of its index.db
  * ballast rebuild            make a new index from the bucket, in a data folder without index.db: another one, or
                             with the embedded store, which lies in it, this one once index.db is moved out of it
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

// notHalf refuses an index that a rebuild was cut off from.
func notHalf(ctx context.Context, x *index.Index) error {
	half, err := x.Rebuilding(ctx)
	if err == nil && half {
		err = errHalf
	}
	return err
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
