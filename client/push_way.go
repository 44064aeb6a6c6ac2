package client

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/ballast-registry/ballast"
)

// way is what a push has seen of the way to the object store, and what follows from it: whether a file goes up by one PUT
// or in parts, and how large these are. The registry reads again what came in parts, and costs both sides a second hash of
// every byte; a PUT that is cut begins anew, and one stream may be slower than the link. docs/performance.md has the figures.
type way struct {
	fixed    int64 // part size that the caller wants; 0: what suits
	parallel int

	mu   sync.Mutex
	rate float64       // bytes a second of one transfer, lately; 0: not known yet
	rtt  time.Duration // the least; 0: not known
	torn bool          // a long PUT was cut
}

const (
	// patience is how long a PUT may take: what a cut connection costs.
	patience = time.Minute
	// partTime is how long a part may take at the rate that was measured.
	partTime = 20 * time.Second
	// near is the round trip below which one stream fills the link: a window of 4 MiB then passes 2 GB/s.
	near = 2 * time.Millisecond
	// rereadRate is what the registry is taken to verify parts at, in bytes a second.
	rereadRate = 400e6
	// leastPart is the size of parts that are cut smaller than the default one, so that more travel at once.
	leastPart = 16 << 20
	// slowPart is their least size on a slow link.
	slowPart = 8 << 20
	// watchAfter is how long a PUT is left alone before its rate counts, watchEvery how often it is looked at then.
	watchAfter, watchEvery = 2 * time.Second, time.Second
)

// partSize is the size of the parts of a file; 0: it goes up whole.
func (w *way) partSize(size int64) int64 {
	if w.fixed > 0 {
		if n := ballast.ClampPartSize(size, w.fixed); size > n {
			return n
		}
		return 0
	}
	w.mu.Lock()
	slow := w.torn || w.rate > 0 && float64(size) > w.rate*patience.Seconds()
	w.mu.Unlock()
	if size <= ballast.DefaultPartSize || size <= ballast.MaxPutSize && !slow {
		return 0
	}
	return w.cut(size)
}

// cut is the size of equal parts: so many that all transfers have one, none so large that it takes long.
func (w *way) cut(size int64) int64 {
	w.mu.Lock()
	most := min(max(size/int64(w.parallel), leastPart), ballast.DefaultPartSize)
	if w.rate > 0 {
		most = min(most, max(int64(w.rate*partTime.Seconds()), slowPart))
	}
	w.mu.Unlock()
	count := (size + most - 1) / most
	const mib = 1 << 20
	return ballast.ClampPartSize(size, ((size+count-1)/count+mib-1)/mib*mib)
}

// moved notes a transfer that ended well.
func (w *way) moved(bytes int64, took time.Duration) {
	const telling = 4 << 20 // less is all latency, or all in the sockets' buffers
	if bytes < telling || took <= 0 {
		return
	}
	rate := float64(bytes) / took.Seconds()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rate > 0 {
		rate = (w.rate + rate) / 2
	}
	w.rate = rate
}

// tore notes that a file that went up whole did not get there.
func (w *way) tore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.torn = true
}

// better reports whether what is left of a PUT is better sent as parts, all of it anew. idle transfers have nothing to do
// beside the busy ones.
func (w *way) better(size, sent int64, took time.Duration, idle, busy int) bool {
	if sent <= 0 {
		return false // stalled: another's business
	}
	rate := float64(sent) / took.Seconds()
	rest := float64(size-sent) / rate
	w.mu.Lock()
	rtt := w.rtt
	w.mu.Unlock()
	if rest > patience.Seconds() {
		return true
	}
	if rtt < near || idle == 0 {
		return false
	}
	streams := 1 + float64(idle)/float64(max(busy, 1))
	return rest > 1.5*(float64(size)/(rate*streams)+float64(size)/rereadRate)
}

// trace measures the round trip where connections are made.
func (w *way) trace(ctx context.Context) context.Context {
	var began time.Time
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectStart: func(string, string) { w.mu.Lock(); defer w.mu.Unlock(); began = time.Now() },
		ConnectDone: func(_, _ string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if took := time.Since(began); err == nil && (w.rtt == 0 || took < w.rtt) {
				w.rtt = max(took, 1)
			}
		},
	})
}
