package client

import (
	"context"
	"io"
	"os"
	"runtime"

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
	return g.Wait()
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
	h, err := p.digest(ctx, s, p.partSize(s.size))
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[s.path] = ballast.File{Path: s.path, Size: h.Size(), Digest: h.Digest()}
	if _, twin := p.blobs[h.Digest()]; twin || h.Size() == 0 {
		return nil, nil
	}
	b := &blob{digest: h.Digest(), source: *s, partSize: h.PartSize(), parts: h.Parts()}
	p.blobs[b.digest] = b
	return b, nil
}

// partSize is the size of the parts that a file of so many bytes is proposed to be sent in; 0: one PUT.
func (p *push) partSize(size int64) int64 {
	if n := ballast.ClampPartSize(size, p.o.PartSize); size > n {
		return n
	}
	return 0
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

// digest reads a file once and notes what it was then.
func (p *push) digest(ctx context.Context, s *source, partSize int64) (*hash.Hasher, error) {
	f, err := os.Open(s.file)
	if err != nil {
		return nil, unusable(s.file, err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, unusable(s.file, err)
	}
	h := hash.New(partSize)
	count := &counter{progress: p.o.Progress, phase: PhaseHash, path: s.path}
	if _, err := io.Copy(io.MultiWriter(h, count), &live{ctx, f}); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, unusable(s.file, err)
	}
	after, err := f.Stat()
	if err != nil || stampOf(after) != stampOf(before) || h.Size() != after.Size() {
		return nil, changed(s.path)
	}
	s.stamp = stampOf(after)
	p.o.Progress.tell(Event{Phase: PhaseHash, Path: s.path, Done: true})
	return h, nil
}

// cut hashes a blob's parts anew for the part size that the registry fixed.
func (p *push) cut(ctx context.Context, b *blob, partSize int64) error {
	if partSize < ballast.MinPartSize || partSize > ballast.MaxPartSize || ballast.PartCount(b.source.size, partSize) > ballast.MaxParts {
		return ballast.Errorf(ballast.CodeInternal, "the registry asks for parts of %d bytes; report this defect", partSize)
	}
	if b.partSize == partSize {
		return nil
	}
	h, err := p.digest(ctx, &b.source, partSize)
	if err != nil {
		return err
	}
	if h.Digest() != b.digest {
		return changed(b.source.path)
	}
	b.partSize, b.parts = partSize, h.Parts()
	return nil
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
