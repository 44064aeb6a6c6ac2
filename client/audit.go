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

// ListAudit says which entries AuditPage and Audit return. What is left zero admits all.
type ListAudit struct {
	Scope  ballast.Scope
	Model  ballast.Ref // a name, or one version of it
	Since  time.Time
	Who    string // a principal's name, name@scope, or the id of its token
	Action string // an action, or the first word of some
	Limit  int    // entries a page; 0 leaves it to the registry
	Cursor string
}

// AuditPage returns one page of who asked for bytes, was refused and changed what, the newest first. It may be empty while
// there is more: only a missing cursor ends the list. Errors: denied unless the token administers what is asked about.
func (c *Client) AuditPage(ctx context.Context, o ListAudit) (ballast.AuditPage, error) {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("scope", o.Scope.String())
	if !o.Model.Name.IsZero() {
		set("model", o.Model.String())
	}
	if !o.Since.IsZero() {
		set("since", o.Since.UTC().Format(time.RFC3339Nano))
	}
	set("who", o.Who)
	set("action", o.Action)
	set("cursor", o.Cursor)
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	return fetch[ballast.AuditPage](ctx, c, call{method: http.MethodGet, path: "/v1/audit", query: q})
}

// Audit yields page after page of AuditPage, until there is no more or an error ends the sequence.
func (c *Client) Audit(ctx context.Context, o ListAudit) iter.Seq2[ballast.AuditPage, error] {
	return func(yield func(ballast.AuditPage, error) bool) {
		for {
			page, err := c.AuditPage(ctx, o)
			if !yield(page, err) || err != nil || page.Cursor == "" {
				return
			}
			o.Cursor = page.Cursor
		}
	}
}
