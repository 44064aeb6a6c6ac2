package client

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hash"
)

// walked supplies a push with what a walk found on this machine.
type walked struct {
	*push
	sources []source
}

func (w *walked) plan() {
	var total int64
	for _, s := range w.sources {
		total += s.size
	}
	w.size = total
	w.o.Progress.tell(Event{Phase: PhaseHash, Files: len(w.sources), Total: total})
}

func (w *walked) send(ctx context.Context) error { return w.sendAll(ctx, w.hashAll) }

func (w *walked) resend(ctx context.Context, missing []digest.Digest) error {
	return w.sendAll(ctx, w.missingBlobs(missing))
}

// checkUnchanged compares every file with what it was when it was hashed.
func (w *walked) checkUnchanged() error {
	for _, s := range w.sources {
		info, err := os.Stat(s.file)
		if err != nil || stampOf(info) != s.stamp {
			return changed(s.path)
		}
	}
	return nil
}

// resumable: what is wrong with a file of this machine stays so.
func (*walked) resumable(error) bool { return false }

// hashAll hashes every source, in parallel over files, and hands on each content once. A second run hands on what the
// first found.
func (w *walked) hashAll(ctx context.Context, found chan<- *blob) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range w.sources {
		g.Go(func() error {
			b, err := w.hashOne(gctx, &w.sources[i])
			if err != nil || b == nil {
				return err
			}
			return pass(gctx, found, b)
		})
	}
	err := g.Wait()
	w.known.save()
	return err
}

// hash hashes without sending.
func (w *walked) hash(ctx context.Context) error {
	found := make(chan *blob)
	go func() {
		for range found {
		}
	}()
	defer close(found)
	return w.hashAll(ctx, found)
}

// hashOne returns the blob to send for a source, or nil when there is nothing to send: the file is empty, which the
// registry writes itself, or another one holds the same.
func (p *push) hashOne(ctx context.Context, s *source) (*blob, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	f, known := p.files[s.path]
	p.mu.Unlock()
	if known {
		return p.firstWith(f, s.path), nil
	}
	b, err := p.digest(ctx, s)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[s.path] = ballast.File{Path: s.path, Size: s.size, Digest: b.digest}
	if _, twin := p.blobs[b.digest]; twin || s.size == 0 {
		return nil, nil
	}
	p.blobs[b.digest] = b
	return b, nil
}

// firstWith returns the blob of a hashed file if this is the file that it is sent from.
func (p *push) firstWith(f ballast.File, path string) *blob {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.blobs[f.Digest]; b != nil && b.source.path == path {
		return b
	}
	return nil
}

// digest reads a file once and notes what it was then. Of one that goes up in parts it takes the digests of these too, on
// another core.
func (p *push) digest(ctx context.Context, s *source) (*blob, error) {
	began := time.Now()
	f, before, err := openSource(s)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p.o.Progress.tell(Event{Phase: PhaseHash, Path: s.path, Size: before.Size()})
	b := &blob{partSize: p.way.partSize(before.Size())}
	if d, chain, ok := p.known.digest(s.file, before); ok {
		p.o.Progress.bytes(PhaseHash, s.path, before.Size())
		b.digest, b.chain = d, chain
	} else if err := p.hashSource(ctx, f, s, b); err != nil {
		return nil, err
	}
	after, err := f.Stat()
	if err != nil || stampOf(after) != stampOf(before) {
		return nil, changed(s.path)
	}
	s.stamp = stampOf(after)
	b.source = *s
	p.known.keep(s.file, after, b.digest, b.chain, began)
	p.o.Progress.tell(Event{Phase: PhaseHash, Path: s.path, Done: true})
	return b, nil
}

func openSource(s *source) (*os.File, os.FileInfo, error) {
	f, err := os.Open(s.file)
	if err != nil {
		return nil, nil, unusable(s.file, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, unusable(s.file, err)
	}
	return f, info, nil
}

// hashSource fills in the digests of b, which holds what f does.
func (p *push) hashSource(ctx context.Context, f *os.File, s *source, b *blob) error {
	info, err := f.Stat()
	if err != nil {
		return unusable(s.file, err)
	}
	whole, parts := hash.NewChain(linkSize), hash.NewParts(max(b.partSize, 1))
	count := &counter{progress: p.o.Progress, phase: PhaseHash, path: s.path}
	to := []io.Writer{io.MultiWriter(whole, count)}
	if b.partSize > 0 {
		to = append(to, parts)
	}
	if err := fan(&live{ctx, f}, info.Size(), to...); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return unusable(s.file, err)
	}
	if whole.Size() != info.Size() {
		return changed(s.path)
	}
	if b.digest = whole.Digest(); b.partSize > 0 {
		b.parts = parts.Digests()
		return nil // the registry re-reads it, and notes the states itself
	}
	for _, state := range whole.States() {
		b.chain = append(b.chain, hex.EncodeToString(state[:]))
	}
	return nil
}

// Reading ahead of those who hash: enough that neither waits for the other, little enough to stay in a core's cache. Of less
// than fanLeast bytes it gains nothing.
const (
	fanBuffer  = 256 << 10 // bytes
	fanBuffers = 4
	fanLeast   = 8 << 20
)

// fan reads r, which has about size bytes, to its end once and writes all of it to each of to, each on a goroutine of its own.
func fan(r io.Reader, size int64, to ...io.Writer) error {
	if len(to) == 1 && size < fanLeast {
		_, err := io.CopyBuffer(struct{ io.Writer }{to[0]}, struct{ io.Reader }{r}, make([]byte, fanBuffer))
		return err
	}
	type chunk struct {
		data []byte
		left atomic.Int32 // writers who have not written it yet
	}
	free := make(chan *chunk, fanBuffers)
	for range fanBuffers {
		free <- &chunk{data: make([]byte, fanBuffer)}
	}
	var g errgroup.Group
	feeds := make([]chan *chunk, len(to))
	for i, w := range to {
		feeds[i] = make(chan *chunk, fanBuffers)
		g.Go(func() (err error) {
			for c := range feeds[i] {
				if err == nil {
					_, err = w.Write(c.data)
				}
				if c.left.Add(-1) == 0 {
					free <- c
				}
			}
			return err
		})
	}
	var err error
	for err == nil {
		c := <-free
		c.data = c.data[:cap(c.data)]
		var n int
		n, err = io.ReadFull(r, c.data)
		c.data = c.data[:n]
		c.left.Store(int32(len(to)))
		for _, feed := range feeds {
			feed <- c
		}
	}
	for _, feed := range feeds {
		close(feed)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return errors.Join(err, g.Wait())
}

// cut sets the part size that the registry fixed. The digests of the parts are taken when they are to be sent.
func (b *blob) cut(partSize int64) error {
	if partSize < ballast.MinPartSize || partSize > ballast.MaxPartSize || ballast.PartCount(b.source.size, partSize) > ballast.MaxParts {
		return ballast.Errorf(ballast.CodeInternal, "the registry asks for parts of %d bytes; report this defect", partSize)
	}
	if b.partSize != partSize || b.parts == nil {
		b.partSize, b.parts = partSize, make([]digest.Digest, ballast.PartCount(b.source.size, partSize))
	}
	return nil
}

// hashParts takes the digests of parts that were not taken when the file was read first, several at once.
func (p *push) hashParts(ctx context.Context, b *blob, numbers []int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, n := range numbers {
		if b.parts[n-1] != "" {
			continue
		}
		g.Go(func() error {
			f, info, err := openSource(&b.source)
			if err != nil {
				return err
			}
			defer f.Close()
			h, length := hash.New(0), ballast.PartLength(b.source.size, b.partSize, n)
			part := io.NewSectionReader(f, int64(n-1)*b.partSize, length)
			if err := fan(&live{ctx, part}, length, h); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return unusable(b.source.file, err)
			}
			if h.Size() != length || stampOf(info) != b.source.stamp {
				return changed(b.source.path)
			}
			b.parts[n-1] = h.Digest()
			return nil
		})
	}
	return g.Wait()
}

// live is a reader that ends with its context.
type live struct {
	ctx context.Context
	r   io.Reader
}

func (l *live) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	return l.r.Read(p)
}

// pass sends unless the context ends first.
func pass[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
