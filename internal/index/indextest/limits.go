package indextest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/ballast-registry/ballast/internal/index"
)

var limitChecks = []Check{
	{"key length", checkKeyLength},
	{"value length", checkValueLength},
	{"touched keys", checkTouchedKeys},
	{"touched bytes", checkTouchedBytes},
	{"limit ignored by fn", checkLimitIgnored},
}

func checkKeyLength(ctx context.Context, s index.Store) error {
	longest, empty := bytes.Repeat([]byte("k"), index.MaxKeyBytes), []byte{}
	over := append(bytes.Clone(longest), 'k')
	err := s.Update(ctx, func(tx index.Tx) error { return tx.Put(longest, nil) })
	for _, key := range [][]byte{empty, over} {
		what := fmt.Sprintf("a key of %d bytes: ", len(key))
		err = errors.Join(err,
			refused(ctx, s, what+"Put", func(tx index.Tx) error { return tx.Put(key, nil) }),
			refused(ctx, s, what+"Delete", func(tx index.Tx) error { return tx.Delete(key) }),
			refused(ctx, s, what+"Get", func(tx index.Tx) error { _, err := tx.Get(key); return err }))
	}
	return errors.Join(err, expect(ctx, s, string(longest)+"="))
}

// refused runs fn in an Update and wants ErrTooLarge.
func refused(ctx context.Context, s index.Store, what string, fn func(index.Tx) error) error {
	return wrongError(what, s.Update(ctx, fn), index.ErrTooLarge)
}

func checkValueLength(ctx context.Context, s index.Store) error {
	value := bytes.Repeat([]byte("v"), index.MaxValueBytes+1)
	return errors.Join(
		s.Update(ctx, func(tx index.Tx) error { return tx.Put([]byte("a"), value[1:]) }),
		refused(ctx, s, "a value one byte too long", func(tx index.Tx) error { return tx.Put([]byte("b"), value) }),
		expect(ctx, s, "a="+string(value[1:])))
}

func checkTouchedKeys(ctx context.Context, s index.Store) error {
	touch := func(n int) func(index.Tx) error {
		return func(tx index.Tx) error {
			for i := range n {
				key := fmt.Appendf(nil, "%06d", i)
				if i%2 == 0 { // an absent key counts too, the same key twice does not
					if err := errors.Join(tx.Delete(key), tx.Delete(key)); err != nil {
						return err
					}
				} else if err := tx.Put(key, nil); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if err := refused(ctx, s, "one key too many", touch(index.MaxTouchedKeys+1)); err != nil {
		return err
	}
	return errors.Join(expect(ctx, s), s.Update(ctx, touch(index.MaxTouchedKeys)))
}

func checkTouchedBytes(ctx context.Context, s index.Store) error {
	const keyBytes, items = 4, 32
	size := index.MaxTouchedBytes/items - keyBytes
	fill := func(extra string) func(index.Tx) error {
		return func(tx index.Tx) error {
			for i := range items {
				if err := tx.Put(fmt.Appendf(nil, "%0*d", keyBytes, i), make([]byte, size)); err != nil {
					return err
				}
			}
			if extra == "" {
				return nil
			}
			return tx.Put([]byte(extra), nil)
		}
	}
	if err := refused(ctx, s, "one byte too many", fill("x")); err != nil {
		return err
	}
	return errors.Join(expect(ctx, s), s.Update(ctx, fill("")))
}

func checkLimitIgnored(ctx context.Context, s index.Store) error {
	err := s.Update(ctx, func(tx index.Tx) error {
		_ = putTx(tx, "a=1")
		_ = tx.Put([]byte("b"), make([]byte, index.MaxValueBytes+1))
		return nil
	})
	return errors.Join(wrongError("an Update whose fn ignores a refused Put", err, index.ErrTooLarge), expect(ctx, s))
}
