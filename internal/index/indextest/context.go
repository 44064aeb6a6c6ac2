package indextest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ballast-registry/ballast/internal/index"
)

var contextChecks = []Check{
	{"context done before", checkDoneBefore},
	{"context done in fn", checkDoneInside},
	{"context done while waiting", checkDoneWaiting},
}

func checkDoneBefore(ctx context.Context, s index.Store) error {
	done, cancel := context.WithCancel(ctx)
	cancel()
	ran := false
	fn := func(index.Tx) error { ran = true; return nil }
	return errors.Join(
		wrongError("View", s.View(done, fn), context.Canceled),
		wrongError("Update", s.Update(done, fn), context.Canceled),
		wrong("fn ran", ran, false))
}

func checkDoneInside(ctx context.Context, s index.Store) error {
	done, cancel := context.WithCancel(ctx)
	defer cancel()
	err := s.Update(done, func(tx index.Tx) error {
		cancel()
		return putTx(tx, "a=1")
	})
	return errors.Join(wrongError("an Update whose context ended in fn", err, context.Canceled), expect(ctx, s))
}

// checkDoneWaiting lets an Update's context end while another Update is in its fn.
func checkDoneWaiting(ctx context.Context, s index.Store) error {
	inside, release := make(chan struct{}), make(chan struct{})
	enter := sync.OnceFunc(func() { close(inside) })
	first := make(chan error, 1)
	go func() {
		first <- s.Update(ctx, func(tx index.Tx) error {
			enter()
			<-release
			return putTx(tx, "first=1")
		})
	}()
	<-inside
	err := within("an Update whose context ended in the queue", func() error {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		return s.Update(short, func(tx index.Tx) error { return putTx(tx, "second=1") })
	})
	close(release)
	if errFirst := receive("the Update in front", first); errFirst != nil {
		return errFirst
	}
	switch {
	case err == nil: // a store that runs both at once
		return expect(ctx, s, "first=1", "second=1")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.Join(expect(ctx, s, "first=1"), put(ctx, s, "third=1"))
	}
	return fmt.Errorf("an Update whose context ended in the queue: got %w", err)
}
