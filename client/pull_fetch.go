package client

import (
	"context"
	"errors"
	"io"

	"github.com/ballast-registry/ballast/internal/hash"
)

// bufferSize is the bytes between connection, hash and disk: as many as stay in a core's cache. Each worker has one buffer,
// and a pull no other memory that grows with what it fetches.
const bufferSize = 256 << 10

// worker works tasks off until there are none.
type worker struct {
	p      *pull
	stock  *stock
	buffer []byte
}

func (w *worker) run(ctx context.Context) error {
	w.buffer = make([]byte, bufferSize)
	for {
		t, ok := w.stock.take(ctx)
		if !ok {
			return context.Cause(ctx)
		}
		if err := w.work(ctx, t); err != nil {
			return w.p.inTheWay(err)
		}
	}
}

func (w *worker) work(ctx context.Context, t task) (err error) {
	switch t.kind {
	case toOpen:
		return w.open(t.a)
	case toFetch:
		err = w.fetch(ctx, t)
	case toRead:
		err = w.read(ctx, t)
	}
	if err != nil {
		return err
	}
	whole, err := w.stock.done(t)
	if err != nil || !whole {
		return err
	}
	defer w.stock.leave(t.a)
	return w.p.settle(ctx, t.a)
}

// open makes the part of a file, or takes over one that an earlier pull left.
func (w *worker) open(a *arrival) error {
	for _, name := range w.p.leftovers(a.File) {
		part, found, ok := adoptPart(w.p.root, name, a.partID)
		if ok {
			a.part = part
			w.p.begins(a, found)
			w.stock.opened(a, found)
			return nil
		}
	}
	part, err := w.p.newPart(a.File)
	if err != nil {
		return err
	}
	if a.part = part; len(a.pieces) > 1 {
		if err := part.begin(part.file, a.partID); err != nil {
			return err
		}
	}
	w.p.begins(a, nil)
	w.stock.opened(a, nil)
	return nil
}

// fetch brings pieces into the part. With a stretch it hashes them on the way.
func (w *worker) fetch(ctx context.Context, t task) error {
	src := &rangeReader{ctx: ctx, c: w.p.c, path: t.a.Path, access: t.a.access, size: t.a.Size, offset: t.a.start(t.from), end: t.a.start(t.to), told: w.p.note}
	defer src.close()
	sum := t.hasher()
	for piece := t.from; piece < t.to; piece++ {
		for from, end := t.a.start(piece), t.a.start(piece+1); from < end; {
			n, err := src.Read(w.buffer[:min(int64(len(w.buffer)), end-from)])
			if err != nil {
				return err
			}
			if sum != nil {
				_, _ = sum.Write(w.buffer[:n]) // a hash never fails
			}
			if _, err := t.a.part.file.WriteAt(w.buffer[:n], from); err != nil {
				return err
			}
			w.p.passed(t, PhaseDownload, n)
			from += int64(n)
		}
		if err := t.a.part.note(t.a.part.file, piece, true); err != nil {
			return err
		}
		w.stock.land(t.a, piece)
	}
	if w.p.o.Sync && len(t.a.pieces) > 1 {
		writeBack(t.a.part.file, t.a.start(t.from), t.a.start(t.to)-t.a.start(t.from))
	}
	return nil
}

// read hashes pieces that have landed.
func (w *worker) read(ctx context.Context, t task) error {
	from, end := t.a.start(t.from), t.a.start(t.to)
	src := &live{ctx, io.NewSectionReader(t.a.part.file, from, end-from)}
	for sum := t.hasher(); from < end; {
		n, err := src.Read(w.buffer)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // somebody cut it
			}
			return err
		}
		_, _ = sum.Write(w.buffer[:n]) // a hash never fails
		w.p.passed(t, PhaseVerify, n)
		from += int64(n)
	}
	return nil
}

// hasher is what the task's stretch is hashed with; nil for pieces that are fetched ahead.
func (t task) hasher() *hash.Stretch {
	if t.s == nil {
		return nil
	}
	if t.s.sum == nil {
		t.s.sum = hash.From(t.s.before, t.a.start(t.s.first))
	}
	return t.s.sum
}
