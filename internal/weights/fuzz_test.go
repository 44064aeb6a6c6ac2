package weights_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/weights"
	"github.com/ballast-registry/ballast/internal/weights/weightstest"
)

// wellFormed holds whatever a reader makes of any bytes to what its callers rely on.
func wellFormed(t *testing.T, format string, b []byte) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h, err := read(format, b)
	runtime.ReadMemStats(&after)
	// A tensor of GGUF takes 24 bytes of file at least, a token of JSON two.
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+400*len(b)); got > most {
		t.Fatalf("%d bytes were allocated for a file of %d", got, len(b))
	}
	if err != nil {
		if !errors.Is(err, weights.ErrFormat) || len(err.Error()) > 2000 {
			t.Fatalf("an error of %d bytes: %v", len(err.Error()), err)
		}
		return
	}
	var at int64
	names := map[string]bool{}
	for _, tensor := range h.Tensors {
		if names[tensor.Name] || tensor.Offset < at || tensor.Size < 0 || tensor.Offset+tensor.Size > int64(len(b)) {
			t.Fatalf("tensor %+v of a file of %d bytes, after byte %d", tensor, len(b), at)
		}
		names[tensor.Name], at = true, tensor.Offset+tensor.Size
	}
	if format == safetensors && len(h.Tensors) > 0 && at != int64(len(b)) {
		t.Fatalf("the tensors end at byte %d of %d", at, len(b))
	}
	if r, err := inspect(map[string][]byte{"m." + format: b}, nil); err != nil || r.Weights != nil && (r.Weights.Parameters < 0 || len(r.Weights.DTypes) > 40) {
		t.Fatalf("summed as %+v, %v", r, err)
	}
}

func samples() []ballast.TensorInfo {
	return []ballast.TensorInfo{tensor("model.embed.weight", "F16", 32, 4, 4), tensor("scalar", "F32", 4), tensor("empty", "F32", 0, 0, 7), tensor("b", "BF16", 8, 2, 2)}
}

func FuzzSafetensors(f *testing.F) {
	good := weightstest.Safetensors(samples()...)
	for _, seed := range [][]byte{
		good, good[:len(good)-1], good[:30], weightstest.Safetensors(), weightstest.Safetensors(tensor("a", "F4", 2, 4), tensor("b", "F8_E4M3", 3, 3)),
		weightstest.SafetensorsOf(`{"a":{"dtype":"U8","shape":[9223372036854775807,2],"data_offsets":[0,1]}}`, []byte{0}), []byte("{}"),
		weightstest.SafetensorsOf(`{"__metadata__":{"a":"b"},"x":{"dtype":"NEW","shape":[],"data_offsets":[0,3],"more":[[{}]]}}`, []byte{1, 2, 3}),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) { wellFormed(t, safetensors, b) })
}

func FuzzGGUF(f *testing.F) {
	good := weightstest.GGUF(samples()...)
	deep := any(uint8(0))
	for range 6 {
		deep = []any{deep, deep}
	}
	for _, seed := range [][]byte{
		good, good[:len(good)-40], good[:50], weightstest.GGUF(), []byte("GGUF"),
		weightstest.GGUFFile{BigEndian: true, Align: 64}.Write(samples()...), weightstest.GGUFFile{Version: 2, Keys: []weightstest.Key{{Name: "deep", Value: deep}}}.Write(),
		weightstest.GGUF(tensor("q", "Q4_K", 144, 256), tensor("n", "GGML_999", 7, 9)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) { wellFormed(t, gguf, b) })
}

func FuzzIndex(f *testing.F) {
	for _, seed := range [][]byte{weightstest.Index("a.safetensors", "../b.bin"), []byte(`{"weight_map":{}}`), []byte(`[]`), []byte(`{"a":[{"b":null}],"weight_map":{"x":"y"}}`), []byte(`{`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := inspect(map[string][]byte{"m.index.json": b, "a.safetensors": weightstest.Safetensors()}, nil); err != nil {
			t.Fatal(err)
		}
	})
}
