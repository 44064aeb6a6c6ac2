package client

import (
	"context"
	"fmt"
	"maps"
	"path"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
)

// One page of signed requests is for so many files, and for about so many lacking bytes, at most: signed requests age.
const (
	pageFiles = 200
	pageBytes = 16 << 30
)

// fetch fetches the lacking files.
func (p *pull) fetch(ctx context.Context, lacking map[string]ballast.File) error {
	if len(lacking) == 0 {
		return nil
	}
	p.plan(PhaseDownload, lacking)
	p.plan(PhaseVerify, lacking)
	k := newStock(p.workers())
	k.spoiled, k.doubted = p.spoiled, p.doubted
	g, ctx := errgroup.WithContext(ctx)
	stop := k.wakeOn(ctx)
	defer stop()
	for range p.workers() {
		g.Go(func() error { return (&worker{p: p, stock: k}).run(ctx) })
	}
	g.Go(func() error {
		defer k.full()
		return p.feed(ctx, k, lacking)
	})
	err := g.Wait()
	for _, a := range k.arrivals {
		if a.part != nil {
			a.part.leave()
		}
	}
	return err
}

// feed puts the lacking files into the stock, page by page of signed requests, as the workers want them. This list is not the
// one that was held to the version's digest: each file of that is put in once, and none may be left.
func (p *pull) feed(ctx context.Context, k *stock, lacking map[string]ballast.File) error {
	left, at, o := maps.Clone(lacking), 0, ListFiles{URLs: true, Parts: true}
	for len(left) > 0 && at < len(p.all) {
		if err := k.hungry(ctx); err != nil {
			return err
		}
		o.Limit = p.pageLimit(at, lacking)
		page, now, err := p.c.filesPage(ctx, p.ref, o, p.c.patience())
		if err != nil {
			return err
		}
		var more []*arrival
		for _, info := range page.Files {
			if f, ok := left[info.Path]; ok {
				more = append(more, newArrival(f, info, p.accessTo(info, now)))
				delete(left, info.Path)
			}
		}
		k.add(more)
		at += len(page.Files)
		if page.Cursor == "" || len(page.Files) == 0 {
			break
		}
		o.Cursor = page.Cursor
	}
	if len(left) > 0 {
		return ballast.Errorf(ballast.CodeInternal, "the registry lists %s differently each time; report this defect", p.ref)
	}
	return nil
}

// pageLimit is how many files from one on the next page is to have.
func (p *pull) pageLimit(at int, lacking map[string]ballast.File) int {
	n, bytes := 0, int64(0)
	for at+n < len(p.all) && n < pageFiles && bytes < pageBytes {
		bytes += lacking[p.all[at+n].Path].Size
		n++
	}
	return max(n, 1)
}

// accessTo is the way to a file with the request that was listed at the registry's time now.
func (p *pull) accessTo(info ballast.FileInfo, now time.Time) *access {
	var sr ballast.SignedRequest // the zero one is replaced when it is needed
	if info.Request != nil {
		sr = *info.Request
	}
	return newAccess(sr, now, func(ctx context.Context) (ballast.SignedRequest, time.Time, error) {
		return p.c.fileRequest(ctx, p.ref, info.Path, p.c.patience(), signedAnew)
	})
}

// passed tells of bytes that a task brought.
func (p *pull) passed(t task, phase Phase, n int) {
	p.o.Progress.bytes(phase, t.a.Path, int64(n))
	if phase == PhaseVerify {
		return
	}
	p.bytes.Add(int64(n))
	if t.s != nil {
		p.o.Progress.bytes(PhaseVerify, t.a.Path, int64(n))
	}
}

// begins tells of a file that is opened, and counts what an earlier pull left of it.
func (p *pull) begins(a *arrival, found []int) {
	var n int64
	for _, piece := range found {
		n += a.start(piece+1) - a.start(piece)
	}
	p.resumed.Add(n)
	if n > 0 {
		p.o.Progress.tell(Event{Phase: PhaseDownload, Total: -n})
	}
	p.o.Progress.tell(Event{Phase: PhaseDownload, Path: a.Path, Size: a.Size - n})
}

// spoiled tells of a stretch that is fetched again, and has its journal say so.
func (p *pull) spoiled(s *stretch) error {
	size := s.a.start(s.end) - s.a.start(s.first)
	p.o.Progress.tell(Event{Phase: PhaseDownload, Total: size})
	p.o.Progress.bytes(PhaseVerify, s.a.Path, -size)
	note := fmt.Sprintf("%s: what an earlier pull left is damaged; it is fetched again", s)
	if !s.found {
		note = fmt.Sprintf("%s arrived damaged, though the object store found nothing wrong; fetching them again", s)
		p.mu.Lock()
		p.damaged = append(p.damaged, s.String())
		p.mu.Unlock()
	}
	p.note(note)
	for piece := s.first; piece < s.end; piece++ {
		if err := s.a.part.note(s.a.part.file, piece, false); err != nil {
			return err
		}
	}
	return nil
}

// doubted tells that a file is hashed from end to end, since its links do not fit what was fetched twice.
func (p *pull) doubted(a *arrival) {
	var n int64
	for _, s := range a.stretches {
		n += a.start(s.next) - a.start(s.first)
	}
	p.o.Progress.bytes(PhaseVerify, a.Path, -n)
	p.note(fmt.Sprintf("%q: what arrived twice is not what the registry's chain says; hashing it from end to end", a.Path))
}

// newPart makes the part of a file, and the folder that it lies in.
func (p *pull) newPart(f ballast.File) (*part, error) {
	if dir := path.Dir(f.Path); dir != "." {
		if err := p.root.MkdirAll(dir, 0o777); err != nil {
			return nil, err
		}
	}
	return newPart(p.root, f)
}

func (p *pull) note(text string) { p.o.Progress.tell(Event{Note: text}) }

// settle gives a file that is proved its name, and puts it into the cache.
func (p *pull) settle(ctx context.Context, a *arrival) error {
	if err := a.part.cut(a.part.file); err != nil {
		a.part.leave()
		return err
	}
	if p.cache != nil {
		if err := p.cache.keep(ctx, a.part, a.File); err != nil {
			p.note(fmt.Sprintf("%q is not kept in the cache: %v", a.Path, err))
		}
	}
	if err := a.part.become(a.Path); err != nil {
		return err
	}
	p.o.Progress.tell(Event{Phase: PhaseDownload, Path: a.Path, Done: true})
	p.o.Progress.tell(Event{Phase: PhaseVerify, Path: a.Path, Done: true})
	p.arrived(a.File)
	return nil
}

// arrived counts a file that is in its place.
func (p *pull) arrived(f ballast.File) {
	p.fetched.Add(1)
	if p.inPlace[f.Path] {
		p.mu.Lock()
		p.replaced = append(p.replaced, f.Path)
		p.mu.Unlock()
	}
}
