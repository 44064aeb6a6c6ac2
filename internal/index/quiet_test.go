package index

import (
	"context"
	"errors"
	"testing"
)

// reading counts how often it is asked, and answers so.
type reading struct{ n int }

func (r *reading) read() (int, bool, error) { r.n++; return r.n, true, nil }

// TestAnswersHoldWhileNothingChanges: an answer is kept until an Update begins, and none is kept or given that was read
// while one ran: what it changes may be seen by some and not yet by others.
func TestAnswersHoldWhileNothingChanges(t *testing.T) {
	store := &quietStore{Store: NewMem()}
	a := newAnswers[string, int](store, 10)
	var r reading
	want := func(what string, want int) {
		t.Helper()
		if got, err := a.get("k", r.read); err != nil || got != want {
			t.Errorf("%s: answer %d, want %d; %v", what, got, want, err)
		}
	}
	update := func(inside func()) {
		t.Helper()
		if err := store.Update(t.Context(), func(Tx) error { inside(); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	want("first", 1)
	want("again", 1)
	before := 0
	update(func() {
		before = r.n
		_, _ = a.get("k", r.read)
		_, _ = a.get("k", r.read)
		if r.n != before+2 {
			t.Errorf("%d reads of two while an Update runs", r.n-before)
		}
	})
	want("after the Update", r.n+1)
	want("again", r.n)

	// An Update begins and ends while the answer is read.
	last := r.n
	got, err := a.get("other", func() (int, bool, error) {
		update(func() {})
		return r.read()
	})
	if err != nil || got != last+1 {
		t.Errorf("answer %d, %v", got, err)
	}
	if got, _ := a.get("other", r.read); got != last+2 {
		t.Errorf("what was read beside an Update was kept: %d", got)
	}

	// One that fails has begun as well, and one that panics has ended.
	last = r.n
	failed := errors.New("failed")
	if err := store.Update(t.Context(), func(Tx) error { return failed }); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	want("after a failed Update", last+1)
	func() {
		defer func() { _ = recover() }()
		_ = store.Update(context.Background(), func(Tx) error { panic("control") })
	}()
	want("after a panic", last+2)
	want("after a panic, again", last+2)

	// What must not be kept is not.
	for i := range 3 {
		n := 0
		_, _ = a.get("fleeting", func() (int, bool, error) { n++; return 0, false, nil })
		_, _ = a.get("failing", func() (int, bool, error) { n++; return 0, true, failed })
		if n != 2 {
			t.Errorf("round %d: %d reads of 2", i, n)
		}
	}
}

// TestRecallFollowsTheBytes: a decoded value is given out for the bytes that it was decoded from, and no others.
func TestRecallFollowsTheBytes(t *testing.T) {
	x := newIndex(NewMem())
	k := key(kindToken, "id")
	for _, name := range []string{"a", "a", "b", "a"} {
		var stored []byte
		err := x.store.Update(t.Context(), func(tx Tx) error {
			return put(tx, k, Token{ID: "id", Name: name})
		})
		if err == nil {
			err = x.store.View(t.Context(), func(tx Tx) error {
				b, err := tx.Get(k)
				if err != nil {
					return err
				}
				v, err := recall[Token](x, k, b)
				if v.Name != name {
					t.Errorf("%q is stored and %q was recalled", name, v.Name)
				}
				stored = append(stored[:0], b...)
				return err
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := recall[Blob](x, k, stored); err != nil {
			t.Errorf("as another type: %v", err)
		}
		if _, err := recall[Token](x, k, stored[:len(stored)-1]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut bytes: %v", err)
		}
	}
	if held, ok := x.decoded.Get(string(k)); !ok || len(held.stored) == 0 {
		t.Error("control: nothing is kept")
	}
	if n := x.decoded.Cost(); n > maxDecoded {
		t.Errorf("%d bytes are kept", n)
	}
}
