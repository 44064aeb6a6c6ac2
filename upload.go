package ballast

import "github.com/opencontainers/go-digest"

// Limits of one request.
const (
	MaxBodyBytes    = 4 << 20 // any request body
	MaxBlobsPerCall = 1000    // entries of one BlobsRequest
	MaxPartsPerCall = 1000    // parts of one BlobsRequest together
)

// Limits that S3 sets on objects and parts.
const (
	MaxPutSize      = 5 << 30 // bytes of one PUT
	MinPartSize     = 5 << 20 // bytes of every part but the last
	MaxPartSize     = 5 << 30
	DefaultPartSize = 64 << 20
	MaxParts        = 10_000
)

// SignedRequest is everything a client must send to the object store, Host excepted: the method, the URL and these
// headers, no more and no fewer. A GET may add Range.
type SignedRequest struct {
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	ExpiresAt Time              `json:"expires_at"`
}

// CreateUpload is the body of POST /v1/uploads.
type CreateUpload struct {
	Scope   Scope   `json:"scope,omitzero"`   // left out: the scope of the principal's first grant
	Name    Name    `json:"name"`             // required
	Version Version `json:"version,omitzero"` // left out: allocated when the version is sealed
	// Attempt is a random text of 16 to 64 characters that the client keeps: the same principal with the same attempt
	// gets the same open upload again, from any machine.
	Attempt string `json:"attempt"`
	// Size is how many bytes all files have together, 0 when that is not known. Where the scope's quota has room for them,
	// they are reserved, and a version with them: such an upload is refused nothing for what others send meanwhile.
	Size int64 `json:"size,omitempty"`
}

// UploadStatus is the state of an upload.
type UploadStatus string

// The states of an upload. A settled upload stays readable for 24 hours.
const (
	UploadPending   UploadStatus = "pending"   // blobs are coming; held by a lease
	UploadImporting UploadStatus = "importing" // the service lists and hashes the files of an import
	UploadVerifying UploadStatus = "verifying" // committed; the service finishes it, the client may be gone
	UploadDone      UploadStatus = "done"      // Upload.Result has the version
	UploadFailed    UploadStatus = "failed"    // Upload.Error says why
	UploadExpired   UploadStatus = "expired"   // its lease ran out
	UploadAborted   UploadStatus = "aborted"   // given up, or taken over
)

// Settled reports whether the state is final.
func (s UploadStatus) Settled() bool { return s != UploadPending && !s.Unattended() }

// Unattended reports whether the service goes on by itself, with or without a client.
func (s UploadStatus) Unattended() bool { return s == UploadImporting || s == UploadVerifying }

// Upload is one attempt to publish one version.
type Upload struct {
	ID        string       `json:"id"`
	Scope     Scope        `json:"scope"`
	Name      Name         `json:"name"`
	Version   Version      `json:"version,omitzero"` // when the label was given
	Key       string       `json:"key,omitempty"`    // when the label is known
	Status    UploadStatus `json:"status"`
	CreatedBy string       `json:"created_by"`
	CreatedAt Time         `json:"created_at"`
	ExpiresAt Time         `json:"expires_at,omitzero"` // of the lease, while pending
	Progress  *Progress    `json:"progress,omitempty"`  // while verifying
	Error     *Error       `json:"error,omitempty"`     // when failed
	Result    *VersionInfo `json:"result,omitempty"`    // when done
}

// Progress counts what a verifying upload has behind it.
type Progress struct {
	Blobs         int   `json:"blobs"`          // distinct digests of the version
	BlobsVerified int   `json:"blobs_verified"` // of these, verified
	Bytes         int64 `json:"bytes"`          // of all distinct blobs
	BytesVerified int64 `json:"bytes_verified"` // of these, verified or re-read so far
}

// Method is how a blob's bytes reach the store.
type Method string

// The methods.
const (
	MethodPut       Method = "put"       // one signed PUT, ≤ MaxPutSize; the store checks the digest
	MethodMultipart Method = "multipart" // signed parts; the service re-reads the object and hashes it
)

// BlobsRequest is the body of POST /v1/uploads/{id}/blobs: it asks what is there, pins it, and gets signed requests for
// what is not. At most MaxBlobsPerCall entries and MaxPartsPerCall parts together.
type BlobsRequest struct {
	Blobs []BlobRequest `json:"blobs"`
}

// BlobRequest asks about one blob. Method and PartSize are proposals: the first upload to name a blob fixes them, and
// the answer carries what holds. An upload that alone waits for a put may ask for multipart instead.
type BlobRequest struct {
	Digest   digest.Digest `json:"digest"`
	Size     int64         `json:"size"`
	Method   Method        `json:"method,omitempty"`    // left out: put up to DefaultPartSize, multipart above
	PartSize int64         `json:"part_size,omitempty"` // bytes; clamped to MinPartSize … MaxPartSize and to ≤ MaxParts parts
	Parts    []PartDigest  `json:"parts,omitempty"`     // parts to sign now, declared at PartSize; none: only ask
	// LinkSize and Chain are those of FileInfo, for a blob that comes by a PUT, which nobody else reads from end to end.
	// They are given out as they are declared: wrong ones prove nothing. Chains count as parts do.
	LinkSize int64    `json:"link_size,omitempty"`
	Chain    []string `json:"chain,omitempty"`
}

// PartDigest declares the content of one part, numbered from 1. Every part has the part size, the last what remains.
type PartDigest struct {
	Number int    `json:"number"`
	SHA256 string `json:"sha256"` // bare hex
}

// BlobState is what the registry knows of a blob.
type BlobState string

// The states as clients see them.
const (
	BlobMissing  BlobState = "missing"  // send it
	BlobStored   BlobState = "stored"   // sent, not verified yet
	BlobVerified BlobState = "verified" // there
	BlobBusy     BlobState = "busy"     // being removed; ask again after RetryAfter seconds
)

// BlobsResponse answers a BlobsRequest, entry by entry in its order.
type BlobsResponse struct {
	Blobs     []BlobAnswer `json:"blobs"`
	ExpiresAt Time         `json:"expires_at"` // of the upload's lease, renewed by this call
}

// BlobAnswer says what is there of one blob and what to send.
type BlobAnswer struct {
	Digest     digest.Digest  `json:"digest"`
	Size       int64          `json:"size"`
	State      BlobState      `json:"state"`
	Method     Method         `json:"method,omitempty"`
	Request    *SignedRequest `json:"request,omitempty"`     // method put
	PartSize   int64          `json:"part_size,omitempty"`   // method multipart: fixed for this blob
	Have       []int          `json:"have,omitempty"`        // of the parts asked about (all declared ones when none were), those the store already holds as this upload declared them
	Parts      []PartAnswer   `json:"parts,omitempty"`       // the parts asked about less Have; empty when they were declared at another part size
	RetryAfter float64        `json:"retry_after,omitempty"` // seconds, state busy
}

// PartAnswer carries one part's signed request.
type PartAnswer struct {
	Number  int           `json:"number"`
	Request SignedRequest `json:"request"`
}

// CommitRequest is the body of POST /v1/uploads/{id}/commit.
type CommitRequest struct {
	Files    []File   `json:"files"`
	Metadata Metadata `json:"metadata,omitzero"`
}

// CopyVersion is the body of POST …/versions/{ref}/copy.
type CopyVersion struct {
	Scope   Scope   `json:"scope,omitzero"`   // left out: the scope of the principal's first grant
	Name    Name    `json:"name"`             // required
	Version Version `json:"version,omitzero"` // left out: as for CreateUpload
}

// PartCount returns how many parts of partSize bytes make size bytes: at least one.
func PartCount(size, partSize int64) int { return int(max(1, (size+partSize-1)/partSize)) }

// PartLength returns the length of part number (from 1) of an object of size bytes.
func PartLength(size, partSize int64, number int) int64 {
	return min(partSize, size-int64(number-1)*partSize)
}

// ClampPartSize returns the part size to use for an object of size bytes when a client proposes one (0 proposes
// nothing): within MinPartSize … MaxPartSize, and large enough for MaxParts parts.
func ClampPartSize(size, proposed int64) int64 {
	if proposed == 0 {
		proposed = DefaultPartSize
	}
	needed := (size + MaxParts - 1) / MaxParts
	needed = (needed + (1 << 20) - 1) &^ (1<<20 - 1) // whole MiB
	return min(max(proposed, needed, MinPartSize), MaxPartSize)
}
