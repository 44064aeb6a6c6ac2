package client

import (
	"context"
	"slices"
	"sync"
)

// stock is the files that are being fetched, and hands out what is next. The workers of a pull share one.
//
// Every byte is hashed once, on its way from the connection to the disk where that can be: a stretch is hashed in order, so
// work is handed out that continues one. Only when there is none, pieces further on are fetched ahead, and hashed from the
// part when it is their turn.
type stock struct {
	workers int
	spoiled func(s *stretch) error // is told of each stretch that is fetched again, before it is
	doubted func(a *arrival)       // is told of each file whose chain is given up, before it is

	mu       sync.Mutex
	changed  *sync.Cond
	arrivals []*arrival // not arrived, in the order in which they came
	waiting  int        // arrivals that nobody opened
	more     bool       // more may come
	free     int        // pieces
}

func newStock(workers int) *stock {
	k := &stock{workers: workers, more: true}
	k.changed = sync.NewCond(&k.mu)
	return k
}

// kind is what a task is.
type kind int

const (
	toOpen  kind = iota // make the part of the arrival, or go on with one
	toFetch             // fetch pieces into the part, and hash them when the task has a stretch
	toRead              // hash pieces that have landed
)

// task is work for one worker.
type task struct {
	kind
	a        *arrival
	s        *stretch // that the task continues; nil: it fetches ahead
	from, to int      // pieces
}

const (
	longest  = 8  // pieces of one task
	farAhead = 32 // pieces that are fetched ahead of hashing at most, so that they are still in memory when they are hashed
)

// take waits for a task. There is none when everything has arrived, or ctx is done.
func (k *stock) take(ctx context.Context) (task, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for ctx.Err() == nil {
		if j, ok := k.next(); ok {
			return j, true
		}
		if !k.more && len(k.arrivals) == 0 {
			break
		}
		k.changed.Wait()
	}
	return task{}, false
}

// wakeOn has those who wait look again when ctx is done.
func (k *stock) wakeOn(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.changed.Broadcast()
	})
}

func (k *stock) next() (task, bool) {
	for _, a := range k.arrivals {
		if a.stage == stageWaiting {
			a.stage = stageOpening
			k.waiting--
			k.changed.Broadcast()
			return task{kind: toOpen, a: a}, true
		}
		for _, s := range a.stretches {
			if j, ok := k.follow(s); ok {
				return j, true
			}
		}
	}
	for _, a := range k.arrivals {
		for _, s := range a.stretches {
			if j, ok := k.ahead(s); ok {
				return j, true
			}
		}
	}
	return task{}, false
}

// follow continues a stretch.
func (k *stock) follow(s *stretch) (task, bool) {
	if s.a.stage != stageOpen || s.busy || s.next == s.end {
		return task{}, false
	}
	state := s.a.pieces[s.next]
	if state == pieceTaken {
		return task{}, false
	}
	j := task{kind: toRead, a: s.a, s: s, from: s.next, to: s.run(s.next, longest, state)}
	if state == pieceFree {
		j.kind, j.to = toFetch, k.claim(s, s.next)
	}
	s.busy = true
	return j, true
}

// ahead fetches what a stretch needs later.
func (k *stock) ahead(s *stretch) (task, bool) {
	if s.a.stage != stageOpen {
		return task{}, false
	}
	for p := s.next; p < min(s.end, s.next+farAhead); p++ {
		if s.a.pieces[p] == pieceFree {
			return task{kind: toFetch, a: s.a, from: p, to: k.claim(s, p)}, true
		}
	}
	return task{}, false
}

// run is the end of at most n pieces in one state.
func (s *stretch) run(from, n int, state pieceState) int {
	to := from
	for to < min(s.end, from+n) && s.a.pieces[to] == state {
		to++
	}
	return to
}

// claim takes free pieces from one on: many while there are many, few at the end, so that all workers end together.
func (k *stock) claim(s *stretch, from int) (to int) {
	to = s.run(from, min(max(1, k.free/(2*k.workers)), longest), pieceFree)
	for p := from; p < to; p++ {
		s.a.pieces[p] = pieceTaken
	}
	k.free -= to - from
	return to
}

// add puts in files to fetch.
func (k *stock) add(arrivals []*arrival) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range arrivals {
		k.free += len(a.pieces)
	}
	k.waiting += len(arrivals)
	k.arrivals = append(k.arrivals, arrivals...)
	k.changed.Broadcast()
}

// hungry waits until the workers will soon have nothing to open.
func (k *stock) hungry(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.waiting >= k.workers && ctx.Err() == nil {
		k.changed.Wait()
	}
	return context.Cause(ctx)
}

// full says that no more files come.
func (k *stock) full() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.more = false
	k.changed.Broadcast()
}

// opened puts an arrival to work, less the pieces that an earlier pull left.
func (k *stock) opened(a *arrival, found []int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range found {
		a.pieces[p] = pieceLanded
		a.stretches[p/a.perLink].found = true
	}
	k.free -= len(found)
	a.stage = stageOpen
	k.changed.Broadcast()
}

// land says that a piece is in the part.
func (k *stock) land(a *arrival, piece int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a.pieces[piece] = pieceLanded
	k.changed.Broadcast()
}

// done takes a task back that was worked to its end. whole says that the file is proved with it. A stretch that is not what
// it has to be is put up to be fetched again. The error is that the file stays wrong.
func (k *stock) done(j task) (whole bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer k.changed.Broadcast()
	s := j.s
	if s == nil || s.stale {
		return false, nil
	}
	s.busy, s.next = false, j.to
	switch {
	case s.next < s.end:
		return false, nil
	case !s.right():
		return false, k.wrong(s)
	}
	if s.a.unproved--; s.a.unproved > 0 {
		return false, nil
	}
	s.a.stage = stageArrived
	return true, nil
}

// wrong decides what becomes of a stretch that is not what it has to be. What an earlier pull left says nothing of the store.
func (k *stock) wrong(s *stretch) error {
	a := s.a
	if !s.found {
		s.wrong++
	}
	switch {
	case a.doubted, len(a.stretches) == 1 && s.wrong == wrongAtMost:
		return a.otherBytes(s.sum.Digest())
	case s.wrong == wrongAtMost: // the object is damaged or the chain wrong: all of it together tells
		k.doubted(a)
		a.doubt()
		return nil
	}
	if err := k.spoiled(s); err != nil {
		return err
	}
	s.next, s.sum, s.found = s.first, nil, false
	for p := s.first; p < s.end; p++ {
		a.pieces[p] = pieceFree
	}
	k.free += s.end - s.first
	return nil
}

// leave removes an arrival.
func (k *stock) leave(a *arrival) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.arrivals = slices.DeleteFunc(k.arrivals, func(b *arrival) bool { return a == b })
	k.changed.Broadcast()
}
