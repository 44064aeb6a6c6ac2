package ballast

import (
	"cmp"
	"encoding/json"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Limits of one version's files.
const (
	MaxFiles         = 10_000
	MaxManifestBytes = 4 << 20
	MaxPathBytes     = 700
	MaxSegmentBytes  = 255
	MaxFileSize      = 5 << 40 // bytes: the largest object of S3
)

// ArtifactType marks a manifest as a model of the CNCF ModelPack specification.
const ArtifactType = "application/vnd.cncf.model.manifest.v1+json"

// AnnotationFilepath is ModelPack's annotation of a layer with its path in the model's folder.
const AnnotationFilepath = "org.cncf.model.filepath"

// ManifestMediaType is the media type of a version's manifest blob.
const ManifestMediaType = ocispec.MediaTypeImageManifest

// File is one file of a version.
type File struct {
	Path   string // relative, "/" between segments
	Size   int64  // bytes
	Digest digest.Digest
}

// wireFile is File as JSON carries it: sha256 is bare hex.
type wireFile struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// MarshalJSON implements json.Marshaler.
func (f File) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireFile{f.Path, f.Size, f.Digest.Encoded()})
}

// UnmarshalJSON implements json.Unmarshaler. It checks the digest's form; CheckFiles checks the rest.
func (f *File) UnmarshalJSON(b []byte) error {
	var w wireFile
	if err := StrictUnmarshal(b, &w); err != nil {
		return err
	}
	d, err := ParseSHA256(w.SHA256)
	if err != nil {
		return err
	}
	*f = File{w.Path, w.Size, d}
	return nil
}

// CheckPath refuses a path that is not relative and clean, is over MaxPathBytes or has a segment over MaxSegmentBytes,
// or holds a backslash, a control character or invalid UTF-8.
func CheckPath(p string) error {
	bad := func(why string) error { return Errorf(CodeInvalid, "path %s: %s", quote(p), why) }
	switch {
	case p == "" || p == "." || path.IsAbs(p) || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../"):
		return bad("write a clean relative path: no leading \"/\", no empty, \".\" or \"..\" segment")
	case len(p) > MaxPathBytes:
		return bad("longer than 700 bytes")
	case !utf8.ValidString(p):
		return bad("not UTF-8")
	case strings.ContainsRune(p, '\\') || strings.ContainsFunc(p, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }):
		return bad("holds a backslash or a control character")
	}
	for seg := range strings.SplitSeq(p, "/") {
		if len(seg) > MaxSegmentBytes {
			return bad("a segment is longer than 255 bytes")
		}
	}
	return nil
}

// CheckFiles refuses a list that could not be written as a folder on every common file system: more than MaxFiles,
// a bad path or size, one path twice, two paths equal after Unicode normalisation and case folding, a path that is
// also another's folder, one digest with two sizes. The order of files does not matter.
func CheckFiles(files []File) error {
	if len(files) > MaxFiles {
		return Errorf(CodeTooLarge, "%d files; a version holds at most %d", len(files), MaxFiles)
	}
	folder := cases.Fold()
	// Canonical caseless matching of the Unicode standard, D145: folding may put marks out of order again.
	same := func(p string) string { return norm.NFD.String(folder.String(norm.NFD.String(p))) }
	paths := make(map[string]string, len(files)) // by their common form
	forms := make([]string, 0, len(files))
	sizes := make(map[digest.Digest]int64, len(files))
	for _, f := range files {
		if err := CheckPath(f.Path); err != nil {
			return err
		}
		if f.Size < 0 || f.Size > MaxFileSize {
			return Errorf(CodeInvalid, "file %s: size %d is not between 0 and 5 TiB", quote(f.Path), f.Size)
		}
		if (f.Size == 0) != (f.Digest == EmptyDigest) {
			return Errorf(CodeInvalid, "file %s: size %d does not fit its sha256; only an empty file has the SHA-256 of no bytes", quote(f.Path), f.Size)
		}
		if other, ok := sizes[f.Digest]; ok && other != f.Size {
			return Errorf(CodeInvalid, "file %s: the same sha256 is listed with sizes %d and %d", quote(f.Path), other, f.Size)
		}
		sizes[f.Digest] = f.Size
		p := same(f.Path)
		if other, ok := paths[p]; ok {
			return Errorf(CodeInvalid, "files %s and %s cannot lie in one folder on every file system; rename one", quote(other), quote(f.Path))
		}
		paths[p] = f.Path
		forms = append(forms, p)
	}
	for _, p := range forms {
		// A slash neither folds nor joins its neighbours, so the form of a folder begins those of its files.
		for i := strings.LastIndexByte(p, '/'); i > 0; i = strings.LastIndexByte(p[:i], '/') {
			if other, ok := paths[p[:i]]; ok {
				return Errorf(CodeInvalid, "%s is a file and the folder of %s; rename one", quote(other), quote(paths[p]))
			}
		}
	}
	return nil
}

// BuildManifest returns the canonical manifest of files and its bytes. It depends on paths, sizes and contents only:
// equal folders have equal manifests, whatever order they were listed in. Errors: those of CheckFiles, and too_large
// over MaxManifestBytes.
func BuildManifest(files []File) (ocispec.Manifest, []byte, error) {
	if err := CheckFiles(files); err != nil {
		return ocispec.Manifest{}, nil, err
	}
	sorted := slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	m := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ManifestMediaType,
		ArtifactType: ArtifactType,
		Config:       ocispec.DescriptorEmptyJSON,
		Layers:       make([]ocispec.Descriptor, 0, len(sorted)),
	}
	for _, f := range sorted {
		m.Layers = append(m.Layers, ocispec.Descriptor{
			MediaType: MediaTypeOf(f.Path), Digest: f.Digest, Size: f.Size,
			Annotations: map[string]string{ocispec.AnnotationTitle: f.Path, AnnotationFilepath: f.Path},
		})
	}
	b, err := json.Marshal(m)
	if err != nil {
		return ocispec.Manifest{}, nil, err
	}
	if len(b) > MaxManifestBytes {
		return ocispec.Manifest{}, nil, Errorf(CodeTooLarge, "the manifest of these %d files has %d bytes; at most %d fit: shorten the paths", len(files), len(b), MaxManifestBytes)
	}
	return m, b, nil
}

// ParseManifest reads the bytes of a manifest that BuildManifest made and returns its files, sorted by path. Bytes
// that differ from the canonical form in any way are refused as integrity.
func ParseManifest(b []byte) ([]File, error) {
	bad := func(cause error) error {
		return Errorf(CodeIntegrity, "the bytes are not a version's manifest in canonical form").Because(cause)
	}
	if len(b) > MaxManifestBytes {
		return nil, bad(nil)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, bad(err)
	}
	files := make([]File, 0, len(m.Layers))
	for _, l := range m.Layers {
		d, err := ParseDigest(l.Digest.String())
		if err != nil {
			return nil, bad(err)
		}
		files = append(files, File{Path: l.Annotations[AnnotationFilepath], Size: l.Size, Digest: d})
	}
	_, again, err := BuildManifest(files)
	if err != nil || string(again) != string(b) {
		return nil, bad(err)
	}
	return files, nil
}

// Media types of ModelPack for raw, unarchived files.
const (
	mediaWeight = "application/vnd.cncf.model.weight.v1.raw"
	mediaConfig = "application/vnd.cncf.model.weight.config.v1.raw"
	mediaDoc    = "application/vnd.cncf.model.doc.v1.raw"
	mediaCode   = "application/vnd.cncf.model.code.v1.raw"
)

// mediaTypes is frozen: a change would give the same files another manifest digest. docs/formats.md shows it.
var mediaTypes = map[string]string{
	".json": mediaConfig, ".jsonl": mediaConfig, ".yaml": mediaConfig, ".yml": mediaConfig, ".toml": mediaConfig,
	".ini": mediaConfig, ".cfg": mediaConfig, ".conf": mediaConfig, ".jinja": mediaConfig, ".jinja2": mediaConfig,
	".tiktoken": mediaConfig, ".vocab": mediaConfig, ".merges": mediaConfig, ".xml": mediaConfig,
	".md": mediaDoc, ".txt": mediaDoc, ".rst": mediaDoc, ".html": mediaDoc, ".pdf": mediaDoc, ".png": mediaDoc,
	".jpg": mediaDoc, ".jpeg": mediaDoc, ".svg": mediaDoc, ".gif": mediaDoc, ".webp": mediaDoc,
	".py": mediaCode, ".ipynb": mediaCode, ".sh": mediaCode, ".go": mediaCode, ".c": mediaCode, ".cc": mediaCode,
	".cpp": mediaCode, ".h": mediaCode, ".hpp": mediaCode, ".cu": mediaCode, ".cuh": mediaCode, ".rs": mediaCode,
	".js": mediaCode, ".ts": mediaCode, ".java": mediaCode, ".lua": mediaCode, ".rb": mediaCode,
}

// mediaNames is the part of the frozen table that goes by the whole file name, lower-cased.
var mediaNames = map[string]string{
	"license": mediaDoc, "notice": mediaDoc, "readme": mediaDoc, "copying": mediaDoc, "merges.txt": mediaConfig,
	"vocab.txt": mediaConfig, "tokenizer.model": mediaConfig, "dockerfile": mediaCode, "makefile": mediaCode,
	".gitattributes": mediaConfig, ".gitignore": mediaConfig,
}

// MediaTypeOf returns the layer media type of a path, from a frozen table by file name and extension, lower-cased;
// what the table does not hold is a weight.
func MediaTypeOf(p string) string {
	base := strings.ToLower(path.Base(p))
	if t, ok := mediaNames[base]; ok {
		return t
	}
	if t, ok := mediaTypes[path.Ext(base)]; ok {
		return t
	}
	return mediaWeight
}

// IsWeight reports whether MediaTypeOf takes the file at a path for a weight.
func IsWeight(p string) bool { return MediaTypeOf(p) == mediaWeight }
