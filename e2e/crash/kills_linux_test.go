package crash_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/testenv"
)

const (
	killsVariable = "BALLAST_KILLS"
	killsDefault  = 30
	killsOfFolder = 10 // kills before a fresh data folder
)

// TestKills kills the service with -9 again and again while three publishers push: at some moment, or at some step. The next
// one goes on with the same folder. A kill while nobody pushes does not count.
func TestKills(t *testing.T) {
	n := killsDefault
	if text := os.Getenv(killsVariable); text != "" {
		n = must[int](t)(strconv.Atoi(text))
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("the seed is %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var timed, atSteps, ready int
	for done := 0; done < n; {
		k := &killing{rnd: rnd, data: filepath.Join(t.TempDir(), "data"), ledger: newLedger(), publishers: newPublishers(t, publishersOfKills, rnd.Uint64()>>8)}
		for range min(killsOfFolder, n-done) {
			done++
			if !t.Run(fmt.Sprintf("kill %d", done), func(t *testing.T) {
				if k.kill(t) {
					atSteps++
				} else {
					timed++
				}
			}) {
				return // a service that answers nobody would cost the limit at every kill
			}
		}
		ready += len(k.ledger.ready)
		t.Run(fmt.Sprintf("after kill %d", done), k.examine)
	}
	t.Logf("%d kills, %d at a step and %d at some moment: %d versions were ready", timed+atSteps, atSteps, timed, ready)
}

const publishersOfKills = 3

// killing is a data folder and what was published in it, over several kills.
type killing struct {
	rnd        *rand.Rand
	data       string
	ledger     *ledger
	publishers []*publisher
}

// loadSteps are those that a publisher's push makes the service take.
func loadSteps() []failpoint.Step {
	return []failpoint.Step{failpoint.CreateUpload, failpoint.Renew, failpoint.Ask, failpoint.MultipartOpened, failpoint.StoredByPut,
		failpoint.StoredByMultipart, failpoint.Accept, failpoint.Completing, failpoint.Verified, failpoint.Reference, failpoint.Seal, failpoint.Ready,
		failpoint.Release, failpoint.SetAlias, failpoint.PutBlob, failpoint.PutRecord, failpoint.CreateMultipart, failpoint.CompleteMultipart,
		failpoint.SyncBytes, failpoint.SyncSeal, failpoint.SyncRecord}
}

// kill runs the service under load until it is killed, and holds what it leaves to the invariants. It reports whether that
// was at a step.
func (k *killing) kill(t *testing.T) (atStep bool) {
	p := program{}
	if atStep = k.rnd.IntN(2) == 0; atStep {
		step, moment := loadSteps()[k.rnd.IntN(len(loadSteps()))], moments()[k.rnd.IntN(2)]
		order := fmt.Sprintf("%s:%s:kill:%d", step, moment, 1+k.rnd.IntN(4))
		p = program{binary: testenv.FailpointBinary(t), env: []string{failpoint.Variable + "=" + order}}
		t.Log(order)
	}
	k.loadUntilKilled(t, p, func(ctx context.Context, s *service) {
		if !atStep {
			k.whenBusy(ctx, t, func() { _ = s.cmd.Process.Kill() })
		}
	})
	return atStep
}

// loadUntilKilled runs a program under load until it is killed, which begin sees to, and holds what it leaves to the invariants.
func (k *killing) loadUntilKilled(t *testing.T, p program, begin func(context.Context, *service)) {
	t.Helper()
	s, err := p.launch(t.Context(), t, k.data)
	check(t, err)
	defer s.kill()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	go func() {
		_ = s.wait()
		cancel()
	}()
	begin(ctx, s)
	k.load(ctx, t, s)
	if ended := s.cmd.ProcessState; ended == nil || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the service was to be killed: %v %s", ended, s.stderr)
	}
	if err := invariants(t, k.data); err != nil {
		t.Error(err)
	}
}

// whenBusy does something after a while, as soon as somebody pushes.
func (k *killing) whenBusy(ctx context.Context, t *testing.T, do func()) {
	after := time.Duration(50+k.rnd.IntN(1500)) * time.Millisecond
	t.Logf("after %s", after)
	time.AfterFunc(after, func() {
		for ctx.Err() == nil {
			for _, p := range k.publishers {
				if p.pushing.Load() {
					do()
					return
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// load publishes until ctx ends. What a push hears of a dead service is no failure of the service.
func (k *killing) load(ctx context.Context, t *testing.T, s *service) {
	t.Helper()
	c, err := s.client(nil)
	check(t, err)
	var running sync.WaitGroup
	for _, p := range k.publishers {
		running.Go(func() {
			for ctx.Err() == nil { // a push that was interrupted goes on
				p.run(ctx, c, k.ledger, nil)
			}
		})
	}
	running.Wait()
	for _, err := range k.ledger.takeErrors() {
		if !heardOfTheEnd(err) {
			t.Errorf("of a living service: %v", err)
		}
	}
}

// heardOfTheEnd reports whether an error is what a push hears of a service that is ending, or has.
func heardOfTheEnd(err error) bool {
	return ballast.CodeOf(err) == ballast.CodeUnavailable || strings.Contains(err.Error(), "connect")
}

// examine looks for everything that was reported ready, and pushes again what was cut off.
func (k *killing) examine(t *testing.T) {
	s, err := program{}.launch(t.Context(), t, k.data)
	check(t, err)
	var v verdict
	v.served(t, s, k.ledger, k.publishers)
	v.blame("stopping", s.stop())
	v.blame("at rest", invariants(t, k.data))
	v.report(t)
}
