package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// A rebuild makes an index anew from what the bucket holds. Until its last transaction the index bears a mark, under which
// nothing serves it, and the next rebuild begins from nothing. A version that may become ready is lost in between: whatever
// goes wrong, nothing is served whose bytes were not found.

// ErrNotBlank says that an index which is to be rebuilt holds something.
var ErrNotBlank = errors.New("index: it holds something already")

var metaRebuild = key(kindMeta, "rebuild") // there while an index is being rebuilt

// firstRebuiltEvent is the number that the feed of a rebuilt index goes on from. What was before it is gone, as the events
// that are dropped are.
const firstRebuiltEvent = 1

// Rebuilding reports whether the index is half-built: a rebuild of it has begun and not ended.
func (x *Index) Rebuilding(ctx context.Context) (half bool, err error) {
	err = x.store.View(ctx, func(tx Tx) (err error) {
		half, err = exists(tx, metaRebuild)
		return err
	})
	return half, err
}

// wipeBatch is how many keys one transaction of BeginRebuild removes.
const wipeBatch = 500

// BeginRebuild marks an index that holds nothing as half-built, and takes away what a rebuild that was cut off has left in
// it. Errors: ErrNotBlank.
func (x *Index) BeginRebuild(ctx context.Context) error {
	err := x.update(ctx, failpoint.BeginRebuild, func(tx Tx) error {
		if half, err := exists(tx, metaRebuild); err != nil || half {
			return err
		}
		if left, err := beyondMeta(tx, 1); err != nil || len(left) > 0 {
			return errors.Join(err, ErrNotBlank)
		}
		return put(tx, metaRebuild, ballast.At(x.now()))
	})
	for more := err == nil; more && err == nil; {
		err = x.update(ctx, failpoint.BeginRebuild, func(tx Tx) error {
			left, err := beyondMeta(tx, wipeBatch)
			if more = len(left) > 0; err != nil || more {
				return errors.Join(err, deleteAll(tx, left...))
			}
			return put(tx, metaEvents, int64(firstRebuiltEvent))
		})
	}
	return err
}

// beyondMeta returns up to limit keys of what an index holds beside its own id and the ledger of its form.
func beyondMeta(tx Tx, limit int) (found [][]byte, err error) {
	own := [][]byte{metaOwner, metaMigrations, metaRebuild, metaEvents}
	for item, err := range tx.Scan(nil, nil, false) {
		if err != nil && len(item.Key) == 0 {
			return nil, err
		}
		if bytes.Equal(item.Key, own[0]) || bytes.Equal(item.Key, own[1]) || bytes.Equal(item.Key, own[2]) || bytes.Equal(item.Key, own[3]) {
			continue
		}
		if found = append(found, bytes.Clone(item.Key)); len(found) == limit {
			break
		}
	}
	return found, nil
}

// RebuildFiles notes, for at most MaxWants files, that a manifest uses them and what they have to be. Whether they are
// there, RebuildFound and RebuildLost say later. odd reports that another manifest gives one of them another size: one of
// the two cannot be served.
func (x *Index) RebuildFiles(ctx context.Context, manifest BlobID, files []ballast.File, a ballast.Assurance) (odd bool, err error) {
	err = x.update(ctx, failpoint.RebuildFiles, func(tx Tx) error {
		odd = false
		for _, f := range files {
			same, err := expect(tx, BlobID{manifest.Scope, f.Digest}, f.Size, a)
			if err != nil {
				return err
			}
			odd = odd || !same
			if err := tx.Put(key(kindReference, manifest.Scope.String(), f.Digest.Encoded(), manifest.Digest.Encoded()), nil); err != nil {
				return err
			}
		}
		return nil
	})
	return odd, err
}

// expect notes what a blob has to be. One that a version has whose every file the store itself checked, it has checked.
func expect(tx Tx, id BlobID, size int64, a ballast.Assurance) (same bool, err error) {
	k := blobKey(kindBlob, id.Scope, id.Digest)
	old, known, err := lookup[Blob](tx, k)
	if err != nil {
		return false, err
	}
	b := old
	switch {
	case known && old.Size != size:
		return false, nil
	case !known || a == ballast.AssuranceStore:
		b = Blob{Size: size, Assurance: a}
	}
	if known && b == old {
		return true, nil
	}
	return true, put(tx, k, b)
}

// expected reports whether a blob is one that was not looked for yet.
func (b Blob) expected() bool { return b.State == BlobAbsent && b.Assurance != "" }

// RebuildVersion stores a version that its records tell of. One whose records end with ready comes as lost, and becomes
// ready in the end unless bytes are missing. manifest says that its manifest was read. taken is the version that stands at its place already, if it is another one.
func (x *Index) RebuildVersion(ctx context.Context, v Version, manifest bool) (taken Version, err error) {
	err = x.update(ctx, failpoint.RebuildVersion, func(tx Tx) error {
		taken = Version{}
		old, there, err := lookup[Version](tx, versionKey(kindVersion, v.Scope, v.Name, v.Version))
		if err != nil {
			return err
		}
		if there && old.Refused == "" {
			taken = old
			return nil
		}
		if manifest {
			same, err := expect(tx, BlobID{v.Scope, v.Digest}, v.ManifestSize, ballast.AssuranceStore)
			if err != nil {
				return err
			}
			v.Missing = v.Missing || !same
		}
		return errors.Join(putVersion(tx, v), rebuildName(tx, v), rebuiltKeys(tx, v, func(k []byte) error { return tx.Put(k, nil) }))
	})
	return taken, err
}

// RebuildRefused stores that the bucket has n records of a version, none of which is believed. A version that is believed
// stays.
func (x *Index) RebuildRefused(ctx context.Context, k ballast.Key, n int, why string) error {
	return x.update(ctx, failpoint.RebuildVersion, func(tx Tx) error {
		if there, err := exists(tx, versionKey(kindVersion, k.Scope, k.Name, k.Version)); err != nil || there {
			return err
		}
		return putRefused(tx, k, n, why)
	})
}

func putRefused(tx Tx, k ballast.Key, n int, why string) error {
	v := Version{Scope: k.Scope, Name: k.Name, Version: k.Version, Status: ballast.StatusLost, Stage: ballast.StageNone, Records: n, Refused: why, Revision: 1}
	return errors.Join(putVersion(tx, v), rebuildName(tx, v))
}

// rebuildName counts a version in its name. What is refused hides the global name as well: it may have been ready.
func rebuildName(tx Tx, v Version) error {
	k := scopedName(kindName, v.Scope, v.Name)
	name, _, err := lookup[Name](tx, k)
	if err != nil {
		return err
	}
	if name.Name.IsZero() || v.Refused == "" {
		name.Name = v.Name
	}
	name.MaxMajor, name.HadReady = max(name.MaxMajor, v.Version.Major()), true
	if v.UpdatedAt.After(name.Updated.Time) {
		name.Updated = v.UpdatedAt
	}
	return put(tx, k, name)
}

// rebuiltKeys does something to each key that leads to a version, but for what latest chooses from.
func rebuiltKeys(tx Tx, v Version, do func([]byte) error) error {
	if err := do(byDigestKey(v.Scope, v.Name, v.Digest, v.Version)); err != nil || v.Status == ballast.StatusDeleted {
		return err
	}
	return errors.Join(
		do(byManifestKey(v.Scope, v.Digest, v.Name, v.Version)), do(byTimeKey(v)),
		withBase(v, func(base ballast.Key) error { return do(childKey(base, v)) }),
	)
}

// Expected is a blob that versions use, and its size by their manifests.
type Expected struct {
	Digest digest.Digest
	Size   int64
}

// RebuildExpects returns up to limit blobs of a scope whose digest begins with some hex digits, behind one of them, that
// were not looked for yet.
func (x *Index) RebuildExpects(ctx context.Context, scope ballast.Scope, digits string, after digest.Digest, limit int) (page []Expected, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		page = nil
		prefix := blobKey(kindBlob, scope, digest.Digest("sha256:"+digits))
		prefix = prefix[:len(prefix)-1] // less the end of the part
		var from []byte
		if after != "" {
			from = behind(blobKey(kindBlob, scope, after))
		}
		for item, err := range tx.Scan(prefix, from, false) {
			if err != nil {
				return err
			}
			b, err := decode[Blob](item.Key, item.Value)
			if err != nil {
				return err
			}
			if !b.expected() {
				continue
			}
			id, err := parseBlobID(item.Key)
			if err != nil {
				return err
			}
			if page = append(page, Expected{id.Digest, b.Size}); len(page) == limit {
				break
			}
		}
		return nil
	})
	return page, err
}

// RebuildFound notes that up to MaxWants blobs lie in the bucket with the size that they have to have.
func (x *Index) RebuildFound(ctx context.Context, scope ballast.Scope, found []Found) error {
	return x.update(ctx, failpoint.RebuildBlobs, func(tx Tx) error {
		for _, f := range found {
			k := blobKey(kindBlob, scope, f.Digest)
			b, err := get[Blob](tx, k)
			if err != nil {
				return err
			}
			b.State, b.ETag, b.VersionID = BlobVerified, f.ETag, f.VersionID
			free, err := unused(tx, scope, f.Digest)
			if err != nil {
				return err
			}
			if free {
				b.Tombstone = ballast.At(x.now())
			}
			if err := put(tx, k, b); err != nil {
				return err
			}
		}
		return nil
	})
}

// RebuildLost notes that a blob is not in the bucket, or is not what it has to be: versions that use it have bytes missing.
func (x *Index) RebuildLost(ctx context.Context, id BlobID) error {
	var users [][]byte
	err := x.store.View(ctx, func(tx Tx) (err error) {
		users, err = usersOf(tx, id)
		return err
	})
	for err == nil {
		more := false
		err = x.update(ctx, failpoint.RebuildBlobs, func(tx Tx) error {
			bytes := 0
			for i, k := range users {
				value, err := tx.Get(k)
				if err != nil {
					return err
				}
				v, err := decode[Version](k, value)
				if err != nil {
					return err
				}
				if bytes += len(value); i > 0 && (bytes > MaxTouchedBytes/2 || i == wipeBatch) {
					users, more = users[i:], true
					return nil
				}
				v.Missing = true
				if err := putVersion(tx, v); err != nil {
					return err
				}
			}
			return tx.Delete(blobKey(kindBlob, id.Scope, id.Digest))
		})
		if !more {
			return err
		}
	}
	return err
}

// usersOf returns the keys of the versions that have a blob as a file or as their manifest.
func usersOf(tx Tx, id BlobID) (users [][]byte, err error) {
	manifests := []string{id.Digest.Encoded()}
	references := blobKey(kindReference, id.Scope, id.Digest)
	for item, err := range tx.Scan(references, nil, false) {
		if err != nil {
			return nil, err
		}
		manifests = append(manifests, partAfter(item.Key, references))
	}
	for _, m := range manifests {
		for k, err := range versionsWith(tx, id.Scope.String(), m) {
			if err != nil {
				return nil, err
			}
			users = append(users, k)
		}
	}
	return users, nil
}

// versionsWith yields the keys of the versions with a manifest; an error ends the loop of whoever asks.
func versionsWith(tx Tx, scope, manifest string) iter.Seq2[[]byte, error] {
	prefix := key(kindByManifest, scope, manifest)
	return func(yield func([]byte, error) bool) {
		for item, err := range tx.Scan(prefix, nil, false) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(append(key(kindVersion, scope), item.Key[len(prefix):]...), nil) {
				return
			}
		}
	}
}

// Tally counts versions by what a rebuild made of them.
type Tally struct {
	Ready   int `json:"ready"`
	Retired int `json:"retired"`
	Deleted int `json:"deleted"`
	Lost    int `json:"lost"`    // bytes are missing
	Refused int `json:"refused"` // nothing is believed of what the bucket says of them
}

// readyBatch is how many versions one transaction of RebuildReady looks at: of each it puts five keys at most.
const readyBatch = 150

// RebuildReady makes the versions ready of which nothing is missing, and refuses bases that nothing tells of. tell hears of
// each that stays lost, and of each such base; it may hear of one twice.
func (x *Index) RebuildReady(ctx context.Context, tell func(v Version)) (t Tally, err error) {
	var after, next []byte
	for more := true; more; after = next {
		var page Tally
		var told []Version
		err := x.update(ctx, failpoint.RebuildReady, func(tx Tx) error {
			page, told, more = Tally{}, nil, false
			size, n := 0, 0
			for item, err := range tx.Scan([]byte{kindVersion}, behind(after), false) {
				if err != nil {
					return err
				}
				size += len(item.Value)
				if more = n == readyBatch || n > 0 && size > MaxTouchedBytes/4; more {
					return nil
				}
				n++
				v, err := decode[Version](item.Key, item.Value)
				if err != nil {
					return err
				}
				if err := rebuildReady(tx, &v, &page, &told); err != nil {
					return err
				}
				next = bytes.Clone(item.Key)
			}
			return nil
		})
		if err != nil {
			return t, err
		}
		for _, v := range told {
			tell(v)
		}
		t = Tally{t.Ready + page.Ready, t.Retired + page.Retired, t.Deleted + page.Deleted, t.Lost + page.Lost, t.Refused + page.Refused}
	}
	return t, nil
}

func rebuildReady(tx Tx, v *Version, t *Tally, told *[]Version) error {
	if v.Status != ballast.StatusDeleted && v.Refused == "" {
		if err := baseKnown(tx, *v, t, told); err != nil {
			return err
		}
	}
	switch {
	case v.Refused != "":
		if v.Records > 0 { // else it was counted when it was made
			t.Refused++
		}
		return nil
	case v.Status == ballast.StatusRetired:
		t.Retired++
		return nil
	case v.Status == ballast.StatusDeleted:
		t.Deleted++
		return nil
	case v.Status == ballast.StatusLost && v.Missing:
		t.Lost++
		*told = append(*told, *v)
		return nil
	}
	t.Ready++
	v.Status = ballast.StatusReady
	k := scopedName(kindName, v.Scope, v.Name)
	name, err := get[Name](tx, k)
	if err != nil {
		return err
	}
	name.Ready++
	return errors.Join(put(tx, k, name), setStage(tx, v, v.Stage), putVersion(tx, *v))
}

// baseKnown refuses a base that neither records nor a snapshot tell of: it may have been retired.
func baseKnown(tx Tx, v Version, t *Tally, told *[]Version) error {
	return withBase(v, func(base ballast.Key) error {
		if there, err := exists(tx, versionKey(kindVersion, base.Scope, base.Name, base.Version)); err != nil || there {
			return err
		}
		why := fmt.Sprintf("the bucket has no records of it, though %s was made from it", v.Key())
		t.Refused++
		*told = append(*told, Version{Scope: base.Scope, Name: base.Name, Version: base.Version, Refused: why})
		return putRefused(tx, base, 0, why)
	})
}

// EndRebuild counts what scopes use, says that the prefix is claimed at an epoch, and takes the mark away.
func (x *Index) EndRebuild(ctx context.Context, epoch int64) error {
	if err := x.recountAll(ctx); err != nil {
		return err
	}
	return x.update(ctx, failpoint.EndRebuild, func(tx Tx) error {
		o, err := get[Owner](tx, metaOwner)
		if err != nil {
			return err
		}
		o.Intent, o.Claimed = max(o.Intent, epoch), true
		return errors.Join(put(tx, metaOwner, o), tx.Delete(metaRebuild))
	})
}

// errRefused is the answer about a version of which nothing is believed.
func errRefused(v Version) *ballast.Error {
	return ballast.Errorf(ballast.CodeIntegrity, "%s is not served: what the bucket says of it was refused when the registry was rebuilt (%s); its operator has to look", v.Key(), strings.TrimSuffix(v.Refused, "."))
}
