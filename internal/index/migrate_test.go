package index_test

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/internal/index"
)

// TestMigrations: each runs once, in order, and is in the ledger; a ledger of a newer program, or of another history, is
// refused and left as it is.
func TestMigrations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	open := func() (*index.Index, error) {
		db, err := index.OpenBolt(path, index.BoltOptions{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		x, err := index.Open(t.Context(), db, time.Now)
		if err != nil {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return x, err
	}
	first := must(open())
	ledger, owner := must(first.Migrations(t.Context())), must(first.Owner(t.Context()))
	if len(ledger) == 0 || !slices.IsSorted(ledger) || owner.IndexID == "" {
		t.Fatalf("ledger %q, owner %+v", ledger, owner)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again := must(open())
	if l, o := must(again.Migrations(t.Context())), must(again.Owner(t.Context())); !slices.Equal(l, ledger) || o != owner {
		t.Errorf("opened again: ledger %q, owner %+v", l, o)
	}
	for _, other := range [][]string{append(slices.Clone(ledger), "9999-of-tomorrow"), {"0001-of-another-history"}} {
		if err := again.SetMigrations(t.Context(), other...); err != nil {
			t.Fatal(err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := open(); !errors.Is(err, index.ErrNewer) {
			t.Errorf("ledger %q: %v", other, err)
		}
		db, err := index.OpenBolt(path, index.BoltOptions{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		again = index.Bare(db)
		if l := must(again.Migrations(t.Context())); !slices.Equal(l, other) {
			t.Errorf("the ledger %q became %q", other, l)
		}
	}
	if err := errors.Join(again.SetMigrations(t.Context(), ledger...), again.Close()); err != nil {
		t.Fatal(err)
	}
	back := must(open()) // the control: with its own ledger it opens
	if err := back.Close(); err != nil {
		t.Fatal(err)
	}
}
