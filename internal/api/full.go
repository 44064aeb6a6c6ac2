package api

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// mayChange answers what would change something with the error of why, if there is one. What was accepted before goes on, and
// reads do; guests only read, whatever method they read by, and do not come here.
func (s *server) mayChange(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		switch c.Request().Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			return next(c)
		}
		if err := s.changes(c.Request().Context()); err != nil {
			return err
		}
		return next(c)
	}
}
