package ballast

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// FindingKind is what fsck found, from a closed set.
type FindingKind string

// The kinds of findings. docs/fsck.md says of each what it means and what to do.
const (
	FindingMissingBytes   FindingKind = "missing_bytes"   // the object of a blob that is used, or was verified, is not there
	FindingWrongSize      FindingKind = "wrong_size"      // the object has another size than when it was verified
	FindingWrongETag      FindingKind = "wrong_etag"      // somebody wrote the object again since it was verified
	FindingWrongChecksum  FindingKind = "wrong_checksum"  // the store holds another SHA-256 of the object than its digest
	FindingWrongBytes     FindingKind = "wrong_bytes"     // the object was read, and is not what its digest says
	FindingBrokenBytes    FindingKind = "broken_bytes"    // the object is there, and the store does not give its bytes
	FindingOrphan         FindingKind = "orphan"          // an object that the index never heard of, or let go of
	FindingForeign        FindingKind = "foreign"         // an object at a place where the registry writes nothing like it
	FindingStaleMultipart FindingKind = "stale_multipart" // parts in the store that no upload waits for
	FindingRecordUnknown  FindingKind = "record_unknown"  // a version record in the bucket that the index does not know
	FindingRecordMissing  FindingKind = "record_missing"  // a version whose record is not in the bucket
	FindingRecordForged   FindingKind = "record_forged"   // a record that is not signed with this registry's key, or cannot be read
	FindingRecordDiffers  FindingKind = "record_differs"  // records that would rebuild another version than the index has
	FindingUnreadable     FindingKind = "unreadable"      // an item of the index that is damaged
	FindingDangling       FindingKind = "dangling"        // an item of the index that points at what is not there
	FindingUnlisted       FindingKind = "unlisted"        // an item of the index that nothing leads to
	FindingCounter        FindingKind = "counter"         // a counter of the index that is wrong
	FindingIndexFile      FindingKind = "index_file"      // what the store of the index says of its own file
	FindingHalfDone       FindingKind = "half_done"       // work that the registry began and does not get done
	FindingLost           FindingKind = "lost"            // a version that is not served: bytes of it are lost, or a rebuild refused its records
)

// FindingKinds returns them all.
func FindingKinds() []FindingKind {
	return []FindingKind{
		FindingMissingBytes, FindingWrongSize, FindingWrongETag, FindingWrongChecksum, FindingWrongBytes, FindingBrokenBytes, FindingOrphan, FindingForeign,
		FindingStaleMultipart, FindingRecordUnknown, FindingRecordMissing, FindingRecordForged, FindingRecordDiffers, FindingUnreadable,
		FindingDangling, FindingUnlisted, FindingCounter, FindingIndexFile, FindingHalfDone, FindingLost,
	}
}

// Finding is one thing that fsck found.
type Finding struct {
	Kind     FindingKind   `json:"kind"`
	Scope    string        `json:"scope,omitempty"`
	Object   string        `json:"object,omitempty"`   // key in the bucket
	Digest   digest.Digest `json:"digest,omitempty"`   // of the blob
	Actual   digest.Digest `json:"actual,omitempty"`   // of the bytes that are there, where they were read
	Versions []string      `json:"versions,omitempty"` // keys of versions that use it, MaxFindingVersions of them at most
	More     bool          `json:"more,omitempty"`     // there may be other versions
	What     string        `json:"what"`               // what is wrong
	Do       string        `json:"do"`                 // what to do about it
	Repair   string        `json:"repair,omitempty"`   // what a repair does, or did; empty: nothing
	Repaired bool          `json:"repaired,omitempty"`
}

// MaxFindingVersions bounds the versions that a Finding names.
const MaxFindingVersions = 20

// StartFsck asks for a check of the whole registry.
type StartFsck struct {
	Deep          bool  `json:"deep,omitempty"`           // read and hash the bytes of every blob
	Rate          int64 `json:"rate,omitempty"`           // bytes a second that a deep one reads at most; 0: no bound
	Repair        bool  `json:"repair,omitempty"`         // mend what is found, in the index alone
	RemoveOrphans bool  `json:"remove_orphans,omitempty"` // delete objects that nobody recorded and that are older than the grace
}

// Check refuses what makes no sense.
func (s StartFsck) Check() error {
	if s.Rate < 0 {
		return Errorf(CodeInvalid, "rate %d: it is a number of bytes a second, or 0 for no bound", s.Rate)
	}
	return nil
}

// FsckState is how far a check is.
type FsckState string

// The states.
const (
	FsckNone    FsckState = "none" // nothing was checked since the start of the service
	FsckRunning FsckState = "running"
	FsckDone    FsckState = "done"
	FsckFailed  FsckState = "failed" // it could not look at everything
)

// Fsck is a check of the registry: the last one, or the one that runs.
type Fsck struct {
	ID string `json:"id,omitempty"`
	StartFsck
	State     FsckState      `json:"state"`
	StartedAt Time           `json:"started_at,omitzero"`
	EndedAt   Time           `json:"ended_at,omitzero"`
	Error     *Error         `json:"error,omitempty"` // of one that failed
	Objects   int64          `json:"objects"`         // of the bucket, looked at so far
	Blobs     int64          `json:"blobs"`           // of the index
	Versions  int64          `json:"versions"`
	Items     int64          `json:"items"` // of the index, whatever they are
	Bytes     int64          `json:"bytes"` // read and hashed
	Counts    []FindingCount `json:"counts"`
	Skipped   []string       `json:"skipped,omitempty"` // what was not looked at, and why
	Findings  []Finding      `json:"findings"`          // a page
	Cursor    string         `json:"cursor,omitempty"`
}

// FindingCount is how many findings there are of a kind. All are counted, also those that are not kept.
type FindingCount struct {
	Kind     FindingKind `json:"kind"`
	Count    int64       `json:"count"`
	Repaired int64       `json:"repaired,omitempty"`
}

// Clean reports whether a check ended and nothing is left of what it found.
func (f Fsck) Clean() bool {
	return f.State == FsckDone && !slices.ContainsFunc(f.Counts, func(c FindingCount) bool { return c.Count > c.Repaired })
}
