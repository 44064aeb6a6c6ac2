package api

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/engine"
)

// Attributes of the access log.
const (
	attrMethod    = "method"
	attrRoute     = "route"
	attrPath      = "path"
	attrStatus    = "status"
	attrBytes     = "bytes"
	attrTook      = "took"
	attrRequestID = "request_id"
	attrPrincipal = "principal"
	attrRemote    = "remote"
	attrCode      = "code"
	attrError     = "error"
	attrStack     = "stack"

	maxAttrs = 12 // of one line
)

const headerRequestID = "X-Request-Id"

// routeEscaped makes echo route on the path as it was sent, always, so that a parameter is decoded exactly once: by
// [param]. Left alone, echo hands out decoded parameters for some paths and encoded ones for others.
func routeEscaped(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		u.RawPath = u.EscapedPath()
		return next(c)
	}
}

// call is a request on its way, with what the middleware found out. It spares each request echo's map of such things.
type call struct {
	echo.Context
	id        string
	remote    string // host of the client
	principal engine.Principal
	letIn     bool // authenticate found the principal
}

// observe names the request, turns its error into a problem document, logs it and counts it.
func (s *server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		id := requestID(c.Request(), start)
		c = &call{Context: c, id: id, remote: remoteHost(c.Request())}
		header := c.Response().Header()
		header.Set(headerRequestID, id)
		header.Set("X-Content-Type-Options", "nosniff")
		rec := s.beginAudit(c)
		err := guard(next, c)
		if err != nil {
			s.refuse(c, problemOf(err))
		}
		s.writeAudit(c, rec, err)
		took := time.Since(start)
		route := s.template(c)
		s.metrics.observe(route, c.Request().Method, c.Response().Status, took)
		s.logAccess(c, route, err, took)
		return nil
	}
}

// refuse answers an error in the words of the face that was asked, unless the answer has begun.
func (s *server) refuse(c echo.Context, e *ballast.Error) {
	switch {
	case c.Response().Committed:
	case s.isGuests(c.Request()):
		e.RequestID = c.(*call).id
		s.guest.Refuse(c.Response(), c.Request(), e)
	default:
		writeProblem(c, e)
	}
}

// hand gives a request that is the guest's to it.
func (s *server) hand(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.isGuests(c.Request()) {
			return s.guest.Serve(c.Response(), c.Request(), principalOf(c))
		}
		return next(c)
	}
}

// isGuests reports whether a request is for the guest: its path is none of this face's own.
func (s *server) isGuests(r *http.Request) bool {
	path := r.URL.Path
	return s.guest != nil && !isOpen(path) && path != "/v1" && !strings.HasPrefix(path, "/v1/")
}

// requestID is the caller's own when it is short and plain, else a new one. A token is plain, and goes into no log.
func requestID(r *http.Request, now time.Time) string {
	if id := r.Header.Get(headerRequestID); isPlainID(id) && audit.Redact(id) == id {
		return id
	}
	return newRequestID(now)
}

// newRequestID is a UUID of version 7. Nothing rests on nobody guessing it, so it takes the runtime's random numbers, which
// need neither a lock nor a call of the system.
func newRequestID(now time.Time) string {
	var id uuid.UUID
	ms := uint64(now.UnixMilli())
	binary.BigEndian.PutUint64(id[:], ms<<16|7<<12|rand.Uint64()&0xfff)
	binary.BigEndian.PutUint64(id[8:], 1<<63|rand.Uint64()>>2)
	return id.String()
}

// panicError is a panic on its way to the log.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// guard turns a panic into an error, so that one bad request costs only its own answer.
func guard(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			panic(v)
		default:
			err = &panicError{v, debug.Stack()}
		}
	}()
	return next(c)
}

// logAccess writes one line a request. Queries are left out, since that of a signed URL is a credential.
func (s *server) logAccess(c echo.Context, route string, err error, took time.Duration) {
	r, w := c.Request(), c.Response()
	level, h := accessLevel(c, err), s.log.Handler()
	if !h.Enabled(r.Context(), level) {
		return
	}
	var attrs [maxAttrs]slog.Attr
	all := append(attrs[:0],
		slog.String(attrMethod, r.Method),
		slog.String(attrRoute, route),
		slog.String(attrPath, audit.Cut(audit.Redact(r.URL.Path), maxLoggedPath)),
		slog.Int(attrStatus, w.Status),
		slog.Int64(attrBytes, w.Size),
		slog.Duration(attrTook, took),
		slog.String(attrRequestID, c.(*call).id),
		slog.String(attrRemote, c.(*call).remote),
	)
	if p := principalOf(c); p.ID != "" {
		all = append(all, slog.String(attrPrincipal, p.ID))
	}
	// Past the Logger's own methods, which look up the line of code that called them.
	line := slog.NewRecord(time.Now(), level, "request", 0)
	line.AddAttrs(append(all, errorAttrs(err)...)...)
	_ = h.Handle(r.Context(), line)
}

// maxLoggedPath keeps a line of the log to a line, in bytes.
const maxLoggedPath = 1024

func accessLevel(c echo.Context, err error) slog.Level {
	switch {
	case err != nil && problemOf(err).Code == ballast.CodeInternal:
		return slog.LevelError
	case c.Response().Status >= http.StatusInternalServerError, err != nil && problemOf(err).Code == ballast.CodeIntegrity:
		return slog.LevelWarn
	case isOpen(c.Request().URL.Path):
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// errorAttrs shows an error with the cause that the answer keeps to itself.
func errorAttrs(err error) []slog.Attr {
	if err == nil {
		return nil
	}
	text := err.Error()
	e := problemOf(err)
	if cause := e.Unwrap(); cause != nil && !strings.Contains(text, cause.Error()) {
		text += ": " + cause.Error()
	}
	attrs := []slog.Attr{slog.String(attrCode, string(e.Code)), slog.String(attrError, audit.Redact(text))}
	if p := (*panicError)(nil); errors.As(err, &p) {
		attrs = append(attrs, slog.String(attrStack, string(p.stack)))
	}
	return attrs
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// isOpen reports whether a path needs no token. Whatever is not listed here does, routes that do not exist included.
func isOpen(path string) bool {
	return path == healthPath || path == readyPath || path == descriptionPath
}

// authenticate puts the token's holder into the context. No token, a token in another scheme and an unknown one are
// all refused: whoever says who it is is never let in as somebody lesser.
func (s *server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if isOpen(c.Request().URL.Path) {
			return next(c)
		}
		if s.isAnonymous(c) {
			c.(*call).letInAs(engine.Anonymous())
			return ofAnonymous(next(c))
		}
		p, err := s.principal(c.Request())
		if err != nil {
			return err
		}
		c.(*call).letInAs(p)
		return next(c)
	}
}

func (s *server) principal(r *http.Request) (engine.Principal, error) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return engine.Principal{}, errNoToken()
	}
	token := tokenOf(r)
	if token == "" {
		return engine.Principal{}, ballast.Errorf(ballast.CodeUnauthenticated, "the Authorization header must read: Bearer <token>, or Basic with the token as password")
	}
	return s.holder(r.Context(), token)
}

// tokenOf is the token that a request carries, as a bearer or as the password of anybody: git, OCI clients and curl -u know
// passwords only. It is empty for any other header. No answer asks for a password, which a browser would remember and then
// send along with what other pages make it send.
func tokenOf(r *http.Request) ballast.Secret {
	scheme, token, _ := strings.Cut(r.Header.Get(echo.HeaderAuthorization), " ")
	if _, password, ok := r.BasicAuth(); ok {
		token = password
	} else if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return ballast.Secret(strings.TrimPrefix(token, "hf_")) // clients of Hugging Face refuse a token that does not begin so
}

func (c *call) letInAs(p engine.Principal) { c.principal, c.letIn = p, true }

// principalOf is who authenticate found, or the zero Principal, which no scope grants anything.
func principalOf(c echo.Context) engine.Principal { return c.(*call).principal }
