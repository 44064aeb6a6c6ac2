package s3dev

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Each run takes a second of the fake clock, so what began when is exact.
func slow(runs *int, err error) coalescer {
	return coalescer{work: func() error {
		*runs++
		time.Sleep(time.Second)
		return err
	}}
}

func TestCallersDuringARunShareTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs int
		c := slow(&runs, nil)
		began := time.Now()
		took := make(chan time.Duration, 11)
		call := func() {
			if err := c.do(t.Context()); err != nil {
				t.Error(err)
			}
			took <- time.Since(began)
		}
		go call()
		time.Sleep(time.Millisecond)
		for range 10 {
			go call()
		}
		if first := <-took; first != time.Second {
			t.Errorf("the first caller waited %v", first)
		}
		for range 10 {
			if d := <-took; d != 2*time.Second {
				t.Errorf("a caller that came during a run returned after %v: that run began before the call", d)
			}
		}
		if runs != 2 {
			t.Errorf("%d runs, want 2", runs)
		}
	})
}

func TestErrorReachesItsRoundOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("disk is broken")
		var runs int
		c := slow(&runs, broken)
		if err := c.do(t.Context()); !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
		c.work = func() error { return nil }
		if err := c.do(t.Context()); err != nil {
			t.Errorf("a later call still fails: %v", err)
		}
	})
}

func TestCallerMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs int
		c := slow(&runs, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := c.do(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		synctest.Wait()
		if err := c.do(t.Context()); err != nil || runs != 2 {
			t.Errorf("after one left: %d runs, %v", runs, err)
		}
	})
}
