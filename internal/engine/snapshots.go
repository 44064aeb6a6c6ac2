package engine

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// Snapshots of the index lie in the bucket for what version records don't hold: aliases, stages, what people said since. A
// rebuild takes the newest that is whole and signed with the record key, under the name that it was signed for.

const (
	snapshotFolder = "index/snapshots/"
	snapshotSuffix = ".db"
	snapshotLayout = "20060102T150405.000000Z" // names sort by time
)

// snapshotTimeout bounds one snapshot, and so what the last one adds to the end of the service.
const snapshotTimeout = 5 * time.Minute

// snapshotKey is where the snapshot of an instant lies.
func snapshotKey(at time.Time) string {
	return snapshotFolder + at.UTC().Format(snapshotLayout) + snapshotSuffix
}

// snapshotTime reads what snapshotKey wrote.
func snapshotTime(key string) (at time.Time, ok bool) {
	at, err := time.Parse(snapshotLayout, strings.TrimSuffix(strings.TrimPrefix(key, snapshotFolder), snapshotSuffix))
	return at, err == nil && snapshotKey(at) == key
}

// signature is what a snapshot ends with: it binds its contents to its key.
type signature struct {
	KeyID string `json:"key_id"`
	HMAC  string `json:"hmac"` // hex HMAC-SHA-256 over the object's key and the sum of the contents
}

const snapshotPurpose = "ballast index snapshot"

func (k RecordKey) signSnapshot(key string, sum index.Sum) ([]byte, error) {
	return json.Marshal(signature{k.ID, k.mac(key, sum[:], snapshotPurpose)})
}

// verifySnapshot reports whether the key is known that signed a snapshot. Errors: errSnapshot.
func (k RecordKey) verifySnapshot(key string, sum index.Sum, signed []byte) (known bool, err error) {
	var s signature
	if err := json.Unmarshal(signed, &s); err != nil {
		return false, fmt.Errorf("%w: it has no signature", errSnapshot)
	}
	signer, known := k.byID(s.KeyID)
	if known && !hmac.Equal([]byte(signer.mac(key, sum[:], snapshotPurpose)), []byte(s.HMAC)) {
		return true, fmt.Errorf("%w: its HMAC is wrong", errSnapshot)
	}
	return known, nil
}

var errSnapshot = errors.New("engine: not a snapshot of the registry's")

// snapshots says whether snapshots are taken, and keeps what makes one needless.
type snapshots struct {
	dir   string // of the copies under way; empty: none are taken
	mu    sync.Mutex
	moves uint64                    // of the index, when the last one was taken
	whole atomic.Pointer[time.Time] // when the newest one held all that there was; nil before this process has seen that
}

// SinceSnapshot is for how long changes of the index may have been in no snapshot: since the newest one was made, or was last
// seen to hold everything; since the start while there is none. ok is false where none are made.
func (e *Engine) SinceSnapshot(ctx context.Context) (age time.Duration, ok bool, err error) {
	if e.snapshots.dir == "" || e.limits.SnapshotInterval < 0 {
		return 0, false, nil
	}
	since := e.began
	if whole := e.snapshots.whole.Load(); whole != nil {
		since = *whole
	} else if last, err := e.index.LastSnapshot(ctx); err != nil {
		return 0, false, err
	} else if last.Name != "" {
		since = last.At.Time
	}
	return max(0, e.now().Sub(since)), true, nil
}

// snapshot copies the index to a file, and the file to the bucket, unless nothing has changed since the last one.
func (e *Engine) snapshot(ctx context.Context) error {
	e.snapshots.mu.Lock()
	defer e.snapshots.mu.Unlock()
	if e.snapshots.dir == "" || e.limits.SnapshotInterval < 0 {
		return nil
	}
	at, moves := e.now(), e.index.Moves()
	if moves == e.snapshots.moves {
		if e.snapshots.whole.Load() != nil {
			e.snapshots.whole.Store(&at)
		}
		return nil
	}
	last, err := e.index.LastSnapshot(ctx)
	if err != nil {
		return err
	}
	if next := last.At.Add(e.limits.SnapshotInterval); !e.ending() && e.now().Before(next) {
		return nil
	}
	if err := e.takeSnapshot(ctx, last); err != nil {
		return fmt.Errorf("engine: snapshot of the index: %w", err)
	}
	e.snapshots.whole.Store(&at)
	if e.snapshots.moves = moves; e.index.Moves() == moves+1 { // it was the note of this snapshot alone
		e.snapshots.moves++
	}
	return e.dropSnapshots(ctx)
}

// snapshotLook is how often the loop looks whether a snapshot is due.
func (e *Engine) snapshotLook() time.Duration {
	return min(max(e.limits.SnapshotInterval/10, 10*time.Millisecond), time.Minute)
}

// ending reports whether the service is about to stop, upon which one more snapshot is due.
func (e *Engine) ending() bool { return e.hurry.Err() != nil }

// copiesPattern is what the folders of copies under way are called.
const copiesPattern = ".snapshot-*"

// dropCopies removes what a run that was killed has left of a copy.
func dropCopies(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, copiesPattern))
	for _, folder := range left {
		err = errors.Join(err, os.RemoveAll(folder))
	}
	return err
}

func (e *Engine) takeSnapshot(ctx context.Context, last index.SavedSnapshot) error {
	if err := dropCopies(e.snapshots.dir); err != nil { // nobody else makes one: the index is locked
		return err
	}
	dir, err := os.MkdirTemp(e.snapshots.dir, copiesPattern)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file, at := filepath.Join(dir, "index.db"), e.now()
	sum, err := e.index.CopyTo(ctx, file)
	if err != nil || sum == last.Sum {
		return err
	}
	key := snapshotKey(at)
	signed, err := e.recordKey.signSnapshot(key, sum)
	if err != nil {
		return err
	}
	if err := index.SignCopy(ctx, file, signed); err != nil {
		return err
	}
	size, err := e.sendSnapshot(ctx, key, file)
	if err != nil {
		return err
	}
	// If we crash here the next run takes another one; this one is as good as any.
	e.log.LogAttrs(ctx, slog.LevelInfo, "snapshot of the index", slog.String("object", key), slog.Int64("bytes", size))
	return e.index.SaveSnapshot(ctx, index.SavedSnapshot{At: ballast.At(at), Name: path.Base(key), Sum: sum})
}

func (e *Engine) sendSnapshot(ctx context.Context, key, file string) (size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	d := digest.SHA256.Digester()
	if size, err = io.Copy(d.Hash(), f); err != nil {
		return 0, err
	}
	if _, err = f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	_, err = e.bucket.PutFile(ctx, key, f, size, d.Digest())
	return size, err
}

// dropSnapshots removes all but the newest ones. What has not the name of a snapshot stays, and so does what is named after a
// time to come: it is none of this registry's, and must not push out what is.
func (e *Engine) dropSnapshots(ctx context.Context) error {
	keys, err := snapshotKeys(ctx, e.bucket)
	if err != nil {
		return err
	}
	ahead := e.now().Add(e.limits.ClockSlack)
	keys = slices.DeleteFunc(keys, func(key string) bool {
		at, _ := snapshotTime(key)
		return at.After(ahead)
	})
	for _, key := range keys[:max(0, len(keys)-e.limits.SnapshotKeep)] {
		if err := e.bucket.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// snapshotKeys lists the snapshots, the oldest first.
func snapshotKeys(ctx context.Context, b objstore.Bucket) (keys []string, err error) {
	for obj, err := range b.List(ctx, snapshotFolder, "") {
		if err != nil {
			return nil, fmt.Errorf("engine: listing snapshots: %w", err)
		}
		if _, ok := snapshotTime(obj.Key); ok {
			keys = append(keys, obj.Key)
		}
	}
	return keys, nil
}

// lastSnapshot is taken at the end of the service, while it still owns the prefix.
func (e *Engine) lastSnapshot() {
	e.rush()
	if e.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(e.ctx, snapshotTimeout)
	defer cancel()
	if err := failpoint.Do(ctx, failpoint.LastSnapshot, e.snapshot); err != nil {
		e.log.LogAttrs(ctx, slog.LevelWarn, "the last snapshot of the index came to nothing: what was said since the one before is in no snapshot", slog.Any("error", err))
	}
}
