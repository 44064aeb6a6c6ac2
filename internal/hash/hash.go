// Package hash computes and checks SHA-256 over streams: a whole file and its parts in one pass, and a reader that
// refuses bytes which are not what their digest says. Nothing is held in memory but the hash states.
package hash

import (
	"crypto/sha256"
	"hash"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// Hasher is an io.Writer that takes the SHA-256 of everything written and, when it has a part size, of each part.
// It is not safe for concurrent use.
type Hasher struct {
	whole    hash.Hash
	size     int64
	partSize int64
	part     hash.Hash // of the open part; nil without a part size
	partLen  int64
	parts    []digest.Digest // closed ones
}

// New returns a Hasher for parts of partSize bytes; 0 takes the whole file only.
func New(partSize int64) *Hasher {
	h := &Hasher{whole: sha256.New(), partSize: partSize}
	if partSize > 0 {
		h.part = sha256.New()
	}
	return h
}

// Write adds p. It never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	h.whole.Write(p)
	h.size += int64(len(p))
	if h.part != nil {
		h.writeParts(p)
	}
	return len(p), nil
}

func (h *Hasher) writeParts(p []byte) {
	for len(p) > 0 {
		if h.partLen == h.partSize { // closed late, so that a file that ends on a boundary has no empty last part
			h.parts = append(h.parts, sum(h.part))
			h.part.Reset()
			h.partLen = 0
		}
		n := min(int64(len(p)), h.partSize-h.partLen)
		h.part.Write(p[:n])
		h.partLen += n
		p = p[n:]
	}
}

// Size returns the number of bytes written.
func (h *Hasher) Size() int64 { return h.size }

// PartSize returns the size of the parts, 0 without them.
func (h *Hasher) PartSize() int64 { return h.partSize }

// Digest returns the digest of all bytes so far; writing may go on.
func (h *Hasher) Digest() digest.Digest { return sum(h.whole) }

// Parts returns the digests of the parts so far, the open one included: ballast.PartCount of them, so one for no bytes
// at all. It is nil without a part size.
func (h *Hasher) Parts() []digest.Digest {
	if h.part == nil {
		return nil
	}
	return append(h.parts[:len(h.parts):len(h.parts)], sum(h.part))
}

func sum(h hash.Hash) digest.Digest { return ballast.DigestFromSum([sha256.Size]byte(h.Sum(nil))) }
