package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ballast-registry/ballast"
)

// Place is between two lines of a folder. The zero place is behind the newest.
type Place struct {
	File   int64
	Offset int64
}

// chunk is how much is read at once, in bytes.
const chunk = 256 << 10

// Reader reads the files of a folder, also while they are written and dropped.
type Reader struct{ dir string }

// NewReader returns a reader of a folder, which need not exist.
func NewReader(dir string) *Reader { return &Reader{dir} }

// Entry is a line.
type Entry struct {
	ballast.AuditEntry
	Before Place     // this line
	Order  time.Time // the time of the oldest line from the beginning of the page to this one: a clock may have been put back
}

// Page is what a look at the files found.
type Page struct {
	Entries    []Entry // the newest first
	Next       Place   // where to go on; before all that was looked at
	Oldest     time.Time
	Done       bool // there is nothing older that is wanted
	Unreadable int64
}

// Search says what to read.
type Search struct {
	From   Place
	Since  time.Time // a line that is older by an hour ends the search; zero: none does
	Limit  int       // lines that are kept
	Budget int64     // bytes that are read
	Keep   func(ballast.AuditEntry) bool
}

// disorder is how far lines may be from the order of their times before a search misses one.
const disorder = time.Hour

// Back reads lines before a place, the newest first, until the limit or the budget is reached. Lines that are none of an
// audit are counted and passed over.
func (r *Reader) Back(ctx context.Context, s Search) (Page, error) {
	page := Page{Next: s.From}
	all, err := numbers(r.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return page, fmt.Errorf("audit: %w", err)
	}
	w := walk{Search: s, page: &page}
	for _, number := range slices.Backward(all) {
		if s.From.File != 0 && number > s.From.File {
			continue
		}
		if err := w.file(ctx, filepath.Join(r.dir, fileName(number)), number); err != nil {
			return page, fmt.Errorf("audit: %w", err)
		}
		if w.over {
			return page, nil
		}
	}
	page.Done = true
	return page, nil
}

// walk is a search under way.
type walk struct {
	Search
	page *Page
	over bool
	buf  []byte
}

// file reads one file, backwards.
func (w *walk) file(ctx context.Context, path string, number int64) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) { // dropped meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	end := info.Size()
	if number == w.From.File {
		end = min(end, w.From.Offset)
	}
	w.page.Next = Place{number, end}
	if w.buf == nil {
		w.buf = make([]byte, chunk)
	}
	for end > 0 && !w.over {
		if w.Budget <= 0 {
			w.over = true
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		b := w.buf[:min(end, chunk)]
		begin := end - int64(len(b))
		if _, err := f.ReadAt(b, begin); err != nil {
			return err
		}
		w.Budget -= int64(len(b))
		end = w.lines(b, begin)
	}
	return nil
}

// lines looks at the lines in b, the last first. b begins at an offset of its file; that of the first whole line in it is
// returned.
func (w *walk) lines(b []byte, begin int64) int64 {
	first := 0
	if begin > 0 {
		if first = bytes.IndexByte(b, '\n') + 1; first == 0 || first == len(b) { // no line that was written here is as long
			w.page.Unreadable++
			w.page.Next.Offset = begin
			return begin
		}
	}
	for last := len(b); last > first && !w.over; {
		line := b[first:last]
		line = line[bytes.LastIndexByte(line[:len(line)-1], '\n')+1:]
		last -= len(line)
		w.page.Next.Offset = begin + int64(last)
		w.line(bytes.TrimSuffix(line, newline))
	}
	return begin + int64(first)
}

func (w *walk) line(line []byte) {
	if len(line) == 0 {
		return
	}
	var e ballast.AuditEntry
	if err := json.Unmarshal(line, &e); err != nil || e.At.IsZero() || e.Action == "" {
		w.page.Unreadable++
		return
	}
	p := w.page
	if p.Oldest.IsZero() || e.At.Before(p.Oldest) {
		p.Oldest = e.At.Time
	}
	switch {
	case e.At.Before(w.Since.Add(-disorder)):
		w.over, p.Done = true, true
	case !e.At.Before(w.Since) && w.Keep(e):
		p.Entries = append(p.Entries, Entry{e, p.Next, p.Oldest})
		w.over = len(p.Entries) == w.Limit
	}
}
