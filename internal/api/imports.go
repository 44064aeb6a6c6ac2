package api

import (
	"cmp"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// createImport answers at once: the import goes on by itself.
func (s *server) createImport(c echo.Context, p engine.Principal) error {
	var req ballast.CreateImport
	if err := readBody(c, &req); err != nil {
		return err
	}
	m, created, err := s.service.CreateImport(c.Request().Context(), p, req)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, "/v1/imports/"+m.ID)
	if !created {
		return writeFresh(c, http.StatusOK, m)
	}
	return writeFresh(c, http.StatusCreated, m)
}

func (s *server) listImports(c echo.Context, p engine.Principal) error {
	q := queryOf(c, "scope", "limit", "cursor")
	l := engine.ListImports{Scope: q.scope(), Limit: q.limit(), Cursor: q.cursor()}
	if q.err != nil {
		return q.err
	}
	page, err := s.service.Imports(c.Request().Context(), p, l)
	if err != nil {
		return err
	}
	page.Imports = list(page.Imports)
	return writeRead(c, page)
}

func (s *server) getImport(c echo.Context, p engine.Principal) error {
	id, err := idParam(c)
	q := queryOf(c, "wait")
	asked := q.wait()
	if err := cmp.Or(err, q.err); err != nil {
		return err
	}
	wait, leave := s.hold(c, asked)
	defer leave()
	m, err := s.service.Import(c.Request().Context(), p, id, wait)
	if err = cmp.Or(err, s.still(c, wait)); err != nil {
		return err
	}
	return writeRead(c, m)
}

func (s *server) cancelImport(c echo.Context, p engine.Principal) error {
	id, err := idParam(c)
	if err != nil {
		return err
	}
	if err := s.service.CancelImport(c.Request().Context(), p, id); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
