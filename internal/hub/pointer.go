package hub

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"

	"github.com/ballast-registry/ballast"
)

// lfs is a file as it stands in a listing: every file is listed as one that git-lfs holds, because its ids then follow
// from its digest and size, and nobody has to read it for them.
type lfs struct {
	OID         string `json:"oid,omitempty"`    // bare hex SHA-256, in a tree
	SHA256      string `json:"sha256,omitempty"` // the same, among siblings
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

// pointer is the text that git holds in the place of a file.
func pointer(f ballast.File) string {
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", f.Digest.Encoded(), f.Size)
}

// blobID is the id that git gives that text.
func blobID(pointer string) string {
	sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(pointer), pointer))
	return hex.EncodeToString(sum[:])
}
