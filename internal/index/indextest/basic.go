package indextest

import (
	"context"
	"errors"
	"fmt"

	"github.com/ballast-registry/ballast/internal/index"
)

var basicChecks = []Check{
	{"get put delete", checkCRUD},
	{"empty value", checkEmptyValue},
	{"arguments are copied", checkCopies},
	{"reads its writes", checkReadsItsWrites},
	{"rollback", checkRollback},
	{"read only", checkReadOnly},
	{"panic", checkPanic},
	{"closed", checkClosed},
	{"transaction over", checkOver},
}

var errOwn = errors.New("an error of fn's own")

func checkCRUD(ctx context.Context, s index.Store) error {
	return errors.Join(
		put(ctx, s, "b=1", "a=2", "b=3"),
		expect(ctx, s, "a=2", "b=3"),
		s.View(ctx, func(tx index.Tx) error {
			_, err := tx.Get([]byte("c"))
			return errors.Join(wantGet(tx, "b", "3"), wrongError("an absent key", err, index.ErrNotFound))
		}),
		s.Update(ctx, func(tx index.Tx) error {
			return errors.Join(tx.Delete([]byte("a")), tx.Delete([]byte("never there")))
		}),
		expect(ctx, s, "b=3"),
	)
}

func wantGet(tx index.Tx, key, want string) error {
	got, err := tx.Get([]byte(key))
	if err != nil {
		return fmt.Errorf("get %q: %w", key, err)
	}
	return wrong("value of "+key, string(got), want)
}

func checkEmptyValue(ctx context.Context, s index.Store) error {
	has := func(tx index.Tx) error { return errors.Join(wantGet(tx, "nil", ""), wantGet(tx, "empty", "")) }
	return errors.Join(
		s.Update(ctx, func(tx index.Tx) error {
			return errors.Join(tx.Put([]byte("nil"), nil), tx.Put([]byte("empty"), []byte{}), has(tx))
		}),
		s.View(ctx, has),
		expect(ctx, s, "empty=", "nil="),
	)
}

func checkCopies(ctx context.Context, s index.Store) error {
	err := s.Update(ctx, func(tx index.Tx) error {
		key, value := []byte("key"), []byte("value")
		err := tx.Put(key, value)
		key[0], value[0] = 'X', 'X'
		return errors.Join(err, wantGet(tx, "key", "value"))
	})
	return errors.Join(err, expect(ctx, s, "key=value"))
}

func checkReadsItsWrites(ctx context.Context, s index.Store) error {
	if err := put(ctx, s, "a=old", "b=old", "d=old"); err != nil {
		return err
	}
	err := s.Update(ctx, func(tx index.Tx) error {
		if err := errors.Join(putTx(tx, "a=new", "c=new"), tx.Delete([]byte("b"))); err != nil {
			return err
		}
		_, errB := tx.Get([]byte("b"))
		up, err := scan(tx, "", nil, false)
		down, errDown := scan(tx, "", nil, true)
		return errors.Join(err, errDown,
			wantGet(tx, "a", "new"), wantGet(tx, "c", "new"), wantGet(tx, "d", "old"),
			wrongError("own delete", errB, index.ErrNotFound),
			wrong("scan", up, []string{"a=new", "c=new", "d=old"}),
			wrong("scan in reverse", down, []string{"d=old", "c=new", "a=new"}))
	})
	return errors.Join(err, expect(ctx, s, "a=new", "c=new", "d=old"))
}

func checkRollback(ctx context.Context, s index.Store) error {
	if err := put(ctx, s, "a=1", "b=2"); err != nil {
		return err
	}
	err := s.Update(ctx, func(tx index.Tx) error {
		return errors.Join(putTx(tx, "a=9", "c=9"), tx.Delete([]byte("b")), errOwn)
	})
	return errors.Join(wrongError("a failed Update", err, errOwn), expect(ctx, s, "a=1", "b=2"),
		wrongError("a failed View", s.View(ctx, func(index.Tx) error { return errOwn }), errOwn))
}

func checkReadOnly(ctx context.Context, s index.Store) error {
	var bad error
	_ = s.View(ctx, func(tx index.Tx) error { // what it returns when fn ignores an error is not said
		bad = errors.Join(
			wrongError("Put in a View", tx.Put([]byte("a"), nil), index.ErrReadOnly),
			wrongError("Delete in a View", tx.Delete([]byte("a")), index.ErrReadOnly))
		return nil
	})
	return errors.Join(bad, expect(ctx, s))
}

// checkPanic also stands for t.FailNow in a test's fn, which ends the goroutine the same way.
func checkPanic(ctx context.Context, s index.Store) error {
	panicking := func(run func(context.Context, func(index.Tx) error) error) (reason any) {
		defer func() { reason = recover() }()
		_ = run(ctx, func(tx index.Tx) error {
			_ = tx.Put([]byte("a"), nil)
			panic("fn's own")
		})
		return nil
	}
	return errors.Join(
		wrong("panic in an Update", panicking(s.Update), "fn's own"),
		wrong("panic in a View", panicking(s.View), "fn's own"),
		within("Update after a panic", func() error { return put(ctx, s, "b=1") }),
		expect(ctx, s, "b=1"))
}

func checkClosed(ctx context.Context, s index.Store) error {
	if err := errors.Join(put(ctx, s, "a=1"), s.Close()); err != nil {
		return err
	}
	ran := false
	fn := func(index.Tx) error { ran = true; return nil }
	return errors.Join(
		wrongError("View after Close", s.View(ctx, fn), index.ErrClosed),
		wrongError("Update after Close", s.Update(ctx, fn), index.ErrClosed),
		wrongError("Close after Close", s.Close(), index.ErrClosed),
		wrong("fn ran after Close", ran, false))
}

// checkOver keeps a Tx beyond its fn, which is a mistake that must show.
func checkOver(ctx context.Context, s index.Store) error {
	var kept index.Tx
	if err := s.Update(ctx, func(tx index.Tx) error { kept = tx; return tx.Put([]byte("a"), nil) }); err != nil {
		return err
	}
	_, errGet := kept.Get([]byte("a"))
	_, errScan := scan(kept, "", nil, false)
	for what, err := range map[string]error{
		"Get": errGet, "Scan": errScan, "Put": kept.Put([]byte("b"), nil), "Delete": kept.Delete([]byte("a")),
	} {
		if err == nil || errors.Is(err, index.ErrNotFound) {
			return fmt.Errorf("%s after fn returned: got %v, want an error", what, err)
		}
	}
	return expect(ctx, s, "a=")
}
