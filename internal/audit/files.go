package audit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
)

// Bounds of the files of a folder, in bytes and time. Zero fields take their default.
type Bounds struct {
	File  int64         // a file that has as much is followed by a new one; default 64 MiB
	Total int64         // of all files together: the oldest go first; default 1 GiB
	Age   time.Duration // of the newest line of a file that goes; default 30 days, as for events
}

// The defaults.
const (
	DefaultFile  = 64 << 20
	DefaultTotal = 1 << 30
	DefaultAge   = 30 * 24 * time.Hour
)

// A file holds the lines of one day at most, so that age has something to drop where little happens.
const maxSpan = 24 * time.Hour

// Files are numbered in the order in which they were begun.
const (
	filePrefix = "audit-"
	fileSuffix = ".jsonl"
	fileDigits = 12
)

func fileName(number int64) string {
	return fmt.Sprintf("%s%0*d%s", filePrefix, fileDigits, number, fileSuffix)
}

func fileNumber(name string) (int64, bool) {
	text, ok := strings.CutPrefix(name, filePrefix)
	text, ok2 := strings.CutSuffix(text, fileSuffix)
	n, err := strconv.ParseInt(text, 10, 64)
	return n, ok && ok2 && err == nil && n > 0 && fileName(n) == name
}

// numbers lists the files of a folder, the oldest first.
func numbers(dir string) (all []int64, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if n, ok := fileNumber(e.Name()); ok && e.Type().IsRegular() {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, err
}

// Folder is a Sink: numbered files in a folder of which one process writes.
//
// Lines are handed to the system at once and not synced one by one: a killed process loses nothing that was written here,
// a machine that loses power what its system had not put on disk yet. A file is synced when it is full and when the folder
// is closed.
type Folder struct {
	dir    string
	bounds Bounds
	now    func() time.Time

	file   *os.File // nil before the first line
	number int64    // of file, or of the last one there is
	size   int64
	begun  time.Time // of its first line
	torn   bool      // it ends within a line
}

// OpenFolder opens a folder, which it makes when there is none, and goes on with its newest file.
func OpenFolder(dir string, bounds Bounds, now func() time.Time) (*Folder, error) {
	bounds = Bounds{cmp.Or(bounds.File, DefaultFile), cmp.Or(bounds.Total, DefaultTotal), cmp.Or(bounds.Age, DefaultAge)}
	if bounds.File < 0 || bounds.Total < 2*bounds.File || bounds.Age < time.Minute {
		return nil, fmt.Errorf("audit: files of %d bytes, %d in all, kept for %s: all of them have to hold two files at least, and be kept for a minute", bounds.File, bounds.Total, bounds.Age)
	}
	f := &Folder{dir: dir, bounds: bounds, now: now}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	all, err := numbers(dir)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if len(all) > 0 {
		f.number = all[len(all)-1]
		if err := f.reopen(); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		return f, nil
	}
	if err := f.next(); err != nil { // what cannot be written is better known now
		return nil, fmt.Errorf("audit: %w", err)
	}
	return f, nil
}

// reopen goes on with the newest file. A line that a crash cut stays as it is, and readers pass it over.
func (f *Folder) reopen() (err error) {
	if f.file, err = os.OpenFile(filepath.Join(f.dir, fileName(f.number)), os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return err
	}
	info, err := f.file.Stat()
	if err != nil {
		return errors.Join(err, f.file.Close())
	}
	f.size, f.begun = info.Size(), info.ModTime()
	if f.size == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := f.file.ReadAt(last, f.size-1); err != nil {
		return errors.Join(err, f.file.Close())
	}
	f.torn = last[0] != '\n'
	head := make([]byte, min(f.size, 64))
	if _, err := f.file.ReadAt(head, 0); err == nil {
		if at, ok := timeOf(head); ok && at.Before(f.begun) {
			f.begun = at
		}
	}
	return nil
}

// next begins a file.
func (f *Folder) next() error {
	file, err := os.OpenFile(filepath.Join(f.dir, fileName(f.number+1)), os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	f.file, f.number, f.size, f.begun, f.torn = file, f.number+1, 0, f.now(), false
	return nil
}

// Write implements Sink.
func (f *Folder) Write(lines []byte) (n int, err error) {
	if err := f.turn(int64(len(lines))); err != nil {
		return 0, err
	}
	if f.torn {
		if _, err := f.file.Write(newline); err != nil {
			return 0, fmt.Errorf("audit: %w", err)
		}
		f.size, f.torn = f.size+1, false
	}
	n, err = f.file.Write(lines)
	f.size += int64(n)
	f.torn = n > 0 && lines[n-1] != '\n'
	if err != nil {
		return n, fmt.Errorf("audit: %w", err)
	}
	return n, nil
}

// turn begins a new file when the one there is has enough.
func (f *Folder) turn(more int64) error {
	if f.file != nil && (f.size == 0 || f.size+more <= f.bounds.File && f.now().Sub(f.begun) < maxSpan) {
		if f.size == 0 {
			f.begun = f.now()
		}
		return nil
	}
	if f.file != nil {
		err := errors.Join(f.file.Sync(), f.file.Close())
		f.file = nil
		if err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	if err := f.next(); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	_ = f.Tidy(f.now()) // what cannot be dropped is no reason to lose lines; the log's own call says so
	return nil
}

// Tidy implements Sink: it drops the oldest files beyond the bounds, never the one that is written.
func (f *Folder) Tidy(now time.Time) error {
	all, err := numbers(f.dir)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	var total int64
	var failed error
	for _, n := range slices.Backward(all) {
		path := filepath.Join(f.dir, fileName(n))
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if total += info.Size(); n == f.number {
			total += f.bounds.File - min(info.Size(), f.bounds.File) // as large as it will be
			continue
		}
		if total > f.bounds.Total || now.Sub(info.ModTime()) > f.bounds.Age {
			failed = errors.Join(failed, os.Remove(path))
		}
	}
	if failed != nil {
		return fmt.Errorf("audit: %w", failed)
	}
	return nil
}

// Close implements Sink.
func (f *Folder) Close() error {
	if f.file == nil {
		return nil
	}
	err := errors.Join(f.file.Sync(), f.file.Close())
	f.file = nil
	return err
}

// timeOf reads the time with which every line begins.
func timeOf(line []byte) (time.Time, bool) {
	text, ok := bytes.CutPrefix(line, []byte(`{"at":`))
	if !ok || len(text) < len(timeForm) {
		return time.Time{}, false
	}
	var at ballast.Time
	err := json.Unmarshal(text[:len(timeForm)], &at)
	return at.Time, err == nil
}
