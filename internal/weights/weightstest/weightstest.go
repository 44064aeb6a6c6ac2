// Package weightstest writes small weight files for tests, as the writers of their formats do, and apart from the code
// that reads them.
package weightstest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/ballast-registry/ballast"
)

// Tensor returns a tensor of so many bytes; Safetensors and GGUF say where they lie.
func Tensor(name, dtype string, size int64, shape ...int64) ballast.TensorInfo {
	if shape == nil {
		shape = []int64{}
	}
	return ballast.TensorInfo{Name: name, DType: dtype, Size: size, Shape: shape}
}

// Safetensors returns a file of these tensors in this order. Their bytes are their number in the list.
func Safetensors(tensors ...ballast.TensorInfo) []byte {
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var data []byte
	for i, t := range tensors {
		begin := int64(len(data))
		header[t.Name] = map[string]any{"dtype": t.DType, "shape": t.Shape, "data_offsets": []int64{begin, begin + t.Size}}
		data = append(data, bytes.Repeat([]byte{byte(i)}, int(t.Size))...)
	}
	b, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	return SafetensorsOf(string(b), data)
}

// SafetensorsOf returns a file with this header and these data, whatever they say.
func SafetensorsOf(header string, data []byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

// Index returns a model.safetensors.index.json that names these shards, a tensor each.
func Index(shards ...string) []byte {
	m := map[string]string{}
	for i, s := range shards {
		m[fmt.Sprintf("layer.%d", i)] = s
	}
	b, err := json.Marshal(map[string]any{"metadata": map[string]int{"total_size": 1}, "weight_map": m})
	if err != nil {
		panic(err)
	}
	return b
}

// GGUFFile is how GGUF writes a file.
type GGUFFile struct {
	Version   uint32 // 0: 3
	BigEndian bool
	Align     uint32 // 0: what the format has for it, and no key about it
	Keys      []Key
}

// Key is one key of the metadata: a uint8, uint32, int32, float32, bool, string, uint64, float64, or []any of one type.
type Key struct {
	Name  string
	Value any
}

// Types of ggml by name that Write knows.
var types = map[string]uint32{"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "Q6_K": 14, "I32": 26, "BF16": 30, "GGML_999": 999}

// GGUF returns a file of these tensors in this order, with a tokenizer like those of language models.
func GGUF(tensors ...ballast.TensorInfo) []byte {
	return GGUFFile{Keys: []Key{
		{"general.architecture", "llama"}, {"llama.block_count", uint32(2)},
		{"tokenizer.ggml.tokens", []any{"<s>", "</s>", "a"}}, {"tokenizer.ggml.scores", []any{float32(0), float32(1), float32(2)}},
	}}.Write(tensors...)
}

// Write returns the file with these tensors in this order.
func (f GGUFFile) Write(tensors ...ballast.TensorInfo) []byte {
	w := ggufWriter{order: binary.LittleEndian}
	if f.BigEndian {
		w.order = binary.BigEndian
	}
	align := 32
	if f.Align != 0 {
		align = int(f.Align)
		f.Keys = append(f.Keys[:len(f.Keys):len(f.Keys)], Key{"general.alignment", f.Align})
	}
	if f.Version == 0 {
		f.Version = 3
	}
	w.buf.WriteString("GGUF")
	w.put(f.Version, uint64(len(tensors)), uint64(len(f.Keys)))
	for _, k := range f.Keys {
		w.text(k.Name)
		w.put(typeOf(k.Value))
		w.value(k.Value)
	}
	at := 0
	for _, t := range tensors {
		w.text(t.Name)
		w.put(uint32(len(t.Shape)))
		for _, d := range t.Shape {
			w.put(uint64(d))
		}
		w.put(types[t.DType], uint64(at))
		at += padded(int(t.Size), align)
	}
	for range padded(w.buf.Len(), align) - w.buf.Len() {
		w.buf.WriteByte(0)
	}
	for i, t := range tensors {
		w.buf.Write(bytes.Repeat([]byte{byte(i)}, int(t.Size)))
		w.buf.Write(make([]byte, padded(int(t.Size), align)-int(t.Size)))
	}
	return w.buf.Bytes()
}

func padded(n, align int) int { return (n + align - 1) / align * align }

type ggufWriter struct {
	order binary.ByteOrder
	buf   bytes.Buffer
}

func (w *ggufWriter) put(values ...any) {
	for _, v := range values {
		if err := binary.Write(&w.buf, w.order, v); err != nil {
			panic(err)
		}
	}
}

func (w *ggufWriter) text(s string) {
	w.put(uint64(len(s)))
	w.buf.WriteString(s)
}

func (w *ggufWriter) value(v any) {
	switch v := v.(type) {
	case string:
		w.text(v)
	case []any:
		of := uint32(0)
		if len(v) > 0 {
			of = typeOf(v[0])
		}
		w.put(of, uint64(len(v)))
		for _, item := range v {
			w.value(item)
		}
	default:
		w.put(v)
	}
}

func typeOf(v any) uint32 {
	switch v.(type) {
	case uint8:
		return 0
	case uint32:
		return 4
	case int32:
		return 5
	case float32:
		return 6
	case bool:
		return 7
	case string:
		return 8
	case []any:
		return 9
	case uint64:
		return 10
	case float64:
		return 12
	}
	panic(fmt.Sprintf("weightstest: no GGUF type for %T", v))
}
