package index_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/ballast-registry/ballast/internal/index"
)

// busyUsage is an index with a scope that uses something of everything.
func busyUsage(w *world) {
	for _, target := range []string{"acme::m:1", "acme::m:2", "acme::n:1"} {
		w.release(w.get(w.publish(target, target).Upload))
	}
	u, err := w.sized("acme::open:1", 100)
	w.ok(err)
	w.ask(u, putWant("sent"), putWant("and more"))
	w.release(w.get(w.publish("other::m:1", "theirs").Upload))
}

// TestUsageIsCountedInStretches: however few items a snapshot gives, the count is the same.
func TestUsageIsCountedInStretches(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		busyUsage(w)
		want := w.used(acme)
		if want.Versions != 3 || want.Uploads != 1 || want.Bytes == 0 || want.UploadBytes == 0 || want.ReservedBytes == 0 {
			t.Fatalf("acme uses %+v", want)
		}
		for _, limit := range []int{1, 2, 3, 7, 1000} {
			kept, counted, err := w.CountUsage(w.ctx, acme, limit)
			w.ok(err)
			if kept != want || counted != want {
				t.Errorf("%d at once: %+v by the counter, %+v counted", limit, kept, counted)
			}
		}
	})
}

// TestAWrongCounterStaysWrongByTheSame: what happens between the count and the correction is counted as ever, so the
// correction is still right.
func TestAWrongCounterStaysWrongByTheSame(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		busyUsage(w)
		usage := []byte("Bacme\x00")
		w.ok(w.Rewrite(w.ctx, usage, `"versions":3`, `"versions":50`))
		w.ok(w.Rewrite(w.ctx, usage, `"uploads":1`, `"uploads":0`))
		kept, counted, err := w.CountUsage(w.ctx, acme, 1000)
		w.ok(err)
		if kept == counted {
			t.Fatalf("nothing is wrong with %+v", kept)
		}
		w.release(w.get(w.publish("acme::m:3", "meanwhile").Upload))
		w.ask(w.open("acme::more:1"), putWant("on its way"))
		w.ok(w.CorrectUsage(w.ctx, acme, kept, counted))
		if u := w.used(acme); u.Versions != 4 || u.Uploads != 2 {
			t.Errorf("acme uses %+v", u)
		}
	})
}

// meter is a store that sees how many items a transaction scans, and lets something come between transactions.
type meter struct {
	index.Store
	most    map[bool]int // items of one transaction, of an Update or a View
	between func()
}

func (m *meter) count(run func(context.Context, func(index.Tx) error) error, update bool) func(context.Context, func(index.Tx) error) error {
	return func(ctx context.Context, fn func(index.Tx) error) error {
		tx := &meteredTx{}
		err := run(ctx, func(under index.Tx) error {
			*tx = meteredTx{Tx: under}
			return fn(tx)
		})
		if m.most != nil {
			m.most[update] = max(m.most[update], tx.items)
		}
		if m.between != nil {
			between := m.between
			m.between = nil
			between()
		}
		return err
	}
}

func (m *meter) View(ctx context.Context, fn func(index.Tx) error) error {
	return m.count(m.Store.View, false)(ctx, fn)
}

func (m *meter) Update(ctx context.Context, fn func(index.Tx) error) error {
	return m.count(m.Store.Update, true)(ctx, fn)
}

type meteredTx struct {
	index.Tx
	items int
}

func (tx *meteredTx) Scan(prefix, from []byte, reverse bool) iter.Seq2[index.Item, error] {
	return func(yield func(index.Item, error) bool) {
		for item, err := range tx.Tx.Scan(prefix, from, reverse) {
			if tx.items++; !yield(item, err) {
				return
			}
		}
	}
}

// TestCountingHoldsUpNobody: a count reads few items in one snapshot, and a correction reads none.
func TestCountingHoldsUpNobody(t *testing.T) {
	m := &meter{Store: index.NewMem()}
	w := newWorld(t, m)
	busyUsage(w)
	w.ok(w.Rewrite(w.ctx, []byte("Bacme\x00"), `"versions":3`, `"versions":50`))
	m.most = map[bool]int{}
	kept, counted, err := w.CountUsage(w.ctx, acme, 2)
	w.ok(err)
	w.ok(w.CorrectUsage(w.ctx, acme, kept, counted))
	// Beside two items, and one that tells that there are more, it scans what pins and references the two.
	if m.most[false] > 3+2*2 || m.most[true] != 0 {
		t.Errorf("a count scans %d items at once, a correction %d", m.most[false], m.most[true])
	}
	w.used(acme)
}

// TestCountMeetsChanges: a count that takes several snapshots is none when something is changed between them; one that takes
// one snapshot does not mind.
func TestCountMeetsChanges(t *testing.T) {
	m := &meter{Store: index.NewMem()}
	w := newWorld(t, m)
	busyUsage(w)
	change := func() { w.open("other::open:1") }
	m.between = change
	if _, _, err := w.CountUsage(w.ctx, acme, 2); !errors.Is(err, index.ErrMoved) {
		t.Errorf("a count over a change is %v", err)
	}
	m.between = func() { w.abort(w.open("other::open:2")) }
	kept, counted, err := w.CountUsage(w.ctx, acme, 1000)
	w.ok(err)
	if kept != counted {
		t.Errorf("%+v by the counter, %+v counted", kept, counted)
	}
}
