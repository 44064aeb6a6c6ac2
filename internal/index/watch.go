package index

import (
	"context"
	"time"

	"github.com/ballast-registry/ballast/internal/failpoint"
)

// OnUpdate has report called after each transaction that changes a state, with how long it took, waiting for the disk
// included. It must be quick, and may be called from any goroutine.
func OnUpdate(report func(step failpoint.Step, took time.Duration, err error)) Option {
	return func(x *Index) { x.updated = report }
}

// maxCounted bounds a look at the length of a queue.
const maxCounted = 10_000

// VerifyQueueLength returns how many objects wait to be re-read or are, up to 10,000.
func (x *Index) VerifyQueueLength(ctx context.Context) (int, error) {
	return x.count(ctx, kindVerifyQueue)
}

// OpenUploads returns how many uploads and imports are not settled, up to 10,000.
func (x *Index) OpenUploads(ctx context.Context) (int, error) { return x.count(ctx, kindAttempt) }

func (x *Index) count(ctx context.Context, kind byte) (n int, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		n = 0
		for _, err := range tx.Scan([]byte{kind}, nil, false) {
			if err != nil {
				return err
			}
			if n++; n == maxCounted {
				break
			}
		}
		return nil
	})
	return n, err
}
