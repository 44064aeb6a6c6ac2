package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hash"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// Invariant is one of the rules that hold at every moment, whatever crashed. docs/invariants.md has them in words.
type Invariant int

// The invariants, by number.
const (
	InvariantOrder        Invariant = 1 + iota // bytes, manifest, verify, seal, record, ready
	InvariantImmutable                         // a verified digest key never changes
	InvariantOneContent                        // a label has one content
	InvariantOnePublisher                      // one publisher wins
	InvariantScopes                            // own ∪ global; from the first ready version on a name shadows
	InvariantGate                              // only what is servable is found
	InvariantScopedDigest                      // a digest is a permission in its scope alone
	InvariantUnknown                           // unknown is not absent
	InvariantKept                              // nothing referenced or pinned is deleted
	InvariantRebuild                           // the bucket alone rebuilds the index
	InvariantOwner                             // one index owns one prefix
	InvariantBounded                           // sizes are bounded
	InvariantTyped                             // every error is typed and leaks nothing
)

var invariantNames = []string{"", "order", "immutable", "one-content", "one-publisher", "scopes", "gate", "scoped-digest", "unknown", "kept",
	"rebuild", "owner", "bounded", "typed"}

// String returns the invariant's name.
func (i Invariant) String() string { return invariantNames[i] }

// Violation says that an invariant does not hold.
type Violation struct {
	Invariant Invariant
	What      string
}

// String returns the invariant's name and what is wrong.
func (v Violation) String() string { return fmt.Sprintf("%s: %s", v.Invariant, v.What) }

// Check holds an index and its bucket to every invariant and returns what is broken. It re-reads every blob that a
// version uses, so it is for tests and small registries. Nothing may be written meanwhile.
func Check(ctx context.Context, x *index.Index, b objstore.Bucket, key RecordKey) ([]Violation, error) {
	contents, err := x.Contents(ctx)
	if err != nil {
		return nil, err
	}
	c := &checker{index: x, bucket: b, key: key, Contents: contents, hashed: map[index.BlobID]error{}}
	c.versions(ctx)
	c.names()
	c.production()
	c.lineage()
	c.aliases()
	c.feed()
	c.tokens()
	c.uploads()
	c.imports()
	c.blobs(ctx)
	c.quotas()
	c.owner(ctx)
	c.records(ctx)
	c.bounds()
	return c.found, errors.Join(c.faults...)
}

type checker struct {
	index  *index.Index
	bucket objstore.Bucket
	key    RecordKey
	index.Contents
	found  []Violation
	faults []error // of the store: the check could not be finished
	hashed map[index.BlobID]error
}

func (c *checker) report(i Invariant, format string, args ...any) {
	c.found = append(c.found, Violation{i, fmt.Sprintf(format, args...)})
}

func (c *checker) fault(err error) { c.faults = append(c.faults, err) }

// versions checks that everything a version stands on is there, and what finds it.
func (c *checker) versions(ctx context.Context) {
	for id, v := range c.Versions {
		ready := v.Status == ballast.StatusReady
		if index.VersionID(v.Scope, v.Name, v.Version) != id {
			c.report(InvariantOneContent, "%s lies under the key of another version", v.Key())
		}
		if c.Candidates[id] != (ready && v.Stage.Active()) {
			c.report(InvariantGate, "latest can answer %s: %t; it is %s and %s", v.Key(), c.Candidates[id], v.Status, v.Stage)
		}
		if _, pending := c.Records[id]; ready && pending || v.Status == ballast.StatusSealed && !pending || (v.Due != nil) != (pending && v.Status != ballast.StatusSealed) {
			c.report(InvariantOrder, "%s is %s and pending record is %t, event %t", v.Key(), v.Status, pending, v.Due != nil)
		}
		c.rebuilt(v)
		if v.Refused != "" {
			continue
		}
		found := id + " " + v.Digest.Encoded()
		restoring := v.Status == ballast.StatusDeleted && v.Due != nil && v.Due.Kind == ballast.EventRestored
		if v.Status == ballast.StatusDeleted && (!c.ByDigest[found] || c.ByManifest[found] != restoring) {
			c.report(InvariantGate, "%s is deleted and remembered by its digest %t, still using its manifest %t", v.Key(), c.ByDigest[found], c.ByManifest[found])
		}
		gone := v.Status == ballast.StatusSealed || v.Status == ballast.StatusDeleted
		if c.ByTime[id] == gone {
			c.report(InvariantGate, "%s is %s and listed by time: %t", v.Key(), v.Status, c.ByTime[id])
		}
		if restoring {
			c.bytes(ctx, v)
		}
		if gone {
			continue
		}
		if !c.ByDigest[found] || !c.ByManifest[found] {
			c.report(InvariantGate, "%s is %s and found by digest %t, by manifest %t", v.Key(), v.Status, c.ByDigest[found], c.ByManifest[found])
		}
		if !v.Missing { // what is missing, fsck names
			c.bytes(ctx, v)
		}
	}
	for id := range c.Candidates {
		if _, ok := c.Versions[id]; !ok {
			c.report(InvariantGate, "latest can answer %s, which does not exist", id)
		}
	}
	for id := range c.ByTime {
		if _, ok := c.Versions[id]; !ok {
			c.report(InvariantGate, "%s is listed by time and does not exist", id)
		}
	}
}

// rebuilt checks that a version is lost for one of the two reasons that there are.
func (c *checker) rebuilt(v index.Version) {
	lost := v.Status == ballast.StatusLost
	if lost != (v.Missing && v.Status != ballast.StatusRetired && v.Status != ballast.StatusDeleted || v.Refused != "") || (v.Refused != "") != (v.Digest == "") {
		c.report(InvariantRebuild, "%s is %s, bytes missing %t, refused %q, digest %q", v.Key(), v.Status, v.Missing, v.Refused, v.Digest)
	}
}

// bytes checks the manifest and every file of a ready version.
func (c *checker) bytes(ctx context.Context, v index.Version) {
	manifest := index.BlobID{Scope: v.Scope, Digest: v.Digest}
	if !c.verified(ctx, v, manifest, v.ManifestSize) {
		return
	}
	body, _, err := readAll(ctx, c.bucket, ballast.BlobKey(v.Scope, v.Digest), ballast.MaxManifestBytes)
	if err != nil {
		c.fault(err)
		return
	}
	files, err := ballast.ParseManifest(body)
	if err != nil {
		c.report(InvariantOrder, "%s: its manifest cannot be read: %v", v.Key(), err)
		return
	}
	var size int64
	for _, f := range files {
		size += f.Size
		id := index.BlobID{Scope: v.Scope, Digest: f.Digest}
		if !c.References[id][v.Digest] {
			c.report(InvariantKept, "%s: blob %s is not noted as used by its manifest", v.Key(), f.Digest)
		}
		c.verified(ctx, v, id, f.Size)
	}
	if len(files) != v.Files || size != v.Size {
		c.report(InvariantOneContent, "%s says %d files of %d bytes, its manifest %d of %d", v.Key(), v.Files, v.Size, len(files), size)
	}
	c.weights(ctx, v, files)
}

// weights checks what a version says of its weights against the headers of its files.
func (c *checker) weights(ctx context.Context, v index.Version, files []ballast.File) {
	if v.Weights == nil {
		return
	}
	read, err := inspect(ctx, c.bucket, v.Scope, files, func(_ context.Context, id index.BlobID) (index.Blob, error) { return c.Blobs[id], nil })
	switch {
	case errors.Is(err, index.ErrUnverified) || errors.Is(err, objstore.ErrNotFound): // reported already
	case err != nil:
		c.fault(err)
	case !sameJSON(read.Weights, v.Weights):
		c.report(InvariantOneContent, "%s says %+v of its weights, their headers %+v", v.Key(), v.Weights, read.Weights)
	}
}

// verified checks one blob of a ready version, in the index and in the bucket.
func (c *checker) verified(ctx context.Context, v index.Version, id index.BlobID, size int64) bool {
	b, known := c.Blobs[id]
	switch {
	case !known || b.State == index.BlobAbsent:
		c.report(c.absentMeans(id), "%s: blob %s of it is absent", v.Key(), id.Digest)
		return false
	case b.State == index.BlobDeleting:
		c.report(InvariantKept, "%s: blob %s of it is being deleted", v.Key(), id.Digest)
		return false
	case b.State != index.BlobVerified:
		c.report(InvariantOrder, "%s: blob %s of it is %s", v.Key(), id.Digest, b.State)
		return false
	}
	if b.Size != size {
		c.report(InvariantOrder, "%s: blob %s has %d bytes, its manifest says %d", v.Key(), id.Digest, b.Size, size)
	}
	return c.unchanged(ctx, v, id, b)
}

// absentMeans tells a blob of another scope from one that was forgotten.
func (c *checker) absentMeans(id index.BlobID) Invariant {
	for other, b := range c.Blobs {
		if other.Digest == id.Digest && other.Scope != id.Scope && b.State == index.BlobVerified {
			return InvariantScopedDigest
		}
	}
	return InvariantUnknown
}

// unchanged checks that the object is what it was when its blob was verified.
func (c *checker) unchanged(ctx context.Context, v index.Version, id index.BlobID, b index.Blob) bool {
	err, done := c.hashed[id]
	if !done {
		err = c.hash(ctx, id, b)
		c.hashed[id] = err
	}
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		c.report(InvariantKept, "%s: blob %s of it is gone from the bucket", v.Key(), id.Digest)
	case ballast.CodeOf(err) == ballast.CodeIntegrity:
		c.report(InvariantImmutable, "%s: blob %s of it holds other bytes", v.Key(), id.Digest)
	case err != nil:
		c.fault(err)
	}
	return err == nil
}

func (c *checker) hash(ctx context.Context, id index.BlobID, b index.Blob) error {
	body, _, err := c.bucket.Get(ctx, ballast.BlobKey(id.Scope, id.Digest), objstore.ReadOptions{VersionID: b.VersionID})
	if err != nil {
		return err
	}
	if b.LinkSize == 0 || b.Assurance == ballast.AssuranceStore { // what an uploader declared may be anything
		_, err = io.Copy(io.Discard, hash.NewReader(body, id.Digest, b.Size))
		return errors.Join(err, body.Close())
	}
	chain := hash.NewChain(b.LinkSize)
	_, err = io.Copy(chain, hash.NewReader(body, id.Digest, b.Size))
	if err := errors.Join(err, body.Close()); err != nil {
		return err
	}
	kept, err := c.index.Chain(ctx, id, b)
	if err == nil && !slices.Equal(kept, sumsOf(chain.States())) {
		c.report(InvariantImmutable, "blob %s has another chain than its bytes", id.Digest)
	}
	return err
}

// names checks that each name's record says what its versions are.
func (c *checker) names() {
	ready := map[index.NameID]int{}
	for _, v := range c.Versions {
		id := index.NameID{Scope: v.Scope, Name: v.Name.Fold()}
		n, ok := c.Names[id]
		if v.Status == ballast.StatusReady {
			ready[id]++
			if !n.HadReady {
				c.report(InvariantScopes, "%s is ready and its name does not shadow the global one", v.Key())
			}
		}
		if !ok || n.MaxMajor < v.Version.Major() {
			c.report(InvariantOneContent, "%s: its number could be allocated again", v.Key())
		}
	}
	for id, n := range c.Names {
		if n.Ready != ready[id] {
			c.report(InvariantScopes, "%s in %s counts %d ready versions of %d", id.Name, id.Scope, n.Ready, ready[id])
		}
	}
}

// uploads checks labels, pins and what the background work must find.
func (c *checker) uploads() {
	held := map[string]string{}
	for id, u := range c.Uploads {
		label := index.VersionID(u.Scope, u.Name, u.Version)
		open := !u.Status.Settled() && !(u.Import != nil && u.Import.Expect != "") // which holds no label
		if open && !u.Version.IsZero() && !u.Sealed && c.Holds[label] != id {
			c.report(InvariantOnePublisher, "upload %s is %s and does not hold %s", id, u.Status, u.Target())
		}
		if open && !u.Version.IsZero() {
			if other, taken := held[label]; taken {
				c.report(InvariantOnePublisher, "uploads %s and %s are both open for %s", id, other, u.Target())
			}
			held[label] = id
		}
		if u.Unattended() != c.Verifying[id] {
			c.report(InvariantOrder, "upload %s is %s and listed to be finished: %t", id, u.Status, c.Verifying[id])
		}
		if v, ok := c.Versions[label]; u.Status == ballast.UploadDone && !u.Version.IsZero() && !ok {
			c.report(InvariantOrder, "upload %s is done and its version %s is not there", id, v.Key())
		}
		c.settledError(u)
	}
	for label, id := range c.Holds {
		if u, ok := c.Uploads[id]; !ok || u.Status.Settled() {
			c.report(InvariantOnePublisher, "%s is held by upload %s, which is over", label, id)
		}
	}
	for id, pins := range c.PinsOf {
		if u, ok := c.Uploads[id]; !ok || u.Status.Settled() && !c.Releasing[id] {
			c.report(InvariantKept, "upload %s is over and pins %d blobs", id, len(pins))
		}
	}
}

// settledError checks the error that an upload ended with.
func (c *checker) settledError(u index.Upload) {
	if u.Status != ballast.UploadFailed {
		return
	}
	switch {
	case u.Error == nil || !slices.Contains(ballast.Codes(), u.Error.Code) || u.Error.Code == ballast.CodeInternal:
		c.report(InvariantTyped, "upload %s failed with %v", u.ID, u.Error)
	case strings.Contains(u.Error.Detail, "/blobs/") || strings.Contains(u.Error.Detail, "tenants/") || strings.Contains(u.Error.Detail, "goroutine "):
		c.report(InvariantTyped, "upload %s: its error shows a key: %s", u.ID, u.Error.Detail)
	}
}

// blobs checks pins, tombstones and queues.
func (c *checker) blobs(ctx context.Context) {
	manifests, refuses := c.manifests(), c.refuses()
	for id, b := range c.Blobs {
		if (b.State == index.BlobDeleting || b.State == index.BlobAborting) != c.Reclaim[id] {
			c.report(InvariantKept, "blob %s is %q and listed for reclaim: %t", id.Digest, b.State, c.Reclaim[id])
		}
		if _, queued := c.Queue[id]; (b.State == index.BlobStored) != queued {
			c.report(InvariantOrder, "blob %s is %q and queued for the verifier: %t", id.Digest, b.State, queued)
		}
		used := len(c.Pins[id]) > 0 || len(c.References[id]) > 0 || manifests[id]
		switch settled := b.State != index.BlobDeleting && b.State != index.BlobAborting; {
		case !b.Tombstone.IsZero() && used && settled:
			c.report(InvariantKept, "blob %s is used and marked as unused", id.Digest)
		case b.Tombstone.IsZero() && !used && settled && !refuses[id.Scope]:
			c.report(InvariantKept, "blob %s is unused and not marked so: it would stay for good", id.Digest)
		case b.State == index.BlobDeleting && (len(c.References[id]) > 0 || manifests[id]):
			c.report(InvariantKept, "blob %s is used and being deleted", id.Digest)
		}
		if b.State == index.BlobVerified && len(c.References[id]) == 0 && len(c.Pins[id]) > 0 {
			if err := c.hash(ctx, id, b); errors.Is(err, objstore.ErrNotFound) {
				c.report(InvariantKept, "blob %s is pinned, verified and gone from the bucket", id.Digest)
			}
		}
	}
	for id, manifests := range c.References {
		for m := range manifests {
			if _, ok := c.Blobs[index.BlobID{Scope: id.Scope, Digest: m}]; !ok && c.elsewhere(id.Scope, m) {
				c.report(InvariantScopedDigest, "blob %s of %s is used by a manifest that this scope does not have", id.Digest, id.Scope)
			}
		}
	}
	for id, pins := range c.Pins {
		for upload := range pins {
			if !c.PinsOf[upload][id.Digest] {
				c.report(InvariantKept, "blob %s is pinned by upload %s, which does not know", id.Digest, upload)
			}
		}
	}
}

// owner checks the claim on the prefix.
func (c *checker) owner(ctx context.Context) {
	mark, _, err := readOwner(ctx, c.bucket)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		if c.Owner.Claimed {
			c.report(InvariantOwner, "the prefix has lost its owner mark")
		}
	case err != nil:
		c.fault(err)
	case mark.IndexID != c.Owner.IndexID || mark.Epoch > c.Owner.Intent:
		c.report(InvariantOwner, "the prefix belongs to %s at epoch %d, this index is %s at %d", mark.IndexID, mark.Epoch, c.Owner.IndexID, c.Owner.Intent)
	}
}

// bounds checks the sizes of what is stored, and that it can be read.
func (c *checker) bounds() {
	for _, what := range c.Unreadable {
		c.report(InvariantUnknown, "the index holds what cannot be read: %s", what)
	}
	if c.Largest > index.MaxValueBytes {
		c.report(InvariantBounded, "the index holds a value of %d bytes", c.Largest)
	}
	for id, b := range c.Records {
		if len(b) > maxRecordBytes {
			c.report(InvariantBounded, "the record of %s has %d bytes", id, len(b))
		}
	}
	for _, v := range c.Versions {
		if v.ManifestSize > ballast.MaxManifestBytes || v.Files > ballast.MaxFiles {
			c.report(InvariantBounded, "%s has %d files and a manifest of %d bytes", v.Key(), v.Files, v.ManifestSize)
		}
	}
	for id, b := range c.Blobs {
		// Where the object was not made from the parts that were to come, there is no part size.
		if b.Method == ballast.MethodMultipart && (b.PartSize != 0 || b.State == index.BlobUploading) && (b.PartSize < ballast.MinPartSize || b.PartSize > ballast.MaxPartSize) {
			c.report(InvariantBounded, "blob %s has parts of %d bytes", id.Digest, b.PartSize)
		}
	}
}
