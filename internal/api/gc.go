package api

import (
	"cmp"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// startGC answers 202 with the run, which is under way, be it this one's or an earlier one's of the same kind.
func (s *server) startGC(c echo.Context, p engine.Principal) error {
	var req ballast.GCRequest
	if err := readAnyBody(c, &req); err != nil {
		return err
	}
	run, err := s.service.StartGC(c.Request().Context(), p, req)
	if err != nil {
		return err
	}
	run.Scopes = list(run.Scopes)
	return writeFresh(c, http.StatusAccepted, run)
}

func (s *server) getGC(c echo.Context, p engine.Principal) error {
	q := queryOf(c, "wait")
	asked := q.wait()
	if q.err != nil {
		return q.err
	}
	wait, leave := s.hold(c, asked)
	defer leave()
	run, err := s.service.GC(c.Request().Context(), p, wait)
	if err = cmp.Or(err, s.still(c, wait)); err != nil {
		return err
	}
	run.Scopes = list(run.Scopes)
	return writeRead(c, run)
}
