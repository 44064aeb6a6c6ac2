package indextest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast/internal/index"
)

// modelOp is one call of a random transaction.
type modelOp struct {
	kind    string // put, delete, get, scan
	key     string // of a scan: its prefix
	value   string // of a scan: its from
	from    bool   // of a scan: from is given
	reverse bool
}

// modelTx is a random transaction: an Update that fails in the end if fail is set.
type modelTx struct {
	ops  []modelOp
	fail bool
}

// modelProgram generates transactions over few keys, so that they meet.
func modelProgram() *rapid.Generator[[]modelTx] {
	text := func(least int) *rapid.Generator[string] {
		return rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0x00, 'a', 'b', 0xFE, 0xFF}), least, 3),
			func(b []byte) string { return string(b) })
	}
	op := rapid.Custom(func(t *rapid.T) modelOp {
		op := modelOp{kind: rapid.SampledFrom([]string{"put", "put", "delete", "get", "scan", "scan"}).Draw(t, "kind")}
		if op.kind != "scan" {
			op.key, op.value = text(1).Draw(t, "key"), text(0).Draw(t, "value")
			return op
		}
		op.key, op.value = text(0).Draw(t, "prefix"), text(0).Draw(t, "from")
		op.from, op.reverse = rapid.Bool().Draw(t, "with from"), rapid.Bool().Draw(t, "reverse")
		return op
	})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) modelTx {
		return modelTx{rapid.SliceOfN(op, 1, 12).Draw(t, "ops"), rapid.IntRange(0, 4).Draw(t, "fail") == 0}
	}), 1, 6)
}

// checkModel runs random programs on s and on a plain map.
func checkModel(t *testing.T, s index.Store) {
	rapid.Check(t, func(r *rapid.T) {
		if err := modelRun(t.Context(), s, modelProgram().Draw(r, "program")); err != nil {
			r.Fatal(err)
		}
	})
	must(t, s.Close())
}

func modelRun(ctx context.Context, s index.Store, program []modelTx) error {
	if err := clearAll(ctx, s); err != nil {
		return err
	}
	committed := map[string]string{}
	for _, mtx := range program {
		var state map[string]string
		err := s.Update(ctx, func(tx index.Tx) error {
			state = maps.Clone(committed)
			for _, op := range mtx.ops {
				if err := op.run(tx, state); err != nil {
					return err
				}
			}
			if mtx.fail {
				return errOwn
			}
			return nil
		})
		if mtx.fail {
			state, err = committed, wrongError("a failed Update", err, errOwn)
		}
		if err != nil {
			return err
		}
		committed = state
		if err := expect(ctx, s, modelScan(committed, modelOp{})...); err != nil {
			return err
		}
	}
	return nil
}

// run does op on both and compares the answers.
func (op modelOp) run(tx index.Tx, state map[string]string) error {
	switch op.kind {
	case "put":
		state[op.key] = op.value
		return tx.Put([]byte(op.key), []byte(op.value))
	case "delete":
		delete(state, op.key)
		return tx.Delete([]byte(op.key))
	case "get":
		want, there := state[op.key]
		if !there {
			_, err := tx.Get([]byte(op.key))
			return wrongError(fmt.Sprintf("get %q", op.key), err, index.ErrNotFound)
		}
		return wantGet(tx, op.key, want)
	}
	var from []byte
	if op.from {
		from = []byte(op.value)
	}
	got, err := scan(tx, op.key, from, op.reverse)
	if err != nil {
		return err
	}
	return wrong(fmt.Sprintf("%+v", op), got, modelScan(state, op))
}

// modelScan says, in the words of the contract, what a Scan yields.
func modelScan(state map[string]string, op modelOp) (items []string) {
	keys := slices.Sorted(maps.Keys(state))
	if op.reverse {
		slices.Reverse(keys)
	}
	for _, key := range keys {
		if op.covers(key) {
			items = append(items, key+"="+state[key])
		}
	}
	return items
}

// covers reports whether a scan yields key, if it is there.
func (op modelOp) covers(key string) bool {
	order := strings.Compare(key, op.value)
	if op.reverse {
		order = -order
	}
	return strings.HasPrefix(key, op.key) && (!op.from || order >= 0)
}
