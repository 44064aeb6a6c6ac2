package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

func (s *server) listQuotas(c echo.Context, p engine.Principal) error {
	q := queryOf(c, "limit", "cursor")
	limit, cursor := q.limit(), q.cursor()
	if q.err != nil {
		return q.err
	}
	page, err := s.service.Quotas(c.Request().Context(), p, limit, cursor)
	if err != nil {
		return err
	}
	page.Quotas = list(page.Quotas)
	return writeRead(c, page)
}

func (s *server) getQuota(c echo.Context, p engine.Principal) error {
	scope, err := quotaParam(c)
	if err != nil {
		return err
	}
	q, err := s.service.Quota(c.Request().Context(), p, scope)
	if err != nil {
		return err
	}
	return writeRead(c, q)
}

func (s *server) setQuota(c echo.Context, p engine.Principal) error {
	scope, err := quotaParam(c)
	if err != nil {
		return err
	}
	var req ballast.Quota
	if err := readBody(c, &req); err != nil {
		return err
	}
	q, err := s.service.SetQuota(c.Request().Context(), p, scope, req)
	if err != nil {
		return err
	}
	return writeFresh(c, http.StatusOK, q)
}

func (s *server) unsetQuota(c echo.Context, p engine.Principal) error {
	scope, err := quotaParam(c)
	if err != nil {
		return err
	}
	if err := s.service.UnsetQuota(c.Request().Context(), p, scope); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// quotaParam is {scope}: a scope, or every tenant, which is the zero one.
func quotaParam(c echo.Context) (ballast.Scope, error) {
	text, err := param(c, "scope")
	if err != nil || text == ballast.EveryTenant {
		return ballast.Scope{}, err
	}
	return ballast.ParseScope(text)
}
