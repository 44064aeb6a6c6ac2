package ballast

import (
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Source is a place of the object store that files are imported from: s3://BUCKET/KEY, or inbox:KEY for what lies in the
// inbox of the scope that they are imported to. KEY is one object, or else a folder, whether it ends in "/" or not. It is
// the key as it is: nothing in it is decoded.
type Source struct{ s string }

const (
	inboxScheme = "inbox:"
	s3Scheme    = "s3://"
)

// maxSourceBytes is the longest text of a Source: a bucket's name and a key as long as S3 has them, and what is around them.
const maxSourceBytes = 1100

// ParseSource parses a source. It says neither whether one may import from there nor whether anything is there.
func ParseSource(s string) (Source, error) {
	bad := func(why string) (Source, error) { return Source{}, Errorf(CodeInvalid, "source %s: %s", quote(s), why) }
	place, isS3 := strings.CutPrefix(s, s3Scheme)
	switch {
	case len(s) > maxSourceBytes:
		return bad("longer than any place of an object store")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }):
		return bad("holds a control character or invalid UTF-8")
	case strings.HasPrefix(s, inboxScheme):
		return Source{s}, nil
	case !isS3 || place == "" || place[0] == '/':
		return bad("write s3://BUCKET/FOLDER/, or inbox:FOLDER/ for what lies in the scope's own inbox")
	}
	if !strings.Contains(place, "/") {
		s += "/"
	}
	return Source{s}, nil
}

// IsZero reports whether s is the invalid zero value.
func (s Source) IsZero() bool { return s.s == "" }

// Bucket is the bucket's name; empty in an inbox.
func (s Source) Bucket() string {
	bucket, _, _ := strings.Cut(strings.TrimPrefix(s.s, s3Scheme), "/")
	if strings.HasPrefix(s.s, s3Scheme) {
		return bucket
	}
	return ""
}

// Key is the key in the bucket or in the inbox; empty means all of it.
func (s Source) Key() string {
	if key, ok := strings.CutPrefix(s.s, inboxScheme); ok {
		return key
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(s.s, s3Scheme), "/")
	return key
}

// Below returns what of the key lies below a place, which is a folder that ends in "/". ok is false for what lies elsewhere.
func (s Source) Below(place Source) (rest string, ok bool) {
	key := s.Key()
	if key+"/" == place.Key() {
		key += "/"
	}
	rest, ok = strings.CutPrefix(key, place.Key())
	return rest, ok && s.Bucket() == place.Bucket()
}

// String returns the text that ParseSource reads.
func (s Source) String() string { return s.s }

// MarshalText implements encoding.TextMarshaler.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.s), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseSource does.
func (s *Source) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSource(string(text))
	return err
}

// CreateImport is the body of POST /v1/imports: the registry takes the files of a version from the object store itself.
// Asking for the same while it is under way joins it.
type CreateImport struct {
	Source   Source   `json:"source"`            // the scope's inbox, or a place that the operator lets it import from
	Scope    Scope    `json:"scope,omitzero"`    // left out: the scope of the principal's first grant
	Name     Name     `json:"name"`              // required
	Version  Version  `json:"version,omitzero"`  // left out: as for CreateUpload
	Metadata Metadata `json:"metadata,omitzero"` // as for CommitRequest
	Move     bool     `json:"move,omitempty"`    // remove the objects from the source once the version is ready
}

// Import is an upload whose files the registry takes from the object store itself.
type Import struct {
	ID        string          `json:"id"` // of the upload
	Source    Source          `json:"source"`
	Move      bool            `json:"move,omitempty"`
	Scope     Scope           `json:"scope"`
	Name      Name            `json:"name"`
	Version   Version         `json:"version,omitzero"` // when the label was given, or is known
	Key       string          `json:"key,omitempty"`    // when the label is known
	Status    UploadStatus    `json:"status"`           // never pending
	CreatedBy string          `json:"created_by"`
	CreatedAt Time            `json:"created_at"`
	Progress  *ImportProgress `json:"progress,omitempty"` // once the files were listed
	Skipped   []string        `json:"skipped,omitempty"`  // what was left out as no part of a model, the first MaxSkipped
	Moved     *Moved          `json:"moved,omitempty"`    // with Move, once the version is ready
	Waiting   *Error          `json:"waiting,omitempty"`  // why it does not go on at the moment; it will be tried again
	Error     *Error          `json:"error,omitempty"`    // when failed
	Result    *VersionInfo    `json:"result,omitempty"`   // when done
}

// Over reports whether nothing more comes of the import: it is settled, and has removed the sources that it moves.
func (m Import) Over() bool { return m.Status.Settled() && (m.Moved == nil || m.Moved.Done) }

// ImportProgress counts what an import has behind it. Files with equal bytes count once each.
type ImportProgress struct {
	Files         int   `json:"files"`          // of the source
	FilesHashed   int   `json:"files_hashed"`   // of these, read and hashed
	Bytes         int64 `json:"bytes"`          // of all files
	BytesHashed   int64 `json:"bytes_hashed"`   // read and hashed so far
	BytesCopied   int64 `json:"bytes_copied"`   // copied by the store so far, or there before
	BytesVerified int64 `json:"bytes_verified"` // verified, or re-read so far
}

// Limits of what an Import shows.
const (
	MaxSkipped = 10 // of Import.Skipped
	MaxKept    = 10 // of Moved.Kept
)

// Moved tells what became of the objects that an import was to remove from its source.
type Moved struct {
	Done  bool   `json:"done"`           // all were looked at
	Files int    `json:"files"`          // removed
	Left  int    `json:"left,omitempty"` // not removed
	Kept  []Kept `json:"kept,omitempty"` // why not, of the first MaxKept
}

// Kept is an object that a moving import did not remove.
type Kept struct {
	Path string `json:"path"` // below the source; of a long one the first 120 bytes
	Why  string `json:"why"`
}

// ImportsPage is one page of GET /v1/imports, the newest first.
type ImportsPage struct {
	Imports []Import `json:"imports"`
	Cursor  string   `json:"cursor,omitempty"`
}

// ImportSources are the places that a scope may import from, its inbox first.
type ImportSources struct {
	Scope   Scope    `json:"scope"`
	Sources []Source `json:"sources"`
}

// notOfAModel names what is no part of a model, wherever it lies: folders of version control, caches, and unfinished files
// of a pull.
var notOfAModel = []string{".git", ".cache", "__pycache__", ".DS_Store", PartialPattern}

// PartialPattern is what a pull names its unfinished files.
const PartialPattern = ".ballast-*.part"

// IsNotOfAModel reports whether a file or folder of that name is no part of a model. A push and an import leave it out, so
// that the same folder is the same version however it was published.
func IsNotOfAModel(name string) bool {
	return slices.ContainsFunc(notOfAModel, func(pattern string) bool {
		ok, _ := path.Match(pattern, name)
		return ok
	})
}

// NotOfAModel returns the beginning of a path, whole segments, that is no part of a model, as IsNotOfAModel says of the last
// of them. ok is false for a path that a version can hold.
func NotOfAModel(path string) (beginning string, ok bool) {
	for end := 0; end < len(path); end++ {
		name, _, _ := strings.Cut(path[end:], "/")
		if end += len(name); IsNotOfAModel(name) {
			return path[:end], true
		}
	}
	return "", false
}
