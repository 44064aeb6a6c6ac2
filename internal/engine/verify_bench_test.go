package engine

import (
	"crypto/sha256"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/ballast-registry/ballast/internal/hash"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

const (
	benchObject = 48 << 20 // what Put takes is bounded
	benchTimes  = 6        // that it is read in a round
)

// BenchmarkVerify re-reads an object of a MinIO on this machine as the verifier does, in turns with SHA-256 of a buffer of
// the same size by one core. An iteration is a round.
func BenchmarkVerify(b *testing.B) {
	s := testenv.MinIO(b)
	bucket, err := objstore.Open(b.Context(), s.Config())
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, benchObject)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	object, err := bucket.Put(b.Context(), "global/blobs/bench", data, objstore.Condition{})
	if err != nil {
		b.Fatal(err)
	}
	limits := DefaultLimits()
	e := &Engine{limits: limits, verifyMemory: semaphore.NewWeighted(limits.VerifyMemory), buffers: buffers{size: limits.VerifyRange}}
	reread := func() {
		h := hash.NewChain(64 << 20)
		r := ranged{bucket: bucket, key: object.Key, of: objstore.ReadOptions{IfMatch: object.ETag}, size: object.Size, memory: e.verifyMemory}
		if err := e.hashRanges(b.Context(), h, r); err != nil {
			b.Fatal(err)
		}
	}
	bare := func() { sha256.Sum256(data) }
	var ratios, speeds []float64
	for i := 0; b.Loop(); i++ {
		var ours, theirs time.Duration
		for range benchTimes {
			if i%2 == 0 {
				ours, theirs = ours+timed(reread), theirs+timed(bare)
			} else {
				theirs, ours = theirs+timed(bare), ours+timed(reread)
			}
		}
		ratios = append(ratios, theirs.Seconds()/ours.Seconds())
		speeds = append(speeds, benchTimes*benchObject/ours.Seconds()/1e6)
	}
	slices.Sort(ratios)
	slices.Sort(speeds)
	b.Logf("%d cores, %s: %.0f MB/s re-read; ratio to SHA-256 of a hot buffer by one core: median %.2f, least %.2f, most %.2f",
		runtime.NumCPU(), runtime.Version(), speeds[len(speeds)/2], ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(speeds[len(speeds)/2], "MB/s")
}

func timed(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}
