package indextest

import (
	"context"
	"errors"
	"fmt"

	"github.com/ballast-registry/ballast/internal/index"
)

var scanChecks = []Check{
	{"scan", checkScan},
	{"scan many", checkScanMany},
	{"scan stops", checkScanStops},
	{"write while scanning", checkWriteWhileScanning},
	{"scan deleted pages", checkScanDeleted},
}

// scanRows are run over scanItems, once committed and once as the transaction's own writes.
var (
	scanItems = []string{"a=1", "b=2", "b\x00=3", "ba=4", "bb=5", "b\xff=6", "b\xff\xff=7", "c=8", "\xff=9", "\xff\xff=10", "\xff\xffz=11"}
	scanRows  = []struct {
		prefix  string
		from    []byte
		reverse bool
		want    []string
	}{
		{"", nil, false, scanItems},
		{"", nil, true, reversed(scanItems)},
		{"b", nil, false, scanItems[1:7]},
		{"b", nil, true, reversed(scanItems[1:7])},
		{"b", []byte("ba"), false, scanItems[3:7]},
		{"b", []byte("ba"), true, reversed(scanItems[1:4])},
		{"b", []byte("b9"), false, scanItems[3:7]},          // between two keys
		{"b", []byte("b9"), true, reversed(scanItems[1:3])}, //
		{"b", []byte("a"), false, scanItems[1:7]},           // before the prefix
		{"b", []byte("a"), true, nil},                       //
		{"b", []byte("c"), false, nil},                      // behind the prefix
		{"b", []byte("c"), true, reversed(scanItems[1:7])},  //
		{"b", []byte{}, false, scanItems[1:7]},              // an empty from is no nil from
		{"b", []byte{}, true, nil},                          //
		{"b", []byte("b"), true, scanItems[1:2]},            // from is the prefix itself
		{"b\xff", nil, false, scanItems[5:7]},               // the prefix's successor is "c"
		{"b\xff", nil, true, reversed(scanItems[5:7])},      //
		{"\xff", nil, false, scanItems[8:]},                 // the prefix has no successor
		{"\xff", nil, true, reversed(scanItems[8:])},        //
		{"\xff\xff", nil, true, reversed(scanItems[9:])},    //
		{"\xff", []byte("\xff\xff"), false, scanItems[9:]},  //
		{"\xff", []byte("\xff\xff"), true, reversed(scanItems[8:10])},
		{"", []byte("c"), false, scanItems[7:]},
		{"", []byte("c"), true, reversed(scanItems[:8])},
		{"", []byte("\xff\xff\xff"), false, nil},
		{"bc", nil, false, nil},
		{"bc", nil, true, nil},
		{"d", nil, false, nil},
		{"ba", []byte("ba\x00"), false, nil},
		{"ba", []byte("ba\x00"), true, scanItems[3:4]},
	}
)

func reversed(items []string) []string {
	var r []string
	for i := range items {
		r = append(r, items[len(items)-1-i])
	}
	return r
}

func checkScan(ctx context.Context, s index.Store) error {
	rows := func(tx index.Tx) error {
		var errs []error
		for _, row := range scanRows {
			got, err := scan(tx, row.prefix, row.from, row.reverse)
			what := fmt.Sprintf("scan of prefix %q from %q, reverse %t", row.prefix, row.from, row.reverse)
			errs = append(errs, err, wrong(what, got, row.want))
		}
		return errors.Join(errs...)
	}
	// overlaid runs the rows over the transaction's own writes of every step-th item, then throws these away.
	overlaid := func(step int) (bad error) {
		err := s.Update(ctx, func(tx index.Tx) error {
			for i := 0; i < len(scanItems); i += step {
				if err := putTx(tx, scanItems[i]); err != nil {
					return err
				}
			}
			bad = rows(tx)
			return errOwn
		})
		return errors.Join(bad, wrongError("a failed Update", err, errOwn))
	}
	if err := overlaid(1); err != nil {
		return fmt.Errorf("own writes: %w", err)
	}
	for i, item := range scanItems {
		if i%2 == 0 {
			item += " to be replaced"
		}
		if err := put(ctx, s, item); err != nil {
			return err
		}
	}
	if err := overlaid(2); err != nil {
		return fmt.Errorf("own writes between and in place of others: %w", err)
	}
	return errors.Join(put(ctx, s, scanItems...), s.View(ctx, rows), s.Update(ctx, rows))
}

// manyItems is more than a page of any tree holds.
const manyItems = 5000

func putMany(ctx context.Context, s index.Store) error {
	for start := 0; start < manyItems; start += index.MaxTouchedKeys {
		err := s.Update(ctx, func(tx index.Tx) error {
			for i := start; i < start+index.MaxTouchedKeys; i++ {
				if err := putTx(tx, fmt.Sprintf("%06d=%d", i, i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func checkScanMany(ctx context.Context, s index.Store) error {
	if err := putMany(ctx, s); err != nil {
		return err
	}
	return s.View(ctx, func(tx index.Tx) error {
		for _, from := range []int{0, 1, 2500, manyItems - 1} {
			key := fmt.Appendf(nil, "%06d", from)
			up, errUp := scan(tx, "0", key, false)
			down, errDown := scan(tx, "0", key, true)
			if err := errors.Join(errUp, errDown, wrong("items upwards", len(up), manyItems-from),
				wrong("items downwards", len(down), from+1),
				wrong("first upwards", up[0], down[0])); err != nil {
				return err
			}
		}
		return nil
	})
}

func checkScanStops(ctx context.Context, s index.Store) error {
	if err := put(ctx, s, "a=1", "b=2", "c=3"); err != nil {
		return err
	}
	return s.Update(ctx, func(tx index.Tx) error {
		if err := putTx(tx, "b=9", "bb=9"); err != nil {
			return err
		}
		for stop := 1; stop <= 4; stop++ {
			n := 0
			for range tx.Scan(nil, nil, false) {
				if n++; n == stop {
					break
				}
			}
			if err := wrong("items before the break", n, stop); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkWriteWhileScanning deletes what lies behind and ahead, changes what is to come and adds between.
func checkWriteWhileScanning(ctx context.Context, s index.Store) error {
	want := []string{"a=1", "b=2", "c=3", "d=4"}
	for _, reverse := range []bool{false, true} {
		err := s.Update(ctx, func(tx index.Tx) error { return putTx(tx, want...) })
		if err != nil {
			return err
		}
		err = s.Update(ctx, func(tx index.Tx) error {
			if err := errors.Join(tx.Delete([]byte("d")), putTx(tx, "d=4")); err != nil {
				return err
			}
			var got []string
			for item, err := range tx.Scan(nil, nil, reverse) {
				got = append(got, fmt.Sprintf("%s=%s", item.Key, item.Value))
				if err := errors.Join(err, tx.Delete(item.Key), tx.Delete([]byte("b")), putTx(tx, "c=9", "d=9", "bb=9", "0=9", "z=9")); err != nil {
					return err
				}
			}
			if reverse {
				return wrong("scan in reverse", got, reversed(want))
			}
			return wrong("scan", got, want)
		})
		if err != nil {
			return err
		}
		after := []string{"0=9", "bb=9", "c=9", "d=9", "z=9"}
		if err := errors.Join(expect(ctx, s, after...), clearAll(ctx, s)); err != nil {
			return err
		}
	}
	return nil
}

// checkScanDeleted scans over a long stretch that the same transaction deleted.
func checkScanDeleted(ctx context.Context, s index.Store) error {
	if err := putMany(ctx, s); err != nil {
		return err
	}
	return s.Update(ctx, func(tx index.Tx) error {
		for i := 1000; i < 2000; i++ {
			if err := tx.Delete(fmt.Appendf(nil, "%06d", i)); err != nil {
				return err
			}
		}
		up, errUp := scan(tx, "", []byte("001500"), false)
		down, errDown := scan(tx, "", []byte("001500"), true)
		return errors.Join(errUp, errDown, wrong("items upwards", len(up), manyItems-2000), wrong("items downwards", len(down), 1000))
	})
}

// clearAll empties s, MaxTouchedKeys at a time.
func clearAll(ctx context.Context, s index.Store) error {
	for more := true; more; {
		err := s.Update(ctx, func(tx index.Tx) error {
			more = false
			n := 0
			for item, err := range tx.Scan(nil, nil, false) {
				if err == nil {
					err = tx.Delete(item.Key)
				}
				if err != nil {
					return err
				}
				if n++; n == index.MaxTouchedKeys {
					more = true
					break
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
