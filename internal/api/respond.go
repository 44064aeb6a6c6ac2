package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

const (
	headerCacheControl = "Cache-Control"
	headerETag         = "ETag"
	noStore            = "no-store"
)

// writeFresh answers with what nobody may keep: anything that holds a signed URL or a token, and every answer to a
// request that changes something.
func writeFresh(c echo.Context, status int, v any) error {
	w := c.Response()
	w.Header().Set(headerCacheControl, noStore)
	w.Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	w.Status = status // with the first byte, which comes when all is encoded
	return encodeTo(w, v)
}

// writeRead answers a read under a strong ETag, the hash of the body, or with 304 when the caller holds that body
// already. A hash is right where a revision would not be: an alias that comes or goes changes a version's answer.
func writeRead(c echo.Context, v any) error {
	b, err := newBody(v)
	if err != nil {
		return err
	}
	return b.write(c)
}

// body is an answer to a read.
type body struct {
	text []byte // nobody may change it
	tag  string
}

func newBody(v any) (body, error) {
	text, err := encode(v)
	if err != nil {
		return body{}, err
	}
	sum := sha256.Sum256(text)
	return body{text, base64.RawURLEncoding.EncodeToString(sum[:16])}, nil
}

func (b body) write(c echo.Context) error {
	if setValidator(c, b.tag) {
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, b.text)
}

// setValidator sets the ETag and reports whether If-None-Match names it.
func setValidator(c echo.Context, tag string) (unchanged bool) {
	etag := strconv.Quote(tag)
	header := c.Response().Header()
	header.Set(headerETag, etag)
	header.Set(headerCacheControl, "private, no-cache")
	for candidate := range strings.SplitSeq(strings.Join(c.Request().Header.Values("If-None-Match"), ","), ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == etag {
			return true
		}
	}
	return false
}

func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	err := encodeTo(&buf, v)
	return buf.Bytes(), err
}

// encodeTo writes JSON in one piece, with "&" as it is, so that a signed URL can be copied from a terminal.
func encodeTo(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("api: answer: %w", err)
	}
	return nil
}

// list makes an empty page's items [] and not null.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// problemOf is the error that goes to the client. It is a copy, so that an error shared by requests stays as it is.
func problemOf(err error) *ballast.Error {
	if he := (*echo.HTTPError)(nil); errors.As(err, &he) {
		return routingProblem(he)
	}
	e := *engine.AsError(err)
	if e.Code == ballast.CodeInternal && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		e = *ballast.Errorf(ballast.CodeUnavailable, "the request was cut short; try again").Because(err)
	}
	e.Status = e.Code.Status()
	return &e
}

// routingProblem is what echo's router had to say.
func routingProblem(he *echo.HTTPError) *ballast.Error {
	e := ballast.Errorf(ballast.CodeNotFound, "no such route; check the URL: it is the registry's address without a path; /openapi.yaml lists all routes")
	if he.Code == http.StatusMethodNotAllowed {
		e = ballast.Errorf(ballast.CodeInvalid, "this route does not know the method; the Allow header lists those it does")
	}
	e.Status = he.Code
	return e
}

// writeProblem writes an RFC 9457 problem document. The status is the code's own; only
// 405 has none of its own and travels as invalid.
func writeProblem(c echo.Context, e *ballast.Error) {
	e.Title = http.StatusText(e.Status)
	e.RequestID = c.(*call).id
	header := c.Response().Header()
	header.Del(headerETag)
	header.Del(echo.HeaderContentType) // of an answer that did not come about
	header.Set(headerCacheControl, noStore)
	if e.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter))))
	}
	if e.Code == ballast.CodeUnauthenticated {
		header.Set("WWW-Authenticate", `Bearer realm="ballast"`)
	}
	body, err := encode(e)
	if err != nil {
		body = []byte(`{"code":"internal","detail":"internal error"}`)
	}
	// A failing write means that the client is gone; there is nobody left to tell.
	_ = c.Blob(e.Status, "application/problem+json", body)
}
