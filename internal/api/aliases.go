package api

import (
	"cmp"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

func (s *server) listAliases(c echo.Context, p engine.Principal) error {
	scope, name, err := nameParam(c)
	if err != nil {
		return err
	}
	page, err := s.service.Aliases(c.Request().Context(), p, scope, name)
	if err != nil {
		return err
	}
	page.Aliases = list(page.Aliases)
	return writeRead(c, page)
}

// setAlias answers with the alias under its revision as ETag, which the next If-Match takes.
func (s *server) setAlias(c echo.Context, p engine.Principal) error {
	scope, name, alias, err := aliasParam(c)
	revision, matchErr := ifMatch(c)
	if err := cmp.Or(err, matchErr); err != nil {
		return err
	}
	var req ballast.SetAlias
	if err := readBody(c, &req); err != nil {
		return err
	}
	if req.Version.IsZero() {
		return ballast.Errorf(ballast.CodeInvalid, "version: say which version the alias is to point at")
	}
	info, err := s.service.SetAlias(c.Request().Context(), p, scope, name, alias, req.Version, revision)
	if err != nil {
		return err
	}
	c.Response().Header().Set(headerETag, strconv.Quote(strconv.FormatInt(info.Revision, 10)))
	return writeFresh(c, http.StatusOK, info)
}

func (s *server) deleteAlias(c echo.Context, p engine.Principal) error {
	scope, name, alias, err := aliasParam(c)
	revision, matchErr := ifMatch(c)
	if err := cmp.Or(err, matchErr); err != nil {
		return err
	}
	if err := s.service.DeleteAlias(c.Request().Context(), p, scope, name, alias, revision); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
