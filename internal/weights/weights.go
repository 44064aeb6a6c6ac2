// Package weights reads what is inside weight files: the headers of safetensors and GGUF, from any range of bytes, and
// the index that names a model's shards.
//
// The files come from whoever pushed them. Nothing that one says is believed before it is checked, and nothing is
// allocated because one says so: what a read costs is bounded by [MaxTensors] and by the limit on the header's bytes.
package weights

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"path"
	"strings"

	"github.com/ballast-registry/ballast"
)

// Limits of one file.
const (
	// MaxHeaderBytes is the reference implementation's limit on a safetensors header, and used for GGUF too.
	MaxHeaderBytes = 100_000_000
	MaxTensors     = 1 << 18 // also of all files that are summed together
	maxName        = 4 << 10 // bytes
	maxDims        = 64
	maxDType       = 32 // bytes
)

// ErrFormat says that a file is not what its name says, or is over a limit. The error's text says what is wrong with it,
// as the end of a sentence that begins with the file's name.
var ErrFormat = errors.New("weights: not a file of this format")

// formatError is an ErrFormat in words.
type formatError string

func (e formatError) Error() string        { return string(e) }
func (e formatError) Is(target error) bool { return target == ErrFormat }

func bad(format string, args ...any) error { return formatError(fmt.Sprintf(format, args...)) }

// Source is a file that is read in ranges.
type Source struct {
	Size int64
	// ReadAt fills p with the bytes from off on, which lie inside the file.
	ReadAt func(ctx context.Context, p []byte, off int64) error
}

// Header is what the beginning of a file says of the rest.
type Header struct {
	Format  string
	Tensors []ballast.TensorInfo // in the order of their offsets
}

// FormatOf returns the format that a path's extension names, "" for a file that is no weight file.
func FormatOf(p string) string {
	switch strings.ToLower(path.Ext(p)) {
	case ".safetensors":
		return ballast.FormatSafetensors
	case ".gguf":
		return ballast.FormatGGUF
	}
	return ""
}

// Read reads the header of a file of a format that FormatOf names. A header that goes on beyond maxHeader bytes is
// refused. Errors: ErrFormat; anything else is src's.
func Read(ctx context.Context, format string, src Source, maxHeader int64) (Header, error) {
	h := Header{Format: format}
	var err error
	switch format {
	case ballast.FormatSafetensors:
		h.Tensors, err = readSafetensors(newCursor(ctx, src, lengthBytes+maxHeader))
	case ballast.FormatGGUF:
		h.Tensors, err = readGGUF(newCursor(ctx, src, maxHeader))
	default:
		err = bad("has the format %q, whose headers are not read", format)
	}
	if err != nil {
		return Header{}, err
	}
	return h, nil
}

// elements is how many numbers a shape holds; ok is false when that does not fit 63 bits.
func elements(shape []int64) (n int64, ok bool) {
	n = 1
	for _, d := range shape {
		hi, lo := bits.Mul64(uint64(n), uint64(d))
		if d < 0 || hi != 0 || lo > math.MaxInt64 {
			return 0, false
		}
		n = int64(lo)
	}
	return n, true
}

// quote shows text of the file's in a message, cut to what a line holds.
func quote(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%q…", s[:80])
	}
	return fmt.Sprintf("%q", s)
}
