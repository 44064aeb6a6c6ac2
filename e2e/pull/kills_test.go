package pull_test

import (
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/testenv"
)

// killsVariable is how often TestTheClientIsKilled kills on each store.
const killsVariable = "BALLAST_PULL_KILLS"

func kills(t *testing.T) int {
	t.Helper()
	if text := os.Getenv(killsVariable); text != "" {
		return must[int](t)(strconv.Atoi(text))
	}
	return 10
}

// The client is killed again and again, at some moment of what it still has to do. What landed before is not fetched again.
func TestTheClientIsKilled(t *testing.T) {
	eachStore(t, func(w *world) {
		m := w.meet(nil)
		dir := w.t.TempDir()
		done := 0
		for range kills(w.t) {
			if !w.killed(m, dir) {
				break // it was done before: what follows would be no interruption
			}
			done++
		}
		w.pull(dir).want(w.t, 0)
		w.wantModel(dir)
		w.wantBytes(m, done)
		if done == 0 {
			w.t.Error("it was never killed")
		}
	})
}

// killed runs a pull and kills it when a random share of what is missing has passed. It reports false when the pull ended first.
func (w *world) killed(m *testenv.Meter, dir string) bool {
	w.t.Helper()
	begin := m.Passed.Load()
	left := max(w.size-begin, 0)
	after := rand.Int64N(max(left/3, 1))
	w.t.Logf("to be killed after %d of %d bytes", after, left)
	cmd := w.command(pullArgs(dir)...)
	check(w.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			check(w.t, err)
			return false
		case <-tick.C:
			if m.Passed.Load()-begin >= after {
				_ = cmd.Process.Kill()
				return <-ended != nil
			}
		}
	}
}

// The control: a client whose folder loses what a killed one left fetches more than the bound.
func TestForgettingIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Embedded(t), 0)
	m := w.meet(nil)
	dir := t.TempDir()
	interruptions := 0
	for m.Passed.Load() < 3*w.size {
		begin := m.Passed.Load()
		cmd := w.command(pullArgs(dir)...)
		check(t, cmd.Start())
		waitFor(t, func() bool { return m.Passed.Load()-begin >= w.size*9/10 })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		interruptions++
		check(t, os.RemoveAll(dir))
	}
	w.pull(dir).want(t, 0)
	if err := w.overBound(m, 1); err == nil {
		t.Errorf("%d bytes passed for a model of %d, and nobody noticed", m.Passed.Load(), w.size)
	}
	t.Logf("%d bytes passed in %d tries that forgot", m.Passed.Load(), interruptions)
}

// Two pulls into one folder, of which one is killed: the other is not harmed.
func TestTwoPullsIntoOneFolder(t *testing.T) {
	eachStore(t, func(w *world) {
		dir := w.t.TempDir()
		release := make(chan struct{})
		m := w.meet(func(number int64, _ *http.Request) testenv.Fault {
			if number > 6 {
				return testenv.Hold(nil, release)
			}
			return nil
		})
		first, second := w.command(pullArgs(dir)...), w.command(pullArgs(dir)...)
		check(w.t, first.Start())
		check(w.t, second.Start())
		waitFor(w.t, func() bool { return m.Requests.Load() > 6 })
		check(w.t, first.Process.Kill())
		_ = first.Wait()
		close(release)
		check(w.t, second.Wait())
		w.wantModel(dir)
	})
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %s", soon)
		}
	}
}
