package ballast_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ballast-registry/ballast"
)

// Both checks run before the size of what they check is known, so a body of a few MiB must not cost its square.

func TestCheckingTagsCostsNoSquare(t *testing.T) {
	costsNoSquare(t, 2_000, func(n int) func() {
		m := ballast.Metadata{}
		for i := range n {
			m.Tags = append(m.Tags, fmt.Sprintf("%06d", i))
		}
		return func() { _ = m.Check() }
	})
}

func TestCheckingDeepPathsCostsNoSquare(t *testing.T) {
	d := ballast.DigestOf([]byte("x"))
	costsNoSquare(t, 10, func(depth int) func() {
		var files []ballast.File
		for i := range 200 {
			files = append(files, ballast.File{Path: fmt.Sprintf("%s%04d", strings.Repeat("Ä/", depth), i), Size: 1, Digest: d})
		}
		return func() { _ = ballast.CheckFiles(files) }
	})
}

// costsNoSquare compares the work on small things with that on things 20 times as large: 20 is linear, 400 a square.
func costsNoSquare(t *testing.T, small int, work func(n int) func()) {
	t.Helper()
	one, many := quickest(work(small)), quickest(work(20*small))
	if ratio := float64(many) / float64(one); ratio > 100 {
		t.Errorf("20 times as much costs %.0f times as long (%s, then %s)", ratio, one, many)
	}
}

// quickest is the least processor time of some runs: what others do on the machine does not count.
func quickest(work func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	best := time.Duration(1<<63 - 1)
	for range 10 {
		began := processorTime()
		work()
		best = min(best, processorTime()-began)
	}
	return best
}

// processorTime is what this thread has used.
func processorTime() time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Nano())
}
