package audit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Sink takes whole lines and keeps them. What it returns to have written stays written; the rest is lost. One goroutine
// uses it at a time.
type Sink interface {
	Write(lines []byte) (n int, err error)
	// Tidy drops what is too old.
	Tidy(now time.Time) error
	// Close makes everything durable.
	Close() error
}

// Options of a Log. The zero value works.
type Options struct {
	Logger     *slog.Logger          // says when lines are lost; nil discards
	Registerer prometheus.Registerer // of the metrics; nil keeps them unregistered
	Clock      func() time.Time      // nil: time.Now
	Every      time.Duration         // how often lines go to the sink; 0 is a second
}

// Bounds of a Log.
const (
	flushEvery = time.Second
	flushAt    = 64 << 10 // bytes that wait bring the next write forward
	maxWaiting = 4 << 20  // bytes that wait; a line more is lost
	tidyEvery  = 10 * time.Minute
	complain   = time.Minute // between two lines of the log about the same trouble

	// Refusals that anybody can make in any number get a line each only at this rate; more are counted in the next line.
	crowdBurst  = 100
	crowdRefill = time.Second // a further one
)

// Log writes lines without ever holding up whoever has one to write: they wait in memory, and one goroutine carries them
// to the sink. Lines that find no room are lost, and so are those that the sink refuses; both are counted, and said in the
// log, in a metric, and where they are missing. A nil Log writes nothing.
type Log struct {
	sink  Sink
	log   *slog.Logger
	now   func() time.Time
	every time.Duration

	written, lost, leftOut prometheus.Counter

	mu      sync.Mutex
	waiting []byte
	gone    int64 // lines lost that the sink does not say so of yet
	full    int64 // of these, those that found no room since the last flush
	closed  bool
	crowd   bucket

	bell chan struct{}
	stop chan struct{}
	done chan struct{}

	// Of the carrying goroutine.
	complained, tidied time.Time
	untold             int64 // lines lost that the log was not told of
}

// New returns a log that writes to a sink, and closes it in the end. It panics when its metrics are already on the
// registerer.
func New(sink Sink, opt Options) *Log {
	lines := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ballast_audit_lines_total",
		Help: "Lines of the audit: written, lost because the disk did not keep up or refused them, and left out, which are refusals beyond their rate that the next such line counts.",
	}, []string{"outcome"})
	if opt.Registerer != nil {
		opt.Registerer.MustRegister(lines)
	}
	l := &Log{
		sink: sink, log: cmp.Or(opt.Logger, slog.New(slog.DiscardHandler)), now: opt.Clock, every: cmp.Or(opt.Every, flushEvery),
		written: lines.WithLabelValues("written"), lost: lines.WithLabelValues("lost"), leftOut: lines.WithLabelValues("left_out"),
		bell: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if l.now == nil {
		l.now = time.Now
	}
	l.crowd = bucket{tokens: crowdBurst, at: l.now()}
	go l.carry()
	return l
}

var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// Write ends a record and writes its line, if it has one.
func (l *Log) Write(rec *Record, r Request) {
	if l == nil || rec == nil {
		return
	}
	n := rec.take()
	action := actionOf(n, r)
	if action == "" {
		return
	}
	now, more := l.now(), int64(0)
	if crowds(action, r) {
		var ok bool
		if more, ok = l.admit(now); !ok {
			l.leftOut.Inc()
			return
		}
	}
	b := scratch.Get().(*[]byte)
	*b = appendLine((*b)[:0], now, action, n, r, more)
	l.put(*b)
	scratch.Put(b)
}

// admit says whether one more of a crowd gets a line, and how many before it got none.
func (l *Log) admit(now time.Time) (more int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.crowd.take(now)
}

// put adds a line to those that wait.
func (l *Log) put(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.waiting)+len(line) > maxWaiting {
		l.gone++
		l.full++
		l.lost.Inc()
		return
	}
	l.waiting = append(l.waiting, line...)
	if len(l.waiting) >= flushAt {
		select {
		case l.bell <- struct{}{}:
		default:
		}
	}
}

// Close writes what waits and closes the sink. Lines that come later are lost.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	was := l.closed
	l.closed = true
	l.mu.Unlock()
	if was {
		return nil
	}
	close(l.stop)
	<-l.done
	return l.sink.Close()
}

// carry brings lines to the sink until the log closes.
func (l *Log) carry() {
	defer close(l.done)
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	var spare []byte
	for {
		ending := false
		select {
		case <-l.stop:
			ending = true
		case <-tick.C:
		case <-l.bell:
		}
		spare = l.flush(spare)
		if now := l.now(); now.Sub(l.tidied) >= tidyEvery {
			l.tidied = now
			l.trouble(l.sink.Tidy(now), 0)
		}
		if !ending {
			continue
		}
		if l.untold > 0 {
			l.tell(errFull)
		}
		return
	}
}

// flush writes what waits, and gives its memory back. spare is what takes the lines that come meanwhile.
func (l *Log) flush(spare []byte) []byte {
	l.mu.Lock()
	lines, gone, full := l.waiting, l.gone, l.full
	l.waiting, l.full = spare[:0], 0
	l.mu.Unlock()
	if len(lines) == 0 && gone == 0 {
		return lines
	}
	said := int64(0)
	if gone > 0 {
		note := appendLost(nil, l.now(), gone)
		n, err := l.sink.Write(note)
		l.trouble(err, 0)
		if n == len(note) {
			said = gone
		}
	}
	n, err := l.sink.Write(lines)
	kept := lines[:bytes.LastIndexByte(lines[:n], '\n')+1]
	cut := int64(bytes.Count(lines[len(kept):], newline))
	l.written.Add(float64(bytes.Count(kept, newline)))
	l.lost.Add(float64(cut))
	l.mu.Lock()
	l.gone += cut - said
	l.mu.Unlock()
	switch {
	case cut > 0:
		l.trouble(cmp.Or(err, errShort), cut)
	case err != nil:
		l.trouble(err, 0)
	case full > 0:
		l.trouble(errFull, full)
	}
	if cap(lines) > maxWaiting/4 {
		return nil // a rush is over some time
	}
	return lines[:0]
}

var (
	newline  = []byte{'\n'}
	errShort = errors.New("the write was cut")
	errFull  = errors.New("lines came faster than they could be written")
)

// trouble says in the log what went wrong and how many lines that cost, once a minute at most.
func (l *Log) trouble(err error, lost int64) {
	l.untold += lost
	if now := l.now(); err != nil && now.Sub(l.complained) >= complain {
		l.complained = now
		l.tell(err)
	}
}

func (l *Log) tell(err error) {
	l.log.LogAttrs(context.Background(), slog.LevelError, "the audit cannot be written as it should be", slog.Int64("lost_lines", l.untold), slog.Any("error", err))
	l.untold = 0
}

// bucket lets things through at a rate and counts those between that it does not.
type bucket struct {
	tokens int64
	at     time.Time // when the last token came
	over   int64
}

func (b *bucket) take(now time.Time) (over int64, ok bool) {
	if now.Before(b.at) { // the clock was put back
		b.at = now
	}
	if came := int64(now.Sub(b.at) / crowdRefill); came > 0 {
		b.tokens, b.at = min(b.tokens+came, crowdBurst), b.at.Add(time.Duration(came)*crowdRefill)
	}
	if b.tokens == 0 {
		b.over++
		return 0, false
	}
	b.tokens--
	over, b.over = b.over, 0
	return over, true
}
