package pull_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/testenv"
)

const (
	// memoryBound is what the client may have of memory at most, the program itself included, whatever it pulls.
	memoryBound = 96 << 20
	// growVariable makes the test binary a process that takes twice the bound.
	growVariable = "BALLAST_PULL_GROW"
)

func grow() {
	held := slices.Repeat([]byte{1}, 2*memoryBound)
	fmt.Fprint(io.Discard, held[len(held)-1])
}

// peak runs a command and returns the most memory that it had. What the kernel tells of a process that has ended will not do:
// it counts what the parent had when it made the child.
func peak(t *testing.T, cmd *exec.Cmd) (most int64) {
	t.Helper()
	check(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			check(t, err)
			return most
		case <-time.After(2 * time.Millisecond):
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)) // it may have ended
			if _, rest, ok := strings.Cut(string(text), "VmHWM:"); ok {
				var kib int64
				must[int](t)(fmt.Sscan(rest, &kib))
				most = kib << 10
			}
		}
	}
}

// A file larger than the bound, in parts and by one PUT, does not take more memory than the bound; and a process that does is
// noticed.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Embedded(t), 0)
	for name, flags := range map[string][]string{"parts": {"--part-size", "8MiB"}, "one-put": {"--part-size", "5GiB"}} {
		dir := t.TempDir()
		f := must[*os.File](t)(os.Create(filepath.Join(dir, "zeros")))
		check(t, f.Truncate(3*memoryBound))
		check(t, f.Close())
		w.run(append([]string{"push", dir, "global::" + name}, flags...)...).want(t, 0)
		cmd := w.command("pull", "global::"+name, t.TempDir(), "--no-sync")
		if n := peak(t, cmd); n > memoryBound {
			t.Errorf("%s: pulling took %d MiB, at most %d are allowed", name, n>>20, memoryBound>>20)
		} else {
			t.Logf("%s: pulling %d MiB took %d MiB of memory", name, 3*memoryBound>>20, n>>20)
		}
	}
	greedy := exec.CommandContext(t.Context(), must[string](t)(os.Executable()))
	greedy.Env = append(os.Environ(), growVariable+"=1")
	if n := peak(t, greedy); n <= memoryBound {
		t.Errorf("a process that takes %d MiB was seen to take %d", 2*memoryBound>>20, n>>20)
	}
}
