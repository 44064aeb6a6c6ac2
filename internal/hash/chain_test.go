package hash_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hash"
)

// FIPS 180-4 prints H(0), and its examples the value after the first block of a message of two; both are independent of
// this package and of Go.
func TestStatesAreThoseOfTheStandard(t *testing.T) {
	start := hash.Start()
	if got := hex.EncodeToString(start[:]); got != "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19" {
		t.Errorf("H(0) is %s", got)
	}
	s := hash.From(start, 0)
	message := "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq" // 56 bytes: the padding takes a second block
	_, _ = s.Write([]byte(message + "\x80\x00\x00\x00\x00\x00\x00\x00"))
	state := s.State()
	if got := hex.EncodeToString(state[:]); got != "85e655d6417a17953363376a624cde5c76e09589cac5f811cc4b32c1f20e533a" {
		t.Errorf("H(1) is %s", got)
	}
}

// linked is a file in links.
type linked struct {
	data     []byte
	linkSize int
	states   []hash.State
}

func drawLinked(t *rapid.T) linked {
	data := rapid.SliceOfN(rapid.Byte(), 1, 1000).Draw(t, "data")
	l := linked{data: data, linkSize: 64 * rapid.IntRange(1, 4).Draw(t, "blocks")}
	c := hash.NewChain(int64(l.linkSize))
	for rest := data; len(rest) > 0; {
		n := rapid.IntRange(1, len(rest)).Draw(t, "write")
		_, _ = c.Write(rest[:n])
		rest = rest[n:]
	}
	if l.states = c.States(); c.Digest() != ballast.DigestFromSum(sha256.Sum256(data)) || c.Size() != int64(len(data)) {
		t.Fatalf("digest %s of %d bytes", c.Digest(), c.Size())
	}
	if want := ballast.PartCount(c.Size(), int64(l.linkSize)) - 1; len(l.states) != want {
		t.Fatalf("%d states, want %d", len(l.states), want)
	}
	return l
}

// proves hashes each link by itself and reports whether together they prove the digest.
func (l linked) proves(digest string) bool {
	for i := range len(l.states) + 1 {
		from, state := i*l.linkSize, hash.Start()
		if i > 0 {
			state = l.states[i-1]
		}
		s := hash.From(state, int64(from))
		_, _ = s.Write(l.data[from:min(from+l.linkSize, len(l.data))])
		if i < len(l.states) && s.State() != l.states[i] || i == len(l.states) && s.Digest().Encoded() != digest {
			return false
		}
	}
	return true
}

// Links that are hashed apart prove the digest; not when a byte, a state or the digest is another.
func TestLinksProveTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLinked(t)
		digest := ballast.DigestOf(l.data).Encoded()
		if !l.proves(digest) {
			t.Fatal("the right bytes are not proved")
		}
		bit := byte(1) << rapid.IntRange(0, 7).Draw(t, "bit")
		at := rapid.IntRange(0, len(l.data)-1).Draw(t, "at")
		l.data[at] ^= bit
		if l.proves(digest) {
			t.Fatal("other bytes are proved")
		}
		if l.proves(ballast.DigestOf(l.data).Encoded()) && len(l.states) > 0 && at < len(l.states)*l.linkSize {
			t.Fatal("other bytes are proved by the states of the right ones")
		}
		if l.data[at] ^= bit; len(l.states) > 0 {
			l.states[rapid.IntRange(0, len(l.states)-1).Draw(t, "state")][rapid.IntRange(0, 31).Draw(t, "byte")] ^= bit
			if l.proves(digest) {
				t.Fatal("a wrong state proves")
			}
		}
	})
}
