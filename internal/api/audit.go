package api

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/engine"
)

// beginAudit gives a request the record in which handlers and the engine note what it is about. The line is written at the
// end, by writeAudit, here in the middleware and nowhere else: a route that is added later has it without knowing of it.
func (s *server) beginAudit(c echo.Context) *audit.Record {
	if s.audit == nil {
		return nil
	}
	ctx, rec := audit.Begin(c.Request().Context())
	c.SetRequest(c.Request().WithContext(ctx))
	return rec
}

func (s *server) writeAudit(c echo.Context, rec *audit.Record, err error) {
	if rec == nil {
		return
	}
	r, p := c.Request(), principalOf(c)
	out := audit.Request{
		Method: r.Method, Path: r.URL.Path, Principal: p.ID, Anonymous: p.IsAnonymous(), Name: p.Name, Home: p.Home(), Status: c.Response().Status,
		Remote: c.(*call).remote, ID: c.(*call).id, Agent: r.UserAgent(),
	}
	if err != nil {
		out.Code = problemOf(err).Code
	}
	s.audit.Write(rec, out)
}

// Limits of what a list of the audit is narrowed by, in bytes.
const (
	maxWhoBytes   = 256
	maxModelBytes = 1024
)

func (s *server) listAudit(c echo.Context, p engine.Principal) error {
	q := queryOf(c, "scope", "model", "since", "who", "action", "limit", "cursor")
	l := engine.ListAudit{
		Scope: q.scope(), Since: q.since(), Who: q.text("who", maxWhoBytes), Action: q.text("action", maxWhoBytes), Limit: q.limit(), Cursor: q.cursor(),
	}
	var err error
	if model := q.text("model", maxModelBytes); model != "" {
		l.Model, err = ballast.ParseRef(model)
	}
	if err := cmp.Or(q.err, err); err != nil {
		return err
	}
	page, err := s.service.Audit(c.Request().Context(), p, l)
	if err != nil {
		return err
	}
	page.Entries = list(page.Entries)
	return writeFresh(c, http.StatusOK, page)
}

// since is a time of RFC 3339.
func (q *query) since() time.Time {
	s := q.values.Get("since")
	if s == "" {
		return time.Time{}
	}
	var t ballast.Time
	if err := t.UnmarshalJSON([]byte(`"` + s + `"`)); err != nil || strings.ContainsAny(s, `"\`) {
		q.fail("since %q: write a time as in 2026-11-22T08:00:00Z", cut(s))
	}
	return t.Time
}
