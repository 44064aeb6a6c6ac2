//go:build failpoints

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/weights/weightstest"
	"github.com/ballast-registry/ballast/testenv/canary"
)

// walk takes every step of package failpoint at least once, as publishers, liars and time make a registry take them. It
// can be walked again in the same folder, whatever became of the last one: that is what clients do.
type walk struct {
	t      *testing.T
	ctx    context.Context // of the clients; when it ends they are gone
	dir    string          // of the index
	store  store
	clock  *clock
	sync   func(context.Context) error // of the store; nil: nothing here takes the kernel away, and the index is not synced either
	stop   failpoint.Hook              // what this walk is about
	report func(key string, f fate)    // hears of what became ready, and of what is over

	*engine.Engine
	index *index.Index

	abandoned string        // an upload that was given up
	vanish    digest.Digest // the multipart of this blob vanishes when its commit is accepted
	odd       bool          // the object of the part odd was removed
	dropping  bool          // there are events that are old enough to be dropped

	mu    sync.Mutex
	met   map[failpoint.Step]int
	moved chan struct{} // closed at the next step
}

// clock runs ahead of the real one by what its file says, so that it never goes back, whoever crashes.
type clock struct {
	file string
	mu   sync.Mutex
}

func (c *clock) ahead() time.Duration {
	text, err := os.ReadFile(c.file)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	return time.Duration(must(strconv.ParseInt(string(text), 10, 64)))
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead())
}

// jump moves it on. It never goes back.
func (c *clock) jump(d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.file + ".next"
	if err := os.WriteFile(next, strconv.AppendInt(nil, int64(c.ahead()+d), 10), 0o600); err != nil {
		return err
	}
	return os.Rename(next, c.file)
}

func newWalk(t *testing.T, ctx context.Context, dir string, s store, c *clock) *walk {
	return &walk{
		t: t, ctx: ctx, dir: dir, store: s, clock: c,
		stop:   func(context.Context, failpoint.Step, failpoint.Moment) error { return nil },
		report: func(string, fate) {},
		met:    map[failpoint.Step]int{}, moved: make(chan struct{}),
	}
}

// aside marks the context of who takes a step beside the walk, in the same process.
type aside struct{}

// hook is the process's while this walk is walked.
func (w *walk) hook(ctx context.Context, s failpoint.Step, m failpoint.Moment) error {
	if ctx.Value(aside{}) != nil {
		return nil
	}
	w.mu.Lock()
	var vanish digest.Digest
	switch {
	case m == failpoint.Before:
		w.met[s]++
		close(w.moved)
		w.moved = make(chan struct{})
	case s == failpoint.Accept:
		vanish, w.vanish = w.vanish, ""
	}
	w.mu.Unlock()
	if vanish != "" {
		if err := w.dropMultiparts(vanish); err != nil {
			w.t.Errorf("dropping a multipart behind the registry's back: %v", err)
		}
	}
	return w.stop(ctx, s, m)
}

// times is how often a step was begun. changed is closed when the next one is.
func (w *walk) times(s failpoint.Step) (n int, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.met[s], w.moved
}

// open opens index and engine.
func (w *walk) open() (err error) {
	if w.index, err = openIndex(w.ctx, w.dir, w.clock, w.sync == nil); err != nil {
		return err
	}
	w.Engine, err = engine.Open(w.ctx, engine.Options{
		Index: w.index, Bucket: &troubled{w.store.Bucket, w}, Home: w.store.home, Signer: w.store.Signer, RecordKey: engine.NewRecordKey(secret), Now: w.clock.now, Sync: w.sync,
		Logger: canary.Log(w.t, slog.LevelError),
		Limits: engine.Limits{ReclaimRetry: 20 * time.Millisecond, VerifyRetry: 20 * time.Millisecond, VerifyLease: 300 * time.Millisecond, UseInterval: 20 * time.Millisecond, GCInterval: -1},
	})
	if err != nil {
		w.Engine = nil
		return errors.Join(err, w.index.Close())
	}
	return nil
}

// openIndex opens the index of a folder.
func openIndex(ctx context.Context, dir string, c *clock, noSync bool) (*index.Index, error) {
	bolt, err := index.OpenBolt(filepath.Join(dir, "index.db"), index.BoltOptions{NoSync: noSync, LockTimeout: time.Minute})
	if err != nil {
		return nil, err
	}
	x, err := index.Open(ctx, bolt, c.now)
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return x, nil
}

// close ends it as the service does: what did not end is told to once more.
func (w *walk) close() error {
	if w.Engine == nil {
		return nil
	}
	w.Hurry()
	return errors.Join(w.retry(w.Engine.Close), w.retry(func() error {
		if err := w.index.Close(); !errors.Is(err, index.ErrClosed) {
			return err
		}
		return nil
	}))
}

// patience bounds each thing that must come to pass.
const patience = 30 * time.Second

// retry does part until it succeeds, as clients repeat what failed.
func (w *walk) retry(part func() error) (err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = part(); err == nil || w.ctx.Err() != nil {
			break
		}
	}
	return err
}

// until waits for something that nobody does on request.
func (w *walk) until(what string, holds func() (bool, error)) error {
	return w.retry(func() error {
		ok, err := holds()
		if err == nil && !ok {
			err = fmt.Errorf("it does not come to pass that %s", what)
		}
		return err
	})
}

// all walks once.
func (w *walk) all() error {
	for _, part := range []struct {
		name string
		do   func() error
	}{
		{"open", w.open}, {"plain", w.plain}, {"parts", w.parts}, {"copied", w.copied}, {"imported", w.imported}, {"unchanged", w.unchanged}, {"abandoned", w.abandon},
		{"lying", w.lie}, {"odd", w.oddly}, {"lost", w.lose}, {"vanished", w.vanished}, {"expired", w.expire}, {"forgotten", w.forget},
		{"changed", w.change}, {"retired", w.retire}, {"deleted", w.delete}, {"restored", w.restore}, {"repaired", w.repaired}, {"rebuilt", w.rebuild}, {"dropped", w.drop}, {"collected", w.collect},
	} {
		if err := w.retry(part.do); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// published are the versions that are ready once all was walked, and their files.
func published() map[string]folder {
	return map[string]folder{
		"plain:1": withWeights("plain"), "parts:1": inParts("parts"), "auto:1": small("auto"), "odd:1": small("odd"),
		"lost:1": inParts("lost"), "imported:1": withWeights("imported"), "vanished:1": inParts("vanished"), "expired:1": small("expired"),
		"restored:1": small("restored"), "changed:1": small("changed-1"), "changed:2": small("changed-2"),
	}
}

// withWeights is a folder of which the registry can say what is inside.
func withWeights(seed string) folder {
	f := small(seed)
	f["model.safetensors"] = weightstest.Safetensors(weightstest.Tensor(seed, "F32", 8, 2))
	return f
}

// inParts is a folder whose one file goes in parts: in one, since the last may have any size.
func inParts(seed string) folder { return folder{"in-parts.gguf": []byte("the weights of " + seed)} }
