package index

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sync/errgroup"
)

func openBoltAt(t *testing.T, path string) *Bolt {
	t.Helper()
	b, err := OpenBolt(path, BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// boltCommits returns the number of the last commit.
func boltCommits(t *testing.T, b *Bolt) int {
	t.Helper()
	tx, err := b.db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	return tx.ID()
}

// boltInLine makes an Update that is in fn, and behind it n Updates of update that wait in line. It returns the function
// that lets them all go on and waits for them.
func boltInLine(t *testing.T, b *Bolt, n int, update func(i int) error) (finish func() error) {
	t.Helper()
	inside, release := make(chan struct{}), make(chan struct{})
	var group errgroup.Group
	group.Go(func() error {
		return b.Update(t.Context(), func(tx Tx) error {
			close(inside)
			<-release
			return tx.Put([]byte("first"), nil)
		})
	})
	<-inside
	for i := range n {
		group.Go(func() error { return update(i) })
	}
	for boltWaiting(b) < n {
		time.Sleep(time.Millisecond)
	}
	return func() error { close(release); return group.Wait() }
}

func boltWaiting(b *Bolt) int {
	b.queue.mu.Lock()
	defer b.queue.mu.Unlock()
	return len(b.queue.waiting)
}

func TestBoltGroupsUpdates(t *testing.T) {
	b := openBoltAt(t, filepath.Join(t.TempDir(), "index.db"))
	before := boltCommits(t, b)
	finish := boltInLine(t, b, 100, func(i int) error {
		return b.Update(t.Context(), func(tx Tx) error { return tx.Put(fmt.Append(nil, i), nil) })
	})
	if err := finish(); err != nil {
		t.Fatal(err)
	}
	if commits := boltCommits(t, b) - before; commits != 1 {
		t.Errorf("101 Updates in a row made %d commits, want 1", commits)
	}
	for range 5 {
		if err := b.Update(t.Context(), func(Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if commits := boltCommits(t, b) - before; commits != 1 {
		t.Errorf("Updates without a write made %d commits, want none", commits-1)
	}
}

func TestBoltBoundsGroups(t *testing.T) {
	b := openBoltAt(t, filepath.Join(t.TempDir(), "index.db"))
	before := boltCommits(t, b)
	const updates = 20
	finish := boltInLine(t, b, updates, func(i int) error {
		return b.Update(t.Context(), func(tx Tx) error {
			for j := range 15 {
				if err := tx.Put(fmt.Append(nil, i, "/", j), make([]byte, MaxValueBytes)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err := finish(); err != nil {
		t.Fatal(err)
	}
	if commits := boltCommits(t, b) - before; commits != 3 {
		t.Errorf("%d Updates of almost 1 MiB made %d commits, want 3", updates, commits)
	}
}

// TestBoltEndsInGroup ends goroutines in their fn, as t.FailNow does, and contexts in the line.
func TestBoltEndsInGroup(t *testing.T) {
	b := openBoltAt(t, filepath.Join(t.TempDir(), "index.db"))
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Add(10)
	finish := boltInLine(t, b, 30, func(i int) error {
		switch i % 3 {
		case 0:
			go func() {
				defer ended.Done()
				_ = b.Update(t.Context(), func(tx Tx) error {
					_ = tx.Put([]byte("lost"), nil)
					runtime.Goexit()
					return nil
				})
			}()
			return nil
		case 1:
			if err := b.Update(ctx, func(Tx) error { return nil }); !errors.Is(err, context.Canceled) {
				return fmt.Errorf("got %w, want context.Canceled", err)
			}
			return nil
		}
		return b.Update(t.Context(), func(tx Tx) error { return tx.Put(fmt.Append(nil, i), nil) })
	})
	cancel()
	for boltWaiting(b) > 20 {
		time.Sleep(time.Millisecond)
	}
	if err := finish(); err != nil {
		t.Fatal(err)
	}
	ended.Wait()
	n := 0
	err := b.View(t.Context(), func(tx Tx) error {
		for range tx.Scan(nil, nil, false) {
			n++
		}
		return nil
	})
	if err != nil || n != 11 {
		t.Errorf("%d items, want 11; %v", n, err)
	}
}

// TestBoltQueueMeets lets a context end just when the turn comes: who has been given the turn must know it.
func TestBoltQueueMeets(t *testing.T) {
	var q boltQueue
	if err := q.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	entered := make(chan error)
	go func() { entered <- q.enter(ctx) }()
	for waiting := 0; waiting == 0; time.Sleep(time.Millisecond) {
		q.mu.Lock()
		waiting = len(q.waiting)
		q.mu.Unlock()
	}
	q.mu.Lock()
	cancel() // it wakes up, and finds the lock taken
	called := q.callFirst()
	q.mu.Unlock()
	if err := <-entered; !called || err != nil {
		t.Errorf("called %t, then got %v: the turn is lost", called, err)
	}
}

// TestBoltCommitFails makes a commit fail: all of a group hear of it, those too whose fn failed or wrote
// nothing, for they may have read what is lost; and nothing is written from then on.
func TestBoltCommitFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	b := openBoltAt(t, path)
	if err := b.Update(t.Context(), func(tx Tx) error { return tx.Put([]byte("kept"), nil) }); err != nil {
		t.Fatal(err)
	}
	own := errors.New("an error of fn's own")
	var mu sync.Mutex
	var answers []error
	finish := boltInLine(t, b, 9, func(i int) error {
		err := b.Update(t.Context(), func(tx Tx) error {
			switch i % 3 {
			case 0:
				return own
			case 1:
				return nil
			}
			return tx.Put(fmt.Append(nil, i), make([]byte, MaxValueBytes))
		})
		mu.Lock()
		defer mu.Unlock()
		answers = append(answers, err)
		return nil
	})
	b.db.MaxSize = 1
	if err := finish(); !errors.Is(err, bolterrors.ErrMaxSizeReached) {
		t.Errorf("the first Update: got %v, want that of the commit", err)
	}
	for _, err := range answers {
		if !errors.Is(err, bolterrors.ErrMaxSizeReached) || errors.Is(err, own) {
			t.Errorf("got %v, want that of the commit", err)
		}
	}
	if err := b.Update(t.Context(), func(Tx) error { return nil }); !errors.Is(err, ErrFailed) {
		t.Errorf("Update after a failed commit: got %v", err)
	}
	if err := b.View(t.Context(), func(tx Tx) error { _, err := tx.Get([]byte("kept")); return err }); err != nil {
		t.Errorf("View after a failed commit: %v", err)
	}
	_ = b.Close()
	b = openBoltAt(t, path)
	err := b.Update(t.Context(), func(tx Tx) error {
		if _, err := tx.Get([]byte("first")); !errors.Is(err, ErrNotFound) {
			t.Errorf("an Update that failed left its write: %v", err)
		}
		return tx.Put([]byte("kept"), nil)
	})
	if err != nil {
		t.Error(err)
	}
}
