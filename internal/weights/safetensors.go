package weights

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/ballast-registry/ballast"
)

// safetensorsBits are the bits of one number of each type that the reference implementation knows.
func safetensorsBits(dtype string) int64 {
	switch dtype {
	case "F4":
		return 4
	case "F6_E2M3", "F6_E3M2":
		return 6
	case "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ":
		return 8
	case "I16", "U16", "F16", "BF16":
		return 16
	case "I32", "U32", "F32":
		return 32
	case "I64", "U64", "F64", "C64":
		return 64
	}
	return 0
}

// lengthBytes come before the header and say how long it is.
const lengthBytes = 8

// readSafetensors reads eight bytes, little-endian, that say how long the JSON behind them is, and that JSON. What it
// says must cover the rest of the file: byte for byte, without a gap and without an overlap.
func readSafetensors(c *cursor) ([]ballast.TensorInfo, error) {
	size := c.src.Size
	length, err := c.next(lengthBytes)
	if err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length)
	switch limit := uint64(c.limit - c.pos); {
	case n > uint64(size-c.pos):
		return nil, bad("is cut short or no safetensors file: its header is to have %d bytes, and it has %d", n, size)
	case n > limit:
		return nil, bad("has a header of %d bytes; at most %d are read", n, limit)
	}
	c.limit = c.pos + int64(n)
	c.buf = c.buf[:min(int64(len(c.buf)), int64(n))] // what was fetched beyond it is weights
	if first, err := c.need1(); err != nil || first != '{' {
		return nil, orElse(c.failed, bad("is no safetensors file: its header does not begin with \"{\""))
	}
	tensors, err := decodeSafetensors(newDecoder(c))
	if err != nil {
		return nil, orElse(c.failed, err)
	}
	return tensors, cover(tensors, c.limit, size)
}

// need1 looks at the next byte.
func (c *cursor) need1() (byte, error) {
	if err := c.need(1); err != nil {
		return 0, err
	}
	return c.buf[0], nil
}

func orElse(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// decodeSafetensors reads the header's object, one tensor at a time.
func decodeSafetensors(dec *json.Decoder) (tensors []ballast.TensorInfo, err error) {
	seen := map[string]bool{}
	err = object(dec, func(name string) error {
		switch {
		case name == "__metadata__":
			return skipTexts(dec)
		case len(name) > maxName:
			return bad("has a tensor whose name has %d bytes; at most %d are read", len(name), maxName)
		case seen[name]:
			return bad("lists the tensor %s twice", quote(name))
		case len(tensors) == MaxTensors:
			return bad("has more than %d tensors, which are not read", MaxTensors)
		}
		seen[name] = true
		t, err := decodeTensor(dec, name)
		tensors = append(tensors, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, bad("has a header in which something follows the object")
	}
	slices.SortStableFunc(tensors, func(a, b ballast.TensorInfo) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Size, b.Size))
	})
	return tensors, nil
}

// object reads an object whose values value reads.
func object(dec *json.Decoder, value func(key string) error) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return notJSON(err)
	}
	for dec.More() {
		t, err := dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return notJSON(err)
		}
		if err := value(key); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return notJSON(err)
	}
	return nil
}

func notJSON(err error) error {
	switch {
	case err == nil:
		return bad("holds JSON of another shape")
	case errors.Is(err, ErrFormat):
		return err
	}
	return bad("does not hold valid JSON: %v", err)
}

// skipTexts passes over an object of texts.
func skipTexts(dec *json.Decoder) error {
	return object(dec, func(string) error {
		t, err := dec.Token()
		if errors.Is(err, ErrFormat) {
			return err
		}
		if _, text := t.(string); err != nil || !text {
			return bad("has a __metadata__ that is not an object of texts")
		}
		return nil
	})
}

// integers are the few numbers of a shape or of offsets.
type integers []int64

// UnmarshalJSON implements json.Unmarshaler. It refuses a long list before it allocates one.
func (n *integers) UnmarshalJSON(b []byte) error {
	if bytes.Count(b, []byte(",")) >= maxDims {
		return bad("more than %d numbers", maxDims)
	}
	return json.Unmarshal(b, (*[]int64)(n))
}

// decodeTensor reads one tensor. Its Offset counts from the end of the header.
func decodeTensor(dec *json.Decoder, name string) (t ballast.TensorInfo, err error) {
	var in struct {
		DType   string   `json:"dtype"`
		Shape   integers `json:"shape"`
		Offsets integers `json:"data_offsets"`
	}
	if err := dec.Decode(&in); err != nil {
		return t, bad("says of the tensor %s what cannot be read: %v", quote(name), err)
	}
	if in.DType == "" || len(in.DType) > maxDType || in.Shape == nil || len(in.Offsets) != 2 {
		return t, bad("does not say dtype, shape and two data_offsets of the tensor %s", quote(name))
	}
	n, ok := elements(in.Shape)
	begin, end := in.Offsets[0], in.Offsets[1]
	if !ok || begin < 0 || end < begin {
		return t, bad("gives the tensor %s an impossible shape %v or offsets %v", quote(name), in.Shape, in.Offsets)
	}
	if width := safetensorsBits(in.DType); width != 0 {
		if n > (1<<62)/width || n*width%8 != 0 || n*width/8 != end-begin {
			return t, bad("gives the tensor %s %d bytes, which its shape %v of %s does not have", quote(name), end-begin, in.Shape, in.DType)
		}
	}
	return ballast.TensorInfo{Name: name, DType: in.DType, Shape: in.Shape, Offset: begin, Size: end - begin}, nil
}

// cover makes offsets those in the file, whose data begin at data, and refuses a gap, an overlap and a file of another
// length.
func cover(tensors []ballast.TensorInfo, data, size int64) error {
	var at int64
	for i := range tensors {
		t := &tensors[i]
		if t.Offset != at {
			return bad("has a gap or an overlap: the tensor %s begins at byte %d of the data, where byte %d is next", quote(t.Name), t.Offset, at)
		}
		at = t.Offset + t.Size
		if at > size-data {
			return bad("is cut short: the tensor %s ends at byte %d of the data, of which there are %d", quote(t.Name), at, size-data)
		}
		t.Offset += data
	}
	if at != size-data {
		return bad("has %d bytes of data of which its tensors cover %d", size-data, at)
	}
	return nil
}
