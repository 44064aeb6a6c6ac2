//go:build failpoints

package engine_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// rebuild loses the index of a small registry of its own, which is on no disk, and makes it anew from the bucket and a
// snapshot. Of another registry, because it takes the prefix from its owner.
func (w *walk) rebuild() (err error) {
	s := memStore(w.t)
	opt, err := w.smallOptions(s)
	if err != nil {
		return err
	}
	opt.Snapshots = w.t.TempDir()
	e, err := engine.Open(w.ctx, opt)
	if err != nil {
		return err
	}
	r := &rig{Engine: e, store: s}
	if _, err := r.push(w.t, writer, "m:1", small("rebuilt")); err != nil {
		return errors.Join(err, e.Close())
	}
	if err := e.Close(); err != nil {
		return err
	}
	if saved, err := opt.Index.LastSnapshot(w.ctx); err != nil || saved.Name == "" {
		return errors.Join(err, errors.New("there is no snapshot"))
	}
	fresh, err := w.smallOptions(s)
	if err != nil {
		return err
	}
	rebuild := engine.RebuildOptions{
		Index: fresh.Index, Bucket: s.Bucket, RecordKey: fresh.RecordKey, Dir: w.t.TempDir(), Wait: time.Millisecond, Now: w.clock.now,
		SaveAdmin: func(string) error { return nil },
	}
	var report engine.Report
	err = w.retry(func() error {
		again, err := engine.Rebuild(w.ctx, rebuild)
		if errors.Is(err, index.ErrNotBlank) { // the last one ended, and did not hear of it
			return nil
		}
		report = again
		return err
	})
	if err != nil {
		return err
	}
	if report.Ready != 1 || report.Snapshot == "" {
		return fmt.Errorf("rebuilt is %+v", report)
	}
	found, err := engine.Check(w.ctx, fresh.Index, s.Bucket, fresh.RecordKey)
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("rebuilt, it violates %v", found)
	}
	return err
}

func (w *walk) smallOptions(s store) (engine.Options, error) {
	x, err := index.Open(w.ctx, index.NewMem(), w.clock.now)
	return engine.Options{
		Index: x, Bucket: s.Bucket, Home: s.home, Signer: s.Signer, RecordKey: engine.NewRecordKey(secret), Now: w.clock.now,
		Limits: engine.Limits{ReclaimRetry: 20 * time.Millisecond, VerifyRetry: 20 * time.Millisecond, SnapshotInterval: time.Millisecond},
	}, err
}
