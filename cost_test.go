package ballast_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

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

func quickest(work func()) time.Duration {
	best := time.Duration(1<<63 - 1)
	for range 30 { // one of which nobody disturbs
		begin := time.Now()
		work()
		best = min(best, time.Since(begin))
	}
	return best
}
