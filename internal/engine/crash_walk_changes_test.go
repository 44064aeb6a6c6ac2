//go:build failpoints

package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// change patches, promotes and rolls back. Afterwards changed:1 is in production, whatever was before.
func (w *walk) change() error {
	for _, target := range []string{"changed:1", "changed:2"} {
		if err := w.publish(target, "a"); err != nil {
			return err
		}
	}
	fields := map[string]json.RawMessage{"task": []byte(`"ner"`)}
	if _, err := w.Patch(w.ctx, keeper, own("changed:1"), ballast.PatchVersion{Metadata: fields}); err != nil {
		return err
	}
	for _, target := range []string{"changed:1", "changed:2"} {
		if _, err := w.Promote(w.ctx, keeper, own(target), ""); err != nil {
			return err
		}
	}
	_, err := w.Rollback(w.ctx, keeper, acme, ref("changed").Name, "it is slow")
	return err
}

func (w *walk) retire() error { return w.end("retired:1", ballast.StatusRetired, w.Retire) }
func (w *walk) delete() error { return w.end("deleted:1", ballast.StatusDeleted, w.Delete) }

// end publishes a version and ends it. Both are for good: what a former walk ended is not published again.
func (w *walk) end(target string, status ballast.Status, do func(context.Context, engine.Principal, engine.Own) (ballast.VersionInfo, bool, error)) error {
	key := ballast.Key{Scope: acme, Name: ref(target).Name, Version: ref(target).Version}
	v, err := w.index.Version(w.ctx, key)
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return err
	}
	if v.Status != status {
		if _, err := w.deliver(target, "a", small(target)); err != nil {
			return err
		}
	}
	info, recorded, err := do(w.ctx, keeper, own(target))
	if err == nil && !recorded {
		err = fmt.Errorf("the end of %s is not recorded yet", target)
	}
	if err == nil {
		w.report(info.Key, fate{status, info.Digest})
	}
	return err
}

// ended are the versions that are over once all was walked.
func ended() map[string]fate {
	return map[string]fate{
		"retired:1": {ballast.StatusRetired, small("retired:1").manifest()}, "deleted:1": {ballast.StatusDeleted, small("deleted:1").manifest()},
	}
}

// drop lets the time go by for which events are kept. They are dropped when an engine starts, and hours later again.
func (w *walk) drop() error {
	w.mu.Lock()
	jump := !w.dropping
	w.dropping = true
	w.mu.Unlock()
	if jump {
		if err := w.clock.jump(engine.DefaultLimits().EventLife + time.Hour); err != nil {
			return err
		}
	}
	if err := errors.Join(w.close(), w.open()); err != nil {
		return err
	}
	for end := time.Now().Add(time.Second); ; time.Sleep(10 * time.Millisecond) {
		page, _, err := w.index.Events(w.ctx, index.EventCursor{}, 2, func(index.Event) bool { return true })
		if err != nil || len(page) == 1 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d events are still there", len(page)) // begin again: start another engine
		}
	}
}
