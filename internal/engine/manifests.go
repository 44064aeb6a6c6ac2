package engine

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// files returns the files of a manifest, sorted by path.
func (e *Engine) files(ctx context.Context, scope ballast.Scope, manifest digest.Digest) ([]ballast.File, error) {
	id := index.BlobID{Scope: scope, Digest: manifest}
	if files, ok := e.manifests.get(id); ok {
		return files, nil
	}
	body, _, err := readAll(ctx, e.bucket, ballast.BlobKey(scope, manifest), ballast.MaxManifestBytes)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, ballast.Errorf(ballast.CodeIntegrity, "the manifest %s is missing from the bucket; the registry's operator has to run fsck", manifest)
	}
	if err != nil {
		return nil, storeError(err)
	}
	if actual := ballast.DigestOf(body); actual != manifest {
		err := ballast.Errorf(ballast.CodeIntegrity, "the manifest %s was changed in the bucket and now has the digest %s", manifest, actual)
		err.Expected, err.Actual = manifest, actual
		return nil, err
	}
	files, err := ballast.ParseManifest(body)
	if err != nil {
		return nil, err
	}
	e.manifests.put(id, files, int64(len(body)))
	return files, nil
}

// manifestCache keeps the file lists used last, bounded by the bytes of their manifests.
type manifestCache struct {
	max int64

	mu    sync.Mutex
	size  int64
	order list.List // of *manifestEntry, the last used first
	byID  map[index.BlobID]*list.Element
}

type manifestEntry struct {
	id    index.BlobID
	files []ballast.File
	size  int64
}

func (c *manifestCache) get(id index.BlobID) ([]ballast.File, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.byID[id]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*manifestEntry).files, true
}

func (c *manifestCache) put(id index.BlobID, files []ballast.File, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID = map[index.BlobID]*list.Element{}
	}
	if _, ok := c.byID[id]; ok {
		return
	}
	c.byID[id] = c.order.PushFront(&manifestEntry{id, files, size})
	for c.size += size; c.size > c.max && c.order.Len() > 1; {
		last := c.order.Remove(c.order.Back()).(*manifestEntry)
		delete(c.byID, last.id)
		c.size -= last.size
	}
}
