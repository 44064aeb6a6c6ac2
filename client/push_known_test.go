//go:build linux || darwin

package client

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// later is when a file of now has been left alone for long enough.
func later() time.Time { return time.Now().Add(settled + time.Second) }

func writeFile(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func stat(t *testing.T, file string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// remembered is what a new push knows of a file.
func remembered(t *testing.T, dir, file string) digest.Digest {
	t.Helper()
	d, _, _ := newHashes(dir, false).digest(file, stat(t, file))
	return d
}

// remember has a push hash a file at a time.
func remember(t *testing.T, dir, file string, at time.Time) digest.Digest {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h := newHashes(dir, false)
	h.keep(file, stat(t, file), ballast.DigestOf(b), nil, at)
	h.save()
	return ballast.DigestOf(b)
}

func TestAFileThatNobodyTouchedIsKnown(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "f")
	writeFile(t, file, []byte("one"))
	want := remember(t, dir, file, later())
	if got := remembered(t, dir, file); got != want {
		t.Errorf("known as %q", got)
	}
	if d, _, ok := newHashes(dir, true).digest(file, stat(t, file)); ok {
		t.Errorf("with rehash it is known as %s", d)
	}
}

func TestAFileThatMayBeAnotherIsNotKnown(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, file string){
		"rewritten in place, its time put back": func(t *testing.T, file string) {
			before := stat(t, file).ModTime()
			time.Sleep(20 * time.Millisecond) // more than a tick of the file system's clock
			writeFile(t, file, []byte("two"))
			if err := os.Chtimes(file, before, before); err != nil {
				t.Fatal(err)
			}
		},
		"copied over, its time too": func(t *testing.T, file string) {
			before := stat(t, file).ModTime()
			writeFile(t, file+".new", []byte("two"))
			if err := os.Chtimes(file+".new", before, before); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		},
		"grown": func(t *testing.T, file string) { writeFile(t, file, []byte("longer")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := t.TempDir(), filepath.Join(t.TempDir(), "f")
			writeFile(t, file, []byte("one"))
			remember(t, dir, file, later())
			change(t, file)
			if got := remembered(t, dir, file); got != "" {
				t.Errorf("known as %s", got)
			}
		})
	}
}

func TestAFileOfAnotherFileSystemIsNotKnown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	writeFile(t, file, []byte("one"))
	id, ok := identityOf(stat(t, file))
	if !ok || !id.equal(id) {
		t.Fatalf("no identity: %+v", id)
	}
	for name, change := range map[string]func(*identity){
		"device": func(i *identity) { i.Device++ }, "inode": func(i *identity) { i.Inode++ }, "size": func(i *identity) { i.Size++ },
		"modified": func(i *identity) { i.Modified = i.Modified.Add(1) }, "changed": func(i *identity) { i.Changed = i.Changed.Add(1) },
	} {
		other := id
		if change(&other); id.equal(other) {
			t.Errorf("another %s is the same file", name)
		}
	}
}

// What was hashed soon after it was changed, by either time, may be another content with the same times.
func TestAYoungFileIsNotKnown(t *testing.T) {
	old, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		modified, hashed time.Time
	}{
		"just written":                  {time.Now(), time.Now()},
		"just written, its time is old": {old, time.Now()},
		"a second later":                {time.Now(), time.Now().Add(time.Second)},
		"its clock is in the future":    {future, later()},
	} {
		dir, file := t.TempDir(), filepath.Join(t.TempDir(), "f")
		writeFile(t, file, []byte("one"))
		if err := os.Chtimes(file, c.modified, c.modified); err != nil {
			t.Fatal(err)
		}
		if remember(t, dir, file, c.hashed); remembered(t, dir, file) != "" {
			t.Errorf("%s: it is known", name)
		}
	}
}

// A line that is damaged is none; the others stay.
func TestADamagedMemoryIsForgotten(t *testing.T) {
	dir, folder := t.TempDir(), t.TempDir()
	first, second := filepath.Join(folder, "a"), filepath.Join(folder, "b")
	writeFile(t, first, []byte("one"))
	writeFile(t, second, []byte("two"))
	remember(t, dir, first, later())
	want := remember(t, dir, second, later())
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	file := filepath.Join(dir, entries[0].Name())
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	of := ballast.DigestOf([]byte("one")).Encoded()
	at := bytes.Index(whole, []byte(of))
	if at < 0 {
		t.Fatalf("no digest in %s", whole)
	}
	hurt := bytes.Clone(whole)
	hurt[at] ^= 1 // still a digest
	writeFile(t, file, hurt)
	if got := remembered(t, dir, first); got != "" {
		t.Errorf("a damaged line is believed: %s", got)
	}
	if got := remembered(t, dir, second); got != want {
		t.Errorf("the other line is lost: %q", got)
	}
	for _, text := range []string{"", "\x00\x01", strings.Repeat("x", 1<<20), string(whole[:len(whole)/2])} {
		writeFile(t, file, []byte(text))
		if got := remembered(t, dir, first); got != "" && got != ballast.DigestOf([]byte("one")) {
			t.Errorf("read %s from nonsense", got)
		}
	}
	if want := remember(t, dir, first, later()); remembered(t, dir, first) != want {
		t.Error("it is not mended")
	}
}

// Pushes side by side leave a whole memory, and what one has put down before another saves stays.
func TestPushesSideBySideRemember(t *testing.T) {
	dir, folder := t.TempDir(), t.TempDir()
	const pushes, each = 8, 50
	files := make([]string, pushes)
	var wg sync.WaitGroup
	for i := range pushes {
		files[i] = filepath.Join(folder, fmt.Sprint(i))
		writeFile(t, files[i], []byte(files[i]))
		wg.Go(func() {
			for range each {
				h := newHashes(dir, false)
				h.keep(files[i], stat(t, files[i]), ballast.DigestOf([]byte(files[i])), nil, later())
				h.save()
				for _, k := range readKnown(h.at(folder)) {
					if k.Digest != ballast.DigestOf([]byte(k.Path)) {
						t.Errorf("%s is known as %s", k.Path, k.Digest)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, file := range files {
		want := remember(t, dir, file, later())
		if got := remembered(t, dir, file); got != want {
			t.Errorf("%s is known as %q", file, got)
		}
	}
	for _, file := range files {
		if remembered(t, dir, file) == "" {
			t.Errorf("%s was forgotten", file)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%d files were left, %v", len(entries), err)
	}
}

func TestTheMemoryIsBounded(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "f")
	for i := range maxKnownFolders + 10 {
		name := filepath.Join(dir, fmt.Sprintf("%064x", i))
		writeFile(t, name, nil)
		at := time.Now().Add(time.Duration(i-100_000) * time.Second)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, file, []byte("one"))
	want := remember(t, dir, file, later())
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != maxKnownFolders {
		t.Errorf("%d files, %v", len(entries), err)
	}
	if remembered(t, dir, file) != want {
		t.Error("the newest is not there")
	}
}
