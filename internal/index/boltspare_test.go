package index

import (
	"errors"
	"strconv"
	"testing"
)

// Views that follow each other share a transaction, and no Update meets it.
func TestBoltKeepsOneReading(t *testing.T) {
	b := openBoltAt(t, t.TempDir()+"/index.db")
	nothing := func(Tx) error { return nil }
	view := func() error { return b.View(t.Context(), nothing) }
	look := func(what string, open int) {
		t.Helper()
		if got := b.db.Stats().OpenTxN; got != open {
			t.Errorf("%s: %d readings are open, want %d", what, got, open)
		}
	}
	if err := view(); err != nil {
		t.Fatal(err)
	}
	look("after a View", 1)
	before := b.db.Stats().TxN
	for range 10 {
		if err := errors.Join(b.View(t.Context(), func(Tx) error { return view() }), view()); err != nil {
			t.Fatal(err)
		}
	}
	look("after Views in Views", 1)
	if began := b.db.Stats().TxN - before; began != 10 { // those inside
		t.Errorf("%d readings were begun, want 10", began)
	}
	err := b.Update(t.Context(), func(tx Tx) error {
		look("in an Update", 0)
		err := errors.Join(view(), tx.Put([]byte("a"), nil))
		look("in an Update, after a View", 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	look("after an Update", 0)
	if err := view(); err != nil {
		t.Fatal(err)
	}
	look("after a View behind an Update", 1)
	if err := errors.Join(view(), b.Close()); err != nil {
		t.Fatal(err)
	}
	look("closed", 0)
}

// A reading that is older than a commit is not kept, whether it began before the Update or in the midst of it.
func TestBoltKeepsNoOldReading(t *testing.T) {
	b := openBoltAt(t, t.TempDir()+"/index.db")
	key := []byte("n")
	put := func(n int, meanwhile func()) {
		t.Helper()
		err := b.Update(t.Context(), func(tx Tx) error {
			meanwhile()
			return tx.Put(key, strconv.AppendInt(nil, int64(n), 10))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	reads := func(n int) {
		t.Helper()
		var got string
		err := b.View(t.Context(), func(tx Tx) error {
			text, err := tx.Get(key)
			got = string(text)
			return err
		})
		if err != nil || got != strconv.Itoa(n) {
			t.Errorf("a View behind the Update that wrote %d read %q, %v", n, got, err)
		}
	}
	// hold is a View that runs until it is let go.
	hold := func() (letGo func()) {
		inside, release, ended := make(chan struct{}), make(chan struct{}), make(chan error)
		go func() {
			ended <- b.View(t.Context(), func(Tx) error { close(inside); <-release; return nil })
		}()
		<-inside
		return func() {
			close(release)
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	put(0, func() {})
	letGo := hold()
	put(1, func() {})
	letGo()
	reads(1)
	put(2, func() { letGo = hold() })
	letGo()
	reads(2)
}
