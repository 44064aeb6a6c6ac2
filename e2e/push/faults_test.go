package push_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/testenv"
)

// Connections that are cut, again and again, after a few MiB.
func TestConnectionsAreCut(t *testing.T) {
	eachStore(t, func(w *world) {
		var cuts counted
		g := w.meet(func(number int64, _ *http.Request) testenv.Fault {
			if number%2 == 0 {
				return nil
			}
			return cuts.of(testenv.CutUpload((number%3 + 1) << 20))
		})
		w.push().want(w.t, 0)
		w.wantBytes(g, cuts.times(w.t))
		w.wantModel()

		w.meet(func(int64, *http.Request) testenv.Fault { return testenv.CutUpload(0) })
		check(w.t, os.WriteFile(filepath.Join(w.dir, "config.json"), []byte("another"), 0o600))
		if o := w.run("push", w.dir, "global::m::2").want(w.t, 7); !strings.Contains(o.stderr, "what has arrived is not sent twice") {
			w.t.Errorf("connections that are always cut: %s", o.stderr)
		}
	})
}

// All connections are cut every five seconds, of which a part takes more than three. There are fewer cuts than the client
// has tries, so that a machine which is too slow for a part in five seconds comes to an end too.
func TestConnectionsAreCutEveryFiveSeconds(t *testing.T) {
	eachStore(t, func(w *world) {
		g := w.meet(func(int64, *http.Request) testenv.Fault { return testenv.Slow(partSize * 10 / 32) })
		stop := w.front.CutEvery(5*time.Second, 4)
		w.push().want(w.t, 0)
		cuts := stop()
		if cuts < 2 { // at this rate the model takes over ten seconds even uncut
			w.t.Errorf("connections were cut %d times", cuts)
		}
		w.wantBytes(g, cuts)
		w.wantModel()
	})
}

// An answer that is lost is no reason to send a part again: the store is asked.
func TestAnswersAreLost(t *testing.T) {
	eachStore(t, func(w *world) {
		var lost counted
		g := w.meet(func(number int64, r *http.Request) testenv.Fault {
			if number%3 == 0 && r.URL.Query().Has("partNumber") {
				return lost.of(testenv.DropAnswer)
			}
			return nil
		})
		w.push().want(w.t, 0)
		lost.times(w.t)
		w.wantBytes(g, 0)
		w.wantModel()
	})
}

// A store that is asked too much is asked later, as it says.
func TestTheStoreSlowsDown(t *testing.T) {
	eachStore(t, func(w *world) {
		var slowed counted
		g := w.meet(func(number int64, _ *http.Request) testenv.Fault {
			if number%7 == 3 {
				return slowed.of(testenv.SlowDown)
			}
			return nil
		})
		began := time.Now()
		w.push().want(w.t, 0)
		if took := time.Since(began); took < time.Second {
			w.t.Errorf("it took %s, though the store asked to wait a second", took)
		}
		w.wantBytes(g, slowed.times(w.t))
		w.wantModel()
	})
}

// A store that now and then is asked too much: one request of a hundred is put off.
func TestTheStoreSlowsDownNowAndThen(t *testing.T) {
	eachStore(t, func(w *world) {
		for n := range 300 {
			w.add(fmt.Sprintf("small-%d.bin", n), 1000)
		}
		var o testenv.PutOff
		g := w.meet(o.Fault)
		w.push().want(w.t, 0)
		times, early := o.Times()
		if times < 3 || len(early) > 0 {
			w.t.Errorf("%d requests were put off; too early: %v", times, early)
		}
		w.wantBytes(g, times)
		w.wantModel()
	})
}

// A transfer that stands still is broken off after half a minute.
func TestAPartStalls(t *testing.T) {
	eachStore(t, func(w *world) {
		var stalls counted
		g := w.meet(func(number int64, r *http.Request) testenv.Fault {
			if number == 2 {
				return stalls.of(testenv.StallUpload(1<<20, 45*time.Second))
			}
			return nil
		})
		w.push().want(w.t, 0)
		w.wantBytes(g, stalls.times(w.t))
		w.wantModel()
	})
}

// expiring refuses every URL that was signed before it was told to.
type expiring struct {
	mu      sync.Mutex
	since   time.Time
	refused int
}

func (e *expiring) fault(r *http.Request, expire bool) testenv.Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	if expire {
		e.since = time.Now().Truncate(time.Second) // as precise as a URL is
	}
	signed, err := time.Parse("20060102T150405Z", r.URL.Query().Get("X-Amz-Date"))
	if err != nil || e.since.IsZero() || signed.After(e.since) {
		return nil
	}
	e.refused++
	return testenv.AnswerWith(http.StatusForbidden, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
}

// URLs that expire in the middle are replaced by fresh ones, and no byte travels for those that did.
func TestURLsExpire(t *testing.T) {
	eachStore(t, func(w *world) {
		e := &expiring{}
		g := w.meet(func(number int64, r *http.Request) testenv.Fault { return e.fault(r, number == 5) })
		w.push().want(w.t, 0)
		w.wantBytes(g, 0)
		if e.refused == 0 {
			w.t.Error("nothing was refused")
		}
		w.wantModel()

		w.meet(func(int64, *http.Request) testenv.Fault {
			return testenv.AnswerWith(http.StatusForbidden, "<Error><Code>AccessDenied</Code></Error>")
		})
		check(w.t, os.WriteFile(filepath.Join(w.dir, "config.json"), []byte("another"), 0o600))
		if o := w.run("push", w.dir, "global::m::2").want(w.t, 7); !strings.Contains(o.stderr, "the store's policy forbids it") {
			w.t.Errorf("a store that refuses always: %s", o.stderr)
		}
	})
}

// The service is away for a while in the middle, when the client needs it for fresh URLs.
func TestTheServiceIsRestarted(t *testing.T) {
	eachStore(t, func(w *world) {
		e := &expiring{}
		restarted := make(chan error, 1)
		g := w.meet(func(number int64, r *http.Request) testenv.Fault {
			if number == 5 {
				if err := w.stop(); err != nil {
					restarted <- err
				} else {
					go func() { time.Sleep(3 * time.Second); restarted <- w.start() }()
				}
			}
			return e.fault(r, number == 5)
		})
		w.push().want(w.t, 0)
		check(w.t, <-restarted)
		w.wantBytes(g, 1)
		w.wantModel()
	})
}

// A long PUT that is cut goes on in parts, of which none is sent again when its own connection is cut.
func TestALongPutThatIsCutGoesOnInParts(t *testing.T) {
	eachStore(t, func(w *world) {
		const size, sent = 80 << 20, 40 << 20
		check(w.t, os.WriteFile(filepath.Join(w.dir, "long.bin"), make([]byte, size), 0o600))
		var cuts counted
		g := w.meet(func(_ int64, r *http.Request) testenv.Fault {
			switch {
			case r.ContentLength == size:
				return cuts.of(testenv.CutUpload(sent))
			case r.URL.Query().Get("partNumber") == "2" && cuts.n < 2:
				return cuts.of(testenv.CutUpload(1 << 20))
			}
			return nil
		})
		w.run("push", w.dir, model).want(w.t, 0)
		if cuts.n != 2 || g.parts < 3 {
			w.t.Errorf("%d cuts, %d requests for parts", cuts.n, g.parts)
		}
		if most := w.size + size + sent + 2<<20; g.taken.Load() > most || len(g.again) > 0 {
			w.t.Errorf("%d bytes were sent, at most %d are allowed; again: %v", g.taken.Load(), most, g.again)
		}
		w.run("pull", model, w.t.TempDir(), "--no-sync").want(w.t, 0)
	})
}

// A PUT that would take minutes is given up for parts, long before it ends.
func TestASlowPutGoesOnInParts(t *testing.T) {
	eachStore(t, func(w *world) {
		const size = 80 << 20
		check(w.t, os.WriteFile(filepath.Join(w.dir, "long.bin"), make([]byte, size), 0o600))
		var slow counted
		g := w.meet(func(_ int64, r *http.Request) testenv.Fault {
			if r.ContentLength != size {
				return nil
			}
			return slow.of(testenv.Slow(200_000))
		})
		w.run("push", w.dir, model).want(w.t, 0)
		if n := slow.times(w.t); n != 1 || g.parts < 3 {
			w.t.Errorf("%d whole PUTs, %d requests for parts", n, g.parts)
		}
		if most := w.size + size + size/4; g.taken.Load() > most || len(g.again) > 0 {
			w.t.Errorf("%d bytes were sent, at most %d are allowed; again: %v", g.taken.Load(), most, g.again)
		}
		w.run("pull", model, w.t.TempDir(), "--no-sync").want(w.t, 0)
	})
}
