//go:build failpoints

package engine_test

import (
	"context"
	"io"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// troubled is a bucket that makes the registry take the steps that only trouble calls for: the first re-read of the part
// "parts" fails, the second takes until its lease was renewed; the first object of the part "odd" is not as it was
// signed, until it is removed.
type troubled struct {
	objstore.Bucket
	w *walk
}

func (b *troubled) Get(ctx context.Context, key string, opt objstore.ReadOptions) (io.ReadCloser, objstore.Object, error) {
	for d := range inParts("parts").blobs() {
		if opt.IfMatch == "" || key != ballast.BlobKey(acme, d) {
			continue
		}
		id := index.BlobID{Scope: acme, Digest: d}
		if held, err := b.w.index.Blob(ctx, id); err != nil || held.State == index.BlobVerified {
			break // it was re-read: now its header is
		}
		if returned, _ := b.w.times(failpoint.ReturnVerify); returned == 0 {
			return nil, objstore.Object{}, objstore.ErrUnavailable
		}
		for {
			renewed, changed := b.w.times(failpoint.RenewVerify)
			if renewed > 0 {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil, objstore.Object{}, ctx.Err()
			}
		}
	}
	return b.Bucket.Get(ctx, key, opt)
}

// oddKey is where the first object of the part odd lies.
func oddKey() string {
	return ballast.BlobKey(acme, ballast.DigestOf(small("odd")["model.safetensors"]))
}

func (b *troubled) Head(ctx context.Context, key string) (objstore.Object, error) {
	o, err := b.Bucket.Head(ctx, key)
	if key == oddKey() && !b.w.isOdd(false) {
		o.Oddities = append(o.Oddities, "a redirect")
	}
	return o, err
}

func (b *troubled) Delete(ctx context.Context, key string) error {
	err := b.Bucket.Delete(ctx, key)
	if err == nil && key == oddKey() {
		b.w.isOdd(true)
	}
	return err
}

// isOdd reports whether the odd object was removed, and notes that it is.
func (w *walk) isOdd(removed bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.odd = w.odd || removed
	return w.odd
}
