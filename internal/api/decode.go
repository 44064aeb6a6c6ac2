package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// Limits of what a request may hold beside its body.
const (
	defaultLimit   = 100
	maxLimit       = 1000
	maxWait        = engine.MaxWait
	maxCursorBytes = 4 << 10
	maxPrefixBytes = 256
)

// param decodes a path parameter, once. What comes out may hold anything: parse it before use.
func param(c echo.Context, name string) (string, error) {
	text, err := url.PathUnescape(c.Param(name))
	if err != nil {
		return "", ballast.Errorf(ballast.CodeInvalid, "the path holds a broken percent-encoding")
	}
	return text, nil
}

// nameText is {name}: one segment, or two that the route took apart. Encoded as %2F, the slash is part of one segment.
func nameText(c echo.Context) (string, error) {
	name, err := param(c, "name")
	if err != nil || !slices.Contains(c.ParamNames(), "owner") {
		return name, err
	}
	owner, err := param(c, "owner")
	return owner + "/" + name, err
}

// nameParam is {name}, whose scope is zero when it is not given.
func nameParam(c echo.Context) (ballast.Scope, ballast.Name, error) {
	text, err := nameText(c)
	if err != nil {
		return ballast.Scope{}, ballast.Name{}, err
	}
	return ballast.ParseQualifiedName(text)
}

// refParam is {name} and {ref}.
func refParam(c echo.Context) (ballast.Ref, error) {
	name, err := nameText(c)
	if err != nil {
		return ballast.Ref{}, err
	}
	ref, err := param(c, "ref")
	if err != nil {
		return ballast.Ref{}, err
	}
	if ref == "" {
		return ballast.Ref{}, ballast.Errorf(ballast.CodeInvalid, "the path has no version; write a version, latest, @alias or sha256:…")
	}
	return ballast.ParseRefIn(name, ref)
}

// pathParam is {path}: the path of a file in a version.
func pathParam(c echo.Context) (string, error) {
	p, err := param(c, "*")
	if err != nil {
		return "", err
	}
	return p, ballast.CheckPath(p)
}

// aliasParam is {name} and {alias}.
func aliasParam(c echo.Context) (scope ballast.Scope, name ballast.Name, alias ballast.Alias, err error) {
	if scope, name, err = nameParam(c); err != nil {
		return scope, name, alias, err
	}
	text, err := param(c, "alias")
	if err != nil {
		return scope, name, alias, err
	}
	alias, err = ballast.ParseAlias(text)
	return scope, name, alias, err
}

// idParam is {id} of an upload or a token. One that could be no id of ours is not found.
func idParam(c echo.Context) (string, error) {
	id, err := param(c, "id")
	if err != nil {
		return "", err
	}
	if !isPlainID(id) {
		return "", ballast.Errorf(ballast.CodeNotFound, "not found")
	}
	return id, nil
}

// isPlainID reports whether s is 1 to 64 of A-Z a-z 0-9 . _ -
func isPlainID(s string) bool {
	return s != "" && len(s) <= 64 && isPlain(s)
}

// isPlain reports whether s has no more than A-Z a-z 0-9 . _ -
func isPlain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r))
	})
}

// query is the query of a request. Its getters keep the first error, so that a handler asks once, at the end.
type query struct {
	values url.Values
	err    error
}

// queryOf refuses a parameter that is not among known or comes twice: a misspelt filter must not read as none.
func queryOf(c echo.Context, known ...string) *query {
	q := readQuery(c)
	for key := range q.values {
		q.know(key, known)
	}
	return q
}

func readQuery(c echo.Context) *query {
	values, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return &query{err: ballast.Errorf(ballast.CodeInvalid, "the query string is malformed")}
	}
	return &query{values: values}
}

// know refuses a parameter that is not among known or comes twice. others are further ones that the refusal names.
func (q *query) know(key string, known []string, others ...string) {
	switch n := len(q.values[key]); {
	case !slices.Contains(known, key):
		q.fail("the query parameter %q is not known here; known: %s", cut(key), strings.Join(append(known, others...), ", "))
	case n > 1:
		q.fail("the query parameter %q is given %d times", key, n)
	}
}

// cut shortens text of the caller's for a message.
func cut(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}

func (q *query) fail(format string, args ...any) {
	if q.err == nil {
		q.err = ballast.Errorf(ballast.CodeInvalid, format, args...)
	}
}

// text returns a parameter of at most maxBytes.
func (q *query) text(key string, maxBytes int) string {
	s := q.values.Get(key)
	if len(s) > maxBytes {
		q.fail("%s: longer than %d bytes", key, maxBytes)
	}
	return s
}

func (q *query) cursor() string { return q.text("cursor", maxCursorBytes) }

// prefix is what a name may begin with.
func (q *query) prefix() string {
	s := q.text("prefix", maxPrefixBytes)
	if strings.Count(s, "/") > 1 || strings.Contains(s, "..") || !isPlain(strings.Replace(s, "/", "", 1)) {
		q.fail("prefix %q: no name begins so; names have A-Z a-z 0-9 . _ - and one / at most", cut(s))
	}
	return s
}

// limit is 1 … 1000, by default 100.
func (q *query) limit() int {
	s := q.values.Get("limit")
	if s == "" {
		return defaultLimit
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		q.fail("limit %q: write a number from 1 to %d", cut(s), maxLimit)
	}
	return n
}

func (q *query) flag(key string) bool {
	switch s := q.values.Get(key); s {
	case "", "false":
		return false
	case "true":
		return true
	default:
		q.fail("%s %q: write true or false", key, cut(s))
		return false
	}
}

// include reports whether include asks for the one thing that there is to include.
func (q *query) include(what string) bool {
	switch s := q.values.Get("include"); s {
	case "":
		return false
	case what:
		return true
	default:
		q.fail("include %q: only %s can be included", cut(s), what)
		return false
	}
}

// wait is how long to hold the answer: a duration as 30s, cut to a minute.
func (q *query) wait() time.Duration {
	s := q.values.Get("wait")
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		q.fail("wait %q: write a duration, as in 30s", cut(s))
	}
	return min(d, maxWait)
}

func (q *query) scope() (scope ballast.Scope) {
	if s := q.values.Get("scope"); s != "" {
		var err error
		if scope, err = ballast.ParseScope(s); err != nil && q.err == nil {
			q.err = err
		}
	}
	return scope
}

// maxShortBody is for bodies without a list of files or blobs: the greatest metadata, each character of it escaped, and
// more. Decoded, a body of short names takes twenty times its bytes, and any token may send one.
const maxShortBody = 256 << 10

// readBody decodes a JSON body of at most maxShortBody: UTF-8, one value, no unknown fields.
func readBody(c echo.Context, v any) error {
	body, err := readRaw(c, maxShortBody)
	if err != nil {
		return err
	}
	return ballast.StrictUnmarshal(body, v)
}

// How many long bodies are decoded side by side, and how many of one scope: one of 4 MiB takes fifteen times that meanwhile.
const (
	decodesAtOnce  = 2
	decodesOfScope = 1
)

// readLongBody is readBody up to ballast.MaxBodyBytes, for an upload that the principal may write to: nobody else can
// make the service take so much in.
func (s *server) readLongBody(c echo.Context, p engine.Principal, upload string, v any) error {
	ctx := c.Request().Context()
	if err := s.service.CheckUpload(ctx, p, upload); err != nil {
		return err
	}
	size := c.Request().ContentLength
	if size < 0 || size > ballast.MaxBodyBytes {
		size = ballast.MaxBodyBytes
	}
	read, err := s.bodies.Take(ctx, p.Turn(), size)
	if err != nil {
		return err
	}
	defer read()
	body, err := readRaw(c, ballast.MaxBodyBytes)
	if err != nil {
		return err
	}
	decoded, err := s.decoding.Take(ctx, p.Turn(), 1)
	if err != nil {
		return err
	}
	defer decoded()
	return ballast.StrictUnmarshal(body, v)
}

// readRaw reads a body of JSON, which is UTF-8 and of at most limit bytes.
func readRaw(c echo.Context, limit int64) ([]byte, error) {
	r := c.Request()
	if media, _, err := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType)); err != nil || media != echo.MIMEApplicationJSON {
		return nil, ballast.Errorf(ballast.CodeInvalid, "send the body with Content-Type: application/json")
	}
	if coding := r.Header.Get(echo.HeaderContentEncoding); coding != "" && coding != "identity" {
		return nil, ballast.Errorf(ballast.CodeInvalid, "Content-Encoding %q: send the body as it is", cut(coding))
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response().Writer, r.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, ballast.Errorf(ballast.CodeTooLarge, "the body is larger than %d bytes; send less in one request", limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, ballast.Errorf(ballast.CodeInvalid, "the body did not arrive in time").Because(err)
	}
	if err != nil {
		return nil, ballast.Errorf(ballast.CodeInvalid, "the body ended before its end").Because(err)
	}
	if !utf8.Valid(body) { // the decoder would put U+FFFD in the place of other bytes, and a path would be another's
		return nil, ballast.Errorf(ballast.CodeInvalid, "the body is not UTF-8")
	}
	return body, nil
}

// readAnyBody is readBody for an operation that can do without a body.
func readAnyBody(c echo.Context, v any) error {
	if c.Request().ContentLength == 0 {
		return nil
	}
	return readBody(c, v)
}

// ifMatch reads If-Match as a revision in quotes; nil when the header is not sent.
func ifMatch(c echo.Context) (*int64, error) {
	values := c.Request().Header.Values("If-Match")
	if len(values) == 0 {
		return nil, nil
	}
	n, err := strconv.ParseInt(strings.Trim(values[0], `"`), 10, 64)
	if len(values) > 1 || err != nil || n < 0 || values[0] != `"`+strconv.FormatInt(n, 10)+`"` { // as its ETag was written
		return nil, ballast.Errorf(ballast.CodeInvalid, `If-Match: write one revision in quotes, as in "3"`)
	}
	return &n, nil
}
