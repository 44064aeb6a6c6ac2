package crash_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/testenv"
)

// stepsOfDrain are those that a service takes from the order to stop to its end: it listens still and requests are in flight;
// they have ended, and the index goes to the bucket; its work ends, and the index is closed.
func stepsOfDrain() []failpoint.Step {
	return []failpoint.Step{failpoint.BeginDrain, failpoint.LastSnapshot, failpoint.PutSnapshot, failpoint.SavedSnapshot, failpoint.EndWork, failpoint.CloseIndex}
}

// TestKilledDraining tells the service to stop while three publishers push, and kills it with -9 before and after each step
// of its end.
func TestKilledDraining(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("the seed is %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	k := &killing{rnd: rnd, data: filepath.Join(t.TempDir(), "data"), ledger: newLedger(), publishers: newPublishers(t, publishersOfKills, rnd.Uint64()>>8)}
	runOnce(t, k.data)
	for _, step := range stepsOfDrain() {
		for _, moment := range moments() {
			if !t.Run(fmt.Sprintf("%s %s", step, moment), func(t *testing.T) {
				p := program{binary: testenv.FailpointBinary(t), env: []string{fmt.Sprintf("%s=%s:%s:kill", failpoint.Variable, step, moment)}}
				k.loadUntilKilled(t, p, func(ctx context.Context, s *service) {
					k.whenBusy(ctx, t, func() { _ = s.cmd.Process.Signal(syscall.SIGTERM) })
				})
			}) {
				return // a service that answers nobody would cost the limit at every kill
			}
		}
	}
	t.Run("after the kills", k.examine)
	t.Logf("%d versions were ready", len(k.ledger.ready))
}

// runOnce makes a registry that has sent its index to the bucket: the next run sends it at its end alone.
func runOnce(t *testing.T, data string) {
	t.Helper()
	check(t, must[*service](t)(program{}.launch(t.Context(), t, data)).stop())
}

// TestCutsDraining cuts the power at those steps, with the process held there: before one and after the next, and both of all
// when the number of cuts is set to 100 or more.
func TestCutsDraining(t *testing.T) {
	needPower(t)
	base := newImage(t)
	t.Run("first start", func(t *testing.T) {
		data := dataIn(mountImage(t, base))
		check(t, os.Mkdir(data, 0o700))
		runOnce(t, data)
	})
	ready := 0
	for i, step := range stepsOfDrain() {
		for j, at := range moments() {
			if (i+j)%2 == 1 && !allSteps(t) {
				continue
			}
			t.Run(fmt.Sprintf("%s %s", step, at), func(t *testing.T) {
				s := newScenario(t, uint64(i), publishersOfKills, program{binary: testenv.FailpointBinary(t)})
				s.image = copyImage(t, base)
				v := s.cut(t, drainedTo(step, at))
				v.report(t)
				ready += len(s.ledger.ready)
			})
		}
	}
	t.Logf("%d versions were ready", ready)
}

// commitsOfDrain is the commit that is in flight when the service is told to stop.
const commitsOfDrain = 8

// drainedTo is when a service that was told to stop stands at a step of its end.
func drainedTo(step failpoint.Step, at failpoint.Moment) moment {
	return moment{
		words: fmt.Sprintf("%s %s", at, step), env: []string{fmt.Sprintf("%s=%s:%s:hold", failpoint.Variable, step, at)},
		serving: func(p *power) {
			var commits atomic.Int64
			p.onCommit = func() {
				if commits.Add(1) != commitsOfDrain {
					return
				}
				p.ending.Store(true)
				_ = p.service.cmd.Process.Signal(syscall.SIGTERM)
				go func() {
					for !p.disk.isCut() {
						if p.service.isHeld() {
							p.disk.cutNow()
						}
						time.Sleep(time.Millisecond)
					}
				}()
			}
		},
	}
}

// isHeld reports whether the service's process stands still.
func (s *service) isHeld() bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	_, state, _ := strings.Cut(string(text), ") ")
	return err == nil && strings.HasPrefix(state, "T")
}
