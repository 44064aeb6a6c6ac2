package api

import (
	"cmp"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// startFsck answers at once: the check goes on by itself.
func (s *server) startFsck(c echo.Context, p engine.Principal) error {
	var req ballast.StartFsck
	if err := readAnyBody(c, &req); err != nil {
		return err
	}
	run, err := s.service.StartFsck(c.Request().Context(), p, req)
	if err != nil {
		return err
	}
	return writeFresh(c, http.StatusAccepted, run)
}

func (s *server) getFsck(c echo.Context, p engine.Principal) error {
	q := queryOf(c, "limit", "cursor", "wait")
	limit, cursor, asked := q.limit(), q.cursor(), q.wait()
	if q.err != nil {
		return q.err
	}
	wait, leave := s.hold(c, asked)
	defer leave()
	run, err := s.service.Fsck(c.Request().Context(), p, limit, cursor, wait)
	if err = cmp.Or(err, s.still(c, wait)); err != nil {
		return err
	}
	run.Findings, run.Counts = list(run.Findings), list(run.Counts)
	return writeFresh(c, http.StatusOK, run)
}
