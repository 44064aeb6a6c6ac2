package index

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"iter"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
)

// VersionList says which versions AllVersions lists.
type VersionList struct {
	Parts  []Part // a name of an earlier one hides the same name of later ones
	Prefix string // of the name, compared folded
	Order  ballast.VersionOrder
	After  []byte // as the page before answered it; nil begins
	Limit  int
	Keep   func(Version) bool
}

// maxScanned bounds what one page of a filtered list looks at: a version is one, and one more for each scannedBytes.
// maxPageBytes bounds what it holds, as stored: an answer is in memory several times over, and many may be asked for at once.
const (
	maxScanned   = 10_000
	scannedBytes = 4 << 10
	maxPageBytes = 2 << 20
)

// collector fills a page with what keep admits, and stops when the page is full or enough was looked at.
type collector struct {
	keep  func(Version) bool
	limit int
	left  int // what may still be looked at
	bytes int // of what is on the page

	page []Version
	last mark
	done bool // last is where the next page goes on
}

// mark is what a list looked at last: its place and, of a version that could be read, its label.
type mark struct {
	place   []byte
	version ballast.Version
}

// take looks at the version at a place, which is size bytes as stored. It reports false once the page is done.
func (c *collector) take(place []byte, v Version, size int) bool {
	if c.keep(v) {
		full := len(c.page) == c.limit || len(c.page) > 0 && c.bytes+size > maxPageBytes
		if c.done = full; c.done {
			return false
		}
		c.page = append(c.page, v)
		c.bytes += size
	}
	return c.pass(mark{bytes.Clone(place), v.Version}, size)
}

// pass goes by what the list does not show.
func (c *collector) pass(m mark, size int) bool {
	c.last = m
	c.left -= 1 + size/scannedBytes
	c.done = c.left <= 0
	return !c.done
}

// AllVersions lists versions of all names that keep admits, at most l.Limit. A page may be short; next is what to pass as
// After for the one that follows, nil at the end. A version keeps its place, so that one which is there all the time is
// listed once, whatever comes and goes between two pages. Errors: invalid for a place that this list has not answered.
func (x *Index) AllVersions(ctx context.Context, l VersionList) (page []Version, next []byte, err error) {
	l.Prefix = strings.ToLower(l.Prefix)
	walk := byName
	if l.Order == ballast.OrderOldest || l.Order == ballast.OrderNewest {
		walk = byTime
	}
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		c := &collector{keep: l.Keep, limit: l.Limit, left: x.scan}
		err := walk(tx, l, c, skip)
		page, next = c.page, nil
		if c.done {
			next = c.last.place
		}
		return err
	})
	return page, next, err
}

func errPlace() error {
	return ballast.Errorf(ballast.CodeInvalid, "cursor: not one that this list answered")
}

// namesAtOnce is how many names byName reads ahead.
const namesAtOnce = 100

// byName goes through the names in the order of their folds, and through each from its highest version down. A place is
// the folded name, 0x00 and the version's Order.
func byName(tx Tx, l VersionList, c *collector, skip skip) error {
	after, order, _ := strings.Cut(string(l.After), "\x00")
	if len(l.After) > 0 {
		name, err := ballast.ParseName(after)
		if err != nil || order == "" {
			return errPlace()
		}
		m, err := findName(tx, scopesWith(l.Parts, name), name)
		if ballast.CodeOf(err) != ballast.CodeNotFound && err != nil {
			if err := skip(scopedName(kindName, l.Parts[0].Scope, name), err); err != nil {
				return err
			}
		}
		if err == nil && strings.HasPrefix(after, l.Prefix) {
			if more, err := versionsOf(tx, m.Scope, after, order, c, skip); err != nil || !more {
				return err
			}
		}
	}
	for {
		names, next, err := visibleNames(tx, l.Parts, l.Prefix, after, namesAtOnce, skip)
		if err != nil {
			return err
		}
		for _, n := range names {
			if n.Name.Name.IsZero() {
				continue
			}
			if more, err := versionsOf(tx, n.Scope, n.fold, "", c, skip); err != nil || !more {
				return err
			}
		}
		if after = next; after == "" {
			return nil
		}
	}
}

// versionsOf takes the versions of a name below an Order, the highest first; "" begins at the highest. more is false
// once the page is done.
func versionsOf(tx Tx, scope ballast.Scope, fold, below string, c *collector, skip skip) (more bool, err error) {
	prefix := key(kindVersion, scope.String(), fold)
	var from []byte
	if below != "" {
		from = append(bytes.Clone(prefix), below...)
	}
	for item, err := range tx.Scan(prefix, from, true) {
		if err == nil && string(item.Key) == string(from) {
			continue
		}
		var v Version
		if err == nil {
			v, err = decode[Version](item.Key, item.Value)
		}
		if err != nil {
			if err := skip(item.Key, err); err != nil {
				return false, err
			}
			continue
		}
		place := append(key(kindVersion, fold)[1:], item.Key[len(prefix):]...)
		if !c.take(place, v, len(item.Value)) {
			return false, nil
		}
	}
	return true, nil
}

// byTimeKey leads to a version by the time of its registration. What follows the scope is its place in the orders by
// time: the instant, the folded name and the version's Order.
func byTimeKey(v Version) []byte {
	k := binary.BigEndian.AppendUint64(key(kindByTime, v.Scope.String()), uint64(v.CreatedAt.UnixMicro()))
	k = append(append(k, v.Name.Fold()...), 0x00)
	return append(k, v.Version.Order()...)
}

// timedVersion is a version that is found by its time.
type timedVersion struct {
	part  int // its number among those of the list
	place []byte
	fold  string
	order []byte
	err   error
}

// byTime goes through the versions of all scopes in the order of their registration.
func byTime(tx Tx, l VersionList, c *collector, skip skip) error {
	if _, err := timedAt(l.After); len(l.After) > 0 && err != nil {
		return errPlace()
	}
	hides := hiding(tx, l.Parts, skip)
	var unseen []byte // the place of the latest version that the caller does not see, which must not get into a cursor
	for t := range timed(tx, l) {
		if t.err != nil {
			k := append(key(kindByTime, l.Parts[t.part].Scope.String()), t.place...)
			if err := skip(k, t.err); err != nil {
				return err
			}
			continue
		}
		if c.left <= 0 && !sameInstant(unseen, t.place) {
			c.last, c.done = mark{place: behindInstant(unseen, l.Order)}, true
			return nil
		}
		if !l.Parts[t.part].has(t.fold) {
			unseen = t.place
			c.left--
			continue
		}
		hidden, err := hides(t)
		if err != nil {
			return err
		}
		if hidden || !strings.HasPrefix(t.fold, l.Prefix) {
			if !c.pass(mark{place: t.place}, 0) {
				return nil
			}
			continue
		}
		k := append(key(kindVersion, l.Parts[t.part].Scope.String(), t.fold), t.order...)
		value, err := tx.Get(k)
		var v Version
		if err == nil {
			v, err = decode[Version](k, value)
		}
		if err != nil {
			if err := skip(k, err); err != nil {
				return err
			}
			continue
		}
		if !c.take(t.place, v, len(value)) {
			return nil
		}
	}
	return nil
}

// instantBytes is what the instant takes at the beginning of a place in the orders by time.
const instantBytes = 8

func sameInstant(a, b []byte) bool {
	return len(a) >= instantBytes && len(b) >= instantBytes && bytes.Equal(a[:instantBytes], b[:instantBytes])
}

// behindInstant is a place behind all versions of one instant that names none of them.
func behindInstant(place []byte, order ballast.VersionOrder) []byte {
	beside := "\x7f" // sorts behind what names are made of
	if order == ballast.OrderNewest {
		beside = "!" // before it
	}
	return append(bytes.Clone(place[:instantBytes]), beside+"\x00\x00"...)
}

// timedAt takes a place in the orders by time apart.
func timedAt(place []byte) (t timedVersion, err error) {
	if len(place) > instantBytes {
		fold, order, ok := bytes.Cut(place[instantBytes:], []byte{0x00})
		if ok && len(fold) > 0 && len(order) > 0 {
			return timedVersion{place: place, fold: string(fold), order: order}, nil
		}
	}
	return timedVersion{place: place}, badKey(place, ErrCorrupt)
}

// timed yields the versions of every scope behind l.After, merged into one order.
func timed(tx Tx, l VersionList) iter.Seq[timedVersion] {
	reverse := l.Order == ballast.OrderNewest
	return func(yield func(timedVersion) bool) {
		var heads []timedVersion // the next one of each scope that has one
		pulls := make([]func() (timedVersion, bool), len(l.Parts))
		advance := func(part int) {
			if t, ok := pulls[part](); ok {
				heads = append(heads, t)
			}
		}
		for i := range l.Parts {
			next, stop := iter.Pull(timedIn(tx, l, i))
			defer stop()
			pulls[i] = next
			advance(i)
		}
		for len(heads) > 0 {
			at := 0
			for i := range heads {
				c := bytes.Compare(heads[i].place, heads[at].place)
				if reverse {
					c = -c
				}
				if cmp.Or(c, cmp.Compare(heads[i].part, heads[at].part)) < 0 { // at one place, the one that hides comes first
					at = i
				}
			}
			first := heads[at]
			heads = slices.Delete(heads, at, at+1)
			if !yield(first) {
				return
			}
			advance(first.part)
		}
	}
}

// timedIn yields the versions of one scope behind l.After.
func timedIn(tx Tx, l VersionList, part int) iter.Seq[timedVersion] {
	return func(yield func(timedVersion) bool) {
		prefix := key(kindByTime, l.Parts[part].Scope.String())
		var from []byte
		if len(l.After) > 0 {
			from = append(bytes.Clone(prefix), l.After...)
		}
		for item, err := range tx.Scan(prefix, from, l.Order == ballast.OrderNewest) {
			t := timedVersion{}
			if len(item.Key) > 0 {
				if string(item.Key) == string(from) {
					continue
				}
				var bad error
				if t, bad = timedAt(bytes.Clone(item.Key[len(prefix):])); err == nil {
					err = bad
				}
			}
			t.part, t.err = part, err
			if !yield(t) {
				return
			}
		}
	}
}

// hiding returns a function that tells whether an earlier part has the name of a version, and so hides it. A name that
// cannot be read hides: it may not be what its owners mean.
func hiding(tx Tx, parts []Part, skip skip) func(timedVersion) (bool, error) {
	known := make([]map[string]bool, len(parts))
	return func(t timedVersion) (bool, error) {
		for i := range t.part {
			if !parts[i].has(t.fold) {
				continue
			}
			hides, ok := known[i][t.fold]
			if !ok {
				k := key(kindName, parts[i].Scope.String(), t.fold)
				n, there, err := lookup[Name](tx, k)
				if err != nil {
					if err := skip(k, err); err != nil {
						return false, err
					}
				}
				hides = err != nil || there && n.HadReady
				if known[i] == nil {
					known[i] = map[string]bool{}
				}
				known[i][t.fold] = hides
			}
			if hides {
				return true, nil
			}
		}
		return false, nil
	}
}
