package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
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
		case err == nil && info.IsDir() && !p.looks:
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
	err := p.each(ctx, present, func(ctx context.Context, f ballast.File) error {
		right, err := p.isRight(ctx, f)
		if err == nil && !right {
			mu.Lock()
			lacking[f.Path], p.inPlace[f.Path] = f, true
			mu.Unlock()
		}
		return err
	})
	return lacking, err
}

// isRight reads a local file. One that cannot be read is not right: it will be replaced.
func (p *pull) isRight(ctx context.Context, f ballast.File) (bool, error) {
	file, err := p.root.Open(f.Path)
	if err != nil {
		return false, nil
	}
	defer file.Close()
	right, err := p.holds(ctx, file, f)
	if err == nil {
		p.o.Progress.tell(Event{Phase: PhaseVerify, Path: f.Path, Done: true})
	}
	return right, err
}

// holds reports whether what is read from r is the content of f. The error is that of ctx.
func (p *pull) holds(ctx context.Context, r io.Reader, f ballast.File) (bool, error) {
	count := &counter{progress: p.o.Progress, phase: PhaseVerify, path: f.Path}
	_, err := io.CopyBuffer(struct{ io.Writer }{count}, hash.NewReader(&live{ctx, r}, f.Digest, f.Size), make([]byte, bufferSize))
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return err == nil, nil
}

// makeEmpty makes the empty files among the lacking ones, and takes them out.
func (p *pull) makeEmpty(_ context.Context, lacking map[string]ballast.File) error {
	for _, f := range lacking {
		if f.Size > 0 {
			continue
		}
		p.o.Progress.tell(Event{Phase: PhaseDownload, Files: 1})
		part, err := p.newPart(f)
		if err == nil {
			err = part.become(f.Path)
		}
		if err != nil {
			return p.inTheWay(err)
		}
		p.o.Progress.tell(Event{Phase: PhaseDownload, Path: f.Path, Done: true})
		p.arrived(f)
		delete(lacking, f.Path)
	}
	return nil
}
