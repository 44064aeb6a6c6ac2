package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hash"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// BenchmarkVerify re-reads an object of a MinIO on this machine as the verifier does, in turns with SHA-256 of a buffer of
// the same size by one core, and with the floor. An iteration is a round.
func BenchmarkVerify(b *testing.B) {
	limits := DefaultLimits()
	for _, c := range []struct {
		name   string
		object int64
		times  int   // that it is read in a round
		length int64 // of a range
		ranges int
	}{
		{"48MiB", 48 << 20, 6, limits.VerifyRange, limits.VerifyRanges},
		{"512MiB", 512 << 20, 1, limits.VerifyRange, limits.VerifyRanges},
		{"512MiB/16MiBx4", 512 << 20, 1, 16 << 20, 4},
		{"512MiB/4MiBx4", 512 << 20, 1, 4 << 20, 4},
		{"512MiB/1MiBx8", 512 << 20, 1, 1 << 20, 8},
	} {
		b.Run(c.name, func(b *testing.B) {
			limits := limits
			limits.VerifyRange, limits.VerifyRanges = c.length, c.ranges
			v := newVerifyBench(b, c.object, limits)
			v.times = c.times
			for i := 0; b.Loop(); i++ {
				v.round(i)
			}
			v.report(b)
		})
	}
}

// verifyBench is one object and what has been measured of it.
type verifyBench struct {
	b      *testing.B
	e      *Engine
	bucket objstore.Bucket
	object objstore.Object
	signed ballast.SignedRequest // a GET of it
	client *http.Client          // that keeps its connections
	data   []byte
	times  int
	took   [3][]time.Duration // by the verifier, the floor, and one core's SHA-256
}

func newVerifyBench(b *testing.B, size int64, limits Limits) *verifyBench {
	b.Helper()
	s3, err := objstore.Open(b.Context(), testenv.MinIO(b).Config())
	if err != nil {
		b.Fatal(err)
	}
	v := &verifyBench{b: b, bucket: s3, data: make([]byte, size), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: limits.VerifyRanges}}}
	v.e = &Engine{limits: limits, verifyMemory: semaphore.NewWeighted(max(limits.VerifyMemory, limits.VerifyRange*int64(limits.VerifyRanges))), buffers: buffers{size: limits.VerifyRange}}
	_, _ = rand.NewChaCha8([32]byte{}).Read(v.data)
	const key = "global/blobs/bench"
	if v.object, err = s3.PutFile(b.Context(), key, bytes.NewReader(v.data), size, ballast.DigestOf(v.data)); err != nil {
		b.Fatal(err)
	}
	if v.signed, err = s3.SignGet(b.Context(), key, "", time.Hour); err != nil {
		b.Fatal(err)
	}
	return v
}

// round measures each of the three, another one first each time.
func (v *verifyBench) round(i int) {
	all := [...]func() error{v.reread, v.floor, v.hot}
	var took [len(all)]time.Duration
	for range v.times {
		for n := range all {
			at := (i + n) % len(all)
			began := time.Now()
			if err := all[at](); err != nil {
				v.b.Fatal(err)
			}
			took[at] += time.Since(began)
		}
	}
	for at := range all {
		v.took[at] = append(v.took[at], took[at])
	}
}

func (v *verifyBench) reread() error {
	return v.e.hashRanges(v.b.Context(), hash.NewChain(64<<20), ranged{
		bucket: v.bucket, key: v.object.Key, of: objstore.ReadOptions{IfMatch: v.object.ETag}, size: v.object.Size, memory: v.e.verifyMemory,
	})
}

func (v *verifyBench) hot() error { sha256.Sum256(v.data); return nil }

// floor is what no verifier gets below while the store is on the same cores: a bare loop that gets the same ranges and drops
// them, and beside it one core's SHA-256 of as many bytes that are there already. It is done when both are.
func (v *verifyBench) floor() error {
	g, ctx := errgroup.WithContext(v.b.Context())
	g.Go(v.hot)
	var next atomic.Int64
	for range v.e.limits.VerifyRanges {
		g.Go(func() error {
			buffer := make([]byte, 256<<10)
			for {
				from := (next.Add(1) - 1) * v.e.limits.VerifyRange
				if from >= v.object.Size {
					return nil
				}
				if err := v.drop(ctx, from, min(from+v.e.limits.VerifyRange, v.object.Size), buffer); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func (v *verifyBench) drop(ctx context.Context, from, end int64, buffer []byte) error {
	req, err := http.NewRequestWithContext(ctx, v.signed.Method, v.signed.URL, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, end-1))
	res, err := v.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var n int64
	for err == nil {
		var read int
		read, err = res.Body.Read(buffer)
		n += int64(read)
	}
	if !errors.Is(err, io.EOF) || n != end-from {
		return fmt.Errorf("%s: %d of %d bytes: %w", res.Status, n, end-from, err)
	}
	return nil
}

// report logs speeds and ratios: medians of the rounds' own, with the least and the most.
func (v *verifyBench) report(b *testing.B) {
	b.Helper()
	by := func(ours, of int) string {
		var all []float64
		for i := range v.took[ours] {
			all = append(all, v.took[of][i].Seconds()/v.took[ours][i].Seconds())
		}
		slices.Sort(all)
		return fmt.Sprintf("%.2f (%.2f–%.2f)", all[len(all)/2], all[0], all[len(all)-1])
	}
	speed := func(of int) float64 {
		slices.Sort(v.took[of])
		return float64(v.times) * float64(v.object.Size) / v.took[of][len(v.took[of])/2].Seconds() / 1e6
	}
	b.Logf("%d cores, %s; re-read against SHA-256 of a hot buffer %s; the floor against that %s; re-read against the floor %s",
		runtime.NumCPU(), runtime.Version(), by(0, 2), by(1, 2), by(0, 1))
	b.Logf("re-read %.0f MB/s, floor %.0f MB/s, SHA-256 %.0f MB/s", speed(0), speed(1), speed(2))
	b.ReportMetric(speed(0), "MB/s")
}
