package client

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ballast-registry/ballast"
)

// clock is how far the registry's clock is ahead of the local one, as its answers say. A store that refuses a signed request
// says "access denied" whether that expired, was signed by a clock that is wrong, or is not allowed, so the client compares
// clocks itself.
type clock struct{ ahead atomic.Pointer[time.Duration] }

// registrySays keeps the time of an answer of the registry, unless it is zero.
func (c *clock) registrySays(now time.Time) {
	if !now.IsZero() {
		ahead := time.Until(now)
		c.ahead.Store(&ahead)
	}
}

// registry is the registry's time now; zero when it never said.
func (c *clock) registry() time.Time {
	if ahead := c.ahead.Load(); ahead != nil {
		return time.Now().Add(*ahead)
	}
	return time.Time{}
}

// stale reports whether a signed request has expired, or will before it arrives, by the clock of who signed it.
func (c *clock) stale(sr ballast.SignedRequest) bool {
	now := c.registry()
	if sr.ExpiresAt.IsZero() || now.IsZero() {
		return false
	}
	margin := 30 * time.Second
	if _, life := signedAt(sr); life > 0 {
		margin = min(margin, life/4)
	}
	return now.After(sr.ExpiresAt.Add(-margin))
}

// dateOf is the time of an answer by the clock of who sent it; zero when it does not say.
func dateOf(h http.Header) time.Time {
	date, _ := http.ParseTime(h.Get("Date")) // the zero time is said to be none
	return date
}

// skewed is from where on clocks count as different: less is the time of answers and the seconds of their dates. S3 takes
// requests that were signed up to 15 minutes ahead.
const skewed = time.Minute

// reasonOf says what a refused request was refused for, and what to do.
func (c *clock) reasonOf(sr ballast.SignedRequest, e *storeError, store time.Time) string {
	if !e.expired() {
		return ""
	}
	switch e.Code {
	case "SignatureDoesNotMatch":
		return "the request that arrived is not the one that was signed: something between changes its path, host or headers, or the registry's secret store key is wrong; tell the registry's operator"
	case "InvalidAccessKeyId", "ExpiredToken", "InvalidToken", "TokenRefreshRequired":
		return "the registry's store credentials are no longer valid; tell its operator"
	}
	registry := c.registry()
	signed, life := signedAt(sr)
	switch apart := store.Sub(registry); {
	case store.IsZero() || registry.IsZero() || signed.IsZero():
	case registry.After(signed.Add(life)):
		return fmt.Sprintf("the request expired %s ago", registry.Sub(signed.Add(life)).Round(time.Second))
	case apart > skewed && store.After(signed.Add(life)), apart < -skewed && (store.Before(signed) || e.Code == "RequestTimeTooSkewed"):
		return c.whoseClock(apart)
	}
	return "the request is fresh and the clocks agree, so the store's policy forbids it: the registry's identity for reads or writes lacks the right, or the bucket admits other addresses only; tell the registry's operator"
}

// whoseClock says which clock is wrong when the store's is so far ahead of the registry's. The local one, if it agrees with
// one of them, tells.
func (c *clock) whoseClock(apart time.Duration) string {
	direction := "ahead of"
	if apart < 0 {
		direction = "behind"
	}
	text := fmt.Sprintf("the store's clock is %s %s the registry's, so what the registry signs is not valid there", apart.Abs().Round(time.Second), direction)
	local := time.Until(c.registry()) // how far the registry is ahead of here
	switch {
	case local.Abs() < skewed:
		text += "; this machine's clock agrees with the registry's"
	case (local + apart).Abs() < skewed:
		text += "; this machine's clock agrees with the store's"
	}
	return text + "; tell the registry's operator to set the clocks"
}

// wrongHost is what to say when the host that the registry signs for cannot be reached, or is another than it says.
func wrongHost(err error) string {
	var dial *net.OpError
	var name x509.HostnameError
	if errors.As(err, &dial) && dial.Op == "dial" || errors.As(err, &name) {
		return "; if that address is not to be reached from here, the registry needs another --s3-public-endpoint: tell its operator"
	}
	return ""
}
