//go:build failpoints

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// repaired damages what it published and has it mended. The version is lost then, for good as far as this walk goes.
func (w *walk) repaired() error {
	target := "broken:1"
	key := ballast.Key{Scope: acme, Name: ref(target).Name, Version: ref(target).Version}
	v, err := w.index.Version(w.ctx, key)
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return err
	}
	if v.Status != ballast.StatusReady && v.Status != ballast.StatusLost {
		if _, err := w.deliver(target, "a", small(target)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(plantedIn(w.dir), nil, 0o600); err != nil {
		return err
	}
	if v.Status != ballast.StatusLost {
		gone := ballast.BlobKey(acme, ballast.DigestOf(small(target)["config.json"]))
		if err := w.store.Delete(context.Background(), gone); err != nil {
			return err
		}
	}
	if err := w.damage(ballast.DigestOf(small(target)["model.safetensors"])); err != nil {
		return err
	}
	run, err := w.StartFsck(w.ctx, admin, ballast.StartFsck{Repair: true})
	for err == nil && run.State == ballast.FsckRunning {
		run, err = w.Fsck(w.ctx, admin, 1000, "", time.Second)
	}
	switch v, lookErr := w.index.Version(w.ctx, key); {
	case errors.Join(err, lookErr) != nil:
		return errors.Join(err, lookErr)
	case run.State != ballast.FsckDone:
		return fmt.Errorf("the repair is %s: %w", run.State, run.Error)
	case v.Status != ballast.StatusLost:
		return fmt.Errorf("%s is %s after a repair that found %+v", key, v.Status, run.Findings)
	}
	return os.Remove(plantedIn(w.dir))
}

// plantedIn is the file that says of an index that the walk damaged it, and that no repair went through yet.
func plantedIn(dir string) string { return filepath.Join(dir, "planted") }

// mendPlanted runs the repair again that was cut off, if one was: what is wrong then is not what the walk planted.
func mendPlanted(ctx context.Context, dir string, x *index.Index, b objstore.Bucket) error {
	if _, err := os.Stat(plantedIn(dir)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	_, err := engine.FsckOffline(ctx, x, b, engine.NewRecordKey(secret), engine.Limits{}, ballast.StartFsck{Repair: true}, func(ballast.Finding) {})
	return err
}

// damage spoils in the file of the index what no step was taken yet to mend.
func (w *walk) damage(rewritten digest.Digest) error {
	plant := map[failpoint.Step]func(index.Tx) error{
		failpoint.Mend: func(tx index.Tx) error {
			return tx.Delete(append([]byte("lacme\x00plain\x00\x02"), ref("plain:1").Version.Order()...))
		},
		failpoint.SameBytes: func(tx index.Tx) error { return spoil(tx, "bacme\x00"+rewritten.Encoded(), `"etag":"`, `"etag":"x`) },
		failpoint.Recount:   func(tx index.Tx) error { return spoil(tx, "Bacme\x00", `"versions":`, `"versions":1`) },
	}
	for step := range plant {
		if taken, _ := w.times(step); taken > 0 {
			delete(plant, step)
		}
	}
	if len(plant) == 0 {
		return nil
	}
	if err := w.close(); err != nil {
		return err
	}
	w.Engine = nil
	bolt, err := index.OpenBolt(filepath.Join(w.dir, "index.db"), index.BoltOptions{NoSync: w.sync == nil, LockTimeout: time.Minute})
	if err != nil {
		return err
	}
	err = bolt.Update(context.Background(), func(tx index.Tx) error {
		for _, do := range plant {
			if err := do(tx); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, bolt.Close(), w.open())
}

// spoil replaces a text in the values below a prefix.
func spoil(tx index.Tx, prefix, text, by string) error {
	for item, err := range tx.Scan([]byte(prefix), nil, false) {
		if err != nil {
			return err
		}
		if err := tx.Put(item.Key, []byte(strings.Replace(string(item.Value), text, by, 1))); err != nil {
			return err
		}
	}
	return nil
}
