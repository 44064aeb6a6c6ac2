package api

import (
	"cmp"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/engine"
)

func (s *server) createUpload(c echo.Context, p engine.Principal) error {
	var req ballast.CreateUpload
	if err := readBody(c, &req); err != nil {
		return err
	}
	u, created, err := s.service.CreateUpload(c.Request().Context(), p, req)
	if err != nil {
		return err
	}
	setUploadLocation(c, u.ID)
	if !created {
		return writeFresh(c, http.StatusOK, u)
	}
	return writeFresh(c, http.StatusCreated, u)
}

func setUploadLocation(c echo.Context, id string) {
	c.Response().Header().Set(echo.HeaderLocation, "/v1/uploads/"+id)
}

func (s *server) getUpload(c echo.Context, p engine.Principal) error {
	id, err := idParam(c)
	q := queryOf(c, "wait")
	asked := q.wait()
	if err := cmp.Or(err, q.err); err != nil {
		return err
	}
	wait, leave := s.hold(c, asked)
	defer leave()
	u, err := s.service.Upload(c.Request().Context(), p, id, wait)
	if err = cmp.Or(err, s.still(c, wait)); err != nil {
		return err
	}
	return writeRead(c, u)
}

func (s *server) abortUpload(c echo.Context, p engine.Principal) error {
	id, err := idParam(c)
	if err != nil {
		return err
	}
	if err := s.service.AbortUpload(c.Request().Context(), p, id); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (s *server) blobs(c echo.Context, p engine.Principal) error {
	audit.Of(c.Request().Context()).Asks(ballast.AuditWrite)
	id, err := idParam(c)
	if err != nil {
		return err
	}
	var req ballast.BlobsRequest
	if err := s.readLongBody(c, p, id, &req); err != nil {
		return err
	}
	leave, err := s.answers.Take(c.Request().Context(), p.Turn(), 1)
	if err != nil {
		return err
	}
	defer leave()
	answer, err := s.service.Blobs(c.Request().Context(), p, id, req)
	if err != nil {
		return err
	}
	signed := 0
	for _, b := range answer.Blobs {
		if signed += len(b.Parts); b.Request != nil {
			signed++
		}
	}
	s.chargeSigned(c, signed)
	answer.Blobs = list(answer.Blobs)
	return writeFresh(c, http.StatusOK, answer)
}

// commit answers 200 with the version, or 202 with the upload that will become one.
func (s *server) commit(c echo.Context, p engine.Principal) error {
	id, err := idParam(c)
	if err != nil {
		return err
	}
	var req ballast.CommitRequest
	if err := s.readLongBody(c, p, id, &req); err != nil {
		return err
	}
	if req.Files == nil { // not the same as none: a forgotten field must not publish an empty version
		return ballast.Errorf(ballast.CodeInvalid, "files: is required")
	}
	u, err := s.service.Commit(c.Request().Context(), p, id, req)
	if err != nil {
		return err
	}
	return writeOutcome(c, u)
}

// copyVersion answers like commit.
func (s *server) copyVersion(c echo.Context, p engine.Principal) error {
	from, err := refParam(c)
	if err != nil {
		return err
	}
	var req ballast.CopyVersion
	if err := readBody(c, &req); err != nil {
		return err
	}
	u, err := s.service.Copy(c.Request().Context(), p, from, req)
	if err != nil {
		return err
	}
	return writeOutcome(c, u)
}

// writeOutcome answers 200 with the version that an upload became, or 202 with the upload.
func writeOutcome(c echo.Context, u ballast.Upload) error {
	if u.Status == ballast.UploadDone && u.Result != nil {
		return writeFresh(c, http.StatusOK, *u.Result)
	}
	setUploadLocation(c, u.ID)
	return writeFresh(c, http.StatusAccepted, u)
}
