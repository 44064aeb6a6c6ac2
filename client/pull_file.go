package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hash"
)

// compare hashes what is in the folder already and returns the files that have to be fetched. It notes which of them
// have something else in their place.
func (p *pull) compare(ctx context.Context) (map[string]ballast.File, error) {
	present, lacking := make(map[string]ballast.File), make(map[string]ballast.File)
	for _, f := range p.wanted {
		info, err := p.root.Lstat(f.Path)
		switch {
		case err == nil && info.IsDir():
			return nil, p.blocked(f.Path, errors.New("is a folder where the version has a file"))
		case err == nil && info.Mode().IsRegular() && info.Size() == f.Size:
			present[f.Path] = f
		case err == nil:
			lacking[f.Path], p.inPlace[f.Path] = f, true
		case errors.Is(err, fs.ErrNotExist):
			lacking[f.Path] = f
		default:
			return nil, p.inTheWay(err)
		}
	}
	p.plan(PhaseVerify, present)
	var mu sync.Mutex
	g, gctx := p.group(ctx)
	for _, f := range present {
		g.Go(func() error {
			right, err := p.isRight(gctx, f)
			if err == nil && !right {
				mu.Lock()
				lacking[f.Path], p.inPlace[f.Path] = f, true
				mu.Unlock()
			}
			return err
		})
	}
	return lacking, g.Wait()
}

// isRight reads a local file. One that cannot be read is not right: it will be replaced.
func (p *pull) isRight(ctx context.Context, f ballast.File) (bool, error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	file, err := p.root.Open(f.Path)
	if err != nil {
		return false, nil
	}
	defer file.Close()
	count := &counter{progress: p.o.Progress, phase: PhaseVerify, path: f.Path}
	_, err = io.Copy(count, hash.NewReader(&live{ctx, file}, f.Digest, f.Size))
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	p.o.Progress.tell(Event{Phase: PhaseVerify, Path: f.Path, Done: true})
	return err == nil, nil
}

// fetchFile writes one file beside its place and moves it there once it is whole and right.
func (p *pull) fetchFile(ctx context.Context, f ballast.File, sr ballast.SignedRequest) error {
	if dir := path.Dir(f.Path); dir != "." {
		if err := p.root.MkdirAll(dir, 0o777); err != nil {
			return p.inTheWay(err)
		}
	}
	part, err := newPart(p.root, f)
	if err != nil {
		return p.inTheWay(err)
	}
	if err := p.download(ctx, part.file, f, sr); err != nil {
		part.drop()
		return p.inTheWay(err)
	}
	if err := part.become(f.Path); err != nil {
		return p.inTheWay(err)
	}
	p.arrived(f)
	return nil
}

func (p *pull) arrived(f ballast.File) {
	p.fetched.Add(1)
	if p.inPlace[f.Path] {
		p.mu.Lock()
		p.replaced = append(p.replaced, f.Path)
		p.mu.Unlock()
	}
	p.o.Progress.tell(Event{Phase: PhaseDownload, Path: f.Path, Done: true})
}

// download streams the object into file. The bytes are checked as they are written; the verdict comes before a rename.
func (p *pull) download(ctx context.Context, file io.Writer, f ballast.File, sr ballast.SignedRequest) error {
	src := &resuming{ctx: ctx, p: p, file: f, request: sr}
	defer src.close()
	count := &counter{progress: p.o.Progress, phase: PhaseDownload, path: f.Path}
	n, err := io.Copy(io.MultiWriter(file, count), hash.NewReader(src, f.Digest, f.Size))
	p.bytes.Add(n)
	if err != nil {
		count.undo()
		return about(f.Path, err)
	}
	return nil
}

// resuming reads an object by signed requests. Where a stream breaks it opens the next one at that byte; a request
// that the store no longer takes is replaced by a fresh one. Tries that bring little are limited.
type resuming struct {
	ctx     context.Context
	p       *pull
	file    ballast.File
	request ballast.SignedRequest
	offset  int64
	body    io.ReadCloser
	opened  int64 // offset at which body began
	broken  error // how the last stream ended before its time
	tries   int
}

// worthIt is how many bytes a stream must bring for the tries before it to be forgotten.
const worthIt = 1 << 20

// Read implements io.Reader.
func (r *resuming) Read(b []byte) (int, error) {
	for {
		if r.body == nil && r.offset == r.file.Size {
			return 0, io.EOF
		}
		if err := r.open(); err != nil {
			return 0, err
		}
		n, err := r.body.Read(b)
		r.offset += int64(n)
		if err != nil {
			r.close()
			r.broken = fmt.Errorf("%w: %w", errSilent, err)
			if r.offset-r.opened >= worthIt {
				r.tries = 0
			}
		}
		if n > 0 {
			return n, nil
		}
	}
}

// open makes sure that there is a stream, with a fresh request when it must.
func (r *resuming) open() error {
	for r.body == nil {
		if r.broken != nil {
			if err := r.again(); err != nil {
				return err
			}
		}
		if r.request.URL == "" {
			sr, err := r.p.c.FileRequest(r.ctx, r.p.ref, r.file.Path)
			if err != nil {
				return err
			}
			r.request = sr
		}
		body, err := r.p.c.get(r.ctx, r.request, r.offset, r.file.Size)
		if r.broken = err; err == nil {
			r.body, r.opened = body, r.offset
		}
		var e *storeError
		if errors.As(r.broken, &e) && e.expired() {
			r.request = ballast.SignedRequest{}
		}
	}
	return nil
}

// again waits before the next try, or gives up with what broke the last one.
func (r *resuming) again() error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	if r.tries++; r.tries >= r.p.c.tries || !retryStore(r.broken) {
		return gaveUp(r.file.Path, r.broken, "try again: files that are complete are kept, the others start anew")
	}
	r.p.c.log.InfoContext(r.ctx, "a transfer is tried again", attrFile, r.file.Path, attrOffset, r.offset, attrError, r.broken)
	return r.p.c.backoff(r.ctx, r.tries, 0)
}

func (r *resuming) close() {
	if r.body != nil {
		_ = r.body.Close()
		r.body = nil
	}
}
