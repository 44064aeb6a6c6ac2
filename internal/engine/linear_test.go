package engine_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

const (
	historyNames = 4
	historyCalls = 6 // of each client, a push being several
)

// newLinear opens an engine whose commits are answered when they are done.
func newLinear(t *testing.T, db index.Store) (*engine.Engine, *objstoretest.Mem, engine.Options) {
	mem := objstoretest.NewMem()
	opt := options(t, store{Bucket: mem, Signer: mem}, db)
	opt.Limits.CommitWait = time.Minute
	e, err := engine.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return e, mem, opt
}

// TestLinearizable lets 16 clients at one engine, all at once: they register uploads for contended labels, commit and
// abort each other's, move aliases by compare-and-swap, and read. An order must explain all answers, in which each step
// is taken between its call and its return. Some calls are cut off, and may have taken effect or not.
func TestLinearizable(t *testing.T) {
	seen := tally{}
	t.Run("mem", func(t *testing.T) { linearizable(t, index.NewMem(), 40, seen) })
	t.Run("bolt", func(t *testing.T) {
		db, err := index.OpenBolt(filepath.Join(t.TempDir(), "index.db"), index.BoltOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		linearizable(t, db, 12, seen)
	})
	t.Logf("both together:\n%s", seen.operations())
	for op, codes := range historyAnswers() {
		for _, code := range codes {
			if seen[op][code] == 0 {
				t.Errorf("%s never answered %q", op, code)
			}
		}
		for code := range seen[op] {
			if !slices.Contains(codes, code) {
				t.Errorf("%s answered %q", op, code)
			}
		}
	}
}

func linearizable(t *testing.T, db index.Store, rounds int, seen tally) {
	seed := uint64(1)
	if os.Getenv("BALLAST_RANDOM_SEEDS") != "" {
		seed, rounds = rand.Uint64(), 10*rounds
	}
	e, mem, opt := newLinear(t, db)
	defer enginetest.Check(t, opt)
	defer e.Close()
	steps := 0
	for round := range rounds {
		h := newHistory(e, mem, round, historyNames, seed, seen)
		h.run(t, historyCalls)
		if err := h.check(); err != nil {
			t.Fatalf("seed %d, history %d: %v", seed, round, err)
		}
		for _, n := range h.names {
			steps += len(n.calls)
		}
	}
	t.Logf("%d histories of %d names by %d clients, %d steps", rounds, historyNames, historyClients, steps)
}

// historyAnswers are the codes that each call must have answered.
func historyAnswers() map[string][]ballast.Code {
	return map[string][]ballast.Code{
		"create":       {"", ballast.CodeConflict, ballast.CodeAlreadyExists},
		"commit":       {"", ballast.CodeConflict, ballast.CodeLeaseLost, cutOff},
		"abort":        {"", ballast.CodeConflict, cutOff},
		"show":         {""},
		"read":         {"", ballast.CodeNotFound},
		"set alias":    {"", ballast.CodeNotFound, ballast.CodePrecondition, cutOff},
		"delete alias": {"", ballast.CodeNotFound, ballast.CodePrecondition},
		"aliases":      {"", ballast.CodeNotFound},
	}
}

// tries is how many histories a broken engine is given. Nearly all are caught in the first.
const tries = 30

// TestLinearizableCatches breaks an engine in one way each, and wants a history that no order explains.
func TestLinearizableCatches(t *testing.T) {
	for _, broken := range brokenEngines() {
		t.Run(broken.rule, func(t *testing.T) {
			e, mem, _ := newLinear(t, looseStore{index.NewMem()})
			defer e.Close()
			for round := range tries {
				b := &breakage{}
				b.h = newHistory(nil, mem, round, historyNames, 1, tally{})
				b.h.registry = broken.make(e, b)
				b.h.run(t, historyCalls)
				b.flushNow()
				err := b.h.check()
				switch {
				case errors.Is(err, errUndecided):
					t.Log(err) // which catches nothing
				case err != nil:
					t.Logf("caught in history %d: %.200s", round+1, err.Error())
					return
				}
			}
			t.Errorf("not caught in %d histories", tries)
		})
	}
}
