package client

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hash"
)

const gib = 1 << 30

func TestWholeOrInParts(t *testing.T) {
	for name, c := range map[string]struct {
		way   *way
		size  int64
		parts bool
	}{
		"nothing is known":             {&way{}, 4 * gib, false},
		"larger than a PUT":            {&way{}, ballast.MaxPutSize + 1, true},
		"a fast way":                   {&way{rate: 200e6}, 5 * gib, false},
		"a slow way":                   {&way{rate: 50e6}, 5 * gib, true},
		"a slow way, a small file":     {&way{rate: 1e6}, ballast.DefaultPartSize, false},
		"a PUT was cut":                {&way{torn: true}, gib, true},
		"a PUT was cut, a small file":  {&way{torn: true}, ballast.DefaultPartSize, false},
		"parts are asked for":          {&way{fixed: 8 << 20}, 8<<20 + 1, true},
		"parts are asked for, no more": {&way{fixed: 8 << 20, torn: true}, 8 << 20, false},
	} {
		c.way.parallel = 8
		if got := c.way.partSize(c.size); got > 0 != c.parts {
			t.Errorf("%s: %d bytes in parts of %d", name, c.size, got)
		}
	}
}

// Parts are equal to a MiB for each, as many as transfers, and short on a slow way.
func TestPartsAreEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &way{parallel: rapid.IntRange(1, 64).Draw(t, "parallel"), rate: rapid.Float64Range(0, 1e9).Draw(t, "rate")}
		size := rapid.Int64Range(ballast.DefaultPartSize+1, ballast.MaxFileSize).Draw(t, "size")
		part := w.cut(size)
		count := ballast.PartCount(size, part)
		if part < ballast.MinPartSize || part > ballast.MaxPartSize || count > ballast.MaxParts || part%(1<<20) != 0 {
			t.Fatalf("%d bytes in %d parts of %d", size, count, part)
		}
		if last := ballast.PartLength(size, part, count); part-last > int64(count)<<20 {
			t.Fatalf("%d bytes in %d parts of %d, the last of %d", size, count, part, last)
		}
		needed := ballast.ClampPartSize(size, ballast.MinPartSize)
		if most := max(needed, int64(w.rate*partTime.Seconds())+1<<20, slowPart+1<<20); w.rate > 0 && part > most {
			t.Fatalf("parts of %d bytes at %.0f bytes a second", part, w.rate)
		}
	})
}

func TestAPutIsGivenUpForParts(t *testing.T) {
	for name, c := range map[string]struct {
		rtt        time.Duration
		size, sent int64 // MiB, within 2 s
		idle, busy int
		better     bool
	}{
		"alone, near":                 {time.Millisecond / 4, 4096, 400, 7, 1, false},
		"alone, far":                  {20 * time.Millisecond, 4096, 120, 7, 1, true},
		"alone, far, nearly there":    {20 * time.Millisecond, 140, 120, 7, 1, false},
		"alone, far, as fast as near": {20 * time.Millisecond, 4096, 800, 7, 1, false},
		"all busy, far":               {20 * time.Millisecond, 4096, 200, 0, 8, false},
		"over a minute, all busy":     {time.Millisecond / 4, 4096, 100, 0, 8, true},
		"not known how far":           {0, 4096, 200, 7, 1, false},
		"stalled":                     {20 * time.Millisecond, 4096, 0, 7, 1, false},
	} {
		w := &way{rtt: c.rtt}
		if got := w.better(c.size<<20, c.sent<<20, 2*time.Second, c.idle, c.busy); got != c.better {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTheRateFollowsWhatMoves(t *testing.T) {
	w := &way{}
	w.moved(1<<20, time.Nanosecond) // too little to tell
	if w.rate != 0 {
		t.Errorf("a rate of %f", w.rate)
	}
	w.moved(100e6, time.Second)
	w.moved(200e6, time.Second)
	if w.rate != 150e6 {
		t.Errorf("a rate of %f", w.rate)
	}
}

var errBroken = errors.New("broken")

// What is read once comes to every hasher, whatever the sizes, and an error ends it.
func TestFan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := make([]byte, rapid.IntRange(0, 5*fanBuffer).Draw(t, "bytes"))
		for i := range data {
			data[i] = byte(i * 7)
		}
		partSize := rapid.Int64Range(1<<16, 1<<20).Draw(t, "part size")
		whole, parts := hash.New(0), hash.NewParts(partSize)
		if err := fan(iotest.HalfReader(bytes.NewReader(data)), int64(len(data)), whole, parts); err != nil {
			t.Fatal(err)
		}
		both := hash.New(partSize)
		_, _ = both.Write(data)
		if whole.Digest() != both.Digest() || len(parts.Digests()) != len(both.Parts()) || parts.Digests()[0] != both.Parts()[0] {
			t.Fatal("other digests")
		}
		for _, size := range []int64{fanLeast - 1, fanLeast} { // of one who reads by himself, and one for whom it is read ahead
			alone := hash.New(0)
			if err := fan(iotest.HalfReader(bytes.NewReader(data)), size, alone); err != nil || alone.Digest() != both.Digest() {
				t.Fatalf("another digest, %v", err)
			}
			if err := fan(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errBroken)), size, hash.New(0)); !errors.Is(err, errBroken) {
				t.Fatalf("error %v", err)
			}
		}
		if err := fan(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errBroken)), int64(len(data)), hash.New(0), hash.NewParts(partSize)); !errors.Is(err, errBroken) {
			t.Fatalf("error %v", err)
		}
	})
}
