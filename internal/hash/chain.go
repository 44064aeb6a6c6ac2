package hash

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/opencontainers/go-digest"
)

// State is what SHA-256 has come to after the first bytes of a file, a multiple of BlockSize of them: the
// intermediate hash value H(i) of FIPS 180-4, 6.2.2, as 8 big-endian words.
//
// With the states at some places of a file, its stretches can be hashed apart and at once, each from the state before it
// to the one behind it. When every stretch ends in the state from which the next began, and the last in the file's digest,
// then that is what hashing from end to end would have come to. So states need no trust: wrong ones prove nothing.
type State [sha256.Size]byte

// BlockSize is the distance of places at which there is a State, in bytes.
const BlockSize = sha256.BlockSize

// Go's own encoding of a running SHA-256: magic, state, the bytes of a block that is not full, bytes so far. A test holds
// it to be so, and unmarshalling refuses another.
const (
	magic         = "sha\x03"
	marshaledSize = len(magic) + sha256.Size + BlockSize + 8
)

// Start is the state before the first byte.
func Start() State { return stateOf(sha256.New()) }

func stateOf(h hash.Hash) State {
	b, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil || len(b) != marshaledSize {
		panic(fmt.Sprintf("hash: crypto/sha256 encodes %d bytes: %v", len(b), err))
	}
	return State(b[len(magic):])
}

// Stretch takes the SHA-256 of a file from some place on. It is not safe for concurrent use.
type Stretch struct {
	h  hash.Hash
	at int64
}

// From returns a Stretch that begins at offset, a multiple of BlockSize, where the state is s.
func From(s State, offset int64) *Stretch {
	if offset%BlockSize != 0 {
		panic(fmt.Sprintf("hash: no state at offset %d", offset))
	}
	b := append(append(make([]byte, 0, marshaledSize), magic...), s[:]...)
	b = binary.BigEndian.AppendUint64(b[:marshaledSize-8], uint64(offset))
	h := sha256.New()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
		panic(fmt.Sprintf("hash: crypto/sha256 has another encoding: %v", err))
	}
	return &Stretch{h, offset}
}

// Write adds p. It never fails.
func (s *Stretch) Write(p []byte) (int, error) {
	s.at += int64(len(p))
	return s.h.Write(p)
}

// Offset is the place in the file behind the last byte written.
func (s *Stretch) Offset() int64 { return s.at }

// State returns the state at Offset, which must be a multiple of BlockSize; writing may go on.
func (s *Stretch) State() State {
	if s.at%BlockSize != 0 {
		panic(fmt.Sprintf("hash: no state at offset %d", s.at))
	}
	return stateOf(s.h)
}

// Digest returns the digest of a file that ends at Offset; writing may go on.
func (s *Stretch) Digest() digest.Digest { return sum(s.h) }

// Chain is an io.Writer that takes the SHA-256 of everything written and notes the state behind each link, which is
// linkSize bytes. It is not safe for concurrent use.
type Chain struct {
	whole    *Stretch
	linkSize int64
	states   []State
}

// NewChain returns a Chain for links of linkSize bytes, a positive multiple of BlockSize.
func NewChain(linkSize int64) *Chain { return &Chain{whole: From(Start(), 0), linkSize: linkSize} }

// Write adds p. It never fails.
func (c *Chain) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		at := c.whole.Offset()
		if at > 0 && at%c.linkSize == 0 { // noted late: behind the last link is no state but the digest
			c.states = append(c.states, c.whole.State())
		}
		n := min(int64(len(rest)), c.linkSize-at%c.linkSize)
		_, _ = c.whole.Write(rest[:n])
		rest = rest[n:]
	}
	return len(p), nil
}

// Size returns the number of bytes written.
func (c *Chain) Size() int64 { return c.whole.Offset() }

// Digest returns the digest of all bytes so far; writing may go on.
func (c *Chain) Digest() digest.Digest { return c.whole.Digest() }

// States returns the states behind each link but the last: ballast.PartCount less one of them.
func (c *Chain) States() []State { return c.states }
