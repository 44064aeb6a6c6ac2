package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ballast-registry/ballast"
)

// EventsFromNow as ListEvents.After means: only what happens from now on.
const EventsFromNow = "now"

// ListEvents says which events EventsPage and Events return.
type ListEvents struct {
	After string        // the cursor of an event or page; "" begins with the oldest that is kept
	Limit int           // events a page; 0 leaves it to the registry
	Wait  time.Duration // how long the registry holds an empty answer, 60 s at most
}

// EventsPage returns one page of what happened, the oldest first. It may be empty while there is more: nothing has
// happened only when its cursor is the one that was asked after.
// Errors: gone when events behind the cursor may be missing; Error.Cursor is where they begin now.
func (c *Client) EventsPage(ctx context.Context, o ListEvents) (ballast.EventsPage, error) {
	q := url.Values{}
	if o.After != "" {
		q.Set("after", o.After)
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.Wait > 0 {
		q.Set("wait", o.Wait.String())
	}
	return fetch[ballast.EventsPage](ctx, c, call{method: http.MethodGet, path: "/v1/events", query: q, wait: o.Wait})
}

// Events yields what happened, the oldest first, and ends when there is no more. An error ends the sequence, as for
// EventsPage. To go on later pass the cursor of the last event as After.
func (c *Client) Events(ctx context.Context, o ListEvents) iter.Seq2[ballast.Event, error] {
	return func(yield func(ballast.Event, error) bool) {
		for {
			page, err := c.EventsPage(ctx, o)
			if err != nil {
				yield(ballast.Event{}, err)
				return
			}
			for _, e := range page.Events {
				if !yield(e, nil) {
					return
				}
			}
			if page.Cursor == o.After {
				return
			}
			o.After = page.Cursor
		}
	}
}

// followWait is how long a follower lets the registry hold an empty answer.
const followWait = 30 * time.Second

// Follow yields what happened and then what happens, until the context ends or the caller leaves. Once the registry has
// answered, it waits out that the registry is away. Errors: those of EventsPage; after gone begin again with
// Error.Cursor, knowing that events may be missing.
func (c *Client) Follow(ctx context.Context, o ListEvents) iter.Seq2[ballast.Event, error] {
	return func(yield func(ballast.Event, error) bool) {
		o.Wait = 0 // the first answer comes at once: a wrong URL shows, and now becomes a cursor
		for answered, failed := false, 0; ; {
			asked := time.Now()
			page, err := c.EventsPage(ctx, o)
			if err != nil {
				failed++
				if e := ballast.AsError(err); answered && ctx.Err() == nil && repeatable(e, false) {
					c.log.InfoContext(ctx, "the events are asked for again", attrTry, failed, attrError, err)
					err = c.backoff(ctx, c.tries+failed, e.Retry())
				}
				if err != nil {
					yield(ballast.Event{}, err)
					return
				}
				continue
			}
			held := o.Wait > 0
			answered, failed, o.Wait = true, 0, followWait
			for _, e := range page.Events {
				if !yield(e, nil) {
					return
				}
			}
			if len(page.Events) == 0 && held { // the wait is over, or the registry does not hold the answer: it has too many, or goes down
				if err := dontHurry(ctx, asked); err != nil {
					yield(ballast.Event{}, err)
					return
				}
			}
			o.After = page.Cursor
		}
	}
}
