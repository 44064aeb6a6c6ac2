package indextest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast/internal/index"
)

var concurrentChecks = []Check{
	{"fn runs again", checkRunAgain},
	{"counters", checkCounters},
	{"failures beside successes", checkFailuresBeside},
	{"view beside an update", checkViewBesideUpdate},
	{"update beside a view", checkUpdateBesideView},
	{"close waits", checkCloseWaits},
	{"history", checkHistory},
}

func increment(tx index.Tx, key string) error {
	n, err := counter(tx, key)
	if err != nil {
		return err
	}
	runtime.Gosched() // the moment for another to come between
	return tx.Put([]byte(key), strconv.AppendInt(nil, int64(n+1), 10))
}

func counter(tx index.Tx, key string) (int, error) {
	value, err := tx.Get([]byte(key))
	if errors.Is(err, index.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(value))
}

func checkRunAgain(ctx context.Context, s index.Store) error {
	const updates = 20
	for range updates {
		if err := s.Update(ctx, func(tx index.Tx) error { return increment(tx, "n") }); err != nil {
			return err
		}
	}
	return expect(ctx, s, fmt.Sprint("n=", updates))
}

func checkCounters(ctx context.Context, s index.Store) error {
	const clients, updates = 16, 12
	var group errgroup.Group
	for i := range clients {
		group.Go(func() error {
			for range updates {
				err := s.Update(ctx, func(tx index.Tx) error {
					return errors.Join(increment(tx, "all"), increment(tx, fmt.Sprintf("each/%02d", i)))
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	want := []string{fmt.Sprint("all=", clients*updates)}
	for i := range clients {
		want = append(want, fmt.Sprintf("each/%02d=%d", i, updates))
	}
	return errors.Join(group.Wait(), expect(ctx, s, want...))
}

// checkFailuresBeside mixes Updates that succeed, fail, go over a limit, give up and panic.
func checkFailuresBeside(ctx context.Context, s index.Store) error {
	const clients = 40
	var group errgroup.Group
	var want []string
	for i := range clients {
		key := fmt.Sprintf("%02d", i)
		if i%5 == 0 {
			want = append(want, key+"=kept")
		}
		group.Go(func() error { return failingUpdate(ctx, s, i%5, key) })
	}
	return errors.Join(within("Updates", group.Wait), expect(ctx, s, want...))
}

func failingUpdate(ctx context.Context, s index.Store, kind int, key string) (bad error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wantErr := []error{nil, errOwn, index.ErrTooLarge, context.Canceled, nil}[kind]
	defer func() {
		if p := recover(); kind == 4 {
			bad = wrong("panic of the Update of "+key, p, key)
		}
	}()
	err := s.Update(ctx, func(tx index.Tx) error {
		err := putTx(tx, key+"=kept")
		switch kind {
		case 1:
			err = errOwn
		case 2:
			err = tx.Put([]byte(key), make([]byte, index.MaxValueBytes+1))
		case 3:
			cancel()
		case 4:
			panic(key)
		}
		return err
	})
	return wrongError("Update of "+key, err, wantErr)
}

// checkViewBesideUpdate runs a View while an Update has written and not returned.
func checkViewBesideUpdate(ctx context.Context, s index.Store) error {
	if err := put(ctx, s, "a=old", "b=old"); err != nil {
		return err
	}
	for _, outcome := range []error{errOwn, nil} {
		var bad error
		err := s.Update(ctx, func(tx index.Tx) error {
			if err := errors.Join(putTx(tx, "a=new", "c=new"), tx.Delete([]byte("b"))); err != nil {
				return err
			}
			bad = within("View beside an Update", func() error { return expect(ctx, s, "a=old", "b=old") })
			return outcome
		})
		if err := errors.Join(bad, wrongError("Update", err, outcome)); err != nil {
			return err
		}
	}
	return expect(ctx, s, "a=new", "c=new")
}

// checkUpdateBesideView runs Updates while a View is open; it must go on seeing what it saw.
func checkUpdateBesideView(ctx context.Context, s index.Store) error {
	if err := put(ctx, s, "a=0", "b=0"); err != nil {
		return err
	}
	var rounds atomic.Int64
	return s.View(ctx, func(tx index.Tx) error {
		before, err := scan(tx, "", nil, false)
		for range 5 {
			n := rounds.Add(1)
			err = errors.Join(err, within("Update beside a View", func() error {
				return put(ctx, s, fmt.Sprint("a=", n), fmt.Sprint("b=", n), fmt.Sprint("c=", n))
			}))
			after, errScan := scan(tx, "", nil, false)
			value, errGet := tx.Get([]byte("b"))
			err = errors.Join(err, errScan, errGet, wrong("scan later in the View", after, before),
				wrong("get later in the View", "b="+string(value), before[1]))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func checkCloseWaits(ctx context.Context, s index.Store) error {
	inside, release := make(chan struct{}), make(chan struct{})
	enter := sync.OnceFunc(func() { close(inside) })
	update, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		update <- s.Update(ctx, func(tx index.Tx) error { enter(); <-release; return putTx(tx, "a=1") })
	}()
	<-inside
	go func() { closed <- s.Close() }()
	var early error
	select {
	case <-closed:
		early = errors.New("Close did not wait for an Update")
	case <-time.After(20 * time.Millisecond): // it waits, or has not begun, which is as good
	}
	close(release)
	if err := errors.Join(early, receive("Update", update)); err != nil {
		return err
	}
	return receive("Close", closed)
}
