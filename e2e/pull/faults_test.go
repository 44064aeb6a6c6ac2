package pull_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/testenv"
)

// Connections that are cut, again and again: each goes on at the byte where it was.
func TestConnectionsAreCut(t *testing.T) {
	eachStore(t, func(w *world) {
		var cuts counted
		m := w.meet(func(number int64, _ *http.Request) testenv.Fault {
			if number%2 == 0 {
				return nil
			}
			return cuts.of(testenv.CutDownload(int(number%3+1) << 20))
		})
		dir := w.t.TempDir()
		w.pull(dir).want(w.t, 0)
		w.wantModel(dir)
		w.wantBytes(m, cuts.times(w.t))

		w.meet(func(int64, *http.Request) testenv.Fault { return testenv.CutDownload(0) })
		if o := w.pull(w.t.TempDir()).want(w.t, 7); !strings.Contains(o.stderr, "what has arrived is kept") {
			w.t.Errorf("connections that are always cut: %s", o.stderr)
		}
	})
}

// All connections are cut every five seconds.
func TestConnectionsAreCutEveryFiveSeconds(t *testing.T) {
	eachStore(t, func(w *world) {
		m := w.meet(func(int64, *http.Request) testenv.Fault { return testenv.Slow(partSize / 5) })
		dir := w.t.TempDir()
		stop := w.front.CutEvery(5*time.Second, 6)
		w.pull(dir).want(w.t, 0)
		cuts := stop()
		if cuts < 2 { // at this rate the model takes over ten seconds even uncut
			w.t.Errorf("connections were cut %d times", cuts)
		}
		w.wantModel(dir)
		w.wantBytes(m, cuts)
	})
}

// A store that now and then is asked too much: one request of a hundred is put off.
func TestTheStoreSlowsDownNowAndThen(t *testing.T) {
	eachStoreWith(t, 300, func(w *world) {
		var o testenv.PutOff
		m := w.meet(o.Fault)
		dir := w.t.TempDir()
		w.pull(dir).want(w.t, 0)
		w.wantModel(dir)
		times, early := o.Times()
		if times < 3 || len(early) > 0 {
			w.t.Errorf("%d requests were put off; too early: %v", times, early)
		}
		w.wantBytes(m, times)
	})
}

// A store that is asked too much is asked later, as it says.
func TestTheStoreSlowsDown(t *testing.T) {
	eachStore(t, func(w *world) {
		var slowed counted
		m := w.meet(func(number int64, _ *http.Request) testenv.Fault {
			if number%7 == 3 {
				return slowed.of(testenv.SlowDown)
			}
			return nil
		})
		dir := w.t.TempDir()
		began := time.Now()
		w.pull(dir).want(w.t, 0)
		w.wantModel(dir)
		w.wantBytes(m, slowed.times(w.t))
		if took := time.Since(began); took < time.Second {
			w.t.Errorf("it took %s, though the store asked to wait a second", took)
		}
	})
}

// A transfer that stops without an end is broken off after half a minute.
func TestATransferStalls(t *testing.T) {
	eachStore(t, func(w *world) {
		var stalls counted
		m := w.meet(func(number int64, _ *http.Request) testenv.Fault {
			if number == 2 {
				return stalls.of(testenv.StallDownload(1 << 20))
			}
			return nil
		})
		dir := w.t.TempDir()
		w.pull(dir).want(w.t, 0)
		w.wantModel(dir)
		w.wantBytes(m, stalls.times(w.t))
	})
}

// expiring refuses every URL that was signed before a moment. It does so only after the second of that moment, which
// is as fine as signatures tell.
type expiring struct {
	mu      sync.Mutex
	moment  string // as in X-Amz-Date; empty: not yet
	refused int
}

func (e *expiring) fault(r *http.Request, now bool) testenv.Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now {
		e.moment = time.Now().UTC().Format("20060102T150405Z")
	}
	if r.URL.Query().Get("X-Amz-Date") > e.moment || e.moment == "" {
		return nil
	}
	e.refused++
	answer := testenv.AnswerWith(http.StatusForbidden, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		time.Sleep(time.Second)
		answer(w, r, next)
	}
}

// times is how often it refused.
func (e *expiring) times(t *testing.T) int {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refused == 0 {
		t.Error("nothing was refused")
	}
	return e.refused
}

// URLs that expire in the middle are replaced by fresh ones.
func TestURLsExpire(t *testing.T) {
	eachStore(t, func(w *world) {
		e := &expiring{}
		m := w.meet(func(number int64, r *http.Request) testenv.Fault { return e.fault(r, number == 5) })
		dir := w.t.TempDir()
		w.pull(dir).want(w.t, 0)
		w.wantModel(dir)
		w.wantBytes(m, e.times(w.t))

		w.meet(func(int64, *http.Request) testenv.Fault {
			return testenv.AnswerWith(http.StatusForbidden, "<Error><Code>AccessDenied</Code></Error>")
		})
		if o := w.pull(w.t.TempDir()).want(w.t, 7); !strings.Contains(o.stderr, "the store's policy forbids it") {
			w.t.Errorf("a store that refuses always: %s", o.stderr)
		}
	})
}

// The service is away for a while in the middle, when the client needs it for fresh URLs.
func TestTheServiceIsRestarted(t *testing.T) {
	eachStore(t, func(w *world) {
		e := &expiring{}
		restarted := make(chan error, 1)
		m := w.meet(func(number int64, r *http.Request) testenv.Fault {
			if number == 5 {
				if err := w.stop(); err != nil {
					restarted <- err
				} else {
					go func() { time.Sleep(3 * time.Second); restarted <- w.start() }()
				}
			}
			return e.fault(r, number == 5)
		})
		dir := w.t.TempDir()
		w.pull(dir).want(w.t, 0)
		check(w.t, <-restarted)
		w.wantModel(dir)
		w.wantBytes(m, e.times(w.t))
	})
}

// A range whose bytes are changed on the way is named and fetched again, it alone.
func TestARangeIsDamaged(t *testing.T) {
	eachStore(t, func(w *world) {
		var flips counted
		var mu sync.Mutex
		asked := map[int64]int{}
		m := w.meet(func(number int64, r *http.Request) testenv.Fault {
			first, last := testenv.RangeOf(r)
			mu.Lock()
			defer mu.Unlock()
			if last-first == partSize-1 {
				asked[first]++
			}
			if flips.n == 0 && first == 3*partSize {
				return flips.of(testenv.FlipDownload(12_345))
			}
			return nil
		})
		dir := w.t.TempDir()
		o := w.pull(dir, "--include", "large.bin").want(w.t, 0)
		for _, want := range []string{"warning: fetched 1 range again that arrived damaged", `"large.bin", bytes 25165824 to 33554431`} {
			if !strings.Contains(o.stderr, want) {
				w.t.Errorf("said %q, want %q", o.stderr, want)
			}
		}
		flips.times(w.t)
		if passed, want := m.Passed.Load(), int64(61<<20+5+partSize); passed != want {
			w.t.Errorf("%d bytes passed, want %d", passed, want)
		}
		mu.Lock()
		defer mu.Unlock()
		if asked[3*partSize] != 2 {
			w.t.Errorf("parts were asked for so often, by their first byte: %v", asked)
		}

		w.meet(func(int64, *http.Request) testenv.Fault { return testenv.FlipDownload(0) })
		if o := w.pull(w.t.TempDir()).want(w.t, 6); !strings.Contains(o.stderr, "has another digest, twice") {
			w.t.Errorf("bytes that are always changed: %s", o.stderr)
		}
	})
}
