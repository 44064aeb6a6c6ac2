package audit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/audit/audittest"
)

// line is the n-th line of a test, of about 120 bytes.
func line(n int, at time.Time) []byte {
	return fmt.Appendf(nil, `{"at":%q,"action":"bytes.read","scope":"acme","key":"acme::llama/tiny::%d","request_id":"%060d"}`+"\n", at.UTC().Format("2006-01-02T15:04:05.000000Z"), n, n)
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries := must(os.ReadDir(dir))
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// back reads everything, page by page.
func back(t *testing.T, dir string, limit int, budget int64, between func()) (all []int, unreadable int64) {
	t.Helper()
	r, from := audit.NewReader(dir), audit.Place{}
	for range 100_000 {
		page, err := r.Back(context.Background(), audit.Search{From: from, Limit: limit, Budget: budget, Keep: func(ballast.AuditEntry) bool { return true }})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			n := 0
			if _, err := fmt.Sscanf(e.Key, "acme::llama/tiny::%d", &n); err == nil {
				all = append(all, n)
			}
		}
		if unreadable += page.Unreadable; page.Done {
			return all, unreadable
		}
		if page.Next == from {
			t.Fatalf("the list stands still at %+v", from)
		}
		if from = page.Next; between != nil {
			between()
		}
	}
	t.Fatal("the list does not end")
	return nil, 0
}

func countdown(from, to int) (all []int) {
	for n := from; n >= to; n-- {
		all = append(all, n)
	}
	return all
}

// TestFilesAreBounded in their size, number and age, and nothing of what they hold is read twice or missed.
func TestFilesAreBounded(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	bounds := audit.Bounds{File: 1000, Total: 5000, Age: time.Hour}
	f := must(audit.OpenFolder(dir, bounds, func() time.Time { return now }))
	const lines = 200
	for n := range lines {
		if _, err := f.Write(line(n, now)); err != nil {
			t.Fatal(err)
		}
	}
	var total int64
	for _, name := range names(t, dir) {
		info := must(os.Stat(filepath.Join(dir, name)))
		if total += info.Size(); info.Size() > bounds.File || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has %d bytes, mode %v", name, info.Size(), info.Mode())
		}
	}
	if total > bounds.Total || total < bounds.Total/2 {
		t.Errorf("%d bytes in all", total)
	}
	all, _ := back(t, dir, 3, 1<<20, nil)
	if want := countdown(lines-1, lines-len(all)); !slices.Equal(all, want) || len(all) < 10 {
		t.Errorf("read %v", all)
	}
	// An hour later, on the clock of the files, all but the one that is written go.
	info := must(os.Stat(dir))
	if err := f.Tidy(info.ModTime().Add(2 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left := names(t, dir); len(left) != 1 {
		t.Errorf("left are %v", left)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestADayHasItsFile, however little happens.
func TestADayHasItsFile(t *testing.T) {
	dir, now := t.TempDir(), time.Now().Add(-47*time.Hour)
	f := must(audit.OpenFolder(dir, audit.Bounds{}, func() time.Time { return now }))
	for n := range 4 {
		must(f.Write(line(n, now)))
		now = now.Add(13 * time.Hour)
	}
	must("", f.Close())
	if got := names(t, dir); len(got) != 2 {
		t.Errorf("files %v", got)
	}
	now = now.Add(-13 * time.Hour)
	f = must(audit.OpenFolder(dir, audit.Bounds{}, func() time.Time { return now })) // it knows when the file was begun
	must(f.Write(line(4, now)))
	must("", f.Close())
	now = now.Add(20 * time.Hour)
	f = must(audit.OpenFolder(dir, audit.Bounds{}, func() time.Time { return now }))
	must(f.Write(line(5, now)))
	must("", f.Close())
	if got := names(t, dir); len(got) != 3 {
		t.Errorf("files %v", got)
	}
	if all, _ := back(t, dir, 100, 1<<20, nil); !slices.Equal(all, countdown(5, 0)) {
		t.Errorf("read %v", all)
	}
}

// TestATornLineIsPassedOver: a crash may cut the last line anywhere. What was whole is read, what comes later too, and the
// rest is one line that nobody can read.
func TestATornLineIsPassedOver(t *testing.T) {
	whole := line(1, time.Now())
	for cut := 1; cut < len(whole); cut += 7 {
		dir := t.TempDir()
		f := must(audit.OpenFolder(dir, audit.Bounds{}, time.Now))
		must(f.Write(line(0, time.Now())))
		must(f.Write(whole[:cut])) // and here the process is killed
		f = must(audit.OpenFolder(dir, audit.Bounds{}, time.Now))
		must(f.Write(line(2, time.Now())))
		must("", f.Close())
		all, unreadable := back(t, dir, 10, 1<<20, nil)
		if !slices.Equal(all, []int{2, 0}) && cut < len(whole)-1 || unreadable != 1 && cut < len(whole)-1 {
			t.Errorf("cut at %d: read %v, %d unreadable", cut, all, unreadable)
		}
	}
}

// TestReadingBackwards: pages of any size and any budget, over lines longer than what is read at once, while the files
// grow and the oldest go.
func TestReadingBackwards(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	bounds := audit.Bounds{File: 400 << 10, Total: 4 << 20}
	f := must(audit.OpenFolder(dir, bounds, time.Now))
	const lines = 6_000
	n := 0
	write := func() {
		must(f.Write(line(n, now.Add(time.Duration(n)*time.Millisecond))))
		n++
	}
	for n < lines {
		write()
	}
	for _, c := range []struct {
		limit  int
		budget int64
	}{{1, 1}, {7, 1}, {1000, 300 << 10}, {1000, 1 << 30}, {1 << 30, 1 << 30}} {
		last := n - 1
		if c.limit == 1 && testing.Short() {
			continue
		}
		if c.limit == 1 {
			r := audit.NewReader(dir)
			page := must(r.Back(t.Context(), audit.Search{Limit: 1, Budget: 1, Keep: func(ballast.AuditEntry) bool { return true }}))
			if len(page.Entries) != 1 || page.Done {
				t.Errorf("one line: %+v", page)
			}
			continue
		}
		all, unreadable := back(t, dir, c.limit, c.budget, write)
		if !slices.Equal(all, countdown(last, 0)) || unreadable != 0 {
			t.Errorf("limit %d, budget %d: %d of %d lines, the last %v; %d unreadable", c.limit, c.budget, len(all), last+1, all[max(0, len(all)-3):], unreadable)
		}
	}
	must("", f.Close())
	since := now.Add(3 * time.Hour) // all are older by more than an hour
	page := must(audit.NewReader(dir).Back(t.Context(), audit.Search{Since: since, Limit: 10, Budget: 1 << 30, Keep: func(ballast.AuditEntry) bool { return true }}))
	if !page.Done || len(page.Entries) > 0 {
		t.Errorf("since then there is %+v", page)
	}
	garbage := append(bytesOf('x', 600<<10), '\n')
	path := filepath.Join(dir, "audit-000000000900.jsonl")
	if err := os.WriteFile(path, append(append(line(0, now), garbage...), line(1, now)...), 0o600); err != nil {
		t.Fatal(err)
	}
	page = must(audit.NewReader(dir).Back(t.Context(), audit.Search{Limit: 2, Budget: 1 << 30, Keep: func(ballast.AuditEntry) bool { return true }}))
	if len(page.Entries) != 2 || page.Unreadable == 0 {
		t.Errorf("over a line of 600 KiB: %d entries, %d unreadable", len(page.Entries), page.Unreadable)
	}
}

func bytesOf(c byte, n int) []byte { return slices.Repeat([]byte{c}, n) }

// TestOneWritesAndAnotherIsRefused: bounds that hold nothing and folders that cannot be written are told at once.
func TestFoldersThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (*audit.Folder, error){
		"a file": func() (*audit.Folder, error) { return audit.OpenFolder(file, audit.Bounds{}, time.Now) },
		"one file alone": func() (*audit.Folder, error) {
			return audit.OpenFolder(t.TempDir(), audit.Bounds{File: 10, Total: 10}, time.Now)
		},
		"less than none": func() (*audit.Folder, error) { return audit.OpenFolder(t.TempDir(), audit.Bounds{File: -1}, time.Now) },
		"a second": func() (*audit.Folder, error) {
			return audit.OpenFolder(t.TempDir(), audit.Bounds{Age: time.Second}, time.Now)
		},
	} {
		if _, err := open(); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
	if _, err := audit.NewReader(filepath.Join(t.TempDir(), "none")).Back(t.Context(), audit.Search{Limit: 1, Budget: 1}); err != nil {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// TestManyWritersAtOnce: whatever many requests write side by side is there once, whole.
func TestManyWritersAtOnce(t *testing.T) {
	a := audittest.Open(t, t.TempDir())
	const writers, each = 16, 300
	done := make(chan struct{})
	for w := range writers {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range each {
				r := good
				r.ID = fmt.Sprintf("%d-%d", w, i)
				a.Write(served(), r)
			}
		}()
	}
	for range writers {
		<-done
	}
	seen := map[string]int{}
	for _, e := range a.Lines(t) {
		seen[e.RequestID]++
	}
	if len(seen) != writers*each {
		t.Errorf("%d of %d lines", len(seen), writers*each)
	}
	if err := a.Close(); err != nil || errors.Is(err, os.ErrClosed) {
		t.Errorf("closed again: %v", err)
	}
}
