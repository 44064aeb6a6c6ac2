package client

import (
	"context"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/ballast-registry/ballast"
)

// access is the way to the bytes of one file: a signed request, and another one before it expires and when the store
// refuses it. It is safe for concurrent use; one call at a time asks the registry.
type access struct {
	renew func(context.Context) (ballast.SignedRequest, time.Time, error)

	mu      sync.Mutex
	request ballast.SignedRequest // zero: none yet, or refused
	until   time.Time             // by the local clock; zero: not known
}

// newAccess has a request that was signed by the time that the registry's clock shows, now; it may be the zero one.
func newAccess(sr ballast.SignedRequest, now time.Time, renew func(context.Context) (ballast.SignedRequest, time.Time, error)) *access {
	a := &access{renew: renew}
	a.set(sr, now)
	return a
}

// set keeps a request until shortly before it expires. What it has left is counted by the clock of who signed it, so a local
// clock that is wrong does no harm.
func (a *access) set(sr ballast.SignedRequest, now time.Time) {
	a.request, a.until = sr, time.Time{}
	if !sr.ExpiresAt.IsZero() && !now.IsZero() {
		left := sr.ExpiresAt.Sub(now)
		a.until = time.Now().Add(left - min(left/4, 30*time.Second))
	}
}

// get returns a request that the store should take.
func (a *access) get(ctx context.Context) (ballast.SignedRequest, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.request.URL != "" && (a.until.IsZero() || time.Now().Before(a.until)) {
		return a.request, nil
	}
	sr, now, err := a.renew(ctx)
	if err == nil {
		a.set(sr, now)
	}
	return sr, err
}

// refused says that the store did not take a request. Others may have a newer one meanwhile.
func (a *access) refused(sr ballast.SignedRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.request.URL == sr.URL {
		a.request = ballast.SignedRequest{}
	}
}

// signedAt reads from a presigned URL when it was signed, and for how long; zero when it does not say.
func signedAt(sr ballast.SignedRequest) (at time.Time, life time.Duration) {
	u, err := url.Parse(sr.URL)
	if err != nil {
		return at, 0
	}
	q := u.Query()
	at, err = time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	seconds, err2 := strconv.ParseInt(q.Get("X-Amz-Expires"), 10, 32)
	if err != nil || err2 != nil {
		return time.Time{}, 0
	}
	return at, time.Duration(seconds) * time.Second
}
