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
	whole hash.Hash
	size  int64
	parts *Parts // nil without a part size
}

// New returns a Hasher for parts of partSize bytes; 0 takes the whole file only.
func New(partSize int64) *Hasher {
	h := &Hasher{whole: sha256.New()}
	if partSize > 0 {
		h.parts = NewParts(partSize)
	}
	return h
}

// Write adds p. It never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	h.whole.Write(p)
	h.size += int64(len(p))
	if h.parts != nil {
		_, _ = h.parts.Write(p)
	}
	return len(p), nil
}

// Size returns the number of bytes written.
func (h *Hasher) Size() int64 { return h.size }

// PartSize returns the size of the parts, 0 without them.
func (h *Hasher) PartSize() int64 {
	if h.parts == nil {
		return 0
	}
	return h.parts.size
}

// Digest returns the digest of all bytes so far; writing may go on.
func (h *Hasher) Digest() digest.Digest { return sum(h.whole) }

// Parts is Digests of Parts; nil without a part size.
func (h *Hasher) Parts() []digest.Digest {
	if h.parts == nil {
		return nil
	}
	return h.parts.Digests()
}

// Parts is an io.Writer that takes the SHA-256 of each part of what is written, and not of the whole: that is another
// core's work. It is not safe for concurrent use.
type Parts struct {
	size int64
	open hash.Hash
	len  int64           // of the open part
	done []digest.Digest // of the closed ones
}

// NewParts returns a Parts for parts of size bytes, which is positive.
func NewParts(size int64) *Parts { return &Parts{size: size, open: sha256.New()} }

// Write adds p. It never fails.
func (s *Parts) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if s.len == s.size { // closed late, so that a file that ends on a boundary has no empty last part
			s.done = append(s.done, sum(s.open))
			s.open.Reset()
			s.len = 0
		}
		n := min(int64(len(rest)), s.size-s.len)
		s.open.Write(rest[:n])
		s.len += n
		rest = rest[n:]
	}
	return len(p), nil
}

// Digests returns the digests of the parts so far, the open one included: ballast.PartCount of them, so one for no bytes
// at all. Writing may go on.
func (s *Parts) Digests() []digest.Digest {
	return append(s.done[:len(s.done):len(s.done)], sum(s.open))
}

func sum(h hash.Hash) digest.Digest { return ballast.DigestFromSum([sha256.Size]byte(h.Sum(nil))) }
