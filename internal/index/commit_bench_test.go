package index_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

const (
	commitClients = 64
	commitsEach   = 8 // of a client, in a round
)

// BenchmarkCommit has 64 goroutines publish versions, each by all the transactions that a push of one file makes, from the
// label to ready, in turns with as many DB.Batch of bbolt that put the same keys and values into a file
// beside. An iteration is a round.
func BenchmarkCommit(b *testing.B) {
	written := recordCommits(b)
	transactions := 0
	for _, one := range written {
		transactions += len(one)
	}
	var ratios, rates []float64
	for i := 0; b.Loop(); i++ {
		ours, theirs := func() time.Duration { return timeCommits(b) }, func() time.Duration { return timeBatches(b, written) }
		var a, z time.Duration
		if i%2 == 0 {
			a, z = ours(), theirs()
		} else {
			z, a = theirs(), ours()
		}
		ratios = append(ratios, z.Seconds()/a.Seconds())
		rates = append(rates, float64(transactions)/a.Seconds())
	}
	slices.Sort(ratios)
	slices.Sort(rates)
	mid := len(ratios) / 2
	b.Logf("%d cores, %s: %d transactions a commit; %.0f transactions/s; ratio to DB.Batch of equal bytes: median %.2f, least %.2f, most %.2f",
		runtime.NumCPU(), runtime.Version(), transactions/len(written), rates[mid], ratios[mid], ratios[0], ratios[len(ratios)-1])
	b.ReportMetric(ratios[mid], "ratio")
	b.ReportMetric(rates[mid], "transactions/s")
}

// commitOne publishes version n of a name of its own.
func commitOne(ctx context.Context, x *index.Index, n int) error {
	target := ballast.Key{Scope: acme, Name: name(fmt.Sprintf("bench/model-%06d", n)), Version: ballast.MajorVersion(1)}
	u := index.Upload{ID: fmt.Sprintf("0198aa00-0000-7000-8000-%012d", n), Attempt: fmt.Sprintf("attempt-%012d", n), Principal: "p", CreatedBy: "ci@acme", Scope: target.Scope, Name: target.Name, Version: target.Version}
	if _, _, err := x.CreateUpload(ctx, u, lease); err != nil {
		return err
	}
	content := fmt.Sprint("weights ", n)
	manifest := sum("manifest of " + content)
	wants := []index.Want{{Digest: sum(content), Size: 1 << 20, Method: ballast.MethodPut}, {Digest: manifest, Size: 500, Method: ballast.MethodPut}}
	if _, err := x.Ask(ctx, u.ID, wants[:1], time.Now().Add(time.Hour), lease); err != nil {
		return err
	}
	if err := x.StoredByPut(ctx, acme, []index.Found{{Digest: sum(content), Size: 1 << 20, ETag: `"e"`}}); err != nil {
		return err
	}
	if _, err := x.Ask(ctx, u.ID, wants[1:], time.Now().Add(time.Hour), lease); err != nil {
		return err
	}
	if _, err := x.Accept(ctx, u.ID, index.Accepted{Manifest: manifest, ManifestSize: 500, Files: 1, Size: 1 << 20}); err != nil {
		return err
	}
	if err := x.StoredByPut(ctx, acme, []index.Found{{Digest: manifest, Size: 500, ETag: `"e"`}}); err != nil {
		return err
	}
	if err := x.Reference(ctx, u.ID, []digest.Digest{sum(content)}, true); err != nil {
		return err
	}
	v, err := x.Seal(ctx, u.ID, record)
	if err != nil {
		return err
	}
	_, err = x.Ready(ctx, v.Key())
	return err
}

// putting is a transaction's writes.
type putting [][2][]byte

// recording is a Store that notes what each Update writes.
type recording struct {
	index.Store
	updates *[]putting
}

type recordingTx struct {
	index.Tx
	writes *putting
}

func (s recording) Update(ctx context.Context, fn func(index.Tx) error) error {
	var writes putting
	err := s.Store.Update(ctx, func(tx index.Tx) error {
		writes = nil // fn may run again
		return fn(recordingTx{tx, &writes})
	})
	*s.updates = append(*s.updates, writes)
	return err
}

func (tx recordingTx) Put(key, value []byte) error {
	*tx.writes = append(*tx.writes, [2][]byte{slices.Clone(key), slices.Clone(value)})
	return tx.Tx.Put(key, value)
}

// recordCommits returns what each of the commits of a round writes, transaction by transaction.
func recordCommits(b *testing.B) (commits [][]putting) {
	b.Helper()
	var updates []putting
	x, err := index.Open(b.Context(), recording{index.NewMem(), &updates}, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	for n := range commitClients * commitsEach {
		updates = nil
		if err := commitOne(b.Context(), x, n); err != nil {
			b.Fatal(err)
		}
		commits = append(commits, updates)
	}
	return commits
}

func timeCommits(b *testing.B) time.Duration {
	b.Helper()
	store, err := index.OpenBolt(filepath.Join(b.TempDir(), "index.db"), index.BoltOptions{})
	if err != nil {
		b.Fatal(err)
	}
	x, err := index.Open(b.Context(), store, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	return byClients(b, func(n int) error { return commitOne(b.Context(), x, n) })
}

func timeBatches(b *testing.B, commits [][]putting) time.Duration {
	b.Helper()
	db := benchBbolt(b)
	return byClients(b, func(n int) error {
		for _, writes := range commits[n] {
			err := db.Batch(func(tx *bbolt.Tx) error {
				for _, w := range writes {
					if err := benchPut(tx, w[0], w[1]); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// byClients has every commit of a round done, each once, and returns how long that takes.
func byClients(b *testing.B, do func(n int) error) time.Duration {
	b.Helper()
	var next atomic.Int64
	var g errgroup.Group
	began := time.Now()
	for range commitClients {
		g.Go(func() error {
			for n := int(next.Add(1)) - 1; n < commitClients*commitsEach; n = int(next.Add(1)) - 1 {
				if err := do(n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}
