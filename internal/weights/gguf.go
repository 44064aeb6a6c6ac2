package weights

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"

	"github.com/ballast-registry/ballast"
)

// Limits of a GGUF file.
const (
	maxKeys      = 1 << 16
	maxKey       = 1<<16 - 1 // bytes, by the specification
	maxNested    = 8         // arrays in arrays
	defaultAlign = 32
)

// The types of metadata values.
const (
	ggufUint32 = 4
	ggufString = 8
	ggufArray  = 9
)

// ggufSize is the bytes of a value of a type that has always as many; 0 for texts and arrays, −1 for what is no type.
func ggufSize(t uint32) int64 {
	sizes := [...]int64{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}
	if t >= uint32(len(sizes)) {
		return -1
	}
	return sizes[t]
}

// gguf reads the parts of a GGUF file.
type gguf struct {
	*cursor
	order binary.ByteOrder
	align uint64
}

// readGGUF reads magic, version, metadata and the list of tensors of a GGUF file, version 2 or 3, of either byte order,
// and checks that the tensors lie in the file, aligned and apart.
func readGGUF(c *cursor) ([]ballast.TensorInfo, error) {
	g := &gguf{cursor: c, order: binary.LittleEndian, align: defaultAlign}
	if err := g.begin(); err != nil {
		return nil, err
	}
	count, err := g.u64()
	if err != nil {
		return nil, err
	}
	if count > MaxTensors {
		return nil, bad("is to have %d tensors; at most %d are read", count, MaxTensors)
	}
	if err := g.metadata(); err != nil {
		return nil, err
	}
	var tensors []ballast.TensorInfo // grows with what is there, not with what is promised
	seen := map[string]bool{}
	for range count {
		t, err := g.tensor()
		if err != nil {
			return nil, err
		}
		if seen[t.Name] {
			return nil, bad("lists the tensor %s twice", quote(t.Name))
		}
		seen[t.Name] = true
		tensors = append(tensors, t)
	}
	return tensors, g.place(tensors)
}

// begin reads magic and version. In a big-endian file the version reads as a number far too great.
func (g *gguf) begin() error {
	magic, err := g.next(4)
	if err != nil {
		return err
	}
	if string(magic) != "GGUF" {
		return bad("is no GGUF file: it begins with %q", magic)
	}
	version, err := g.u32()
	if err != nil {
		return err
	}
	if version&0xffff == 0 {
		g.order, version = binary.BigEndian, bits.ReverseBytes32(version)
	}
	if version != 2 && version != 3 {
		return bad("is GGUF of version %d; versions 2 and 3 are read", version)
	}
	return nil
}

func (g *gguf) u32() (uint32, error) {
	b, err := g.next(4)
	if err != nil {
		return 0, err
	}
	return g.order.Uint32(b), nil
}

func (g *gguf) u64() (uint64, error) {
	b, err := g.next(8)
	if err != nil {
		return 0, err
	}
	return g.order.Uint64(b), nil
}

// text reads a text of at most maxBytes.
func (g *gguf) text(what string, maxBytes uint64) (string, error) {
	n, err := g.u64()
	if err != nil {
		return "", err
	}
	if n > maxBytes {
		return "", bad("has %s of %d bytes; at most %d are read", what, n, maxBytes)
	}
	b, err := g.next(int(n))
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", bad("has %s that is not UTF-8", what)
	}
	return string(b), nil
}

// metadata passes over keys and values; of these the alignment alone counts.
func (g *gguf) metadata() error {
	count, err := g.u64()
	if err != nil {
		return err
	}
	if count > maxKeys {
		return bad("is to have %d keys; at most %d are read", count, maxKeys)
	}
	seen := map[string]bool{}
	for range count {
		key, err := g.text("a key", maxKey)
		if err != nil {
			return err
		}
		if key == "" || seen[key] {
			return bad("has the key %s twice, or an empty one", quote(key))
		}
		seen[key] = true
		t, err := g.u32()
		if err != nil {
			return err
		}
		if key == "general.alignment" {
			err = g.alignment(t)
		} else {
			err = g.value(t, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *gguf) alignment(t uint32) error {
	if t != ggufUint32 {
		return bad("has a general.alignment of type %d, not a uint32", t)
	}
	n, err := g.u32()
	if err != nil {
		return err
	}
	if bits.OnesCount32(n) != 1 {
		return bad("has a general.alignment of %d, which is no power of two", n)
	}
	g.align = uint64(n)
	return nil
}

// value passes over one value.
func (g *gguf) value(t uint32, depth int) error {
	switch size := ggufSize(t); {
	case size < 0:
		return bad("has a value of the unknown type %d", t)
	case size > 0:
		return g.skip(size)
	case t == ggufString:
		n, err := g.u64()
		if err != nil {
			return err
		}
		return g.skip(clamp(n))
	}
	if depth == maxNested {
		return bad("nests more than %d arrays", maxNested)
	}
	of, err := g.u32()
	if err != nil {
		return err
	}
	n, err := g.u64()
	if err != nil {
		return err
	}
	if size := ggufSize(of); size > 0 {
		if n > math.MaxInt64/8 {
			n = math.MaxInt64 / 8 // more than any file has
		}
		return g.skip(int64(n) * size)
	}
	for range n { // each of them takes bytes, of which there are only so many
		if err := g.value(of, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// clamp makes a length comparable with those of files, which are all smaller than what it cuts off.
func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// tensor reads one entry of the list. Its Offset counts from where the data begin.
func (g *gguf) tensor() (t ballast.TensorInfo, err error) {
	if t.Name, err = g.text("a tensor's name", maxName); err != nil {
		return t, err
	}
	dims, err := g.u32()
	if err != nil {
		return t, err
	}
	if dims > maxDims {
		return t, bad("gives the tensor %s %d dimensions; at most %d are read", quote(t.Name), dims, maxDims)
	}
	t.Shape = make([]int64, dims)
	for i := range t.Shape {
		d, err := g.u64()
		if err != nil {
			return t, err
		}
		if d > math.MaxInt64 {
			return t, bad("gives the tensor %s a dimension of %d", quote(t.Name), d)
		}
		t.Shape[i] = int64(d)
	}
	id, err := g.u32()
	if err != nil {
		return t, err
	}
	offset, err := g.u64()
	if err != nil {
		return t, err
	}
	kind := ggmlTypeOf(id)
	t.DType, t.Offset = kind.name, clamp(offset)
	n, ok := elements(t.Shape)
	if !ok {
		return t, bad("gives the tensor %s the impossible shape %v", quote(t.Name), t.Shape)
	}
	if kind.block == 0 {
		return t, nil
	}
	row := int64(1)
	if dims > 0 {
		row = t.Shape[0]
	}
	if row%kind.block != 0 || n/kind.block > math.MaxInt64/kind.bytes {
		return t, bad("gives the tensor %s the shape %v, which %s cannot have: its rows come in blocks of %d", quote(t.Name), t.Shape, kind.name, kind.block)
	}
	t.Size = n / kind.block * kind.bytes
	return t, nil
}

// place sorts the tensors, makes offsets those in the file, and refuses tensors that overlap, lie askew or outside.
func (g *gguf) place(tensors []ballast.TensorInfo) error {
	if len(tensors) == 0 {
		return nil
	}
	slices.SortStableFunc(tensors, func(a, b ballast.TensorInfo) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Size, b.Size))
	})
	data := (g.pos + int64(g.align) - 1) / int64(g.align) * int64(g.align)
	var free int64
	for i := range tensors {
		t := &tensors[i]
		switch {
		case t.Offset%int64(g.align) != 0:
			return bad("has the tensor %s at byte %d of the data, which is no multiple of %d", quote(t.Name), t.Offset, g.align)
		case t.Offset < free:
			return bad("has an overlap: the tensor %s begins at byte %d of the data, where another one is", quote(t.Name), t.Offset)
		case t.Offset > g.src.Size-data || t.Size > g.src.Size-data-t.Offset:
			return bad("is cut short: the tensor %s begins at byte %d of the data and has %d, of which there are %d", quote(t.Name), t.Offset, t.Size, max(g.src.Size-data, 0))
		}
		free = t.Offset + t.Size
		t.Offset += data
	}
	return nil
}
