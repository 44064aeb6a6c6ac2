package index_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

func everything(index.Event) bool { return true }

// events reads all pages behind a cursor.
func (w *world) events(after index.EventCursor, limit int, see func(index.Event) bool) (all []index.Event, end index.EventCursor) {
	w.t.Helper()
	for end = after; ; {
		page, next, err := w.Events(w.ctx, end, limit, see)
		w.ok(err)
		if all = append(all, page...); next == end {
			return all, end
		}
		end = next
	}
}

func shown(all []index.Event) (lines []string) {
	for _, e := range all {
		lines = append(lines, fmt.Sprintf("%s %s %s:%s %s %d→%d %v from %q by %s", e.Kind, e.Scope, e.Name, e.Version, e.Alias, e.Before, e.After, e.Fields, e.From, e.By))
	}
	return lines
}

// TestEventsTellOfEveryChange: each change has its own, with the revisions before and after, in the order of the
// transactions.
func TestEventsTellOfEveryChange(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.seal("acme::m::1", "x")
		if all, _ := w.events(index.EventCursor{}, 10, everything); len(all) != 0 {
			t.Errorf("before anything is ready: %v", shown(all))
		}
		_, err := w.Ready(w.ctx, vkey("acme::m::1"))
		w.ok(err)
		w.publish("acme::m::2", "y")
		_, err = w.patch("acme::m::1", ci, `{"task":"ner","tags":["a"]}`, ballast.StageValidated)
		w.ok(err)
		w.promote("acme::m::1")
		w.promote("acme::m::2")
		w.rollback("m", "slow")
		_, err = w.setAlias("champion", "2", nil)
		w.ok(err)
		_, err = w.setAlias("champion", "1", nil)
		w.ok(err)
		w.ok(w.DeleteAlias(w.ctx, acme, name("m"), must(ballast.ParseAlias("champion")), "ci", nil))
		v, err := w.begin(w.Retire, "acme::m::1")
		w.ok(err)
		_, err = w.patch("acme::m::1", ci, `{"task":null}`, "") // while the record is pending
		w.ok(err)
		w.clock = w.clock.Add(time.Hour)
		_, err = w.Recorded(w.ctx, v.Key(), 2)
		w.ok(err)
		w.delete("acme::m::1")
		for range 2 { // what changes nothing has no event
			_, err = w.patch("acme::m::2", ci, `{}`, "")
			w.ok(err)
			_, err = w.Recorded(w.ctx, v.Key(), 2)
			w.ok(err)
			_, err = w.begin(w.Delete, "acme::m::1")
			w.ok(err)
			_, err = w.Ready(w.ctx, vkey("acme::m::2"))
			w.ok(err)
			_, err := w.begin(w.Delete, "acme::none::1")
			w.want(ballast.CodeNotFound, err)
		}
		want := []string{
			`version.ready acme m:1  0→1 [] from "" by ci@acme`,
			`version.ready acme m:2  0→1 [] from "" by ci@acme`,
			`version.changed acme m:1  1→2 [stage tags task] from "" by ci@acme`,
			`version.promoted acme m:1  2→3 [stage] from "" by ci@acme`,
			`version.changed acme m:1  3→4 [stage] from "" by ci@acme`,
			`version.promoted acme m:2  1→2 [stage] from "1" by ci@acme`,
			`version.changed acme m:2  2→3 [stage] from "" by ci@acme`,
			`version.rolled_back acme m:1  4→5 [stage] from "2" by ci@acme`,
			`alias.set acme m:2 champion 0→1 [] from "" by ci`,
			`alias.set acme m:1 champion 1→2 [] from "" by ci`,
			`alias.deleted acme m: champion 2→0 [] from "" by ci`,
			`version.changed acme m:1  6→7 [task] from "" by ci@acme`,
			`version.retired acme m:1  5→6 [stage status] from "" by ops@acme`,
			`version.deleted acme m:1  7→0 [status] from "" by ops@acme`,
		}
		for limit := 1; limit < 20; limit += 3 {
			all, end := w.events(index.EventCursor{}, limit, everything)
			if got := shown(all); !slices.Equal(got, want) {
				t.Fatalf("by %d:\n%q\nwant\n%q", limit, got, want)
			}
			if last, err := w.LastEvent(w.ctx); err != nil || last != end {
				t.Errorf("ends at %s, the last is %s, %v", end, last, err)
			}
		}
		all, _ := w.events(index.EventCursor{}, 100, everything)
		if retired := all[12]; retired.At != v.RetiredAt {
			t.Errorf("retired at %s says %s", v.RetiredAt, retired.At)
		}
		for i, e := range all[1:] {
			if e.Number <= all[i].Number {
				t.Errorf("event %d comes after %d", e.Number, all[i].Number)
			}
		}
	})
}

func TestEventsOfTokens(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.ok(w.PutToken(w.ctx, index.Token{ID: "t1", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Reader}, {Scope: ballast.Global, Role: ballast.Reader}}, CreatedBy: "root"}))
		for range 2 {
			w.ok(w.DeleteToken(w.ctx, "t1", "root2"))
		}
		all, _ := w.events(index.EventCursor{}, 5, everything)
		if len(all) != 2 || all[0].Token != "t1" || all[0].Kind != ballast.EventTokenMinted || all[1].Kind != ballast.EventTokenGone || all[1].By != "root2" || all[1].Scope != acme {
			t.Errorf("got %+v", all)
		}
	})
}

// TestEventsPassOverOthers: a page may be empty, and its cursor is past what was looked at.
func TestEventsPassOverOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for i := range 4 {
			w.publish(fmt.Sprintf("acme::m::%d", i+1), fmt.Sprint(i))
			w.publish(fmt.Sprintf("other::m::%d", i+1), fmt.Sprint(i))
		}
		all, end := w.events(index.EventCursor{}, 1, func(e index.Event) bool { return e.Scope == acme })
		if len(all) != 4 || end.Number != 8 {
			t.Errorf("%v up to %s", shown(all), end)
		}
		if all, next := w.events(end, 1, everything); len(all) != 0 || next != end {
			t.Errorf("behind the end: %v up to %s", shown(all), next)
		}
	})
}

func TestEventCursors(t *testing.T) {
	for _, c := range []index.EventCursor{{}, {Epoch: 3, Number: 12}} {
		if got, err := index.ParseEventCursor(c.String()); err != nil || got != c {
			t.Errorf("%s reads back as %s, %v", c, got, err)
		}
	}
	for _, bad := range []string{"1", "1-", "-1", "1-2 ", "01-2", "1--2", "a-b", "1-99999999999999999999", "now1-2"} {
		if _, err := index.ParseEventCursor(bad); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestDroppedEventsAreGone: a cursor whose place in the feed was dropped says so, and where the feed begins.
func TestDroppedEventsAreGone(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		var cursors []index.EventCursor
		for i := range 6 {
			w.publish(fmt.Sprintf("acme::m::%d", i+1), fmt.Sprint(i))
			last, err := w.LastEvent(w.ctx)
			w.ok(err)
			cursors = append(cursors, last)
			w.clock = w.clock.Add(time.Minute)
		}
		drop := func(age time.Duration, limit int) bool {
			t.Helper()
			more, err := w.DropEvents(w.ctx, w.clock.Add(-age), limit)
			w.ok(err)
			return more
		}
		if drop(time.Hour, 10) {
			t.Error("nothing is so old, and there is more")
		}
		if !drop(3*time.Minute, 2) || drop(3*time.Minute, 2) {
			t.Error("three of six were to go, two at a time") // the one of exactly that age stays
		}
		for i, at := range cursors {
			page, _, err := w.Events(w.ctx, at, 10, everything)
			if i < 3 {
				if e := w.want(ballast.CodeGone, err); e.Cursor == "" {
					t.Error("no cursor to begin with")
				} else if all, _ := w.events(must(index.ParseEventCursor(e.Cursor)), 10, everything); len(all) != 3 {
					t.Errorf("from the oldest: %v", shown(all))
				}
			} else if err != nil || len(page) != 5-i {
				t.Errorf("behind %s: %v, %v", at, shown(page), err)
			}
		}
		drop(-time.Hour, 10)
		if page, _, err := w.Events(w.ctx, cursors[5], 10, everything); err != nil || len(page) != 0 {
			t.Errorf("the newest one was dropped: %v, %v", page, err)
		}
	})
}

// TestEventsOfAnotherPastAreGone: after an older copy of the index was put back, the same number is another event.
func TestEventsOfAnotherPastAreGone(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.ok(w.SaveIntent(w.ctx, 4, true))
		w.publish("acme::m::1", "x")
		seen, err := w.LastEvent(w.ctx)
		w.ok(err)
		w.ok(w.SaveIntent(w.ctx, 5, true)) // every start raises it
		w.publish("acme::m::2", "y")
		if page, _, err := w.Events(w.ctx, seen, 10, everything); err != nil || len(page) != 1 || page[0].Epoch != 5 {
			t.Errorf("after a restart: %+v, %v", page, err)
		}
		for _, lost := range []index.EventCursor{{Epoch: 4, Number: 2}, {Epoch: 4, Number: 3}, {Epoch: 3, Number: 1}} {
			_, _, err := w.Events(w.ctx, lost, 10, everything)
			w.want(ballast.CodeGone, err)
		}
	})
}

func TestADamagedEventHidesNoOther(t *testing.T) {
	w := newWorld(t, index.NewMem())
	for i := range 4 {
		w.publish(fmt.Sprintf("acme::m::%d", i+1), fmt.Sprint(i))
	}
	w.ok(w.PutUnknown(w.ctx, index.EventKey(2)))
	if all, end := w.events(index.EventCursor{}, 2, everything); len(all) != 3 || end.Number != 4 || len(w.damaged) == 0 {
		t.Errorf("%v up to %s, reported %v", shown(all), end, w.damaged)
	}
	if more, err := w.DropEvents(w.ctx, w.clock.Add(time.Hour), 10); err != nil || more {
		t.Errorf("dropping past it: %t, %v", more, err)
	}
	if all, _ := w.events(index.EventCursor{}, 2, everything); len(all) != 1 || all[0].Number != 4 {
		t.Errorf("left are %v", shown(all))
	}
	if _, _, err := w.Events(w.ctx, index.EventCursor{Number: 2}, 2, everything); !errors.Is(err, index.ErrNewer) {
		t.Errorf("behind it: %v", err)
	}
}

// TestEventsBackwards: page after page they are the feed turned round, whatever the pages hold.
func TestEventsBackwards(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for i := range 7 {
			w.publish(fmt.Sprintf("acme::m%d::1", i), "x")
		}
		feed, _ := w.events(index.EventCursor{}, 100, everything)
		slices.Reverse(feed)
		odd := func(e index.Event) bool { return e.Number%2 == 1 }
		for limit := range 9 {
			for _, see := range []func(index.Event) bool{everything, odd} {
				var all, want []index.Event
				for _, e := range feed {
					if see(e) {
						want = append(want, e)
					}
				}
				for number, pages := int64(0), 0; ; pages++ {
					page, err := w.EventsBefore(w.ctx, number, limit+1, see)
					w.ok(err)
					if all = append(all, page.Events...); page.Done || pages > 100 {
						break
					}
					number = page.Next
				}
				if !slices.Equal(shown(all), shown(want)) || len(want) < 3 {
					t.Errorf("in pages of %d: %q, want %q", limit+1, shown(all), shown(want))
				}
			}
		}
	})
}
