package index

import (
	"bytes"
	"iter"
	"slices"
)

// txRange is what a Scan covers: the keys lo ≤ key < hi, upwards or downwards. A nil hi has no end.
type txRange struct {
	lo, hi  []byte
	reverse bool
}

// newTxRange copies what it keeps.
func newTxRange(prefix, from []byte, reverse bool) txRange {
	r := txRange{lo: bytes.Clone(prefix), hi: txPrefixEnd(prefix), reverse: reverse}
	switch {
	case from == nil:
	case !reverse && bytes.Compare(from, r.lo) > 0:
		r.lo = bytes.Clone(from)
	case reverse:
		// The least key above from, because hi is left out.
		if after := append(bytes.Clone(from), 0); r.hi == nil || bytes.Compare(after, r.hi) < 0 {
			r.hi = after
		}
	}
	return r
}

// txPrefixEnd returns the least key above all that begin with prefix, or nil if there is none.
func txPrefixEnd(prefix []byte) []byte {
	for i, b := range slices.Backward(prefix) {
		if b < 0xFF {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}

func (r txRange) holds(key []byte) bool {
	return bytes.Compare(key, r.lo) >= 0 && (r.hi == nil || bytes.Compare(key, r.hi) < 0)
}

// compare orders keys in the range's direction.
func (r txRange) compare(a, b []byte) int {
	if r.reverse {
		a, b = b, a
	}
	return bytes.Compare(a, b)
}

// of yields the items of tree that lie in the range, in its direction.
func (r txRange) of(tree *txTree) iter.Seq[txItem] {
	if !r.reverse {
		return func(yield func(txItem) bool) {
			tree.AscendGreaterOrEqual(txItem{key: r.lo}, func(item txItem) bool { return r.holds(item.key) && yield(item) })
		}
	}
	return func(yield func(txItem) bool) {
		down := func(item txItem) bool {
			if bytes.Equal(item.key, r.hi) { // the tree has no descent that leaves its start out
				return true
			}
			return r.holds(item.key) && yield(item)
		}
		if r.hi == nil {
			tree.Descend(down)
			return
		}
		tree.DescendLessOrEqual(txItem{key: r.hi}, down)
	}
}
