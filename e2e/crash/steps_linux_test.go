package crash_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// TestCutsAtSteps cuts before and after the steps of package failpoint, with the process held there. In the place of the
// service goes the walk of the crash matrix (internal/engine), on an embedded store of its own: it takes steps that no
// load brings about. Every step has its turn when the number of cuts is set to 100 or more, else those of a commit.
func TestCutsAtSteps(t *testing.T) {
	needPower(t)
	binary := filepath.Join(t.TempDir(), "walk")
	command(t, "go", "test", "-c", "-tags", "failpoints", "-o", binary, "github.com/ballast-registry/ballast/internal/engine")
	base := newImage(t)
	cuts := 0
	for i, step := range stepsToCut(t) {
		for _, moment := range moments() {
			t.Run(fmt.Sprintf("%s %s", step, moment), func(t *testing.T) {
				commit := []string{"commit=300", "commit=5", "commit=1"}[i%3]
				cutAtStep(t, binary, copyImage(t, base), commit, enginetest.CrashWalk{Aside: t.TempDir(), Step: step.String(), Moment: moment})
				cuts++
			})
		}
	}
	t.Logf("%d cuts at steps", cuts)
}

func moments() []failpoint.Moment { return []failpoint.Moment{failpoint.Before, failpoint.After} }

// allSteps reports whether every step has its cuts.
func allSteps(t *testing.T) bool {
	text := os.Getenv(cutsVariable)
	return text != "" && must[int](t)(strconv.Atoi(text)) >= 100
}

func stepsToCut(t *testing.T) []failpoint.Step {
	if allSteps(t) {
		return failpoint.Steps()
	}
	return []failpoint.Step{failpoint.SyncOwner, failpoint.SyncBytes, failpoint.Verified, failpoint.SyncSeal, failpoint.Seal, failpoint.PutRecord, failpoint.SyncRecord, failpoint.Ready}
}

// cutAtStep cuts a walk, then has what is left looked at, walked again, and looked at again.
func cutAtStep(t *testing.T, binary, image, commit string, order enginetest.CrashWalk) {
	t.Helper()
	t.Run("power", func(t *testing.T) {
		d, device := serveDisk(t, image, rand.New(rand.NewPCG(1, rand.Uint64())), func() {})
		defer d.cutNow() // which ends all that waits for it
		order.Dir = dataIn(mountImage(t, device, commit))
		check(t, os.MkdirAll(order.Dir, 0o700))
		order.Held = heldFile(t, d)
		walk, out := startWalk(t, binary, order)
		ended := make(chan struct{})
		go func() { defer close(ended); _ = walk.Wait() }()
		defer func() { _ = syscall.Kill(-walk.Process.Pid, syscall.SIGKILL); <-ended }()
		select {
		case <-d.cut:
		case <-ended:
			t.Fatalf("the step was not met:\n%s", must[[]byte](t)(os.ReadFile(out)))
		case <-time.After(limit):
			t.Fatalf("the step was not met in %s", limit)
		}
	})
	if t.Failed() {
		return
	}
	order.Dir, order.Step = dataIn(mountImage(t, image)), ""
	for _, next := range []struct {
		what          string
		check, walked bool
	}{{"at rest", true, false}, {"doing it again", false, false}, {"at rest after doing it again", true, true}} {
		order.Check, order.Walked = next.check, next.walked
		walk, out := startWalk(t, binary, order)
		if err := walk.Wait(); err != nil {
			t.Fatalf("%s: %v\n%s", next.what, err, must[[]byte](t)(os.ReadFile(out)))
		}
	}
}

// heldFile is where the process says that it is held, upon which the power is cut.
func heldFile(t *testing.T, d *disk) string {
	t.Helper()
	fifo := filepath.Join(t.TempDir(), "held")
	check(t, unix.Mkfifo(fifo, 0o600))
	f := must[*os.File](t)(os.OpenFile(fifo, os.O_RDWR, 0)) // never at its end, whoever writes
	t.Cleanup(func() { f.Close() })
	go func() {
		if _, err := bufio.NewReader(f).ReadString('\n'); err == nil {
			d.cutNow()
		}
	}()
	return fifo
}

// startWalk starts the process; what it prints goes to the file out.
func startWalk(t *testing.T, binary string, order enginetest.CrashWalk) (walk *exec.Cmd, out string) {
	t.Helper()
	f := must[*os.File](t)(os.CreateTemp(t.TempDir(), "walk-*"))
	defer f.Close()
	walk = exec.Command(binary, "-test.run=^TestCrashWalk$", "-test.timeout=5m")
	walk.Env = must[[]string](t)(order.Environ())
	walk.Stdout, walk.Stderr = f, f
	walk.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	check(t, walk.Start())
	return walk, f.Name()
}
