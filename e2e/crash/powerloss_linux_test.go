package crash_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	cutsVariable = "BALLAST_POWER_CUTS"
	cutsDefault  = 6
	cutsOfDisk   = 3 // cuts before a fresh disk
)

// TestPowerCuts cuts at some moment of a start or of three publishers' work.
func TestPowerCuts(t *testing.T) {
	needPower(t)
	n := cutsDefault
	if text := os.Getenv(cutsVariable); text != "" {
		n = must[int](t)(strconv.Atoi(text))
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("the seed is %d", seed)
	ready, lost, wrong := 0, 0, 0
	for done := 0; done < n; seed++ {
		s := newScenario(t, seed, 3, program{})
		for range min(cutsOfDisk, n-done) {
			done++
			t.Run(fmt.Sprintf("cut %d", done), func(t *testing.T) {
				v := s.cut(t, s.anyMoment())
				v.report(t)
				lost, wrong = lost+len(v.lost), wrong+len(v.wrong)
			})
		}
		ready += len(s.ledger.ready)
	}
	t.Logf("%d cuts: %d versions were ready, %d times one was lost, %d violations", n, ready, lost, wrong)
}

// scenario is a disk and what was published on it, over several cuts.
type scenario struct {
	rnd        *rand.Rand
	image      string
	neighbour  bool // somebody else on the disk has all names written down, again and again
	program    program
	mount      string // option
	ledger     *ledger
	publishers []*publisher
}

func newScenario(t *testing.T, seed uint64, publishers int, p program) *scenario {
	t.Helper()
	// How soon the file system writes down the names of files by itself, in seconds: hardly ever, as by default, and
	// before the bytes of new files, which it writes after half a minute.
	commit := []int{300, 5, 1}[seed%3]
	return &scenario{
		rnd: rand.New(rand.NewPCG(seed, 0)), image: newImage(t), program: p, mount: fmt.Sprintf("commit=%d", commit),
		neighbour: seed%2 == 0, ledger: newLedger(), publishers: newPublishers(t, publishers, seed),
	}
}

// power is one stretch of time with the power on.
type power struct {
	disk              *disk
	mount             string      // of the file system on it
	service           *service    // once it serves
	onCommit, onReady func()      // around the publishers' pushes; nil: nothing
	ending            atomic.Bool // the service was told to stop, and pushes may hear of it
}

// carry carries requests while the power is on. The service itself outlives a cut for a while, and nobody may hear of what
// it does then.
func (p *power) carry(requests http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if p.onCommit != nil && strings.HasSuffix(r.URL.Path, "/commit") {
			p.onCommit()
		}
		answer, err := requests.RoundTrip(r)
		if err == nil && p.disk.isCut() {
			answer.Body.Close()
			return nil, errPowerOff
		}
		return answer, err
	})
}

var errPowerOff = errors.New("the power is off")

// moment is when the power goes. The zero value never comes.
type moment struct {
	words    string
	env      []string     // the service's
	starting func(*power) // called before the service starts
	serving  func(*power) // called when it serves and nobody publishes yet
}

// cut runs the service under load on the disk until the power goes, and says what that has done.
func (s *scenario) cut(t *testing.T, at moment) (v verdict) {
	t.Helper()
	var flushes int
	// Mounts end with the inner test, and with them the disk, so that what it has kept is all that is looked at.
	t.Run("power", func(t *testing.T) { flushes = s.run(t, at) })
	v = examine(t, s.image, s.ledger, s.publishers)
	t.Logf("%s, %s, %d flushes: %d versions were ready, %d are lost", s.mount, at.words, flushes, len(s.ledger.ready), len(v.lost))
	return v
}

func (s *scenario) run(t *testing.T, at moment) (flushes int) {
	t.Helper()
	s.ledger.open()
	d, device := serveDisk(t, s.image, s.rnd, s.ledger.close)
	p := &power{disk: d, mount: mountImage(t, device, s.mount)}
	data := dataIn(p.mount)
	check(t, os.MkdirAll(data, 0o700))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-d.cut
		cancel()
	}()
	if s.neighbour {
		defer inBackground(func() { syncOften(ctx, t, p.mount) })()
	}
	defer d.cutNow() // which ends all that waits for it, however this run ends
	late := time.AfterFunc(limit, d.cutNow)
	defer func() {
		if !late.Stop() {
			t.Errorf("%s: that moment did not come in %s", at.words, limit)
		}
	}()
	program := s.program
	program.env = append(program.env, at.env...)
	if at.starting != nil {
		at.starting(p)
	}
	service, err := program.launch(ctx, t, data)
	if err != nil {
		s.ledger.note(func() { t.Errorf("with the power on: %v", err) })
		d.cutNow()
		return d.flushes
	}
	defer service.kill()
	if p.service = service; at.serving != nil {
		at.serving(p)
	}
	s.load(ctx, t, service, p)
	<-d.cut
	return d.flushes
}

// syncOften flushes a file of its own, and with it the names of all files, until ctx ends.
func syncOften(ctx context.Context, t *testing.T, mount string) {
	for ctx.Err() == nil {
		if err := syncNames(mount); err != nil {
			t.Error(err)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// syncNames makes the file system write down the names of all its files, by flushing a new one.
func syncNames(mount string) error {
	f, err := os.Create(filepath.Join(mount, "neighbour"))
	if err != nil {
		return err
	}
	_, err = f.WriteString("x")
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// inBackground runs f and returns what waits for its end.
func inBackground(f func()) (wait func()) {
	var running sync.WaitGroup
	running.Go(f)
	return running.Wait
}

// load publishes until ctx ends.
func (s *scenario) load(ctx context.Context, t *testing.T, service *service, p *power) {
	t.Helper()
	c, err := service.client(p)
	check(t, err)
	var running sync.WaitGroup
	for _, publisher := range s.publishers {
		running.Go(func() { publisher.run(ctx, c, s.ledger, p.onReady) })
	}
	running.Wait()
	for _, err := range s.ledger.takeErrors() {
		if !p.ending.Load() || !heardOfTheEnd(err) {
			t.Errorf("with the power on: %v", err)
		}
	}
}

// anyMoment is some moment of the start or of the load: before or after the effect of a flush, or after a while.
func (s *scenario) anyMoment() moment {
	starting, flushes := s.rnd.IntN(4) == 0, 300
	when := "under load"
	if starting {
		when, flushes = "of the start", 20
	}
	n, after := 1+s.rnd.IntN(flushes), time.Duration(s.rnd.IntN(2500))*time.Millisecond
	var m moment
	var arm func(*power)
	switch s.rnd.IntN(3) {
	case 0:
		m.words, arm = fmt.Sprintf("before flush %d %s", n, when), func(p *power) { p.disk.cutAtFlush(n, true) }
	case 1:
		m.words, arm = fmt.Sprintf("after flush %d %s", n, when), func(p *power) { p.disk.cutAtFlush(n, false) }
	default:
		m.words, arm = fmt.Sprintf("%s after the begin %s", after, when), func(p *power) { time.AfterFunc(after, p.disk.cutNow) }
	}
	if starting {
		m.starting = arm
	} else {
		m.serving = arm
	}
	return m
}
