// Package objstore speaks to the object store: S3, MinIO or whatever else answers the same calls.
//
// [Bucket] is what the service does itself, with its own identity; [Signer] makes the requests that clients send
// straight to the store, with identities that may do no more than the requests say. s3.go implements both on
// aws-sdk-go-v2, which no other package imports; objstoretest holds every implementation and decorator to the contract.
package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// Answers of the store that callers decide on. What a driver does not recognise matches ErrUnknown at most: an unknown
// answer never reads as absent.
var (
	// ErrNotFound: the store said that the object is not there (404). A 403 is ErrDenied, never this.
	ErrNotFound = errors.New("objstore: object not found")
	// ErrNoSuchUpload: the store said that the multipart upload is not there.
	ErrNoSuchUpload = errors.New("objstore: multipart upload not found")
	// ErrPrecondition: If-Match or If-None-Match did not hold (412), or a concurrent conditional write won (409).
	ErrPrecondition = errors.New("objstore: precondition failed")
	// ErrInvalidPart: Complete named a part that the store does not hold, or holds with other content.
	ErrInvalidPart = errors.New("objstore: invalid part")
	// ErrUnreadable: the object is there but cannot be read as it is: it was encrypted with a client's key (400 on HEAD), or
	// lies in an archive.
	ErrUnreadable = errors.New("objstore: object is not readable")
	// ErrDenied: the identity may not do this (401, 403).
	ErrDenied = errors.New("objstore: access denied")
	// ErrNoBucket: the store said that the whole bucket is not there.
	ErrNoBucket = errors.New("objstore: no such bucket")
	// ErrUnavailable: timeout, connection failure, throttling or 5xx. A write that ended so may have happened.
	ErrUnavailable = errors.New("objstore: store unavailable")
	// ErrUnknown: there was an answer, and it is none that the driver knows. It says nothing about what was asked, and may
	// come from something on the way to the store.
	ErrUnknown = errors.New("objstore: answer not understood")
	// ErrBadKey: the key has an empty, "." or ".." segment, begins or ends with "/", holds a control character, or is
	// longer than 1024 bytes. Some stores collapse such keys, so they never leave the process.
	ErrBadKey = errors.New("objstore: unusable key")
)

// Object is what the store says of one object.
type Object struct {
	Key          string // relative to the registry's prefix
	Size         int64  // bytes
	ETag         string // with its quotes, as the store sent it
	VersionID    string // empty on an unversioned bucket
	Modified     time.Time
	SHA256       digest.Digest // only when the store holds a FULL_OBJECT SHA-256 of the content, else empty
	StorageClass string        // empty means STANDARD
	Oddities     []string      // of Head: what makes the object other than plain bytes, in words: a Content-Encoding, user metadata, a redirect, encryption with a client's key
}

// Condition of a write. The zero value writes unconditionally.
type Condition struct {
	IfAbsent bool   // If-None-Match: *
	IfMatch  string // an ETag
}

// ReadOptions narrow a Get.
type ReadOptions struct {
	Offset, Length int64  // a byte range; Length 0 reads to the end
	IfMatch        string // an ETag; ErrPrecondition when the object is another
	VersionID      string
}

// Source is the object that Copy copies, as it was when it was last looked at.
type Source struct {
	Bucket         string // another bucket of the same store, in which Key is whole; empty: this one, below the registry's prefix
	Key, VersionID string
	ETag           string            // required
	Size           int64             // in bytes, over 0
	Copied         func(bytes int64) // told of each part once the store has copied it, by several goroutines; may be nil
}

func (s Source) copied(bytes int64) {
	if s.Copied != nil {
		s.Copied(bytes)
	}
}

// Part is one uploaded part of a multipart upload as ListParts shows it.
type Part struct {
	Number   int // 1 … 10,000
	Size     int64
	ETag     string
	SHA256   digest.Digest // of this part, empty when the store holds none
	Modified time.Time
}

// MultipartUpload is one open multipart upload.
type MultipartUpload struct {
	Key, ID   string
	Initiated time.Time
}

// MaxPut is the largest body of Bucket.Put, in bytes. Weights never pass through it.
const MaxPut = 64 << 20

// Bucket is the part of an object store that the service itself uses. Keys are relative to the registry's prefix.
//
// Consistency: a call sees every write that returned before it began (S3 since 2020, MinIO, versitygw).
//
// Retries: the driver retries calls that may be repeated without harm, bounded, honouring Retry-After; it never retries
// CompleteMultipart or Copy, nor a conditional write, whose repeat would answer ErrPrecondition about itself. Callers settle an
// uncertain write by reading.
//
// Context: a done ctx ends the call with an error that wraps ctx's; a write so ended may have happened.
//
// Concurrency: all methods may be called from any goroutine.
type Bucket interface {
	// Put writes a small object with its SHA-256, which the store checks. Sizes over MaxPut are refused.
	// Errors: ErrPrecondition when cond does not hold.
	Put(ctx context.Context, key string, body []byte, cond Condition) (Object, error)
	// PutFile writes an object of up to ballast.MaxPutSize bytes from a file, with its SHA-256, which the store checks. It
	// replaces what is there.
	PutFile(ctx context.Context, key string, file io.ReadSeeker, size int64, sum digest.Digest) (Object, error)
	// Get opens an object; the caller closes the reader. A body that ends early is an error of Read, never io.EOF.
	Get(ctx context.Context, key string, opt ReadOptions) (io.ReadCloser, Object, error)
	// Head asks in checksum mode and fills every field of Object.
	Head(ctx context.Context, key string) (Object, error)
	// Delete removes an object; absent is success. On a versioned bucket it adds a delete marker.
	Delete(ctx context.Context, key string) error
	// DeleteMatch removes an object that still has this ETag. Stores that know no conditional delete, of which MinIO is one,
	// lose what is written between the look that this takes and the delete.
	// Errors: ErrNotFound; ErrPrecondition when the object is another.
	DeleteMatch(ctx context.Context, key, etag string) error
	// List yields the objects whose keys begin with prefix and sort after `after`, in byte order, page by page. Object
	// holds Key, Size, ETag and Modified. An error ends the sequence.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
	// CreateMultipart opens a multipart upload whose parts carry SHA-256 checksums.
	CreateMultipart(ctx context.Context, key string) (id string, err error)
	// Copy has the store copy a whole object to an empty key, whatever its size. Like CompleteMultipart it never replaces
	// an object and may take long. Parts are copied and then completed with If-None-Match, because CopyObject cannot be
	// conditional; so the copy shows no SHA256. One that was cut off may leave a multipart upload of the key behind.
	// Errors: ErrNotFound when the source is not there; ErrPrecondition when the key is taken, or when the source is
	// another than its ETag says: Head tells which.
	Copy(ctx context.Context, key string, source Source) (Object, error)
	// ListParts yields the parts that the store has acknowledged and whose number is > after, by number, page by page.
	// Errors: ErrNoSuchUpload.
	ListParts(ctx context.Context, key, id string, after int) iter.Seq2[Part, error]
	// CompleteMultipart makes the object from parts, only when the key is empty (If-None-Match: *). It is sent once.
	// Errors: ErrPrecondition, ErrInvalidPart, ErrNoSuchUpload; after any error the outcome is decided by Head.
	CompleteMultipart(ctx context.Context, key, id string, parts []Part) (Object, error)
	// AbortMultipart drops an upload and its parts. nil says that the store accepted the call, ErrNoSuchUpload that it is
	// gone for certain: parts in flight can outlive an accepted abort.
	AbortMultipart(ctx context.Context, key, id string) error
	// ListUploads lists the open multipart uploads of exactly this key. (MinIO finds none by a folder prefix.)
	ListUploads(ctx context.Context, key string) ([]MultipartUpload, error)
	// UploadsUnder yields the open multipart uploads whose keys begin with prefix, page by page. MinIO finds those of one exact
	// key alone: that nothing comes does not say that there is nothing. An error ends the sequence.
	UploadsUnder(ctx context.Context, prefix string) iter.Seq2[MultipartUpload, error]
}

// Signer makes requests that a client sends straight to the store. A SignedRequest holds everything the client must
// send except Host. ttl is a wish: ExpiresAt is the earlier of it and the end of the credentials.
//
// Put and part requests carry x-amz-checksum-sha256 and, for sizes > 0, content-length in SignedHeaders; a put also
// if-none-match: *. Never in the query, where stores ignore them.
type Signer interface {
	// SignPut signs a PUT of exactly these bytes to an empty key. size ≤ 5 GiB.
	SignPut(ctx context.Context, key string, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error)
	// SignPart signs the upload of one part of exactly these bytes.
	SignPart(ctx context.Context, key, uploadID string, number int, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error)
	// SignGet signs a GET, of one version of the object when versionID is given. A client may add Range.
	SignGet(ctx context.Context, key, versionID string, ttl time.Duration) (ballast.SignedRequest, error)
}
