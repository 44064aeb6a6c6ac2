package push_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/testenv"
)

// killsVariable is how often TestTheClientIsKilled kills on each store.
const killsVariable = "BALLAST_PUSH_KILLS"

func kills(t *testing.T) int {
	t.Helper()
	if text := os.Getenv(killsVariable); text != "" {
		return must[int](t)(strconv.Atoi(text))
	}
	return 10
}

// The client is killed again and again, at some moment of what it still has to do. What the store has is not sent again.
func TestTheClientIsKilled(t *testing.T) {
	eachStore(t, func(w *world) {
		g := w.meet(nil)
		done := 0
		for range kills(w.t) {
			if !w.killed(g) {
				break // it was done before: what follows would be no interruption
			}
			done++
		}
		w.push().want(w.t, 0)
		w.wantBytes(g, done)
		if done == 0 {
			w.t.Error("it was never killed")
		}
		w.wantModel()
	})
}

// killed runs a push and kills it when a random share of what is missing was sent. It reports false when the push ended first.
func (w *world) killed(g *gauge) bool {
	w.t.Helper()
	begin := g.taken.Load()
	left := max(w.size-begin, 0)
	after := rand.Int64N(max(left/3, 1))
	w.t.Logf("to be killed after %d of %d bytes", after, left)
	cmd := w.command(w.pushArgs()...)
	check(w.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for tick := time.NewTicker(time.Millisecond); ; {
		select {
		case err := <-ended:
			check(w.t, err)
			return false
		case <-tick.C:
			if g.taken.Load()-begin >= after {
				_ = cmd.Process.Kill()
				killed := <-ended != nil
				waitFor(w.t, func() bool { return g.open.Load() == 0 }) // what is on its way may still be acknowledged
				return killed
			}
		}
	}
}

// The control: a client that forgets which upload it had sends again what the store has.
func TestForgettingIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Embedded(t))
	g := w.meet(nil)
	cmd := w.command(w.pushArgs()...)
	check(t, cmd.Start())
	waitFor(t, func() bool { return g.taken.Load() > w.size*3/4 })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	waitFor(t, func() bool { return g.open.Load() == 0 })
	check(t, os.RemoveAll(filepath.Join(w.home, ".cache")))
	w.push("--takeover").want(t, 0)
	if err := w.overBound(g, 1); err == nil {
		t.Errorf("%d bytes were sent of a model of %d, and nobody noticed", g.taken.Load(), w.size)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %s", soon)
		}
	}
}
