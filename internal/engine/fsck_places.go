package engine

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// unrecorded judges an object under blobs/ of which the index has nothing, or that it has as absent. The record of a blob
// is written before anybody can send it, so that what is still unknown after the listing was not sent by the registry's
// leave.
func (f *fsck) unrecorded(ctx context.Context, scope ballast.Scope, obj objstore.Object) error {
	rest := strings.TrimPrefix(obj.Key, scope.Path()+blobsFolder)
	_, hex, _ := strings.Cut(rest, "/")
	d, err := ballast.ParseSHA256(hex)
	if err != nil || ballast.BlobKey(scope, d) != obj.Key {
		return f.foreign(ctx, scope, obj.Key)
	}
	if d == ballast.EmptyDigest && obj.Size == 0 {
		return nil // trying the store at a start leaves it in global, and it is what its digest says wherever it lies
	}
	id := index.BlobID{Scope: scope, Digest: d}
	b, known, err := f.index.LatestBlob(ctx, id)
	if err != nil || known && !f.settledAbsent(b) {
		return ignoreDamage(err)
	}
	what := fmt.Sprintf("the index has nothing of this object of %d bytes", obj.Size)
	if known {
		what = fmt.Sprintf("the index has let go of this object of %d bytes, or never got it", obj.Size)
	}
	return f.orphan(ctx, scope, obj, d, what)
}

// orphan reports an object that may be removed, and removes it when that was asked for and it is old enough. Nothing that may
// be a file of a version goes: of one that a rebuild refused, or whose manifest is gone, the index knows no files.
func (f *fsck) orphan(ctx context.Context, scope ballast.Scope, obj objstore.Object, d digest.Digest, what string) error {
	finding := ballast.Finding{
		Kind: ballast.FindingOrphan, Scope: scope.String(), Object: obj.Key, Digest: d, What: what,
		Do: "it does no harm; ballast fsck --remove-orphans removes those that are older than the grace",
	}
	if d != "" {
		k, doubted, err := f.doubted(ctx, scope)
		if err != nil {
			return err
		}
		if doubted {
			finding.Do = fmt.Sprintf("it stays, for it may be a file of %s, whose records a rebuild refused or whose manifest is missing: put those right from a copy of the bucket and run ballast rebuild, or push that version again, or, when nobody misses it, remove the object with a tool of the store", k)
			return f.found(ctx, finding, nil)
		}
	}
	if !f.want.RemoveOrphans || !f.run || f.now().Sub(obj.Modified) <= f.limits.Grace {
		return f.found(ctx, finding, nil)
	}
	finding.Repair = "the object is removed"
	if d != "" {
		id := index.BlobID{Scope: scope, Digest: d}
		if mine, err := f.index.CondemnStray(ctx, id, f.settledAbsent); err != nil || !mine {
			return ignoreDamage(err)
		}
		if err := f.reader.reclaimOne(ctx, id); err != nil {
			return err // it is deleting, and the service goes on with that
		}
	} else {
		wctx, cancel := context.WithTimeout(ctx, f.limits.RecordTimeout)
		defer cancel()
		if err := f.bucket.Delete(wctx, obj.Key); err != nil {
			return err
		}
	}
	finding.Repaired = true
	f.tell(finding)
	return nil
}

// doubted returns a version of a scope whose files the index cannot tell, if there is one.
func (f *fsck) doubted(ctx context.Context, scope ballast.Scope) (k ballast.Key, ok bool, err error) {
	f.doubting.Lock()
	defer f.doubting.Unlock()
	if k, ok = f.doubts[scope]; ok {
		return k, !k.Version.IsZero(), nil
	}
	for after := []byte(nil); k.Version.IsZero(); {
		page, next, err := f.index.VersionsFrom(ctx, scope, after, fsckPage)
		if err != nil {
			return k, false, err
		}
		for _, kept := range page {
			unknown, err := f.filesUnknown(ctx, kept.Version)
			if err != nil {
				return k, false, err
			}
			if unknown {
				k = kept.Version.Key()
			}
		}
		if next == nil {
			break
		}
		after = next
	}
	f.doubts[scope] = k
	return k, !k.Version.IsZero(), nil
}

// filesUnknown reports whether the index cannot tell which files a version has: a rebuild refused it, or its manifest is gone and a
// copy of that may bring it back.
func (f *fsck) filesUnknown(ctx context.Context, v index.Version) (bool, error) {
	if v.Refused != "" || v.Status == ballast.StatusDeleted || !v.Missing && v.Status != ballast.StatusLost {
		return v.Refused != "", nil
	}
	manifest, err := f.index.Blob(ctx, index.BlobID{Scope: v.Scope, Digest: v.Digest})
	return manifest.State != index.BlobVerified, err
}

func (f *fsck) foreign(ctx context.Context, scope ballast.Scope, key string) error {
	finding := ballast.Finding{
		Kind: ballast.FindingForeign, Object: key, What: "the registry writes no object with such a key there",
		Do: "find out who put it there; the registry never removes it",
	}
	if !scope.IsZero() {
		finding.Scope = scope.String()
	}
	return f.found(ctx, finding, nil)
}

// roots looks at what lies beside blobs and records: staging/, which nothing fills, and places that are nobody's. What
// people drop into inbox/ is theirs. It jumps over the folders that were walked through.
func (f *fsck) roots(ctx context.Context) error {
	for obj, err := range f.jumping(ctx) {
		if err != nil {
			return err
		}
		f.objects.Add(1)
		scope, place := placeOf(obj.Key)
		switch {
		case scope.IsZero():
			err = f.foreign(ctx, scope, obj.Key)
		case place != "staging":
			err = f.foreign(ctx, scope, obj.Key)
		case f.now().Sub(obj.Modified) > f.limits.Grace:
			err = f.orphan(ctx, scope, obj, "", "something was left in staging/")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// placeOf cuts a key into the scope that it lies in and the first folder there; the scope is zero where there is none.
func placeOf(key string) (scope ballast.Scope, place string) {
	rest, ok := strings.CutPrefix(key, ballast.Global.Path()+"/")
	if ok {
		scope = ballast.Global
	} else if rest, ok = strings.CutPrefix(key, "tenants/"); ok {
		var tenant string
		tenant, rest, _ = strings.Cut(rest, "/")
		scope, _ = ballast.ParseScope(tenant) // zero when it is none
	}
	place, _, _ = strings.Cut(rest, "/")
	return scope, place
}

// jumping lists the whole prefix less the folders that the registry knows: blobs/sha256, models and inbox of each scope, and
// index. It asks anew behind each.
func (f *fsck) jumping(ctx context.Context) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		for after := ""; ; {
			jump := ""
			for obj, err := range f.bucket.List(ctx, "", after) {
				if err != nil {
					yield(obj, err)
					return
				}
				if folder := knownFolder(obj.Key); folder != "" {
					jump = folder + "0" // the first text after everything that begins with the folder and "/"
					break
				}
				if !yield(obj, nil) {
					return
				}
			}
			if jump == "" {
				return
			}
			after = jump
		}
	}
}

func knownFolder(key string) string {
	if strings.HasPrefix(key, "index/") {
		return "index"
	}
	scope, place := placeOf(key)
	if scope.IsZero() {
		return ""
	}
	if place == "blobs" && strings.HasPrefix(key, scope.Path()+blobsFolder) {
		return strings.TrimSuffix(scope.Path()+blobsFolder, "/")
	}
	if place == "models" || place == "inbox" {
		return scope.Path() + "/" + place
	}
	return ""
}
