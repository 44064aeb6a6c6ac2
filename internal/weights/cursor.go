package weights

import (
	"context"
	"io"
)

// A read of a header begins with what most headers fit into, and asks for more each time that it was too little.
const (
	firstChunk = 64 << 10
	lastChunk  = 2 << 20
)

// cursor walks through the header of a file and fetches the ranges that it meets.
type cursor struct {
	ctx   context.Context // of one Read
	src   Source
	limit int64 // bytes of the header at most

	pos    int64  // of the next byte to hand out
	buf    []byte // the bytes from pos on that were fetched
	chunk  int64  // to fetch next
	failed error  // of src, kept for those behind whom a decoder stands
}

func newCursor(ctx context.Context, src Source, limit int64) *cursor {
	return &cursor{ctx: ctx, src: src, limit: limit, chunk: firstChunk}
}

// need makes sure that the next n bytes are in buf. n is small.
func (c *cursor) need(n int) error {
	if n <= len(c.buf) {
		return nil
	}
	if err := c.inside(int64(n)); err != nil {
		return err
	}
	got := len(c.buf)
	more := min(max(c.chunk, int64(n-got)), min(c.src.Size, c.limit)-c.pos-int64(got))
	buf := make([]byte, int64(got)+more)
	copy(buf, c.buf)
	if err := c.src.ReadAt(c.ctx, buf[got:], c.pos+int64(got)); err != nil {
		c.failed = err
		return err
	}
	c.buf, c.chunk = buf, min(2*c.chunk, lastChunk)
	return nil
}

// inside refuses a header that goes on for n bytes beyond the file or the limit.
func (c *cursor) inside(n int64) error {
	switch {
	case n > c.src.Size-c.pos:
		return bad("is cut short: it has %d bytes and its header goes on", c.src.Size)
	case n > c.limit-c.pos:
		return bad("has a header of more than %d bytes, which is not read", c.limit)
	}
	return nil
}

// next hands out n bytes, valid until the next call. n is small.
func (c *cursor) next(n int) ([]byte, error) {
	if err := c.need(n); err != nil {
		return nil, err
	}
	b := c.buf[:n]
	c.buf, c.pos = c.buf[n:], c.pos+int64(n)
	return b, nil
}

// skip passes over n bytes without fetching those that were not fetched yet.
func (c *cursor) skip(n int64) error {
	if err := c.inside(n); err != nil {
		return err
	}
	c.buf, c.pos = c.buf[min(n, int64(len(c.buf))):], c.pos+n
	return nil
}

// Read implements io.Reader up to the limit.
func (c *cursor) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.buf) == 0 {
		if c.pos == c.limit {
			return 0, io.EOF
		}
		if err := c.need(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.buf)
	c.buf, c.pos = c.buf[n:], c.pos+int64(n)
	return n, nil
}
