package api

import (
	"cmp"
	"context"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// ownParam is {name}, {ref} and If-Match: which version a change is about, and from which revision.
func ownParam(c echo.Context) (engine.Own, error) {
	ref, err := refParam(c)
	revision, matchErr := ifMatch(c)
	return engine.Own{Ref: ref, IfMatch: revision}, cmp.Or(err, matchErr)
}

// writeChanged answers a change with the version under its revision as ETag, which the next If-Match takes.
func writeChanged(c echo.Context, status int, v ballast.VersionInfo) error {
	c.Response().Header().Set(headerETag, strconv.Quote(strconv.FormatInt(v.Revision, 10)))
	return writeFresh(c, status, v)
}

func (s *server) patchVersion(c echo.Context, p engine.Principal) error {
	own, err := ownParam(c)
	if err != nil {
		return err
	}
	var req ballast.PatchVersion
	if err := readBody(c, &req); err != nil {
		return err
	}
	if req.Stage == "" && req.Metadata == nil {
		return ballast.Errorf(ballast.CodeInvalid, "say what to change: metadata, stage, or both")
	}
	v, err := s.service.Patch(c.Request().Context(), p, own, req)
	if err != nil {
		return err
	}
	return writeChanged(c, http.StatusOK, v)
}

func (s *server) promote(c echo.Context, p engine.Principal) error {
	own, err := ownParam(c)
	if err != nil {
		return err
	}
	var req ballast.Promote
	if err := readAnyBody(c, &req); err != nil {
		return err
	}
	v, err := s.service.Promote(c.Request().Context(), p, own, req.Reason)
	if err != nil {
		return err
	}
	return writeChanged(c, http.StatusOK, v)
}

func (s *server) rollback(c echo.Context, p engine.Principal) error {
	scope, name, err := nameParam(c)
	if err != nil {
		return err
	}
	if c.Request().Header.Values("If-Match") != nil { // to ignore it would be to act on a revision that was not meant
		return ballast.Errorf(ballast.CodeInvalid, "If-Match: a rollback is from whatever is in production; leave it out")
	}
	var req ballast.Rollback
	if err := readBody(c, &req); err != nil {
		return err
	}
	v, err := s.service.Rollback(c.Request().Context(), p, scope, name, req.Reason)
	if err != nil {
		return err
	}
	return writeChanged(c, http.StatusOK, v)
}

func (s *server) production(c echo.Context, p engine.Principal) error {
	scope, name, err := nameParam(c)
	q := queryOf(c, "limit", "cursor")
	limit, cursor := q.limit(), q.cursor()
	if err := cmp.Or(err, q.err); err != nil {
		return err
	}
	page, err := s.service.Production(c.Request().Context(), p, scope, name, limit, cursor)
	if err != nil {
		return err
	}
	page.Promotions = list(page.Promotions)
	return writeRead(c, page)
}

// retire answers 202 while the bucket does not hold the record yet. Either way the version is refused from now on.
func (s *server) retire(c echo.Context, p engine.Principal) error {
	return recorded(c, p, s.service.Retire)
}

// restore answers 202 while the bucket does not hold the record yet. Until it does the version is not found.
func (s *server) restore(c echo.Context, p engine.Principal) error {
	return recorded(c, p, s.service.Restore)
}

// recorded makes a change that is written into the bucket, and answers 202 with the version until it is there.
func recorded(c echo.Context, p engine.Principal, change func(context.Context, engine.Principal, engine.Own) (ballast.VersionInfo, bool, error)) error {
	own, err := ownParam(c)
	if err != nil {
		return err
	}
	if err := readAnyBody(c, &struct{}{}); err != nil {
		return err
	}
	v, done, err := change(c.Request().Context(), p, own)
	switch {
	case err != nil:
		return err
	case done:
		return writeChanged(c, http.StatusOK, v)
	}
	return writeChanged(c, http.StatusAccepted, v)
}

// deleteVersion answers 202 with the version while the bucket does not hold the record yet.
func (s *server) deleteVersion(c echo.Context, p engine.Principal) error {
	own, err := ownParam(c)
	q := queryOf(c, "if_exists")
	own.IfExists = q.flag("if_exists")
	if err := cmp.Or(err, q.err); err != nil {
		return err
	}
	v, recorded, err := s.service.Delete(c.Request().Context(), p, own)
	switch {
	case err != nil:
		return err
	case recorded:
		return c.NoContent(http.StatusNoContent)
	}
	return writeChanged(c, http.StatusAccepted, v)
}

func (s *server) listChildren(c echo.Context, p engine.Principal) error {
	ref, err := refParam(c)
	q := queryOf(c, "limit", "cursor")
	limit, cursor := q.limit(), q.cursor()
	if err := cmp.Or(err, q.err); err != nil {
		return err
	}
	page, err := s.service.Children(c.Request().Context(), p, ref, limit, cursor)
	if err != nil {
		return err
	}
	page.Children = list(page.Children)
	return writeRead(c, page)
}

func (s *server) listEvents(c echo.Context, p engine.Principal) error {
	q := queryOf(c, "after", "limit", "wait")
	after, limit, asked := q.text("after", maxCursorBytes), q.limit(), q.wait()
	if q.err != nil {
		return q.err
	}
	wait, leave := s.hold(c, asked)
	defer leave()
	page, err := s.service.Events(c.Request().Context(), p, after, limit, wait)
	if err = cmp.Or(err, s.still(c, wait)); err != nil {
		return err
	}
	page.Events = list(page.Events)
	return writeRead(c, page)
}
