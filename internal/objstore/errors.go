package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// codes are S3's own words. They decide before the status: a 200 to a Complete can carry one, and a 404 says "no such
// bucket" with the status of "no such key".
var codes = map[string]error{
	"NoSuchKey":                  ErrNotFound,
	"NoSuchVersion":              ErrNotFound,
	"NoSuchUpload":               ErrNoSuchUpload,
	"InvalidPart":                ErrInvalidPart,
	"PreconditionFailed":         ErrPrecondition,
	"ConditionalRequestConflict": ErrPrecondition,
	"OperationAborted":           ErrPrecondition,
	"InvalidObjectState":         ErrUnreadable, // it lies in an archive, and comes as a 403
	"AccessDenied":               ErrDenied,
	"ExpiredToken":               ErrDenied,
	"InvalidToken":               ErrDenied,
	"InternalError":              ErrUnavailable,
	"ServiceUnavailable":         ErrUnavailable,
	"SlowDown":                   ErrUnavailable,
	"RequestTimeout":             ErrUnavailable,
	"NoSuchBucket":               ErrNoBucket, // a wrong bucket is not an absent object
	"NotImplemented":             nil,
}

// classify adds the sentinel that an answer of the store stands for. What is no answer and not recognised it returns as
// it is.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if sentinel := sentinelOf(err); sentinel != nil {
		return fmt.Errorf("%w: %w", sentinel, err)
	}
	switch {
	case statusOf(err) != 0:
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, ctx.Err(), err)
	}
	return err
}

func sentinelOf(err error) error {
	if sentinel, known := codes[code(err)]; known {
		return sentinel
	}
	var absent *types.NotFound // a HEAD's 404, which has no body to say NoSuchKey
	if errors.As(err, &absent) {
		return ErrNotFound
	}
	if status := statusOf(err); status != 0 {
		return sentinelOfStatus(status)
	}
	return sentinelOfTransport(err)
}

// statusOf is the status of the store's answer, 0 when none came.
func statusOf(err error) int {
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil && answer.Response.Response != nil {
		return answer.HTTPStatusCode()
	}
	return 0
}

// sentinelOfStatus leaves out 404: without S3's own word for it, anything on the way may have said it.
func sentinelOfStatus(status int) error {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return ErrDenied
	case status == http.StatusPreconditionFailed:
		return ErrPrecondition
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout,
		status >= http.StatusInternalServerError && status != http.StatusNotImplemented:
		return ErrUnavailable
	}
	return nil
}

func sentinelOfTransport(err error) error {
	var (
		send    *smithyhttp.RequestSendError
		network net.Error
		ended   = errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	)
	if ended {
		return nil // classify names both
	}
	if errors.As(err, &send) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrUnavailable
	}
	return nil
}

// code is S3's error code, or "".
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
