package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestFilesStandAloneAndAreTheirOwners(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := Create(path, "first"); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, "second"); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("writing over a file: %v", err)
	}
	wantFile(t, dir, "first")
	if err := Replace(path, "third"); err != nil {
		t.Fatal(err)
	}
	wantFile(t, dir, "third")
}

// wantFile wants one file in dir, with the text, for its owner alone.
func wantFile(t *testing.T, dir, text string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v beside the file, %v", entries, err)
	}
	path := filepath.Join(dir, entries[0].Name())
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode of the file: %v, %v", info.Mode(), err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Fatalf("the file holds %q, want %q: %v", got, text, err)
	}
}

// noLinks is what a file system without hard links answers.
func noLinks(errno syscall.Errno) func(from, to string) error {
	return func(from, to string) error { return &os.LinkError{Op: "link", Old: from, New: to, Err: errno} }
}

// TestWithoutHardLinks has many name a file at once, as they do on a file system that has no hard links: one succeeds, and
// its bytes stay.
func TestWithoutHardLinks(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.ENOTSUP, syscall.ENOSYS} {
		dir := t.TempDir()
		path := filepath.Join(dir, "key")
		var named atomic.Pointer[string]
		var all sync.WaitGroup
		for i := range 16 {
			text := strconv.Itoa(i)
			all.Go(func() {
				err := write(path, text, func(from, to string) error { return name(from, to, noLinks(errno)) })
				switch {
				case err == nil && !named.CompareAndSwap(nil, &text):
					t.Errorf("%v: %s has named the file too", errno, text)
				case err != nil && !errors.Is(err, fs.ErrExist):
					t.Errorf("%v: %v", errno, err)
				}
			})
		}
		all.Wait()
		if named.Load() == nil {
			t.Fatalf("%v: nobody has named the file", errno)
		}
		wantFile(t, dir, *named.Load())
	}
}

// TestOtherFailuresPass has a disk fail: that it did is said, and no other way is tried.
func TestOtherFailuresPass(t *testing.T) {
	dir := t.TempDir()
	err := write(filepath.Join(dir, "key"), "text", func(from, to string) error { return name(from, to, noLinks(syscall.EIO)) })
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("the error is %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v is left, %v", entries, err)
	}
}

// TestWithoutLocksToo is a file system that has neither: what to do is said.
func TestWithoutLocksToo(t *testing.T) {
	dir := t.TempDir()
	gone := filepath.Join(dir, "gone", "key") // a folder that cannot be locked
	err := renameNew(filepath.Join(dir, "new"), gone, syscall.EPERM)
	if err == nil || !strings.Contains(err.Error(), "use a folder on another one") || !errors.Is(err, syscall.EPERM) {
		t.Errorf("the error is %v", err)
	}
}
