// Package indextest holds every implementation of [index.Store] to the Store's contract.
//
// Each rule is a [Check], which reports what is wrong as an error: so a test can also show that a check catches a store
// that breaks its rule.
package indextest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/internal/index"
)

// Check is one rule of the contract.
type Check struct {
	Name string
	// Run returns nil if s, which is empty and the check's own, keeps the rule. It may leave s closed.
	Run func(ctx context.Context, s index.Store) error
}

// Checks returns the rules. Run adds durability, which needs a store to be opened again, and random programs.
func Checks() []Check {
	return slices.Concat(basicChecks, scanChecks, limitChecks, contextChecks, concurrentChecks)
}

// Run holds the stores that open returns to the contract. reopen closes a store and opens what it left again; it is nil
// for a store that leaves nothing.
func Run(t *testing.T, open func(t *testing.T) index.Store, reopen func(t *testing.T, s index.Store) index.Store) {
	for _, c := range Checks() {
		t.Run(c.Name, func(t *testing.T) {
			s := open(t)
			if err := c.Run(t.Context(), s); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil && !errors.Is(err, index.ErrClosed) {
				t.Error(err)
			}
		})
	}
	t.Run("model", func(t *testing.T) { checkModel(t, open(t)) })
	if reopen != nil {
		t.Run("durable", func(t *testing.T) {
			must(t, checkDurable(t.Context(), open(t), func(s index.Store) index.Store { return reopen(t, s) }))
		})
	}
}

// checkDurable opens a store again after it was filled, and after that was added to.
func checkDurable(ctx context.Context, s index.Store, reopen func(index.Store) index.Store) error {
	want := []string{"a=1", "b=", "c=3"}
	err := errors.Join(put(ctx, s, want...), put(ctx, s, "d=4"),
		s.Update(ctx, func(tx index.Tx) error { return tx.Delete([]byte("d")) }))
	s = reopen(s)
	err = errors.Join(err, expect(ctx, s, want...), put(ctx, s, "e=5"))
	s = reopen(s)
	return errors.Join(err, expect(ctx, s, append(want, "e=5")...), s.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is how long a check waits for what must happen by itself. Only a store that fails uses it up.
const patience = 10 * time.Second

// within calls fn and waits for it.
func within(what string, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	return receive(what, done)
}

func receive(what string, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return fmt.Errorf("%s: blocked", what)
	}
}

// wrong reports a difference of a value, if there is one.
func wrong(what string, got, want any) error {
	if fmt.Sprint(got) == fmt.Sprint(want) {
		return nil
	}
	switch got.(type) {
	case string, []string:
		return fmt.Errorf("%s: got %.80q, want %.80q", what, got, want)
	}
	return fmt.Errorf("%s: got %v, want %v", what, got, want)
}

// wrongError reports that err is not want. A nil want stands for no error.
func wrongError(what string, err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("%s: got error %v, want %v", what, err, want)
}

// put writes items, given as key=value, in one Update.
func put(ctx context.Context, s index.Store, items ...string) error {
	return s.Update(ctx, func(tx index.Tx) error { return putTx(tx, items...) })
}

func putTx(tx index.Tx, items ...string) error {
	for _, item := range items {
		key, value, _ := bytes.Cut([]byte(item), []byte("="))
		if err := tx.Put(key, value); err != nil {
			return err
		}
	}
	return nil
}

// expect compares all that s holds with items, given as key=value.
func expect(ctx context.Context, s index.Store, items ...string) error {
	return s.View(ctx, func(tx index.Tx) error {
		got, err := scan(tx, "", nil, false)
		if err != nil {
			return err
		}
		return wrong("content", got, items)
	})
}

// scan collects what Scan yields, as key=value. from may be nil.
func scan(tx index.Tx, prefix string, from []byte, reverse bool) ([]string, error) {
	var items []string
	for item, err := range tx.Scan([]byte(prefix), from, reverse) {
		if err != nil {
			return items, err
		}
		items = append(items, fmt.Sprintf("%s=%s", item.Key, item.Value))
	}
	return items, nil
}
