package index_test

import (
	"errors"
	"testing"

	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/index/indextest"
)

func TestMem(t *testing.T) {
	indextest.Run(t, func(*testing.T) index.Store { return index.NewMem() }, nil)
}

func TestMemRunsFnAgain(t *testing.T) {
	m := index.NewMem()
	updates, views := 0, 0
	for range 30 {
		if err := errors.Join(
			m.Update(t.Context(), func(index.Tx) error { updates++; return nil }),
			m.View(t.Context(), func(index.Tx) error { views++; return nil }),
		); err != nil {
			t.Fatal(err)
		}
	}
	if updates <= 30 || views <= 30 {
		t.Errorf("30 Updates ran fn %d times, 30 Views %d times: want more of both", updates, views)
	}
}

// TestMemPoisons keeps bytes of a transaction beyond it, which is a mistake that must show.
func TestMemPoisons(t *testing.T) {
	m := index.NewMem()
	var value, ownValue, key []byte
	put := func(tx index.Tx) error {
		err := tx.Put([]byte("key"), []byte("value"))
		ownValue, _ = tx.Get([]byte("key"))
		return err
	}
	if err := m.Update(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	err := m.View(t.Context(), func(tx index.Tx) error {
		for item := range tx.Scan(nil, nil, false) {
			key, value = item.Key, item.Value
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(key) == "key" || string(value) == "value" || string(ownValue) == "value" {
		t.Errorf("bytes are still good after fn: %q, %q, %q", key, value, ownValue)
	}
}

func TestMemPanicsOnChangedBytes(t *testing.T) {
	m := index.NewMem()
	defer func() {
		if recover() == nil {
			t.Error("a changed value passed")
		}
	}()
	_ = m.Update(t.Context(), func(tx index.Tx) error {
		_ = tx.Put([]byte("key"), []byte("value"))
		value, err := tx.Get([]byte("key"))
		value[0] = 'X'
		return err
	})
}

func TestMemCorrupt(t *testing.T) {
	m := index.NewMem()
	err := m.Update(t.Context(), func(tx index.Tx) error {
		return errors.Join(tx.Put([]byte("a"), []byte("1")), tx.Put([]byte("b"), []byte("2")), tx.Put([]byte("c"), nil))
	})
	if err != nil || !m.Corrupt([]byte("b")) || m.Corrupt([]byte("absent")) {
		t.Fatal(err)
	}
	wantDamaged(t, m, "b")
}

// wantDamaged reads s, which holds a, b and c, and wants ErrCorrupt for the key damaged and for no other.
func wantDamaged(t *testing.T, s index.Store, damaged string) {
	t.Helper()
	err := s.View(t.Context(), func(tx index.Tx) error {
		n := 0
		for item, err := range tx.Scan(nil, nil, false) {
			n++
			if got, want := errors.Is(err, index.ErrCorrupt), string(item.Key) == damaged; got != want {
				t.Errorf("scan of %q: %v", item.Key, err)
			}
			_, err = tx.Get(item.Key)
			if got, want := errors.Is(err, index.ErrCorrupt), string(item.Key) == damaged; got != want {
				t.Errorf("get of %q: %v", item.Key, err)
			}
		}
		if n != 3 {
			t.Errorf("scan yielded %d items, want 3", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
