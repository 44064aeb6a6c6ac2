package index_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ballast-registry/ballast/internal/index"
)

// A file with room that was freed gets smaller and holds the same; nothing is left beside it.
func TestCompact(t *testing.T) {
	path := boltPath(t)
	s := openBolt(t, path, index.BoltOptions{NoSync: true})
	fill := func(n int, drop bool) {
		for i := range n {
			err := s.Update(t.Context(), func(tx index.Tx) error {
				for j := range 100 {
					k := fmt.Appendf(nil, "K%04d-%04d", i, j)
					if err := tx.Put(k, make([]byte, 1000)); err != nil || !drop {
						return err
					}
					if err := tx.Delete(k); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(20, false)
	x := newWorld(t, s)
	x.publish("acme::m::1.0.0", "a")
	before := must(x.Contents(t.Context()))
	if _, err := index.Compact(t.Context(), path); !errors.Is(err, index.ErrLocked) {
		t.Fatalf("compacted under a service: %v", err)
	}
	if err := s.Update(t.Context(), func(tx index.Tx) error {
		for item, err := range tx.Scan([]byte("K"), nil, false) {
			if err != nil {
				return err
			}
			if err := tx.Delete(item.Key); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	sizes, err := index.Compact(t.Context(), path)
	if err != nil || sizes.After >= sizes.Before || sizes.After == 0 {
		t.Fatalf("sizes %+v, %v", sizes, err)
	}
	left := must(os.ReadDir(filepath.Dir(path)))
	if len(left) != 1 {
		t.Errorf("beside the index lie %v", left)
	}
	s = openBolt(t, path, index.BoltOptions{NoSync: true})
	defer s.Close()
	x = newWorld(t, s)
	if after := must(x.Contents(t.Context())); len(after.Versions) != len(before.Versions) || len(after.Blobs) != len(before.Blobs) || after.LastEvent != before.LastEvent {
		t.Errorf("after: %d versions, %d blobs, event %d", len(after.Versions), len(after.Blobs), after.LastEvent)
	}
	if faults, err := x.CheckFile(t.Context(), 0); err != nil || len(faults) > 0 {
		t.Errorf("faults %v, %v", faults, err)
	}
	if _, err := x.CheckFile(t.Context(), 1); !errors.Is(err, index.ErrNotChecked) {
		t.Errorf("a file over the bound: %v", err)
	}
}

// What is cut off, or is not there, leaves the file as it is.
func TestCompactLeavesWhatItCannotRead(t *testing.T) {
	path := boltPath(t)
	if _, err := index.Compact(t.Context(), path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it made one: %v", err)
	}
	if err := openBolt(t, path, index.BoltOptions{}).Close(); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	was := must(os.ReadFile(path))
	if _, err := index.Compact(gone, path); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if now := must(os.ReadFile(path)); string(now) != string(was) {
		t.Error("the file is another")
	}
}

// A file with a page that is referred to twice is told from a whole one.
func TestCheckFileFindsADamagedPage(t *testing.T) {
	path := boltPath(t)
	s := openBolt(t, path, index.BoltOptions{NoSync: true})
	for i := range 50 {
		if err := s.Update(t.Context(), func(tx index.Tx) error { return tx.Put(fmt.Appendf(nil, "K%04d", i), make([]byte, 2000)) }); err != nil {
			t.Fatal(err)
		}
	}
	x := newWorld(t, s)
	defer s.Close()
	if faults, err := x.CheckFile(t.Context(), 0); err != nil || len(faults) > 0 {
		t.Fatalf("before: %v, %v", faults, err)
	}
	f := must(os.OpenFile(path, os.O_RDWR, 0))
	defer f.Close()
	page := make([]byte, 4096) // a leaf in the middle becomes one of no kind
	size := must(f.Stat()).Size()
	damaged := false
	for at := int64(8192); at < size && !damaged; at += 4096 {
		if _, err := f.ReadAt(page, at); err != nil {
			t.Fatal(err)
		}
		if page[8] == 0x02 && page[10] > 0 { // a leaf with items
			page[8] = 0x40
			_, err := f.WriteAt(page[:16], at)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if faults, err := x.CheckFile(t.Context(), 0); err != nil || len(faults) == 0 {
		t.Fatalf("after: %v, %v", faults, err)
	}
}
