package hash

import (
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// Reader passes on at most the declared number of bytes and checks them. The bytes may be relied on only once Read has
// returned io.EOF: that is the verdict, and it means exactly the declared size with the declared digest and nothing
// after it. Every other end is an error that stays:
//
//   - a *ballast.Error with CodeIntegrity, naming both digests, for other, fewer or more bytes;
//   - the source's own error, unchanged, io.ErrUnexpectedEOF included.
type Reader struct {
	src    io.Reader
	hasher *Hasher
	want   digest.Digest
	size   int64
	err    error
}

// NewReader reads size bytes with the digest want from r.
func NewReader(r io.Reader, want digest.Digest, size int64) *Reader {
	return &Reader{src: r, hasher: New(0), want: want, size: size}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	left := r.size - r.hasher.Size()
	if left <= 0 {
		r.err = r.finish()
		return 0, r.err
	}
	n, err := r.src.Read(p[:min(int64(len(p)), left)])
	r.hasher.Write(p[:n])
	if err == io.EOF {
		err = r.verdict() // io.EOF for the right bytes
	}
	r.err = err
	return n, err
}

// finish sees whether the source ends where it must.
func (r *Reader) finish() error {
	var extra [1]byte
	switch n, err := io.ReadFull(r.src, extra[:]); {
	case n > 0:
		return r.wrong("more than the declared %d bytes", r.size)
	case err != io.EOF:
		return err
	}
	return r.verdict()
}

func (r *Reader) verdict() error {
	if n := r.hasher.Size(); n != r.size {
		return r.wrong("%d bytes instead of %d", n, r.size)
	}
	if r.hasher.Digest() != r.want {
		return r.wrong("%d bytes with another digest", r.size)
	}
	return io.EOF
}

// wrong tells what came; of bytes after the declared size the digest is unknown, so the actual one is of those before.
func (r *Reader) wrong(format string, args ...any) error {
	actual := r.hasher.Digest()
	e := ballast.Errorf(ballast.CodeIntegrity, "got "+format+": expected %s, actual %s; fetch it again, and if that repeats the stored object is damaged",
		append(args, r.want, actual)...)
	e.Expected, e.Actual = r.want, actual
	return e
}
