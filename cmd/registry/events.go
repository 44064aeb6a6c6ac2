package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// eventsCmd shows what happened.
type eventsCmd struct {
	After  string `placeholder:"CURSOR" help:"Only what happened after this cursor, which each event has; now: what happens from now on. Default: all that is kept, with --follow now."`
	Follow bool   `short:"f" help:"Go on, and show what happens. With --json, one document a line."`

	remote `embed:""`
}

// Run implements the command.
func (l *eventsCmd) Run(ctx context.Context, a *app) error {
	c, err := l.client(a)
	if err != nil {
		return err
	}
	if l.Follow {
		return l.follow(ctx, a, c)
	}
	page := ballast.EventsPage{Events: []ballast.Event{}, Cursor: l.After}
	for {
		next, err := c.EventsPage(ctx, client.ListEvents{After: page.Cursor})
		if err != nil {
			return goneHint(err)
		}
		for _, e := range next.Events {
			if !l.JSON {
				fmt.Fprintln(a.stdout, eventLine(e))
			}
		}
		if l.JSON {
			page.Events = append(page.Events, next.Events...)
		}
		if next.Cursor == page.Cursor {
			break
		}
		page.Cursor = next.Cursor
	}
	if l.JSON {
		return a.json(page)
	}
	return nil
}

func (l *eventsCmd) follow(ctx context.Context, a *app, c *client.Client) error {
	o := client.ListEvents{After: l.After}
	if o.After == "" {
		o.After = client.EventsFromNow
	}
	cut := interrupted("no event came")
	for e, err := range c.Follow(ctx, o) {
		if err != nil {
			return cut.because(ctx, goneHint(err))
		}
		cut = interrupted("to go on: --after " + e.Cursor)
		if !l.JSON {
			fmt.Fprintln(a.stdout, eventLine(e))
			continue
		}
		if err := json.NewEncoder(a.stdout).Encode(e); err != nil {
			return err
		}
	}
	return nil
}

// eventLine is an event for people: when, who, what, to what.
func eventLine(e ballast.Event) string {
	return harmless(fmt.Sprintf("%-9s  %s  %-19s  %s  %s", e.Cursor, when(e.At), e.Kind, changeOf(e), "by "+e.By))
}

// changeOf is what an event changed, and how.
func changeOf(e ballast.Event) string {
	about := e.Key
	switch {
	case !e.Alias.IsZero() && e.Key != "":
		about = fmt.Sprintf("@%s is %s", e.Alias, e.Key)
	case !e.Alias.IsZero():
		about = fmt.Sprintf("%s@%s", ballast.Ref{Scope: e.Scope, Name: e.Name}, e.Alias)
	case e.Token != "":
		about = fmt.Sprintf("%s of %s", e.Token, e.Scope)
	case e.Kind == ballast.EventQuota:
		about = fmt.Sprintf("of %s: %s", e.Scope, strings.Join(e.Fields, ", "))
	case !e.From.IsZero():
		about += fmt.Sprintf(", in the place of %s", e.From)
	case !e.Source.IsZero():
		about += ", imported from " + e.Source.String()
	case e.Kind == ballast.EventChanged:
		about += ": " + strings.Join(e.Fields, ", ")
	}
	return about
}

// goneHint says how to begin again.
func goneHint(err error) error {
	e := ballast.AsError(err)
	if e.Code != ballast.CodeGone || e.Cursor == "" {
		return err
	}
	more := *e
	more.Detail = fmt.Sprintf("events after this cursor may be missing: they were dropped, or the index was put back; to begin with the oldest that is kept, use --after %s", e.Cursor)
	return &more
}
