package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Bounds of the lines that wait for the log's next write.
const (
	logEvery = 100 * time.Millisecond
	logRoom  = 64 << 10 // bytes that wait are written at once
)

// newLogger returns the log of a command: each line is written at once.
func newLogger(w io.Writer, format string, level string) *slog.Logger {
	return slog.New(newLogHandler(w, format, level))
}

func newLogHandler(w io.Writer, format string, level string) slog.Handler {
	opt := &slog.HandlerOptions{Level: logLevels[level]}
	if format == "json" {
		return slog.NewJSONHandler(w, opt)
	}
	return slog.NewTextHandler(w, opt)
}

// newServiceLogger returns the service's log, and what writes the lines that wait. A line is written at once when none was for
// 100 ms, and when it is a warning or worse; under load the others wait for at most that long and go in one write, which
// costs a request less than a write of its own. Whoever kills the process outright loses what waits; audit lines are not
// among them.
func newServiceLogger(w io.Writer, format string, level string) (log *slog.Logger, flush func()) {
	lines := &logLines{to: w, every: logEvery}
	return slog.New(promptHandler{newLogHandler(lines, format, level), lines}), lines.flush
}

var logLevels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// logLines gathers lines. None is lost for want of room: whoever writes one more waits for the write, as without it.
type logLines struct {
	to    io.Writer
	every time.Duration

	mu      sync.Mutex
	waiting []byte
	last    time.Time   // of the last write
	timer   *time.Timer // set while lines wait
}

// Write implements io.Writer. It is given whole lines.
func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 && time.Since(l.last) >= l.every {
		n, err := l.to.Write(line)
		l.last = time.Now()
		return n, err
	}
	l.waiting = append(l.waiting, line...)
	switch {
	case len(l.waiting) >= logRoom:
		return len(line), l.write()
	case l.timer == nil:
		l.timer = time.AfterFunc(l.every, l.flush)
	}
	return len(line), nil
}

// flush writes what waits.
func (l *logLines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.write() // a log that cannot be written has nowhere to say so
}

// write needs mu.
func (l *logLines) write() error {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if len(l.waiting) == 0 {
		return nil
	}
	_, err := l.to.Write(l.waiting)
	l.waiting, l.last = l.waiting[:0], time.Now()
	return err
}

// promptHandler lets no warning wait.
type promptHandler struct {
	slog.Handler
	lines *logLines
}

// Handle implements slog.Handler.
func (h promptHandler) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		h.lines.flush()
	}
	return err
}

// WithAttrs implements slog.Handler.
func (h promptHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return promptHandler{h.Handler.WithAttrs(attrs), h.lines}
}

// WithGroup implements slog.Handler.
func (h promptHandler) WithGroup(name string) slog.Handler {
	return promptHandler{h.Handler.WithGroup(name), h.lines}
}
