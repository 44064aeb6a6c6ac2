package main

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wrote keeps each write.
type wrote struct {
	mu   sync.Mutex
	text bytes.Buffer
	n    int
}

func (w *wrote) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	return w.text.Write(b)
}

func (w *wrote) seen() (lines, writes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.text.String(), "\n"), w.n
}

func (w *wrote) expect(t *testing.T, when string, lines, writes int) {
	t.Helper()
	if l, n := w.seen(); l != lines || n != writes {
		t.Errorf("%s: %d lines in %d writes, want %d in %d", when, l, n, lines, writes)
	}
}

// TestLogWaits looks at what is written when: the first line after a rest and a warning at once, others within 100 ms, and
// all of them in the end.
func TestLogWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w wrote
		log, flush := newServiceLogger(&w, "text", "info")
		log.Info("one")
		w.expect(t, "after a rest", 1, 1)
		log.Info("two")
		log.Debug("not shown")
		log.With("a", 1).WithGroup("g").Info("three", slog.Int("b", 2))
		w.expect(t, "right behind it", 1, 1)
		time.Sleep(logEvery)
		synctest.Wait()
		w.expect(t, "100 ms later", 3, 2)
		log.Info("four")
		log.With("a", 1).Warn("five")
		w.expect(t, "after a warning", 5, 3)
		log.Info("six")
		flush()
		flush()
		w.expect(t, "after the end", 6, 4)
		if text := w.text.String(); !strings.Contains(text, "msg=three a=1 g.b=2\n") || strings.Index(text, "four") > strings.Index(text, "five") {
			t.Error(text)
		}
	})
}

// TestLogRoom writes more than may wait, from many at once. No line is lost, and few writes are made.
func TestLogRoom(t *testing.T) {
	const writers, each = 8, 2000
	var w wrote
	log, flush := newServiceLogger(&w, "json", "info")
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				log.Info("request", "path", strings.Repeat("x", 100))
			}
		})
	}
	all.Wait()
	flush()
	if lines, writes := w.seen(); lines != writers*each || writes > lines/10 {
		t.Errorf("%d lines in %d writes, want %d", lines, writes, writers*each)
	}
}
