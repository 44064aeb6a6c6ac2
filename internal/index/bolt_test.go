package index_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/index/indextest"
)

func openBolt(t *testing.T, path string, opt index.BoltOptions) *index.Bolt {
	t.Helper()
	s, err := index.OpenBolt(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func boltPath(t *testing.T) string { return filepath.Join(t.TempDir(), "index.db") }

func TestBolt(t *testing.T) {
	paths := map[index.Store]string{}
	open := func(t *testing.T) index.Store {
		path := boltPath(t)
		s := openBolt(t, path, index.BoltOptions{})
		paths[s] = path
		return s
	}
	indextest.Run(t, open, func(t *testing.T, s index.Store) index.Store {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := openBolt(t, paths[s], index.BoltOptions{})
		paths[again] = paths[s]
		return again
	})
}

func TestBoltFile(t *testing.T) {
	path := boltPath(t)
	s := openBolt(t, path, index.BoltOptions{})
	defer s.Close()
	put(t, s, "a", "1")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	if info.Size() > 64<<20 {
		t.Errorf("the file has %d bytes: it grew with the address space", info.Size())
	}
}

func put(t *testing.T, s index.Store, key, value string) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx index.Tx) error { return tx.Put([]byte(key), []byte(value)) }); err != nil {
		t.Fatal(err)
	}
}

func TestBoltLocked(t *testing.T) {
	path := boltPath(t)
	defer openBolt(t, path, index.BoltOptions{}).Close()
	_, err := index.OpenBolt(path, index.BoltOptions{LockTimeout: 100 * time.Millisecond})
	if !errors.Is(err, index.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want ErrLocked and the file's name", err)
	}
	if holder := fmt.Sprintf("(process %d)", os.Getpid()); runtime.GOOS == "linux" && err != nil && !strings.Contains(err.Error(), holder) {
		t.Errorf("got %v, want %s", err, holder)
	}
}

func TestBoltRefuses(t *testing.T) {
	whole := boltPath(t)
	s := openBolt(t, whole, index.BoltOptions{InitialMmapSize: -1})
	for i := range 2000 {
		if i%500 == 0 {
			put(t, s, fmt.Sprintf("%06d", i), strings.Repeat("v", 10_000))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for name, bad := range map[string][]byte{
		"empty":               {},
		"text":                []byte(strings.Repeat("no index at all\n", 4096)),
		"short text":          []byte("no index"),
		"zeroes":              make([]byte, 1<<16),
		"cut in its metadata": content[:page],
		"cut after metadata":  content[:2*page],
		"cut in its pages":    content[:3*page+100],
		"a page is missing":   content[:4*page],
		"freelist is garbage": garbleFreelist(content, page),
	} {
		t.Run(name, func(t *testing.T) {
			path := boltPath(t)
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := index.OpenBolt(path, index.BoltOptions{})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), path) || errors.Is(err, index.ErrLocked) {
				t.Errorf("got %v, want an error that names the file", err)
			}
			if _, err := index.OpenBolt(path, index.BoltOptions{LockTimeout: time.Millisecond}); errors.Is(err, index.ErrLocked) {
				t.Error("the refused file is still locked")
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, bad) {
				t.Errorf("the refused file was changed: %v", err)
			}
		})
	}
}

// TestBoltCutShort cuts the file at every page: it is refused, or all of it is there.
func TestBoltCutShort(t *testing.T) {
	path := boltPath(t)
	opt := index.BoltOptions{InitialMmapSize: -1}
	s := openBolt(t, path, opt)
	const items = 12
	for i := range items {
		put(t, s, fmt.Sprintf("%06d", i), strings.Repeat("v", 5000))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	byName := false
	for size := len(content) - os.Getpagesize(); size > 0; size -= os.Getpagesize() {
		if err := os.WriteFile(path, content[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := index.OpenBolt(path, opt)
		if err != nil {
			byName = byName || strings.Contains(err.Error(), "bytes of at least")
			continue
		}
		n := 0
		err = s.View(t.Context(), func(tx index.Tx) error {
			for _, err := range tx.Scan(nil, nil, false) {
				if n++; err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n != items {
			t.Errorf("opened with %d of %d bytes, with %d of %d items: %v", size, len(content), n, items, err)
		}
		s.Close()
	}
	if !byName {
		t.Error("no error says that the file is cut short")
	}
}

// garbleFreelist overwrites the type of every freelist page.
func garbleFreelist(content []byte, page int) []byte {
	bad := bytes.Clone(content)
	for at := 0; at < len(bad); at += page {
		if bad[at+8] == 0x10 { // the flags, after an id of eight bytes
			bad[at+8] = 0x02
		}
	}
	return bad
}

// editBolt changes the file with bbolt alone.
func editBolt(t *testing.T, path string, fn func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestBoltNewer(t *testing.T) {
	for schema, want := range map[string]error{"2": index.ErrNewer, "0": index.ErrCorrupt, "one": index.ErrCorrupt} {
		path := boltPath(t)
		if err := openBolt(t, path, index.BoltOptions{}).Close(); err != nil {
			t.Fatal(err)
		}
		editBolt(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("schema"), []byte(schema)) })
		before, _ := os.ReadFile(path)
		_, err := index.OpenBolt(path, index.BoltOptions{})
		if !errors.Is(err, want) {
			t.Errorf("schema %s: got %v, want %v", schema, err, want)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("schema %s: the file was changed", schema)
		}
	}
}

func TestBoltOfAnotherProgram(t *testing.T) {
	path := boltPath(t)
	editBolt(t, path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
	if s, err := index.OpenBolt(path, index.BoltOptions{}); err == nil {
		s.Close()
		t.Error("opened")
	}
}

// TestBoltGrowsBesideView adds more than bbolt maps at first while a View is open: neither the Updates nor new Views
// may wait for it to end.
func TestBoltGrowsBesideView(t *testing.T) {
	s := openBolt(t, boltPath(t), index.BoltOptions{NoSync: true})
	defer s.Close()
	err := s.View(t.Context(), func(index.Tx) error {
		done := make(chan error, 1)
		go func() {
			for i := range 8 {
				err := s.Update(t.Context(), func(tx index.Tx) error {
					for j := range 15 {
						if err := tx.Put(fmt.Appendf(nil, "%d/%d", i, j), make([]byte, index.MaxValueBytes)); err != nil {
							return err
						}
					}
					return nil
				})
				if err := errors.Join(err, s.View(t.Context(), func(index.Tx) error { return nil })); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		select {
		case err := <-done:
			return err
		case <-time.After(20 * time.Second):
			return errors.New("blocked by an open View")
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// TestBoltDamagedValue flips every bit of a stored value and of its checksum in the file, one at a time.
func TestBoltDamagedValue(t *testing.T) {
	path := boltPath(t)
	opt := index.BoltOptions{NoSync: true, InitialMmapSize: -1}
	const value = "the value of key b"
	s := openBolt(t, path, opt)
	for key, value := range map[string]string{"a": "1", "b": value, "c": ""} {
		put(t, s, key, value)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * (len(value) + 4) {
		bad := bytes.Clone(content)
		found := 0
		for at := 0; ; found++ { // in old copies of the page too
			next := bytes.Index(content[at:], []byte(value))
			if next < 0 {
				break
			}
			at += next
			bad[at+bit/8] ^= 1 << (bit % 8)
			at++
		}
		if found == 0 {
			t.Fatal("the value is not in the file")
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openBolt(t, path, opt)
		wantDamaged(t, s, "b")
		s.Close()
	}
}

// TestBoltMisplacedValue puts one key's value, whole, under another.
func TestBoltMisplacedValue(t *testing.T) {
	path := boltPath(t)
	s := openBolt(t, path, index.BoltOptions{})
	for _, key := range []string{"a", "b", "c"} {
		put(t, s, key, "value of "+key)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	editBolt(t, path, func(tx *bbolt.Tx) error {
		data := tx.Bucket([]byte("data"))
		return data.Put([]byte("b"), data.Get([]byte("a")))
	})
	s = openBolt(t, path, index.BoltOptions{})
	defer s.Close()
	wantDamaged(t, s, "b")
}

// TestBoltDamagedPages overwrites whole pages: what is still read must be right, and the process must live.
func TestBoltDamagedPages(t *testing.T) {
	path := boltPath(t)
	opt := index.BoltOptions{NoSync: true, InitialMmapSize: -1}
	s := openBolt(t, path, opt)
	value := func(key []byte) []byte { return bytes.Repeat(key, 100) }
	err := s.Update(t.Context(), func(tx index.Tx) error {
		for i := range 300 {
			key := fmt.Appendf(nil, "%06d", i)
			if err := tx.Put(key, value(key)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	refused, damaged, whole := 0, 0, false
	for at := 2 * page; at < len(content); at += page {
		bad := bytes.Clone(content)
		for i := range page {
			bad[at+i] = byte(at/page + i*7)
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := index.OpenBolt(path, opt)
		if err != nil {
			refused++
			continue
		}
		err = s.View(t.Context(), func(tx index.Tx) error {
			n := 0
			for item, err := range tx.Scan(nil, nil, false) {
				if err != nil {
					continue // as a caller does who leaves one bad item out
				}
				if n++; !bytes.Equal(item.Value, value(item.Key)) {
					t.Errorf("page %d: wrong value of %q", at/page, item.Key)
				}
			}
			whole = n == 300
			return nil
		})
		if err == nil && !whole {
			t.Errorf("page %d: a scan that ended early passed for a complete one", at/page)
		}
		if err != nil {
			damaged++
			if !errors.Is(err, index.ErrCorrupt) {
				t.Errorf("page %d: got %v, want ErrCorrupt", at/page, err)
			}
		}
		s.Close()
	}
	if t.Logf("%d files refused, %d scans stopped", refused, damaged); refused == 0 || damaged == 0 {
		t.Error("want some of both")
	}
}

// A new index is made under another name, of which nothing stays.
func TestBoltNewFileStandsAlone(t *testing.T) {
	dir := t.TempDir()
	s, err := index.OpenBolt(filepath.Join(dir, "index.db"), index.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "index.db" {
		t.Fatalf("the folder of a new index holds %v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode of a new index: %v, %v", info.Mode(), err)
	}
}
