package objstore

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	maxAttempts = 4
	maxBackoff  = 20 * time.Second
)

// retryer is the SDK's standard one, which does not know HTTP's Retry-After.
type retryer struct{ aws.RetryerV2 }

func newRetryer() aws.Retryer {
	return retryer{retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = maxAttempts
		o.MaxBackoff = maxBackoff
		o.Retryables = append(o.Retryables, retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{http.StatusTooManyRequests: {}}})
	})}
}

// RetryDelay implements aws.Retryer: the longer of the backoff and what the store asks for, up to maxBackoff.
func (r retryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	delay, backoffErr := r.RetryerV2.RetryDelay(attempt, err)
	var answer *awshttp.ResponseError
	if backoffErr == nil && errors.As(err, &answer) && answer.Response != nil {
		delay = max(delay, min(retryAfter(answer.Response.Header, time.Now()), maxBackoff))
	}
	return delay, backoffErr
}

// retryAfter reads seconds or a date; 0 when there is neither.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 16); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return at.Sub(now)
	}
	return 0
}
