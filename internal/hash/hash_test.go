package hash_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hash"
)

func TestHasherMatchesSHA256OfWholeAndParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		partSize := rapid.Int64Range(1, 40).Draw(t, "partSize")
		h := hash.New(partSize)
		for rest := data; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "write")
			h.Write(rest[:n])
			rest = rest[n:]
		}
		if h.Size() != int64(len(data)) || h.Digest() != ballast.DigestFromSum(sha256.Sum256(data)) {
			t.Fatalf("size %d digest %s", h.Size(), h.Digest())
		}
		if got, want := h.Parts(), partsOf(data, partSize); !slices.Equal(got, want) {
			t.Fatalf("parts %v, want %v", got, want)
		}
	})
}

// partsOf cuts data as ballast.PartCount and ballast.PartLength say.
func partsOf(data []byte, partSize int64) []digest.Digest {
	size := int64(len(data))
	var parts []digest.Digest
	for number := 1; number <= ballast.PartCount(size, partSize); number++ {
		from := int64(number-1) * partSize
		parts = append(parts, ballast.DigestOf(data[from:from+ballast.PartLength(size, partSize, number)]))
	}
	return parts
}

func TestHasherMayBeAskedBetweenWrites(t *testing.T) {
	h := hash.New(2)
	h.Write([]byte("abc"))
	early := h.Parts()
	h.Write([]byte("d"))
	if got := h.Parts(); !slices.Equal(got, partsOf([]byte("abcd"), 2)) {
		t.Errorf("parts after the question: %v", got)
	}
	if !slices.Equal(early, partsOf([]byte("abc"), 2)) {
		t.Errorf("parts at the question: %v", early)
	}
}

func TestHasherWithoutPartsHasNone(t *testing.T) {
	h := hash.New(0)
	h.Write([]byte("abc"))
	if h.Parts() != nil {
		t.Errorf("parts %v", h.Parts())
	}
}

func TestReaderPassesRightBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		r := hash.NewReader(source(t, data), ballast.DigestOf(data), int64(len(data)))
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%q, %v", got, err)
		}
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("after EOF: %d, %v", n, err)
		}
	})
}

func TestReaderRefusesWrongBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		sent := slices.Clone(data)
		switch rapid.IntRange(0, 2).Draw(t, "fault") {
		case 0:
			sent = append(sent, rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "trailing")...)
		case 1:
			sent = sent[:rapid.IntRange(0, max(0, len(sent)-1)).Draw(t, "cut")]
		case 2:
			if len(sent) > 0 {
				sent[rapid.IntRange(0, len(sent)-1).Draw(t, "at")] ^= rapid.ByteRange(1, 255).Draw(t, "flip")
			}
		}
		if bytes.Equal(sent, data) {
			t.Skip("nothing was broken")
		}
		r := hash.NewReader(source(t, sent), ballast.DigestOf(data), int64(len(data)))
		got, err := io.ReadAll(r)
		var e *ballast.Error
		if !errors.As(err, &e) || e.Code != ballast.CodeIntegrity {
			t.Fatalf("error %v", err)
		}
		if e.Expected != ballast.DigestOf(data) || e.Actual != ballast.DigestOf(got) || !strings.Contains(e.Detail, string(e.Actual)) {
			t.Fatalf("error names %s and %s: %v", e.Expected, e.Actual, e)
		}
		if len(got) > len(data) {
			t.Fatalf("passed on %d of %d bytes", len(got), len(data))
		}
		if n, again := r.Read(make([]byte, 1)); n != 0 || again != err {
			t.Fatalf("not sticky: %d, %v", n, again)
		}
	})
}

// source hands out data in one of the shapes that io.Reader allows.
func source(t *rapid.T, data []byte) io.Reader {
	r := io.Reader(bytes.NewReader(data))
	switch rapid.IntRange(0, 3).Draw(t, "shape") {
	case 1:
		return iotest.OneByteReader(r)
	case 2:
		return iotest.DataErrReader(r)
	case 3:
		return iotest.HalfReader(r)
	}
	return r
}

func TestReaderKeepsTheSourcesError(t *testing.T) {
	for _, at := range []int{0, 2, 4} {
		cut := io.MultiReader(strings.NewReader("data"[:at]), iotest.ErrReader(io.ErrUnexpectedEOF))
		r := hash.NewReader(cut, ballast.DigestOf([]byte("data")), 4)
		for range 2 {
			if _, err := io.ReadAll(r); err != io.ErrUnexpectedEOF {
				t.Errorf("cut at %d: %v", at, err)
			}
		}
	}
}
