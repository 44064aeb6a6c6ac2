package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// createToken answers with the secret, this once.
func (s *server) createToken(c echo.Context, p engine.Principal) error {
	var req ballast.CreateToken
	if err := readBody(c, &req); err != nil {
		return err
	}
	t, err := s.service.CreateToken(c.Request().Context(), p, req)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, "/v1/tokens/"+t.ID)
	return writeFresh(c, http.StatusCreated, t.Issued())
}

func (s *server) listTokens(c echo.Context, p engine.Principal) error {
	q := queryOf(c, "limit", "cursor")
	limit, cursor := q.limit(), q.cursor()
	if q.err != nil {
		return q.err
	}
	page, err := s.service.Tokens(c.Request().Context(), p, limit, cursor)
	if err != nil {
		return err
	}
	page.Tokens = list(page.Tokens)
	return writeRead(c, page)
}

func (s *server) getToken(c echo.Context, p engine.Principal) error {
	id, err := idParam(c)
	if err != nil {
		return err
	}
	t, err := s.service.Token(c.Request().Context(), p, id)
	if err != nil {
		return err
	}
	return writeRead(c, t)
}

// rotateToken answers with the new secret, this once.
func (s *server) rotateToken(c echo.Context, p engine.Principal) error {
	id, err := idParam(c)
	if err != nil {
		return err
	}
	var req ballast.RotateToken
	if err := readAnyBody(c, &req); err != nil {
		return err
	}
	t, err := s.service.RotateToken(c.Request().Context(), p, id, req)
	if err != nil {
		return err
	}
	return writeFresh(c, http.StatusOK, t.Issued())
}

func (s *server) revokeToken(c echo.Context, p engine.Principal) error {
	id, err := idParam(c)
	if err != nil {
		return err
	}
	if err := s.service.RevokeToken(c.Request().Context(), p, id); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// where answers anybody with a token: whoever may read a version sees as much in its signed URLs.
func (s *server) where(c echo.Context, _ engine.Principal) error { return writeRead(c, s.store) }

func (s *server) whoami(c echo.Context, p engine.Principal) error {
	sources, err := s.service.ImportSources(p)
	if err != nil {
		return err
	}
	return writeFresh(c, http.StatusOK, ballast.Whoami{
		ID: p.ID, Name: p.Name, Scope: p.Home(), Grants: list(p.Grants), ExpiresAt: p.ExpiresAt, Imports: list(sources), Server: s.version, Time: ballast.At(s.now()),
	})
}
