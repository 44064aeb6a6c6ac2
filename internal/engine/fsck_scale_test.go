package engine_test

import (
	"context"
	"encoding/hex"
	"iter"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv"
)

// crowd is a number of blobs that exist by formula: their digests go up with their number and are spread over all shards.
type crowd struct{ n uint64 }

func (c crowd) hex(i uint64) string {
	step := ^uint64(0) / c.n
	var b [32]byte
	for k, v := 0, i*step; k < 8; k++ {
		b[k] = byte(v >> (56 - 8*k))
	}
	return hex.EncodeToString(b[:])
}

// from is the first number whose digest is not before a text of hex digits.
func (c crowd) from(text string) uint64 {
	lo, hi := uint64(0), c.n
	for lo < hi {
		if mid := (lo + hi) / 2; c.hex(mid) < text {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// crowdedBucket lists a crowd under the blobs of acme. Every lost-th object is missing.
type crowdedBucket struct {
	objstore.Bucket
	crowd
	lost   uint64
	listed atomic.Int64
}

const crowdPrefix = "tenants/acme/blobs/sha256/"

func (b *crowdedBucket) gone(i uint64) bool { return i%b.lost == b.lost/2 }

func (b *crowdedBucket) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	if !strings.HasPrefix(prefix, crowdPrefix) {
		return b.Bucket.List(ctx, prefix, after)
	}
	return func(yield func(objstore.Object, error) bool) {
		shard := strings.TrimSuffix(strings.TrimPrefix(prefix, crowdPrefix), "/")
		for i := b.from(shard); i < b.n; i++ {
			h := b.hex(i)
			if !strings.HasPrefix(h, shard) {
				return
			}
			if b.gone(i) {
				continue
			}
			b.listed.Add(1)
			if !yield(objstore.Object{Key: crowdPrefix + h[:2] + "/" + h, Size: 12, ETag: `"e"`}, nil) {
				return
			}
		}
	}
}

func (b *crowdedBucket) Head(ctx context.Context, key string) (objstore.Object, error) {
	if strings.HasPrefix(key, crowdPrefix) {
		return objstore.Object{}, objstore.ErrNotFound
	}
	return b.Bucket.Head(ctx, key)
}

// crowdedStore is an index whose blobs of acme are the crowd, each with the value of one that there is.
type crowdedStore struct {
	index.Store
	crowd
	value []byte
}

func (s *crowdedStore) View(ctx context.Context, fn func(index.Tx) error) error {
	return s.Store.View(ctx, func(tx index.Tx) error { return fn(crowdedTx{tx, s}) })
}

type crowdedTx struct {
	index.Tx
	s *crowdedStore
}

const crowdKind = "bacme\x00"

func (t crowdedTx) Get(key []byte) ([]byte, error) {
	if strings.HasPrefix(string(key), crowdKind) {
		h := strings.TrimSuffix(string(key[len(crowdKind):]), "\x00")
		if i := t.s.from(h); i < t.s.n && t.s.hex(i) == h {
			return t.s.value, nil
		}
		return nil, index.ErrNotFound
	}
	return t.Tx.Get(key)
}

func (t crowdedTx) Scan(prefix, from []byte, reverse bool) iter.Seq2[index.Item, error] {
	if len(prefix) == 0 || prefix[0] != 'b' || reverse {
		return t.Tx.Scan(prefix, from, reverse)
	}
	return func(yield func(index.Item, error) bool) {
		p, start := string(prefix), string(from)
		if start < crowdKind {
			start = crowdKind
		}
		if p > start {
			start = p
		}
		if !strings.HasPrefix(start, crowdKind) {
			return
		}
		for i := t.s.from(strings.TrimPrefix(start, crowdKind)); i < t.s.n; i++ {
			k := crowdKind + t.s.hex(i) + "\x00"
			if !strings.HasPrefix(k, p) {
				return
			}
			if k >= start && !yield(index.Item{Key: []byte(k), Value: t.s.value}, nil) {
				return
			}
		}
	}
}

// A check of millions of objects takes the memory that one of thousands takes. BALLAST_FSCK_KEYS sets how many.
func TestFsckMemoryIsFlat(t *testing.T) {
	most := 100_000
	if text := os.Getenv("BALLAST_FSCK_KEYS"); text != "" {
		most = must(strconv.Atoi(text))
	}
	taken := map[int]*memory{}
	for _, n := range []int{most / 10, most} {
		taken[n] = crowdedCheck(t, n)
	}
	// To keep the digest of a key takes 32 bytes.
	more := uint64(most - most/10)
	if small, large := taken[most/10].heap(), taken[most].heap(); large > small+4<<20+more {
		t.Errorf("%d keys take %d KiB of live heap, a tenth of them %d", most, large>>10, small>>10)
	}
}

// memory is what a process held from time to time, in bytes.
type memory struct {
	live      []uint64 // heap that a collection found in use, and what was allocated while it ran: the busier the machine is, the more
	anonymous int64    // RssAnon at most; 0 where the system does not tell
}

func (m *memory) look() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	m.live = append(m.live, live[0].Value.Uint64())
	anonymous, _ := testenv.AnonymousMemory(os.Getpid())
	m.anonymous = max(m.anonymous, anonymous)
}

// heap is the median.
func (m *memory) heap() uint64 {
	if len(m.live) == 0 {
		return 0
	}
	slices.Sort(m.live)
	return m.live[len(m.live)/2]
}

func crowdedCheck(t *testing.T, n int) (taken *memory) {
	db := index.NewMem()
	opt := options(t, memStore(t), db)
	x := opt.Index
	u, _, err := x.CreateUpload(t.Context(), index.Upload{ID: "u", Scope: acme, Name: ref("m").Name, Attempt: "attempt-0000000000", Principal: "p"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	d := digest.Digest("sha256:" + crowd{uint64(n)}.hex(1))
	if _, err := x.Ask(t.Context(), u.ID, []index.Want{{Digest: d, Size: 12, Method: ballast.MethodPut}}, time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := x.StoredByPut(t.Context(), acme, []index.Found{{Digest: d, Size: 12, ETag: `"e"`}}); err != nil {
		t.Fatal(err)
	}
	s := &crowdedStore{Store: db, crowd: crowd{uint64(n)}}
	err = db.View(t.Context(), func(tx index.Tx) error {
		v, err := tx.Get([]byte(crowdKind + d.Encoded() + "\x00"))
		s.value = append([]byte(nil), v...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	crowded, err := index.Open(t.Context(), s, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	b := &crowdedBucket{Bucket: objstoretest.NewMem(), crowd: s.crowd, lost: uint64(n / 10)}
	done, sampled := make(chan struct{}), make(chan *memory)
	go func() {
		m := &memory{}
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				sampled <- m
				return
			case <-tick.C:
				m.look()
			}
		}
	}()
	runtime.GC()
	began, missing := time.Now(), 0
	run, err := engine.FsckOffline(t.Context(), crowded, b, opt.RecordKey, engine.Limits{}, ballast.StartFsck{}, func(f ballast.Finding) {
		if f.Kind == ballast.FindingMissingBytes {
			missing++
		}
	})
	close(done)
	taken = <-sampled
	if err != nil || missing != 10 || run.Objects != int64(n-10) || run.Blobs != int64(n) {
		t.Errorf("of %d keys %d are missing, %d objects and %d blobs seen, %v", n, missing, run.Objects, run.Blobs, err)
	}
	t.Logf("%d keys: %d objects listed, %d KiB of live heap, RssAnon %d KiB at most, %s", n, b.listed.Load(), taken.heap()>>10, taken.anonymous>>10, time.Since(began).Round(time.Millisecond))
	return taken
}
