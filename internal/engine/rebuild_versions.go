package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/hash"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

const syncRebuild = failpoint.SyncRecord // what was appended is on the store's disk before the index counts on it

// chains reads every chain of records, and the manifest of each version.
func (r *rebuild) chains(ctx context.Context) error {
	return eachChain(ctx, r.Bucket, r.chain, func(key string) { r.refuse(key, "it is no record's key") })
}

// chain makes one version of its records. What is no chain of ours claims its label and its name, and nothing else.
func (r *rebuild) chain(ctx context.Context, c recordChain) error {
	r.step("versions", 1)
	o, err := r.RecordKey.open(ctx, r.Bucket, c)
	if err == nil && !o.vouched && !r.AcceptUnsigned {
		return fmt.Errorf("%w: %s is signed with the key %q\n%s", ErrUnknownKey, recordPath(c.key, c.last()), harmlessID(o.head().keyID), UnknownKeyChoices)
	}
	if errors.Is(err, errChain) {
		path, why, _ := strings.Cut(chainWords(err), ": ")
		return r.refused(ctx, c, path, why)
	}
	if err != nil {
		return err
	}
	v := o.version()
	files, err := r.manifest(ctx, &v)
	if err != nil {
		return err
	}
	manifest := !v.Missing
	if !o.vouched || o.anew && r.AcceptUnsigned { // anew: of a rebuild that was cut off, whose findings are gone
		if err := r.accept(ctx, &v, o, files); err != nil {
			return err
		}
	}
	id := index.BlobID{Scope: v.Scope, Digest: v.Digest}
	for batch := range distinct(files, index.MaxWants) {
		odd, err := r.Index.RebuildFiles(ctx, id, batch, v.Assurance)
		if err != nil {
			return err
		}
		v.Missing = v.Missing || odd
	}
	taken, err := r.Index.RebuildVersion(ctx, v, manifest)
	if err == nil && !taken.Version.IsZero() {
		r.refuse(recordPath(c.key, 1), fmt.Sprintf("%s stands at the same position as %s", v.Key(), taken.Key()))
	}
	return err
}

// harmlessID bounds what is shown of an id that anybody may have written.
func harmlessID(id string) string { return id[:min(len(id), 16)] }

func (r *rebuild) refused(ctx context.Context, c recordChain, path, why string) error {
	r.refuse(path, why)
	return r.Index.RebuildRefused(ctx, c.key, c.last(), why)
}

// version is what a chain tells of its version. One whose records end with ready is lost until its bytes are found.
func (o openedChain) version() index.Version {
	last := o.head()
	v := index.Version{
		Scope: last.Scope, Name: last.Name, Version: last.Version, Stage: ballast.StageNone, Digest: last.Digest, ManifestSize: last.ManifestSize,
		Size: last.Size, Files: last.Files, Assurance: last.Assurance, Weights: last.Weights, Metadata: last.Metadata,
		CreatedBy: last.CreatedBy, CreatedAt: last.CreatedAt, UpdatedAt: last.At, RecordMAC: last.mac, Records: len(o.records),
	}
	var before RecordKind
	for _, r := range o.records {
		if r.Kind != before { // a head that was signed once more is no change
			v.Revision++
		}
		switch before = r.Kind; r.Kind {
		case RecordRetired:
			v.RetiredBy, v.RetiredAt = r.By, r.At
		case RecordDeleted:
			v.DeletedBy, v.DeletedAt = r.By, r.At
		case RecordRestored:
			v.DeletedBy, v.DeletedAt = "", ballast.Time{}
		}
	}
	v.Status = map[RecordKind]ballast.Status{RecordReady: ballast.StatusLost, RecordRetired: ballast.StatusRetired, RecordDeleted: ballast.StatusDeleted}[o.state.kind]
	return v
}

// manifest reads the files of a version. A manifest that is not there, or is another, makes bytes missing; the records
// decide all the same.
func (r *rebuild) manifest(ctx context.Context, v *index.Version) ([]ballast.File, error) {
	body, obj, err := readAll(ctx, r.Bucket, ballast.BlobKey(v.Scope, v.Digest), ballast.MaxManifestBytes)
	if errors.Is(err, objstore.ErrNotFound) {
		v.Missing = true
		return nil, nil
	}
	if err != nil && !errors.Is(err, errOversize) {
		return nil, fmt.Errorf("engine: reading the manifest of %s: %w", v.Key(), err)
	}
	if obj.VersionID != "" {
		r.version.Store(true)
	}
	why := ""
	var files []ballast.File
	if err != nil || ballast.DigestOf(body) != v.Digest {
		why = "its manifest holds other bytes"
	} else if files, err = ballast.ParseManifest(body); err != nil {
		why = "its manifest cannot be read: " + err.Error()
	} else if len(files) != v.Files || sizeOf(files) != v.Size || int64(len(body)) != v.ManifestSize {
		why = "its manifest lists other files than its records say"
	}
	if why != "" {
		v.Missing = true
		r.refuse(v.Key().String(), why)
		return nil, nil
	}
	return files, nil
}

func sizeOf(files []ballast.File) (size int64) {
	for _, f := range files {
		size += f.Size
	}
	return size
}

// accept hashes every file of a version that nothing known vouches for, and signs its last record once more unless that was done.
func (r *rebuild) accept(ctx context.Context, v *index.Version, o openedChain, files []ballast.File) error {
	if v.Status == ballast.StatusLost {
		for _, f := range files {
			right, err := r.rehash(ctx, v.Scope, f)
			if err != nil {
				return err
			}
			if !right {
				v.Missing = true
				r.note(func(*Report) { r.wrong[index.BlobID{Scope: v.Scope, Digest: f.Digest}] = true })
			}
		}
	}
	r.note(func(t *Report) { t.Unsigned = append(t.Unsigned, v.Key().String()) })
	if o.vouched {
		return nil
	}
	n, body, mac, err := r.RecordKey.again(o.head())
	if err != nil {
		return err
	}
	path := recordPath(v.Key(), n)
	err = failpoint.Do(ctx, failpoint.PutRecord, func(ctx context.Context) error {
		_, err := r.bucket.Put(ctx, path, body, objstore.Condition{IfAbsent: true})
		return err
	})
	if err != nil { // what is there is read and judged the next time
		return fmt.Errorf("engine: writing record %s: %w", path, err)
	}
	v.Records, v.RecordMAC = n, mac
	return nil
}

// rehash reports whether an object is what its digest says.
func (r *rebuild) rehash(ctx context.Context, scope ballast.Scope, f ballast.File) (right bool, err error) {
	body, _, err := r.Bucket.Get(ctx, ballast.BlobKey(scope, f.Digest), objstore.ReadOptions{})
	if err == nil {
		_, err = io.Copy(io.Discard, hash.NewReader(body, f.Digest, f.Size))
		err = errors.Join(err, body.Close())
		r.step("bytes hashed", f.Size)
	}
	switch {
	case errors.Is(err, objstore.ErrNotFound), ballast.CodeOf(err) == ballast.CodeIntegrity:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("engine: reading %s: %w", f.Digest, err)
	}
	return true, nil
}

// shards is how many listings of blobs a scope is cut into, by the first two digits of their digests.
const shards = 256

// blobs looks for every blob that a version uses: one listing, in the order of the digests, as the index has them.
func (r *rebuild) blobs(ctx context.Context) error {
	for scope, err := range scopesIn(ctx, r.Bucket) {
		if err != nil {
			return fmt.Errorf("engine: listing the bucket: %w", err)
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(chainsAtOnce)
		for shard := range shards {
			g.Go(func() error { return r.shard(gctx, scope, fmt.Sprintf("%02x", shard)) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// shard compares the blobs that versions use with those that are there, page by page.
func (r *rebuild) shard(ctx context.Context, scope ballast.Scope, digits string) error {
	want, err := r.Index.RebuildExpects(ctx, scope, digits, "", index.MaxWants)
	if err != nil || len(want) == 0 {
		return err
	}
	settle := func(found []index.Found, lost []digest.Digest) error {
		if err := r.settle(ctx, scope, found, lost); err != nil {
			return err
		}
		last := want[len(want)-1].Digest
		want, err = r.Index.RebuildExpects(ctx, scope, digits, last, index.MaxWants)
		return err
	}
	at, found, lost := 0, []index.Found(nil), []digest.Digest(nil)
	for obj, err := range r.Bucket.List(ctx, scope.Path()+"/blobs/sha256/"+digits+"/", "") {
		if err != nil {
			return fmt.Errorf("engine: listing the blobs of %s: %w", scope, err)
		}
		d := digest.NewDigestFromEncoded(digest.SHA256, obj.Key[strings.LastIndexByte(obj.Key, '/')+1:])
		for len(want) > 0 && want[at].Digest <= d {
			if w := want[at]; w.Digest == d && w.Size == obj.Size && !r.isWrong(scope, d) {
				found = append(found, index.Found{Digest: d, Size: obj.Size, ETag: obj.ETag})
			} else {
				lost = append(lost, w.Digest)
			}
			if at++; at == len(want) {
				if err := settle(found, lost); err != nil {
					return err
				}
				at, found, lost = 0, nil, nil
			}
		}
		if len(want) == 0 {
			return nil
		}
	}
	for len(want) > 0 { // behind the last object
		for ; at < len(want); at++ {
			lost = append(lost, want[at].Digest)
		}
		if err := settle(found, lost); err != nil {
			return err
		}
		at, found, lost = 0, nil, nil
	}
	return nil
}

// isWrong reports whether a blob was hashed and is another.
func (r *rebuild) isWrong(scope ballast.Scope, d digest.Digest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wrong[index.BlobID{Scope: scope, Digest: d}]
}

// settle notes what was found and what was not.
func (r *rebuild) settle(ctx context.Context, scope ballast.Scope, found []index.Found, lost []digest.Digest) error {
	if r.version.Load() {
		for i := range found {
			obj, err := r.Bucket.Head(ctx, ballast.BlobKey(scope, found[i].Digest))
			if err != nil {
				return fmt.Errorf("engine: looking at blob %s: %w", found[i].Digest, err)
			}
			found[i].ETag, found[i].VersionID = obj.ETag, obj.VersionID
		}
	}
	for _, d := range lost {
		if err := r.Index.RebuildLost(ctx, index.BlobID{Scope: scope, Digest: d}); err != nil {
			return err
		}
	}
	if len(found) > 0 {
		if err := r.Index.RebuildFound(ctx, scope, found); err != nil {
			return err
		}
	}
	var bytes int64
	for _, f := range found {
		bytes += f.Size
	}
	r.note(func(t *Report) { t.Blobs, t.Bytes = t.Blobs+int64(len(found)), t.Bytes+bytes })
	r.step("blobs", int64(len(found)))
	return nil
}
