package engine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// What the fire must have met, or it proves nothing.
const (
	fireFreed  = 1000 // blobs
	fireReused = 100  // pushes with a blob that was about to go
	fireGrace  = 1500 * time.Millisecond
	fireLonger = 8 // times as long as it should take, on a slow machine
)

// fire is a registry that is used and collected at once.
type fire struct {
	*rig
	shared                        []folder // of which whoever pushes takes one
	pushed, reused, read, deleted atomic.Int64
}

// TestGCUnderFire pushes, deletes, retires and restores versions that share files, with times so short that what nobody uses
// goes at once, while gc runs all the time. Whatever is published is read back by those who published it, byte by
// byte; in the end the checker reads all, and nothing that was recorded is left without a use. BALLAST_FIRE is how long.
func TestGCUnderFire(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 30 seconds a store")
	}
	long, err := time.ParseDuration(cmp.Or(os.Getenv("BALLAST_FIRE"), "30s"))
	if err != nil {
		t.Fatal(err)
	}
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		st, db := realStore(t, s), index.NewMem()
		opt := options(t, st, db)
		opt.Limits = engine.Limits{
			PutURLLife: time.Second, GetURLLife: time.Second, ClockSlack: 100 * time.Millisecond, Grace: fireGrace, RecordLife: 200 * time.Millisecond,
			Lease: 3 * time.Second, ReclaimRetry: 50 * time.Millisecond, GCInterval: 100 * time.Millisecond,
		}
		f := &fire{rig: start(t, st, db, opt)}
		for i := range 12 {
			f.shared = append(f.shared, folder{"shared": random(500, uint64(i)), "more": random(400, uint64(100+i))})
		}
		ctx, cancel := context.WithTimeout(t.Context(), fireLonger*long)
		defer cancel()
		time.AfterFunc(long, func() { f.enough(ctx, cancel) })
		var workers sync.WaitGroup
		for n := range 8 {
			workers.Go(func() { f.work(ctx, t, n) })
		}
		workers.Wait()
		f.cool(t)
		freed := f.Freed()
		t.Logf("%d pushes, %d with a blob that was about to go; %d versions read, %d deleted; %d runs of gc removed %d blobs", f.pushed.Load(), f.reused.Load(), f.read.Load(), f.deleted.Load(), freed.Runs, freed.Blobs)
		if freed.Blobs < fireFreed || f.reused.Load() < fireReused || f.read.Load() < 100 {
			t.Errorf("too little happened: %d blobs were freed, want %d; %d pushes used one that was about to go, want %d; %d were read", freed.Blobs, fireFreed, f.reused.Load(), fireReused, f.read.Load())
		}
	})
}

// enough ends the fire once what it is about has happened.
func (f *fire) enough(ctx context.Context, end context.CancelFunc) {
	for ctx.Err() == nil && (f.Freed().Blobs < fireFreed || f.reused.Load() < fireReused) {
		time.Sleep(100 * time.Millisecond)
	}
	end()
}

// work publishes versions of a name of its own and ends them, until ctx does.
func (f *fire) work(ctx context.Context, t *testing.T, n int) {
	name := fmt.Sprintf("fire-%d", n)
	live := map[string]folder{}
	for i := 1; ctx.Err() == nil && !t.Failed(); i++ {
		content := folder{}
		for p, b := range f.shared[rand.IntN(len(f.shared))] {
			content[p] = b
		}
		for own := range 4 {
			content[fmt.Sprint("own-", own)] = fmt.Appendf(nil, "%d %d %d %d", n, i, own, rand.Uint64())
		}
		target := fmt.Sprintf("%s:%d", name, i)
		if rand.IntN(2) == 0 {
			f.giveUp(t, target, content)
		}
		if !f.publish(t, target, content) {
			continue
		}
		live[target] = content
		for target, content := range live {
			f.readBack(t, target, content)
			if rand.IntN(3) > 0 && f.over(t, target) {
				delete(live, target)
			}
			break
		}
	}
	for target, content := range live {
		f.readBack(t, target, content)
	}
}

// giveUp sends the files of an upload that is then aborted, so that they are verified and nobody's.
func (f *fire) giveUp(t *testing.T, target string, content folder) {
	u, err := f.rig.open(t, writer, target)
	if err != nil {
		return
	}
	for range 2 { // the second time they are looked at
		if f.sendAll(t, writer, u.ID, content) != nil {
			break
		}
	}
	_ = f.AbortUpload(t.Context(), writer, u.ID)
}

// publish pushes, and counts a push with a blob that was about to go.
func (f *fire) publish(t *testing.T, target string, content folder) bool {
	u, err := f.rig.open(t, writer, target)
	if err != nil {
		return false
	}
	reused := false
	for _, b := range content {
		id := index.BlobID{Scope: acme, Digest: ballast.DigestOf(b)}
		before, err := f.opt.Index.Blob(t.Context(), id)
		if err != nil {
			t.Error(err)
			return false
		}
		a, err := f.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: id.Digest, Size: int64(len(b))}}})
		if err == nil && a.Blobs[0].State == ballast.BlobVerified && before.State == index.BlobVerified && !before.Tombstone.IsZero() {
			reused = true
		}
	}
	if err := f.sendAll(t, writer, u.ID, content); err != nil {
		_ = f.AbortUpload(t.Context(), writer, u.ID)
		return false
	}
	_, err = f.commit(t, writer, u.ID, content.files(), ballast.Metadata{})
	if err != nil { // a lease that was over, or a manifest that is just being removed
		_ = f.AbortUpload(t.Context(), writer, u.ID)
		if _, err := f.Version(t.Context(), writer, ref(target)); err == nil {
			t.Errorf("%s is there though its push failed", target)
		}
		return false
	}
	f.pushed.Add(1)
	if reused {
		f.reused.Add(1)
	}
	return true
}

// over retires or deletes a version, and reports whether it is gone.
func (f *fire) over(t *testing.T, target string) bool {
	own := engine.Own{Ref: ref(target)}
	if rand.IntN(4) == 0 {
		if _, _, err := f.Retire(t.Context(), keeper, own); err != nil {
			t.Errorf("retire %s: %v", target, err)
		}
	}
	if _, _, err := f.Delete(t.Context(), keeper, own); err != nil {
		t.Errorf("delete %s: %v", target, err)
		return false
	}
	f.deleted.Add(1)
	if rand.IntN(8) > 0 {
		return true
	}
	time.Sleep(rand.N(fireGrace + 500*time.Millisecond))
	_, _, err := f.Restore(t.Context(), keeper, own)
	if err != nil && ballast.CodeOf(err) != ballast.CodeGone {
		t.Errorf("restore %s: %v", target, err)
	}
	return err != nil
}

// readBack reads every file of a version that nobody else ends.
func (f *fire) readBack(t *testing.T, target string, content folder) {
	for path, want := range content {
		r, _, err := f.store.Get(t.Context(), ballast.BlobKey(acme, ballast.DigestOf(want)), objstore.ReadOptions{})
		var got []byte
		if err == nil {
			got, err = io.ReadAll(r)
			err = errors.Join(err, r.Close())
		}
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: its file %s reads as %d bytes, %v", target, path, len(got), err)
		}
	}
	f.read.Add(1)
}

// cool lets everything that is unused go, and holds the bucket to the index.
func (f *fire) cool(t *testing.T) {
	t.Helper()
	left := func() (unused []string) {
		c, err := f.opt.Index.Contents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		used := map[index.BlobID]bool{}
		for _, v := range c.Versions {
			if v.Status != ballast.StatusDeleted {
				used[index.BlobID{Scope: v.Scope, Digest: v.Digest}] = true
			}
		}
		for id, by := range c.References {
			for m := range by {
				if used[index.BlobID{Scope: id.Scope, Digest: m}] {
					used[id] = true
				}
			}
		}
		for id, b := range c.Blobs {
			if !used[id] {
				unused = append(unused, fmt.Sprint(id.Digest, " ", b.State))
			}
		}
		for obj, err := range f.store.List(t.Context(), acme.Path()+"/blobs/", "") {
			if err != nil {
				t.Fatal(err)
			}
			hex := obj.Key[len(obj.Key)-64:]
			if !used[index.BlobID{Scope: acme, Digest: digest.NewDigestFromEncoded(digest.SHA256, hex)}] {
				unused = append(unused, obj.Key)
			}
		}
		return unused
	}
	var unused []string
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if unused = left(); len(unused) == 0 {
			return
		}
	}
	t.Errorf("%d things are left that nobody uses, as %s", len(unused), unused[0])
}
