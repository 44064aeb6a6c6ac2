package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// rangeReader reads a range of an object by signed requests. Where a stream breaks, stalls or ends early it opens the next
// one at that byte; a request that the store no longer takes is replaced by a fresh one. Tries that bring little are limited.
type rangeReader struct {
	ctx    context.Context
	c      *Client
	path   string
	access *access
	size   int64 // of the object
	offset int64 // of the next byte
	end    int64
	told   func(note string)

	body   io.ReadCloser
	opened int64 // offset at which body began
	broken error // how the last stream ended before its time
	tries  int
}

// worthIt is how many bytes a stream must bring for the tries before it to be forgotten.
const worthIt = 1 << 20

// Read implements io.Reader.
func (r *rangeReader) Read(b []byte) (int, error) {
	for {
		if r.offset == r.end {
			return 0, io.EOF
		}
		if err := r.open(); err != nil {
			return 0, err
		}
		n, err := r.body.Read(b[:min(int64(len(b)), r.end-r.offset)])
		r.offset += int64(n)
		if err != nil {
			r.close()
			if r.offset-r.opened >= worthIt {
				r.tries = 0
			}
			if r.broken = err; !errors.Is(err, errStalled) {
				r.broken = fmt.Errorf("%w: %w", errSilent, err)
			}
		}
		if n > 0 {
			return n, nil
		}
	}
}

// open makes sure that there is a stream, with a fresh request when it must.
func (r *rangeReader) open() error {
	for r.body == nil {
		if r.broken != nil {
			if err := r.again(); err != nil {
				return err
			}
		}
		sr, err := r.access.get(r.ctx)
		if err != nil {
			return about(r.path, err)
		}
		body, err := r.c.get(r.ctx, sr, r.offset, r.end, r.size)
		if r.broken = err; err == nil {
			r.body, r.opened = body, r.offset
		}
		var e *storeError
		if errors.As(err, &e) && e.expired() {
			r.access.refused(sr)
		}
	}
	return nil
}

// again waits before the next try, or gives up with what broke the last one. A store that is restarted is waited for; one
// that refuses what was just signed will refuse the next one too.
func (r *rangeReader) again() error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	limit, wait := r.c.patience(), time.Duration(0)
	var e *storeError
	if errors.As(r.broken, &e) {
		if wait = e.retryAfter; e.expired() {
			limit = 3
		}
	}
	if r.tries++; r.tries >= limit || !retryStore(r.broken) {
		return gaveUp(r.path, r.broken, "try again: what has arrived is kept")
	}
	if r.tries == r.c.tries {
		r.told(fmt.Sprintf("%q: %v; still trying", r.path, r.broken))
	}
	r.c.log.InfoContext(r.ctx, "a transfer is tried again", attrFile, r.path, attrOffset, r.offset, attrError, r.broken)
	return r.c.backoff(r.ctx, r.tries, wait)
}

// patience is how often in a row something is tried in the midst of a transfer that has brought much already: with pauses of
// up to 30 s, twice as often takes two minutes.
func (c *Client) patience() int { return 2 * c.tries }

func (r *rangeReader) close() {
	if r.body != nil {
		_ = r.body.Close()
		r.body = nil
	}
}
