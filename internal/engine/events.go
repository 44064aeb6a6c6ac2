package engine

import (
	"context"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// hears reports whether an event is for the principal: its scope's readers hear of versions and aliases, its admins of
// tokens.
func (p Principal) hears(e index.Event) bool {
	if e.Token != "" {
		return p.mayGrant(e.Scope)
	}
	return p.Role(e.Scope) >= ballast.Reader
}

// NewestEvent as after means: only what happens from now on.
const NewestEvent = "now"

// Events lists the changes behind a cursor in the scopes that the principal reads, the oldest first, and those of tokens in
// the scopes that it administers; wait holds the answer while there are none. Errors: gone, with the cursor to begin with.
func (e *Engine) Events(ctx context.Context, p Principal, after string, limit int, wait time.Duration) (ballast.EventsPage, error) {
	at, err := e.eventCursor(ctx, after)
	if err != nil {
		return ballast.EventsPage{}, err
	}
	timeout := time.NewTimer(min(wait, MaxWait))
	defer timeout.Stop()
	for {
		changed := e.changed.wait()
		found, next, err := e.index.Events(ctx, at, limit, p.hears)
		if err != nil {
			return ballast.EventsPage{}, err
		}
		if len(found) > 0 || wait <= 0 {
			return showEvents(found, next), nil
		}
		if at != next { // past what is not for this principal; there may be more
			at = next
			continue
		}
		select {
		case <-changed:
		case <-timeout.C:
			return showEvents(nil, next), nil
		case <-ctx.Done():
			return showEvents(nil, next), nil
		case <-e.ctx.Done():
			return showEvents(nil, next), nil
		}
	}
}

func (e *Engine) eventCursor(ctx context.Context, after string) (index.EventCursor, error) {
	if after == NewestEvent {
		return e.index.LastEvent(ctx)
	}
	return index.ParseEventCursor(after)
}

func showEvents(found []index.Event, next index.EventCursor) ballast.EventsPage {
	page := ballast.EventsPage{Events: make([]ballast.Event, 0, len(found)), Cursor: next.String()}
	for _, e := range found {
		shown := ballast.Event{
			Cursor: index.EventCursor{Epoch: e.Epoch, Number: e.Number}.String(), At: e.At, By: e.By, Kind: e.Kind, Scope: e.Scope, Name: e.Name,
			Alias: e.Alias, Token: e.Token, From: e.From, Before: e.Before, After: e.After, Fields: e.Fields,
		}
		if !e.Version.IsZero() {
			shown.Key = ballast.Key{Scope: e.Scope, Name: e.Name, Version: e.Version}.String()
		}
		page.Events = append(page.Events, shown)
	}
	return page
}

const dropEventsBatch = 500

// dropEvents removes the events that are older than they are kept.
func (e *Engine) dropEvents(ctx context.Context) error {
	for {
		more, err := e.index.DropEvents(ctx, e.now().Add(-e.limits.EventLife), dropEventsBatch)
		if err != nil || !more {
			return err
		}
	}
}
