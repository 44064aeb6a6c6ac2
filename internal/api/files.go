package api

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/engine"
)

// listFiles answers a page of a version's files. With URLs it is not to be kept, and without it is.
func (s *server) listFiles(c echo.Context, p engine.Principal) error {
	ref, err := refParam(c)
	q := queryOf(c, "urls", "parts", "limit", "cursor")
	filter := engine.ListFiles{URLs: q.flag("urls"), Parts: q.flag("parts"), Limit: q.limit(), Cursor: q.cursor()}
	if filter.URLs {
		audit.Of(c.Request().Context()).Asks(ballast.AuditRead)
	}
	if err := cmp.Or(err, q.err); err != nil {
		return err
	}
	page, err := s.service.Files(c.Request().Context(), p, ref, filter)
	if err != nil {
		return err
	}
	page.Files = list(page.Files)
	if filter.URLs {
		s.chargeSigned(c, len(page.Files))
		return writeFresh(c, http.StatusOK, page)
	}
	return writeRead(c, page)
}

// getFile sends the caller to the store, with a Range of its own if it has one. An empty file is answered here: stores
// refuse any range of an empty object.
func (s *server) getFile(c echo.Context, p engine.Principal) error {
	f, err := s.file(c, p)
	if err != nil {
		return err
	}
	if f.Request != nil {
		header := c.Response().Header()
		header.Set(headerCacheControl, noStore)
		header.Set(echo.HeaderLocation, f.Request.URL)
		return c.NoContent(http.StatusTemporaryRedirect)
	}
	if f.Size != 0 {
		return fmt.Errorf("api: file of %d bytes has no signed request", f.Size)
	}
	return describeFile(c, f)
}

// headFile answers for the store, whose signed URL would be good for GET only.
func (s *server) headFile(c echo.Context, p engine.Principal) error {
	f, err := s.file(c, p)
	if err != nil {
		return err
	}
	return describeFile(c, f)
}

func (s *server) file(c echo.Context, p engine.Principal) (ballast.FileInfo, error) {
	ctx := c.Request().Context()
	audit.Of(ctx).Asks(ballast.AuditRead)
	ref, err := refParam(c)
	if err != nil {
		return ballast.FileInfo{}, err
	}
	path, err := pathParam(c)
	if err != nil {
		return ballast.FileInfo{}, err
	}
	if strings.Contains(c.Request().Header.Get(headerCacheControl), "no-cache") { // the store refused the URL that it has
		ctx = engine.Fresh(ctx)
	}
	return s.service.File(ctx, p, ref, path)
}

// listTensors answers a page of what the header of a weight file says.
func (s *server) listTensors(c echo.Context, p engine.Principal) error {
	ref, err := refParam(c)
	if err != nil {
		return err
	}
	path, err := pathParam(c)
	q := queryOf(c, "limit", "cursor")
	filter := engine.ListTensors{Path: path, Limit: q.limit(), Cursor: q.cursor()}
	if err := cmp.Or(err, q.err); err != nil {
		return err
	}
	page, err := s.service.Tensors(c.Request().Context(), p, ref, filter)
	if err != nil {
		return err
	}
	page.Tensors = list(page.Tensors)
	return writeRead(c, page)
}

// describeFile sends a file's headers. The ETag is its SHA-256.
func describeFile(c echo.Context, f ballast.FileInfo) error {
	if setValidator(c, f.SHA256) {
		return c.NoContent(http.StatusNotModified)
	}
	header := c.Response().Header()
	header.Set("Accept-Ranges", "bytes")
	header.Set(echo.HeaderContentType, echo.MIMEOctetStream)
	header.Set(echo.HeaderContentLength, strconv.FormatInt(f.Size, 10))
	return c.NoContent(http.StatusOK)
}
