package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ballast-registry/ballast"
)

// survey looks once, after the start, whether the index knows every version record of the bucket, and stops all writes
// if not. The epoch tells an old index apart only when another start came between; a copy taken while the service ran
// bears the same one. No record is written and nothing is
// removed before, so that such a copy changes nothing in a bucket that it does not know.
func (e *Engine) survey() {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := e.owner.knowsAll(e.ctx)
		if err == nil {
			close(e.surveyed)
			e.reclaimBell.ring()
			e.gcBell.ring() // or a service that is started often would never come to it
			return
		}
		if e.ctx.Err() != nil {
			return
		}
		if errors.Is(err, errBehind) {
			e.log.LogAttrs(e.ctx, slog.LevelError, "all writes stop: put back a newer copy of the index, or rebuild it", slog.Any("error", err))
			_ = e.owner.behind("the bucket holds versions that the index does not know")
			return
		}
		e.log.LogAttrs(e.ctx, slog.LevelWarn, "nothing is published before the bucket's records were listed", slog.Any("error", err), slog.Duration("retry_in", pause))
		select {
		case <-e.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// isSurveyed reports whether the survey has found every version record of the bucket in the index.
func (e *Engine) isSurveyed() bool {
	select {
	case <-e.surveyed:
		return true
	default:
		return false
	}
}

// awaitSurvey waits for the survey, for as long as a record's PUT may take.
func (e *Engine) awaitSurvey(ctx context.Context) error {
	deadline := time.NewTimer(e.limits.RecordTimeout)
	defer deadline.Stop()
	changed, leave := e.changed.listen()
	defer leave()
	for {
		if err := e.owner.verdict(); err != nil {
			return err
		}
		select {
		case <-e.surveyed:
			return nil
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return ballast.Errorf(ballast.CodeUnavailable, "the bucket's records are still being listed after the start; try again")
		}
	}
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
