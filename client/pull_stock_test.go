package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hash"
)

// tiny is an arrival of a few bytes, cut small: links of 4 pieces of 64 bytes.
type tiny struct {
	*arrival
	content []byte // right ones
	store   []byte // that the store sends
	got     []byte // in the part
	fetched []int  // times, by piece
	flips   int    // of downloads that are hurt once more
}

func drawTiny(t *rapid.T) *tiny {
	const piece, perLink = hash.BlockSize, 4
	x := &tiny{content: rapid.SliceOfN(rapid.Byte(), 1, 3000).Draw(t, "content")}
	f := ballast.File{Path: "a", Size: int64(len(x.content)), Digest: ballast.DigestFromSum(sha256.Sum256(x.content))}
	x.arrival = &arrival{partID: partID{f, layout{f.Size, piece * perLink, piece, perLink}}}
	var chain []hash.State
	if rapid.Bool().Draw(t, "chained") {
		c := hash.NewChain(piece * perLink)
		_, _ = c.Write(x.content)
		chain = c.States()
	}
	if len(chain) > 0 && rapid.IntRange(0, 4).Draw(t, "lie") == 0 {
		chain[rapid.IntRange(0, len(chain)-1).Draw(t, "state")][0] ^= 1
	}
	x.cut(chain)
	x.store, x.got, x.fetched = bytes.Clone(x.content), make([]byte, f.Size), make([]int, len(x.pieces))
	if rapid.IntRange(0, 4).Draw(t, "damaged") == 0 {
		x.store[rapid.IntRange(0, len(x.store)-1).Draw(t, "at")] ^= 1
	}
	x.flips = rapid.IntRange(0, 1).Draw(t, "flips")
	return x
}

// work is what a worker does, with memory in place of store and disk.
func (x *tiny) work(k *stock, tk task, found []int) (whole bool, err error) {
	switch tk.kind {
	case toOpen:
		for _, p := range found {
			copy(x.got[x.start(p):x.start(p+1)], x.content[x.start(p):])
		}
		k.opened(x.arrival, found)
		return false, nil
	case toFetch:
		for p := tk.from; p < tk.to; p++ {
			copy(x.got[x.start(p):x.start(p+1)], x.store[x.start(p):])
			x.fetched[p]++
			if p == 0 && x.flips > 0 {
				x.flips--
				x.got[0] ^= 1
			}
			x.hash(tk, p)
			k.land(x.arrival, p)
		}
	case toRead:
		for p := tk.from; p < tk.to; p++ {
			x.hash(tk, p)
		}
	}
	return k.done(tk)
}

func (x *tiny) hash(tk task, p int) {
	if sum := tk.hasher(); sum != nil {
		_, _ = sum.Write(x.got[x.start(p):x.start(p+1)])
	}
}

// Whatever the order in which workers come, everything arrives, as often as it must and no more, and the verdict is that of
// the bytes: a chain that lies or is not there changes nothing of it, nor does what an earlier pull left.
func TestStockBringsEverythingOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newStock(rapid.IntRange(1, 4).Draw(t, "workers"))
		var mu sync.Mutex
		spoiled := map[*arrival]int{}
		k.spoiled = func(s *stretch) error { mu.Lock(); defer mu.Unlock(); spoiled[s.a]++; return nil }
		k.doubted = func(*arrival) {}
		files := map[*arrival]*tiny{}
		var arrivals []*arrival
		found := map[*arrival][]int{}
		for range rapid.IntRange(0, 4).Draw(t, "files") {
			x := drawTiny(t)
			files[x.arrival], arrivals = x, append(arrivals, x.arrival)
			for p := range x.pieces {
				if rapid.IntRange(0, 3).Draw(t, "found") == 0 {
					found[x.arrival] = append(found[x.arrival], p)
				}
			}
		}
		proved := map[*arrival]bool{}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		defer k.wakeOn(ctx)()
		g, _ := errgroup.WithContext(ctx)
		for range k.workers {
			g.Go(func() error {
				for {
					tk, ok := k.take(ctx)
					if !ok {
						return ctx.Err()
					}
					whole, err := files[tk.a].work(k, tk, found[tk.a])
					if whole || err != nil {
						mu.Lock()
						proved[tk.a] = whole
						mu.Unlock()
						k.leave(tk.a)
					}
				}
			})
		}
		k.add(arrivals)
		k.full()
		if err := g.Wait(); err != nil {
			t.Fatalf("it does not end: %v", err)
		}
		for a, x := range files {
			right := bytes.Equal(x.got, x.content)
			if proved[a] != right {
				t.Fatalf("%d bytes are right: %t, proved: %t", len(x.content), right, proved[a])
			}
			if damaged := !bytes.Equal(x.store, x.content); !right && !damaged {
				t.Fatalf("%d bytes that the store has did not arrive", len(x.content))
			}
			for p, n := range x.fetched {
				if n > 1+spoiled[a] {
					t.Fatalf("piece %d was fetched %d times, and stretches were spoiled %d times", p, n, spoiled[a])
				}
			}
		}
	})
}
