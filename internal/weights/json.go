package weights

import (
	"encoding/json"
	"errors"
	"io"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"
)

// maxPiece bounds what a decoder of JSON has to hold at once: one text, one tensor's entry, the white space between two
// tokens. It holds several times as much while its buffer grows.
const maxPiece = 4 << 20

// newDecoder reads the JSON of a header, in UTF-8, a piece at a time.
func newDecoder(c *cursor) *json.Decoder {
	r := &pieces{src: transform.NewReader(c, encoding.UTF8Validator)}
	r.dec = json.NewDecoder(r)
	return r.dec
}

// pieces feeds a decoder no more than maxPiece beyond the last token that it returned. Each Read is a full one: after
// each, the decoder looks again at all the white space that it holds.
type pieces struct {
	src io.Reader
	dec *json.Decoder
	fed int64
}

func (r *pieces) Read(p []byte) (int, error) {
	if r.fed-r.dec.InputOffset() > maxPiece {
		return 0, bad("holds one text, entry or blank of more than %d bytes, which is not read", maxPiece)
	}
	n, err := io.ReadFull(r.src, p)
	r.fed += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}
