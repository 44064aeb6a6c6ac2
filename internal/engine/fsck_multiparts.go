package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// partsByKey reports whether parts are looked for at the exact key of a blob: where some may lie by what the index knows,
// and with a deep look everywhere, since not every store lists them by prefix.
func (f *fsck) partsByKey(b index.Blob) bool {
	return b.State != index.BlobVerified || b.Multiparts || f.want.Deep
}

// keyMultiparts looks at the exact key of a blob for parts in the store that no upload waits for.
func (f *fsck) keyMultiparts(ctx context.Context, b keptBlob) error {
	open, err := f.bucket.ListUploads(ctx, b.key())
	if err != nil {
		return err
	}
	for _, u := range open {
		f.parts.Store(true)
		if err := f.multipart(ctx, b.ID, u); err != nil {
			return err
		}
	}
	return nil
}

// multiparts looks for such parts at all other keys, as far as the store lists them.
func (f *fsck) multiparts(ctx context.Context) error {
	lists := false
	for u, err := range f.bucket.UploadsUnder(ctx, "") {
		if err != nil {
			return err
		}
		lists = true
		if err := f.listedMultipart(ctx, u); err != nil {
			return err
		}
	}
	if f.parts.Load() && !lists {
		f.skip("multipart uploads at keys that the index has nothing of: this store lists them by exact keys alone")
	}
	return nil
}

// listedMultipart judges one that the store lists by itself, unless it was judged at its key. Those under inbox/ are people's.
func (f *fsck) listedMultipart(ctx context.Context, u objstore.MultipartUpload) error {
	scope, place := placeOf(u.Key)
	if !scope.IsZero() && place == "inbox" {
		return nil
	}
	id := index.BlobID{Scope: scope}
	if d, err := ballast.ParseSHA256(u.Key[strings.LastIndexByte(u.Key, '/')+1:]); err == nil && !scope.IsZero() && ballast.BlobKey(scope, d) == u.Key {
		id.Digest = d
		b, known, err := f.index.LatestBlob(ctx, id)
		if err != nil || known && f.partsByKey(b) {
			return ignoreDamage(err)
		}
	}
	return f.multipart(ctx, id, u)
}

// multipart judges an open multipart upload; that of no blob has no digest. One is created before its id is in the index, a
// copy has none there, and a store aborts in its own time.
func (f *fsck) multipart(ctx context.Context, id index.BlobID, u objstore.MultipartUpload) error {
	young := f.limits.PutURLLife + f.limits.ClockSlack
	var b index.Blob
	if id.Digest != "" {
		var err error
		if b, _, err = f.index.LatestBlob(ctx, id); err != nil || b.MultipartID == u.ID && b.State != index.BlobVerified {
			return ignoreDamage(err)
		}
		if b.State == index.BlobUploading && b.Multiparts && b.MultipartID == "" { // perhaps a copy of a large object
			young = max(young, f.limits.Grace)
		}
	}
	if f.now().Sub(u.Initiated) <= young {
		return nil
	}
	open, err := f.bucket.ListUploads(ctx, u.Key)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	still := errors.Is(err, objstore.ErrBadKey) // nobody's, and it cannot be looked at again
	if still {
		err = nil
	}
	for _, o := range open {
		still = still || o.ID == u.ID
	}
	if err != nil || !still {
		return err
	}
	finding := ballast.Finding{
		Kind: ballast.FindingStaleMultipart, Object: u.Key, Digest: id.Digest,
		What: fmt.Sprintf("a multipart upload is open there since %s, and nobody waits for it: its parts take room", u.Initiated.UTC().Format(time.RFC3339)),
		Do:   "abort it with a client of the store, or have a rule of the bucket abort what is never completed; the registry leaves it alone",
	}
	if !id.Scope.IsZero() {
		finding.Scope = id.Scope.String()
	}
	if b.Multiparts {
		finding.Do = "ballast gc aborts it once the blob is there or nobody wants it; a rule of the bucket for what is never completed does, too"
	}
	return f.found(ctx, finding, nil)
}
