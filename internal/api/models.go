package api

import (
	"cmp"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast/internal/engine"
)

func (s *server) listModels(c echo.Context, p engine.Principal) error {
	q := queryOf(c, "scope", "prefix", "limit", "cursor")
	filter := engine.ListModels{Scope: q.scope(), Prefix: q.prefix(), Limit: q.limit(), Cursor: q.cursor()}
	if q.err != nil {
		return q.err
	}
	page, err := s.service.Models(c.Request().Context(), p, filter)
	if err != nil {
		return err
	}
	page.Models = list(page.Models)
	return writeRead(c, page)
}

func (s *server) getModel(c echo.Context, p engine.Principal) error {
	scope, name, err := nameParam(c)
	if err != nil {
		return err
	}
	m, err := s.service.Model(c.Request().Context(), p, scope, name)
	if err != nil {
		return err
	}
	return writeRead(c, m)
}

func (s *server) listVersions(c echo.Context, p engine.Principal) error {
	scope, name, err := nameParam(c)
	q := filterQuery(c, "limit", "cursor")
	l := q.list()
	if err := cmp.Or(err, q.err); err != nil {
		return err
	}
	page, err := s.service.Versions(c.Request().Context(), p, scope, name, l)
	if err != nil {
		return err
	}
	page.Versions = list(page.Versions)
	return writeRead(c, page)
}

func (s *server) getVersion(c echo.Context, p engine.Principal) error {
	ref, err := refParam(c)
	q := queryOf(c, "include")
	show := s.service.Version
	if q.include("retired") {
		show = s.service.Provenance
	}
	if err := cmp.Or(err, q.err); err != nil {
		return err
	}
	v, err := show(c.Request().Context(), p, ref)
	if err != nil {
		return err
	}
	body, err := s.versions.of(v)
	if err != nil {
		return err
	}
	return body.write(c)
}
