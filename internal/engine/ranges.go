package engine

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"github.com/ballast-registry/ballast/internal/hash"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// ranged is an object that is read by ranges, some of them ahead, and hashed in order.
type ranged struct {
	bucket objstore.Bucket
	key    string
	of     objstore.ReadOptions // which object it must be
	size   int64                // bytes
	seen   func(bytes int64)    // told how many bytes are hashed; it may be nil
	memory *semaphore.Weighted  // of bytes, that the ranges in flight take from
}

// rangeRead is a range that was read.
type rangeRead struct {
	data []byte // whole, whatever the error
	err  error
}

// digestOf hashes an object.
func (e *Engine) digestOf(ctx context.Context, r ranged) (digest.Digest, error) {
	h := hash.New(0)
	err := e.hashRanges(ctx, h, r)
	return h.Digest(), err
}

// hasher takes the bytes of an object in their order, and counts them.
type hasher interface {
	io.Writer
	Size() int64
}

// hashRanges gives an object to a hasher, reading Limits.VerifyRanges ranges of it at a time.
func (e *Engine) hashRanges(ctx context.Context, h hasher, r ranged) error {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan chan rangeRead, e.limits.VerifyRanges-1)
	defer func() {
		cancel()
		for result := range results { // what is in flight gives back its memory
			e.drop(r, <-result)
		}
	}()
	go e.readAhead(ctx, r, results)
	for h.Size() < r.size {
		result, more := <-results
		if !more {
			return ctx.Err()
		}
		got := <-result
		if got.err == nil {
			_, got.err = h.Write(got.data)
		}
		e.drop(r, got)
		if got.err != nil {
			return got.err
		}
		if r.seen != nil {
			r.seen(h.Size())
		}
	}
	return nil
}

// readAhead sends the ranges in their order, each once it has its memory and is being read. The first that is not hashed yet
// always has its memory, so that whoever waits for some is not waited for. Long ranges cost the store less. Where others hold the
// memory a range is half as long, so that more of them are under way, which a store far away needs.
func (e *Engine) readAhead(ctx context.Context, r ranged, results chan<- chan rangeRead) {
	defer close(results)
	for offset, length := int64(0), int64(0); offset < r.size && ctx.Err() == nil; offset += length {
		if length = min(e.limits.VerifyRange, r.size-offset); !r.memory.TryAcquire(length) {
			if length = min(length, (e.limits.VerifyRange+1)/2); r.memory.Acquire(ctx, length) != nil {
				return
			}
		}
		result := make(chan rangeRead, 1)
		go func() {
			got := rangeRead{data: e.buffers.take(length)}
			got.err = r.read(ctx, offset, got.data)
			result <- got
		}()
		results <- result // received even after the end, so that nothing is lost track of
	}
}

// drop gives back what a range held.
func (e *Engine) drop(r ranged, got rangeRead) {
	e.buffers.give(got.data)
	r.memory.Release(int64(len(got.data)))
}

// buffers of whole ranges are used again, since a fresh one of some megabytes costs a tenth of hashing it. Those that
// nobody uses are the garbage collector's after a while.
type buffers struct {
	pool sync.Pool // of *[]byte
	size int64     // of each, in bytes
}

func (b *buffers) take(length int64) []byte {
	if length == b.size {
		if held, ok := b.pool.Get().(*[]byte); ok {
			return *held
		}
	}
	return make([]byte, length)
}

func (b *buffers) give(buffer []byte) {
	if int64(len(buffer)) == b.size {
		b.pool.Put(&buffer)
	}
}

// bodyTries is how often a range is fetched whose body is cut. The driver repeats calls, and a body is no call.
const bodyTries = 3

func (r ranged) read(ctx context.Context, offset int64, data []byte) (err error) {
	opt := r.of
	opt.Offset, opt.Length = offset, int64(len(data))
	for range bodyTries {
		body, _, getErr := r.bucket.Get(ctx, r.key, opt)
		if getErr != nil {
			return getErr
		}
		_, err = io.ReadFull(body, data)
		if err = errors.Join(err, body.Close()); !errors.Is(err, objstore.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// meter counts bytes by what they are of.
type meter[K comparable] struct{ counts sync.Map } // K → *atomic.Int64

func (m *meter[K]) count(k K) *atomic.Int64 {
	v, _ := m.counts.LoadOrStore(k, new(atomic.Int64))
	return v.(*atomic.Int64)
}

func (m *meter[K]) of(k K) int64 {
	if v, ok := m.counts.Load(k); ok {
		return v.(*atomic.Int64).Load()
	}
	return 0
}

func (m *meter[K]) forget(k K) { m.counts.Delete(k) }
