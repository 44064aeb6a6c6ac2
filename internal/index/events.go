package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Event is the stored form of one change. It holds what changed and the names of the fields, no values.
type Event struct {
	Number  int64             `json:"number"` // from 1, one more for each, in the order of the commits
	Epoch   int64             `json:"epoch"`  // of the prefix when it was written
	At      ballast.Time      `json:"at"`
	By      string            `json:"by"`
	Kind    ballast.EventKind `json:"kind"`
	Scope   ballast.Scope     `json:"scope"`
	Name    ballast.Name      `json:"name,omitzero"`
	Version ballast.Version   `json:"version,omitzero"`
	From    ballast.Version   `json:"from,omitzero"`  // promoted, rolled back: what was in production before
	Alias   ballast.Alias     `json:"alias,omitzero"` // of an alias that changed
	Token   string            `json:"token,omitempty"`
	Task    string            `json:"task,omitempty"`
	Before  int64             `json:"before,omitempty"` // revision of what changed; 0: it was not there
	After   int64             `json:"after,omitempty"`  // 0: it is gone
	Fields  []string          `json:"fields,omitempty"` // that a change of a version touched, sorted
	Source  ballast.Source    `json:"source,omitzero"`  // that a version was imported from
}

var metaEvents = key(kindMeta, "events") // the last number given

func eventKey(number int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindEvent}, uint64(number))
}

// emit writes an event into the transaction that makes the change.
func (x *Index) emit(tx Tx, e Event) error {
	last, _, err := lookup[int64](tx, metaEvents)
	if err != nil {
		return err
	}
	owner, err := get[Owner](tx, metaOwner)
	if err != nil {
		return err
	}
	e.Number, e.Epoch = last+1, owner.Intent
	if e.At.IsZero() {
		e.At = ballast.At(x.now())
	}
	return errors.Join(put(tx, metaEvents, e.Number), put(tx, eventKey(e.Number), e))
}

// EventCursor is a place in the feed: behind the event of that number, which was written under that epoch. Behind none is
// the zero cursor.
type EventCursor struct{ Epoch, Number int64 }

// String returns a text that ParseEventCursor reads back.
func (c EventCursor) String() string { return fmt.Sprintf("%d-%d", c.Epoch, c.Number) }

// ParseEventCursor parses a cursor; the empty text is the zero cursor. Errors: invalid.
func ParseEventCursor(s string) (c EventCursor, err error) {
	if s == "" {
		return c, nil
	}
	if _, err := fmt.Sscanf(s, "%d-%d", &c.Epoch, &c.Number); err != nil || c.String() != s || c.Number < 0 {
		return EventCursor{}, ballast.Errorf(ballast.CodeInvalid, "after: not a cursor that the feed answered")
	}
	return c, nil
}

// maxEventsScanned bounds how many events one page looks at for those that the caller may see.
const maxEventsScanned = 10_000

// Events lists up to limit events behind after that see admits, oldest first. next is the cursor behind everything that
// was looked at: a page may be short, or empty, and next still moves on.
//
// Errors: gone when the event of after is no more, or is another one than the cursor was made from, as after an older
// copy of the index was put back; Error.Cursor begins with the oldest event that is there.
func (x *Index) Events(ctx context.Context, after EventCursor, limit int, see func(Event) bool) (page []Event, next EventCursor, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		page, next = nil, after
		if err := stillThere(tx, after); err != nil {
			return err
		}
		scanned := 0
		for item, err := range readable[Event](tx.Scan([]byte{kindEvent}, eventKey(after.Number+1), false), skip) {
			if err != nil {
				return err
			}
			e := item.value
			next = EventCursor{e.Epoch, e.Number}
			if see(e) {
				page = append(page, e)
			}
			if scanned++; len(page) == limit || scanned == maxEventsScanned {
				break
			}
		}
		return nil
	})
	return page, next, err
}

// PastEvents is a page of events, the newest first.
type PastEvents struct {
	Events []Event
	Next   int64 // the number before which to go on
	Oldest ballast.Time
	Done   bool // there is nothing older
}

// EventsBefore lists up to limit events before a number, 0 for all, that see admits, the newest first. A page may be short,
// or empty; only Done ends the list.
func (x *Index) EventsBefore(ctx context.Context, number int64, limit int, see func(Event) bool) (page PastEvents, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		page = PastEvents{Next: number}
		var from []byte
		if number > 0 {
			from = eventKey(number - 1)
		}
		scanned := 0
		for item, err := range readable[Event](tx.Scan([]byte{kindEvent}, from, true), skip) {
			if err != nil {
				return err
			}
			e := item.value
			page.Next, page.Oldest = e.Number, e.At
			if see(e) {
				page.Events = append(page.Events, e)
			}
			if scanned++; len(page.Events) == limit || scanned == maxEventsScanned {
				return nil
			}
		}
		page.Done = true
		return nil
	})
	return page, err
}

// LastEvent is the cursor behind the newest event.
func (x *Index) LastEvent(ctx context.Context) (c EventCursor, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		c = EventCursor{}
		item, ok, err := first(tx.Scan([]byte{kindEvent}, nil, true))
		if err != nil || !ok {
			return err
		}
		e, err := decode[Event](item.Key, item.Value)
		c = EventCursor{e.Epoch, e.Number}
		return err
	})
	return c, err
}

// stillThere refuses a cursor behind which events may be missing.
func stillThere(tx Tx, after EventCursor) error {
	if after == (EventCursor{}) {
		return nil
	}
	e, err := get[Event](tx, eventKey(after.Number))
	if err == nil && e.Epoch == after.Epoch {
		return nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	gone := ballast.Errorf(ballast.CodeGone, "the feed no longer goes back to this cursor; begin with the cursor of this answer, which is the oldest")
	gone.Cursor = EventCursor{}.String()
	return gone
}

// DropEvents removes up to limit of the oldest events if they are older than before, but never the newest one: a
// follower that has seen it must find it. more says that there are further ones.
func (x *Index) DropEvents(ctx context.Context, before time.Time, limit int) (more bool, err error) {
	err = x.skipping(ctx, func(ctx context.Context, fn func(Tx) error) error { return x.update(ctx, failpoint.DropEvents, fn) }, func(tx Tx, skip skip) error {
		more = false
		last, _, err := lookup[int64](tx, metaEvents)
		if err != nil {
			return err
		}
		dropped := 0
		for item, err := range readable[Event](tx.Scan([]byte{kindEvent}, nil, false), skip) {
			if err != nil {
				return err
			}
			e := item.value
			if e.Number == last || !e.At.Before(before) {
				return nil
			}
			if more = dropped == limit; more {
				return nil
			}
			if err := tx.Delete(item.key); err != nil {
				return err
			}
			dropped++
		}
		return nil
	})
	return more, err
}
