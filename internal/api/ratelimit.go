package api

import (
	"crypto/sha256"
	"math"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/cache"
)

// Limits bound what each principal may ask, on either face, and so what one of them can take from the others. The zero value
// bounds nothing.
type Limits struct {
	// Rate is how many requests a second a principal may send for ever, 0 for any number. One that changes something counts as
	// 10, and 10 signed requests in an answer count as one more.
	Rate float64
	// Burst is how many it may send at once after a rest; 0 means what Rate allows in 100 seconds.
	Burst int
}

// What a request costs. A change is a transaction with its sync; signing for a page of files takes what a hundred reads do.
const (
	costOfChange = 10
	signedForOne = 10 // signed requests
)

// Strangers, who have no token that is known, may try so often from one network. It is what guessing takes.
const (
	strangersRate  = 10 // a second
	strangersBurst = 100
)

// maxPayers bounds the principals, the networks and the tokens of networks that are remembered. Who is forgotten has its whole burst again.
const maxPayers = 16_384

// payer is whose requests are counted together: a principal, or whoever sends no credentials from a network.
type payer struct {
	id      string
	network netip.Prefix
}

func payerOf(c echo.Context) payer {
	if c.Request().Header.Get(echo.HeaderAuthorization) == "" {
		return payer{network: networkOf(c.Request().RemoteAddr)}
	}
	return payer{id: principalOf(c).ID}
}

// networkOf is what one party holds of addresses: one of IPv4, 64 bits of IPv6. It is zero for what is no address.
func networkOf(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap()
	network, _ := addr.Prefix(min(addr.BitLen(), 64))
	return network
}

// limiter counts what is asked.
type limiter struct {
	principals *buckets[payer]
	strangers  *buckets[netip.Prefix]
	known      *cache.Cache[[sha256.Size]byte, bool] // whether credentials are good that once were, from a network that also sent bad ones
}

func newLimiter(l Limits, now func() time.Time) *limiter {
	burst := l.Burst
	if burst <= 0 {
		burst = int(math.Min(math.Ceil(100*l.Rate), math.MaxInt32))
	}
	return &limiter{
		principals: newBuckets[payer](rate.Limit(l.Rate), burst, now),
		strangers:  newBuckets[netip.Prefix](strangersRate, strangersBurst, now),
		known:      cache.New[[sha256.Size]byte, bool](maxPayers),
	}
}

// limitStrangers refuses requests from a network which has sent too many without a token that is known, before their
// credentials are looked at: whoever guesses learns nothing meanwhile. Others behind the same address go on with tokens
// that have been good from there.
func (s *server) limitStrangers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if isNeverLimited(r.URL.Path) {
			return next(c)
		}
		from := networkOf(r.RemoteAddr)
		guilty := s.limiter.strangers.has(from)
		if guilty {
			if wait := s.limiter.strangers.lacking(from, 1); wait > 0 && !s.limiter.isKnown(from, r) {
				s.metrics.limited.WithLabelValues(limitStrangers).Inc()
				return errLimited(wait, "too many requests without a token that is known came from this address; a token that was good from here before still is. An admin makes tokens with: ballast token create")
			}
		}
		err := next(c)
		switch {
		case isStranger(c) && (err == nil || problemOf(err).Code == ballast.CodeUnauthenticated || problemOf(err).Code == ballast.CodeUnavailable):
			s.limiter.strangers.charge(from, 1)
			s.limiter.forget(from, r)
		case !isStranger(c) && guilty:
			s.limiter.known.Put(credentialsOf(from, r), true, 1)
		}
		return err
	}
}

// credentialsOf stand for what a request says who it is, and where it comes from.
func credentialsOf(from netip.Prefix, r *http.Request) [sha256.Size]byte {
	return sha256.Sum256([]byte(from.String() + " " + tokenOf(r).Reveal())) // and not the user name beside it, of which there are many
}

func (l *limiter) isKnown(from netip.Prefix, r *http.Request) bool {
	good, _ := l.known.Get(credentialsOf(from, r))
	return good
}

// forget has credentials that were good, and are no more, be like any others. Those that never were take no room.
func (l *limiter) forget(from netip.Prefix, r *http.Request) {
	if l.isKnown(from, r) {
		l.known.Put(credentialsOf(from, r), false, 1)
	}
}

// limit refuses a request of a principal that has asked too much. It stands before both faces.
func (s *server) limit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if isStranger(c) {
			return next(c)
		}
		if wait := s.limiter.principals.take(payerOf(c), costOf(c.Request().Method)); wait > 0 {
			s.metrics.limited.WithLabelValues(limitRequests).Inc()
			return errLimited(wait, "this token, or without one this address, asks more than one may; a change counts as 10 requests, and 10 signed requests in an answer as one. The operator of the registry sets how many there are: ballast serve --rate-limit")
		}
		return next(c)
	}
}

// isStranger reports whether authenticate let nobody in: it refused, or the path is open.
func isStranger(c echo.Context) bool { return !c.(*call).letIn }

// chargeSigned counts the signed requests of an answer. Whoever owes more than there is waits before it asks again.
func (s *server) chargeSigned(c echo.Context, signed int) {
	if s.limiter != nil && signed > 0 {
		s.limiter.principals.charge(payerOf(c), (signed+signedForOne-1)/signedForOne)
	}
}

func costOf(method string) int {
	if method == http.MethodGet || method == http.MethodHead {
		return 1
	}
	return costOfChange
}

// isNeverLimited reports whether a path is for those who watch the service.
func isNeverLimited(path string) bool { return path == healthPath || path == readyPath }

// errLimited says for how long to wait in whole seconds: of the many who are told so at once few would find room after
// a hundredth of one.
func errLimited(wait time.Duration, why string) error {
	seconds := math.Ceil(wait.Seconds())
	e := ballast.Errorf(ballast.CodeRateLimited, "try again in %.0f s: %s", seconds, why)
	e.RetryAfter = seconds
	return e
}

// buckets are token buckets by key. The longest unused is forgotten first.
type buckets[K payer | netip.Prefix] struct {
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu   sync.Mutex // of making one
	held *cache.Cache[K, *rate.Limiter]
}

func newBuckets[K payer | netip.Prefix](each rate.Limit, burst int, now func() time.Time) *buckets[K] {
	return &buckets[K]{rate: each, burst: burst, now: now, held: cache.New[K, *rate.Limiter](maxPayers)}
}

// has reports whether anything was taken from a key's bucket that is not forgotten.
func (b *buckets[K]) has(key K) bool {
	_, ok := b.held.Get(key)
	return ok
}

func (b *buckets[K]) of(key K) *rate.Limiter {
	if l, ok := b.held.Get(key); ok {
		return l
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if l, ok := b.held.Get(key); ok {
		return l
	}
	l := rate.NewLimiter(b.rate, b.burst)
	b.held.Put(key, l, 1)
	return l
}

// take takes n from a key's bucket, or nothing and says after how long n will be there. More than a whole bucket is a whole one.
func (b *buckets[K]) take(key K, n int) (wait time.Duration) {
	n = min(n, b.burst)
	if b.of(key).AllowN(b.now(), n) {
		return 0
	}
	return max(b.lacking(key, n), time.Millisecond)
}

// lacking is after how long n will be in a key's bucket.
func (b *buckets[K]) lacking(key K, n int) time.Duration {
	lacks := float64(n) - b.of(key).TokensAt(b.now())
	return time.Duration(math.Min(max(lacks, 0)/float64(b.rate), maxLimited.Seconds()) * float64(time.Second))
}

// maxLimited is the longest wait that anybody is told.
const maxLimited = time.Hour

// charge takes n from a key's bucket whether they are there or not. The debt is a whole bucket at most.
func (b *buckets[K]) charge(key K, n int) {
	l, now := b.of(key), b.now()
	if l.TokensAt(now) > -float64(b.burst) {
		l.ReserveN(now, min(n, b.burst))
	}
}
