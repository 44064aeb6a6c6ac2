package ballast

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
)

// Code is one of a closed set of reasons why a request did not do what was asked.
type Code string

// The codes, each with the moment it occurs.
const (
	CodeInvalid         Code = "invalid"         // the request is malformed or breaks a rule of form
	CodeTooLarge        Code = "too_large"       // a body, a list or a model is over its limit
	CodeUnauthenticated Code = "unauthenticated" // no token, or not one that is known
	CodeDenied          Code = "denied"          // the role is too weak in a scope the caller may see
	CodeQuotaExceeded   Code = "quota_exceeded"  // the tenant's quota is used up
	CodeNotFound        Code = "not_found"       // absent, or not the caller's to see
	CodeAlreadyExists   Code = "already_exists"  // the label holds other files
	CodeConflict        Code = "conflict"        // somebody else's open upload, or a change that raced
	CodeReferenced      Code = "referenced"      // cannot be removed while others point at it
	CodeMissing         Code = "missing"         // the commit names bytes that are not there; Error.Missing lists them
	CodeLeaseLost       Code = "lease_lost"      // the upload expired, was aborted or taken over
	CodeBusy            Code = "busy"            // try again after Error.RetryAfter
	CodePrecondition    Code = "precondition"    // the state does not allow it
	CodeRetired         Code = "retired"         // the version, or its base, was retired
	CodeGone            Code = "gone"            // a cursor too old, or of another epoch
	CodeIntegrity       Code = "integrity"       // bytes are not what their digest says
	CodeRateLimited     Code = "rate_limited"    // too many requests; try again after Error.RetryAfter
	CodeUnavailable     Code = "unavailable"     // the store or the service cannot answer now; try again
	CodeInternal        Code = "internal"        // a defect; the log has the detail under the request id
)

// statuses is the one table from codes to HTTP.
var statuses = map[Code]int{
	CodeInvalid: http.StatusBadRequest, CodeTooLarge: http.StatusRequestEntityTooLarge,
	CodeUnauthenticated: http.StatusUnauthorized, CodeDenied: http.StatusForbidden, CodeQuotaExceeded: http.StatusForbidden,
	CodeNotFound: http.StatusNotFound, CodeAlreadyExists: http.StatusConflict, CodeConflict: http.StatusConflict,
	CodeReferenced: http.StatusConflict, CodeMissing: http.StatusConflict, CodeLeaseLost: http.StatusConflict,
	CodeBusy: http.StatusConflict, CodePrecondition: http.StatusPreconditionFailed, CodeRetired: http.StatusGone,
	CodeGone: http.StatusGone, CodeIntegrity: http.StatusUnprocessableEntity, CodeRateLimited: http.StatusTooManyRequests,
	CodeUnavailable: http.StatusServiceUnavailable, CodeInternal: http.StatusInternalServerError,
}

// Status is the HTTP status of the code; an unknown code is 500.
func (c Code) Status() int {
	if s, ok := statuses[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Codes returns every code.
func Codes() []Code {
	all := make([]Code, 0, len(statuses))
	for c := range statuses {
		all = append(all, c)
	}
	return all
}

// Error is the one error that crosses the wire, as RFC 9457 application/problem+json. Detail says what happened, to
// what, and what to do next; it holds no key of the bucket, no path of the server, no credential and no stack.
type Error struct {
	Title      string          `json:"title,omitempty"`  // the HTTP status in words
	Status     int             `json:"status,omitempty"` // the HTTP status
	Code       Code            `json:"code"`
	Detail     string          `json:"detail"`
	RequestID  string          `json:"request_id,omitempty"`
	Expected   digest.Digest   `json:"expected,omitempty"`    // integrity, already_exists: the digest that was declared or is held
	Actual     digest.Digest   `json:"actual,omitempty"`      // integrity, already_exists: the digest that was found or offered
	Missing    []digest.Digest `json:"missing,omitempty"`     // missing: what to send, 1,000 at most
	Holder     *Holder         `json:"holder,omitempty"`      // conflict: the open upload that holds the label
	References []Reference     `json:"references,omitempty"`  // referenced: what points at it, of what the caller sees, 100 at most
	Cursor     string          `json:"cursor,omitempty"`      // gone: where the feed begins now
	RetryAfter float64         `json:"retry_after,omitempty"` // seconds: busy, rate_limited, unavailable
	cause      error
}

// Holder names the open upload that holds a label.
type Holder struct {
	Upload    string `json:"upload"`
	CreatedBy string `json:"created_by"`
	ExpiresAt Time   `json:"expires_at,omitzero"` // left out: an import, which goes on by itself, has no lease
}

// Errorf makes an Error. A %w in the format becomes its cause: reachable by errors.Is, kept from the wire only as far
// as its text is not part of the message, so wrap with %w only what callers may read.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Detail: err.Error(), cause: errors.Unwrap(err)}
}

// Because attaches a cause that goes to the log and never to the wire.
func (e *Error) Because(cause error) *Error {
	e.cause = cause
	return e
}

// Error returns the code and the detail.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// maxRetry bounds what Retry returns: more seconds than a Duration can hold would be a negative one.
const maxRetry = 24 * time.Hour

// Retry returns how long to wait before another try, a day at most, or 0.
func (e *Error) Retry() time.Duration {
	return time.Duration(min(max(e.RetryAfter, 0), maxRetry.Seconds()) * float64(time.Second))
}

// AsError returns the first Error in err's chain. Anything else is internal: its text stays out of the answer and is
// reachable as the cause, for the log.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return Errorf(CodeInternal, "internal error; the service's log has the detail under this request id").Because(err)
}

// CodeOf returns the code of err: "" for nil, internal for anything that is no Error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return AsError(err).Code
}
