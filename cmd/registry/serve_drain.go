package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ballast-registry/ballast"
)

// checkRunning refuses bounds that are none.
func (c *serveCmd) checkRunning() error {
	if c.DrainTimeout < time.Second || c.DrainTimeout > time.Hour {
		return fmt.Errorf("--drain-timeout %s: write a time from 1s to 1h", c.DrainTimeout)
	}
	_, err := c.minFree()
	return err
}

func (c *serveCmd) minFree() (int64, error) {
	n, err := humanize.ParseBytes(c.MinFree)
	if err != nil || n > 1<<50 {
		return 0, fmt.Errorf("--min-free %q: write a size, as in 256MiB", c.MinFree)
	}
	return int64(n), nil
}

// diskHasRoom refuses while the disk of the data folder is nearly full: before a write fails, and not after. What cannot be told
// is no reason.
func (s *serving) diskHasRoom(context.Context) error {
	least, err := s.cmd.minFree()
	if err != nil {
		return err
	}
	free, err := freeBytes(s.data)
	if err != nil || free >= least {
		return nil
	}
	return ballast.Errorf(ballast.CodeUnavailable, "the disk of the registry's index is nearly full (%s are free, --min-free is %s): nothing can be changed until its operator makes room; then try again",
		humanize.IBytes(uint64(max(free, 0))), humanize.IBytes(uint64(least))) //nolint:gosec // neither is negative
}

// inFlight counts the requests that are being answered.
type inFlight struct{ n atomic.Int64 }

func (f *inFlight) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.n.Add(1)
		defer f.n.Add(-1)
		next.ServeHTTP(w, r)
	})
}

// drainLook is how often the requests in flight are looked at.
const drainLook = 20 * time.Millisecond

// drain ends a server: while requests are in flight it still listens, so that who asks hears that the registry is stopping.
// Requests get most of the time to end by themselves, are then told to by cut, and at limit their connections are closed.
func (f *inFlight) drain(server *http.Server, limit time.Duration, cut context.CancelFunc) {
	quiet := max(limit-3*time.Second, limit/2)
	defer time.AfterFunc(quiet, cut).Stop()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	listening, stop := context.WithTimeout(ctx, quiet)
	defer stop()
	for f.n.Load() > 0 && listening.Err() == nil {
		select {
		case <-listening.Done():
		case <-time.After(drainLook):
		}
	}
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, http.ErrServerClosed) {
		_ = server.Close() // what is still open is to be cut
	}
}
