//go:build failpoints

package engine_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// restore publishes a version, deletes it and takes that back, unless a former walk has.
func (w *walk) restore() error {
	key := ballast.Key{Scope: acme, Name: ref("restored").Name, Version: ref("restored:1").Version}
	v, err := w.index.Version(w.ctx, key)
	switch {
	case err != nil && !errors.Is(err, index.ErrNotFound):
		return err
	case err != nil || v.Status == ballast.StatusSealed:
		if _, err := w.deliver("restored:1", "a", small("restored")); err != nil {
			return err
		}
	}
	if v.RestoredAt.IsZero() && v.Status != ballast.StatusDeleted {
		if _, recorded, err := w.Delete(w.ctx, keeper, own("restored:1")); err != nil || !recorded {
			return errors.Join(err, errors.New("the deletion is not recorded yet"))
		}
	}
	info, recorded, err := w.Restore(w.ctx, keeper, own("restored:1"))
	if err == nil && (!recorded || info.Status != ballast.StatusReady) {
		err = fmt.Errorf("restored:1 is %s, recorded %t", info.Status, recorded)
	}
	if err == nil {
		w.report(info.Key, fate{ballast.StatusReady, info.Digest})
	}
	return err
}

// collect runs gc until nothing is left of what was deleted and given up: first manifests go, then files, then records.
func (w *walk) collect() error {
	for range 3 {
		if err := w.clock.jump(engine.DefaultLimits().Grace + 2*time.Hour); err != nil {
			return err
		}
		run, err := w.StartGC(w.ctx, admin, ballast.GCRequest{})
		for err == nil && run.State == ballast.GCRunning && w.ctx.Err() == nil {
			run, err = w.GC(w.ctx, admin, time.Second)
		}
		if err != nil {
			return err
		}
		if run.State != ballast.GCDone {
			return fmt.Errorf("gc is %s: %v", run.State, run.Error)
		}
	}
	c, err := w.index.Contents(w.ctx)
	if err != nil {
		return err
	}
	for id, b := range c.Blobs {
		if !b.Tombstone.IsZero() {
			return fmt.Errorf("%s is unused, %s, and left", id.Digest, b.State)
		}
	}
	return nil
}
