package weights_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/weights"
	"github.com/ballast-registry/ballast/internal/weights/weightstest"
)

const safetensors, gguf = ballast.FormatSafetensors, ballast.FormatGGUF

var tensor = weightstest.Tensor

func source(b []byte) weights.Source {
	return weights.Source{Size: int64(len(b)), ReadAt: func(_ context.Context, p []byte, off int64) error {
		_, err := bytes.NewReader(b).ReadAt(p, off)
		return err
	}}
}

func read(format string, b []byte) (weights.Header, error) {
	return weights.Read(context.Background(), format, source(b), weights.MaxHeaderBytes)
}

// where fills in where a writer's tensors lie: one after the other from data on, each padded.
func where(tensors []ballast.TensorInfo, data, align int64) []ballast.TensorInfo {
	placed := slices.Clone(tensors)
	for i := range placed {
		placed[i].Offset = data
		data += (placed[i].Size + align - 1) / align * align
	}
	slices.SortStableFunc(placed, func(a, b ballast.TensorInfo) int { return int(a.Offset - b.Offset) })
	return placed
}

func dataSize(tensors []ballast.TensorInfo, align int64) (n int64) {
	for _, t := range tensors {
		n += (t.Size + align - 1) / align * align
	}
	return n
}

func TestSafetensorsAreReadAsTheyWereWritten(t *testing.T) {
	widths := map[string]int64{
		"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
		"F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
	}
	var names []string
	for n := range widths {
		names = append(names, n)
	}
	slices.Sort(names)
	rapid.Check(t, func(t *rapid.T) {
		var tensors []ballast.TensorInfo
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zäµ"\\.]{1,12}`), 0, 8, rapid.ID[string]).Draw(t, "names") {
			dtype := rapid.SampledFrom(names).Draw(t, "dtype")
			shape := rapid.SliceOfN(rapid.Int64Range(0, 5), 0, 4).Draw(t, "shape")
			shape = append(shape, 4) // so that odd widths fill bytes
			n := widths[dtype]
			for _, d := range shape {
				n *= d
			}
			tensors = append(tensors, tensor(name, dtype, n/8, shape...))
		}
		b := weightstest.Safetensors(tensors...)
		h, err := read(safetensors, b)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, where(tensors, int64(len(b))-dataSize(tensors, 1), 1), h.Tensors)
	})
}

// compare takes tensors without bytes at one place as equal in any order.
func compare(t interface{ Fatalf(string, ...any) }, want, got []ballast.TensorInfo) {
	byPlace := func(all []ballast.TensorInfo) []ballast.TensorInfo {
		all = slices.Clone(all)
		slices.SortFunc(all, func(a, b ballast.TensorInfo) int {
			return strings.Compare(fmt.Sprintf("%012d %012d %s", a.Offset, a.Size, a.Name), fmt.Sprintf("%012d %012d %s", b.Offset, b.Size, b.Name))
		})
		return all
	}
	if !slices.IsSortedFunc(got, func(a, b ballast.TensorInfo) int { return int(a.Offset - b.Offset) }) {
		t.Fatalf("not in the order of their bytes: %v", got)
	}
	if diff := cmp.Diff(byPlace(want), byPlace(got)); len(want)+len(got) > 0 && diff != "" {
		t.Fatalf("written (-) and read (+):\n%s", diff)
	}
}

func TestGGUFIsReadAsItWasWritten(t *testing.T) {
	blocks := map[string][2]int64{"F32": {1, 4}, "F16": {1, 2}, "Q4_0": {32, 18}, "Q8_0": {32, 34}, "Q4_K": {256, 144}, "Q6_K": {256, 210}, "I32": {1, 4}, "BF16": {1, 2}}
	names := []string{"F32", "F16", "Q4_0", "Q8_0", "Q4_K", "Q6_K", "I32", "BF16"}
	value := rapid.OneOf(
		rapid.Just[any](uint8(1)), rapid.Just[any](uint32(7)), rapid.Just[any](int32(-1)), rapid.Just[any](float32(0.5)), rapid.Just[any](true),
		rapid.Just[any]("text"), rapid.Just[any](""), rapid.Just[any](uint64(9)), rapid.Just[any](float64(2)), rapid.Just[any]([]any{}),
		rapid.Just[any]([]any{"a", "", "c"}), rapid.Just[any]([]any{float32(1), float32(2)}), rapid.Just[any]([]any{[]any{uint8(1)}, []any{"x", "y"}}),
	)
	rapid.Check(t, func(t *rapid.T) {
		f := weightstest.GGUFFile{
			Version: rapid.SampledFrom([]uint32{0, 2, 3}).Draw(t, "version"), BigEndian: rapid.Bool().Draw(t, "big"),
			Align: rapid.SampledFrom([]uint32{0, 1, 8, 64, 4096}).Draw(t, "align"),
		}
		for i, v := range rapid.SliceOfN(value, 0, 6).Draw(t, "values") {
			f.Keys = append(f.Keys, weightstest.Key{Name: fmt.Sprintf("key.%d", i), Value: v})
		}
		align := int64(max(f.Align, 1))
		if f.Align == 0 {
			align = 32
		}
		var tensors []ballast.TensorInfo
		for i := range rapid.IntRange(0, 8).Draw(t, "tensors") {
			dtype := rapid.SampledFrom(names).Draw(t, "dtype")
			rows := rapid.SliceOfN(rapid.Int64Range(0, 3), 0, 3).Draw(t, "rows")
			n := rapid.Int64Range(0, 3).Draw(t, "blocks")
			shape := append([]int64{n * blocks[dtype][0]}, rows...)
			for _, d := range rows {
				n *= d
			}
			tensors = append(tensors, tensor(fmt.Sprintf("blk.%d", i), dtype, n*blocks[dtype][1], shape...))
		}
		b := f.Write(tensors...)
		h, err := read(gguf, b)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, where(tensors, int64(len(b))-dataSize(tensors, align), align), h.Tensors)
	})
}

// TestSafetensorsRefused: each fault is refused for what it is. The control is the same file without it.
func TestSafetensorsRefused(t *testing.T) {
	good := weightstest.Safetensors(tensor("a", "F32", 16, 2, 2), tensor("b", "F16", 4, 2))
	if _, err := read(safetensors, good); err != nil {
		t.Fatal(err)
	}
	one := func(entry string, data int) []byte {
		return weightstest.SafetensorsOf(`{"a":`+entry+`}`, make([]byte, data))
	}
	if _, err := read(safetensors, one(`{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}`, 16)); err != nil {
		t.Fatal(err)
	}
	two := func(a, b string, data int) []byte {
		return weightstest.SafetensorsOf(fmt.Sprintf(`{"a":{"dtype":"U8","shape":%s},"b":{"dtype":"U8","shape":%s}}`, a, b), make([]byte, data))
	}
	if _, err := read(safetensors, two(`[4],"data_offsets":[0,4]`, `[4],"data_offsets":[4,8]`, 8)); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file []byte
		says string
	}{
		"empty":              {nil, "cut short"},
		"seven bytes":        {good[:7], "cut short"},
		"half a header":      {good[:40], "cut short"},
		"half the data":      {good[:len(good)-10], "cut short"},
		"one byte less":      {good[:len(good)-1], "cut short"},
		"one byte more":      {append(slices.Clone(good), 0), "of which its tensors cover"},
		"a page of HTML":     {[]byte("<!DOCTYPE html><html>" + strings.Repeat(" ", 100)), "no safetensors file"},
		"a git-lfs pointer":  {[]byte("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 1\n"), "no safetensors file"},
		"a header too long":  {append(binary.LittleEndian.AppendUint64(nil, weights.MaxHeaderBytes+1), make([]byte, weights.MaxHeaderBytes+2)...), "at most 100000000"},
		"no header":          {weightstest.SafetensorsOf("", nil), `does not begin with "{"`},
		"a list":             {weightstest.SafetensorsOf("[]", nil), `does not begin with "{"`},
		"white space":        {weightstest.SafetensorsOf(" {}", nil), `does not begin with "{"`},
		"half an object":     {weightstest.SafetensorsOf(`{"a":`, nil), "says of the tensor"},
		"two objects":        {weightstest.SafetensorsOf("{}{}", nil), "something follows"},
		"no UTF-8":           {weightstest.SafetensorsOf("{\"__metadata__\":{\"\xff\":\"\"}}", nil), "invalid UTF-8"},
		"metadata a list":    {weightstest.SafetensorsOf(`{"__metadata__":[]}`, nil), "another shape"},
		"metadata a number":  {weightstest.SafetensorsOf(`{"__metadata__":{"a":1}}`, nil), "not an object of texts"},
		"metadata nested":    {weightstest.SafetensorsOf(`{"__metadata__":{"a":{}}}`, nil), "not an object of texts"},
		"an entry of text":   {one(`"F32"`, 0), "says of the tensor"},
		"no dtype":           {one(`{"shape":[2],"data_offsets":[0,16]}`, 16), "does not say dtype"},
		"no shape":           {one(`{"dtype":"F32","data_offsets":[0,4]}`, 4), "does not say dtype"},
		"no offsets":         {one(`{"dtype":"F32","shape":[]}`, 4), "does not say dtype"},
		"three offsets":      {one(`{"dtype":"F32","shape":[],"data_offsets":[0,4,8]}`, 4), "does not say dtype"},
		"offsets swapped":    {one(`{"dtype":"F32","shape":[],"data_offsets":[4,0]}`, 4), "impossible"},
		"offset negative":    {one(`{"dtype":"F32","shape":[],"data_offsets":[-4,0]}`, 4), "impossible"},
		"offset of 2^64":     {one(`{"dtype":"F32","shape":[],"data_offsets":[0,18446744073709551616]}`, 4), "cannot be read"},
		"dimension negative": {one(`{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}`, 4), "impossible"},
		"shape overflows":    {one(`{"dtype":"F32","shape":[4294967296,4294967296,16],"data_offsets":[0,4]}`, 4), "impossible"},
		"bytes overflow":     {one(`{"dtype":"F64","shape":[1152921504606846976],"data_offsets":[0,0]}`, 0), "does not have"},
		"too few bytes":      {one(`{"dtype":"F32","shape":[2,2],"data_offsets":[0,12]}`, 12), "does not have"},
		"half a byte":        {one(`{"dtype":"F4","shape":[3],"data_offsets":[0,1]}`, 1), "does not have"},
		"many dimensions":    {one(`{"dtype":"U8","shape":[`+strings.Repeat("1,", 64)+`1],"data_offsets":[0,1]}`, 1), "more than 64"},
		"a long name":        {weightstest.Safetensors(tensor(strings.Repeat("n", 5000), "U8", 1, 1)), "whose name has 5000 bytes"},
		"a long dtype":       {one(`{"dtype":"`+strings.Repeat("F", 33)+`","shape":[],"data_offsets":[0,4]}`, 4), "does not say dtype"},
		"a gap":              {two(`[4],"data_offsets":[0,4]`, `[4],"data_offsets":[5,9]`, 9), "a gap or an overlap"},
		"an overlap":         {two(`[4],"data_offsets":[0,4]`, `[4],"data_offsets":[3,7]`, 7), "a gap or an overlap"},
		"a late beginning":   {one(`{"dtype":"U8","shape":[4],"data_offsets":[1,5]}`, 5), "a gap or an overlap"},
		"a name twice":       {weightstest.SafetensorsOf(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[],"data_offsets":[1,2]}}`, make([]byte, 2)), "twice"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, safetensors, test.file, test.says) })
	}
}

func refused(t *testing.T, format string, file []byte, says string) {
	t.Helper()
	h, err := read(format, file)
	if !errors.Is(err, weights.ErrFormat) || !strings.Contains(err.Error(), says) {
		t.Fatalf("read as %v, error %v; want one that says %q", h, err, says)
	}
	if len(err.Error()) > 1000 {
		t.Errorf("a message of %d bytes", len(err.Error()))
	}
}

func TestGGUFRefused(t *testing.T) {
	a, b := tensor("a", "F32", 16, 4), tensor("b", "Q4_0", 18, 32)
	good := weightstest.GGUF(a, b)
	if _, err := read(gguf, good); err != nil {
		t.Fatal(err)
	}
	// edit replaces the last occurrence of what the writer wrote.
	edit := func(old, replacement []byte) []byte {
		i := bytes.LastIndex(good, old)
		if i < 0 {
			t.Fatalf("the file has no %x", old)
		}
		return slices.Concat(good[:i], replacement, good[i+len(old):])
	}
	u32, u64 := binary.LittleEndian.AppendUint32, binary.LittleEndian.AppendUint64
	entry := func(name string, shape []uint64, kind uint32, offset uint64) []byte {
		e := append(u64(nil, uint64(len(name))), name...)
		e = u32(e, uint32(len(shape)))
		for _, d := range shape {
			e = u64(e, d)
		}
		return u64(u32(e, kind), offset)
	}
	first, second := entry("a", []uint64{4}, 0, 0), entry("b", []uint64{32}, 2, 32)
	key := func(v any) []byte {
		return weightstest.GGUFFile{Keys: []weightstest.Key{{Name: "k", Value: v}}}.Write()
	}
	nested := any(uint8(1))
	for range 20 {
		nested = []any{nested}
	}
	for name, test := range map[string]struct {
		file []byte
		says string
	}{
		"empty":                  {nil, "cut short"},
		"half a header":          {good[:60], "cut short"},
		"half the data":          {good[:len(good)-60], "cut short"},
		"other magic":            {append([]byte("GGML"), good[4:]...), "is no GGUF file"},
		"version 1":              {slices.Concat(good[:4], u32(nil, 1), good[8:]), "version 1"},
		"version 4":              {slices.Concat(good[:4], u32(nil, 4), good[8:]), "version 4"},
		"version 0":              {slices.Concat(good[:4], u32(nil, 0), good[8:]), "version 0"},
		"a trillion tensors":     {slices.Concat(good[:8], u64(nil, 1<<40), good[16:]), "at most 262144"},
		"more than there are":    {slices.Concat(good[:8], u64(nil, 1000), good[16:]), "lists the tensor"},
		"a trillion keys":        {slices.Concat(good[:16], u64(nil, 1<<40), good[24:]), "at most 65536"},
		"a key without end":      {slices.Concat(good[:24], u64(nil, 1<<63), good[32:]), "a key of"},
		"a text without end":     {edit(append(u64(nil, 5), "llama"...), append(u64(nil, 1<<63), "llama"...)), "cut short"},
		"an array without end":   {edit(append(u32(nil, 6), u64(nil, 3)...), append(u32(nil, 6), u64(nil, 1<<62)...)), "cut short"},
		"texts without end":      {edit(append(u32(nil, 8), u64(nil, 3)...), append(u32(nil, 8), u64(nil, 1<<62)...)), "cut short"},
		"an unknown value":       {edit(append(u32(nil, 6), u64(nil, 3)...), append(u32(nil, 13), u64(nil, 3)...)), "unknown type 13"},
		"arrays in arrays":       {key(nested), "nests more than"},
		"a key twice":            {weightstest.GGUFFile{Keys: []weightstest.Key{{Name: "k", Value: "a"}, {Name: "k", Value: "b"}}}.Write(), "twice"},
		"an odd alignment":       {weightstest.GGUFFile{Align: 48}.Write(a), "no power of two"},
		"an alignment of text":   {weightstest.GGUFFile{Keys: []weightstest.Key{{Name: "general.alignment", Value: "8"}}}.Write(a), "not a uint32"},
		"a tensor twice":         {weightstest.GGUF(a, a), "twice"},
		"a long name":            {weightstest.GGUF(tensor(strings.Repeat("n", 5000), "F32", 4, 1)), "of 5000 bytes"},
		"a name of no text":      {edit(first, entry("\xff", []uint64{4}, 0, 0)), "not UTF-8"},
		"many dimensions":        {weightstest.GGUF(tensor("d", "F32", 4, make([]int64, 65)...)), "65 dimensions"},
		"a huge dimension":       {edit(first, entry("a", []uint64{1 << 63}, 0, 0)), "dimension of"},
		"a shape that overflows": {edit(slices.Concat(first, second), slices.Concat(entry("a", []uint64{1 << 40, 1 << 40}, 0, 0), second)), "impossible shape"},
		"bytes that overflow":    {edit(first, entry("a", []uint64{1 << 62}, 0, 0)), "cannot have"},
		"half a block":           {edit(second, entry("b", []uint64{31}, 2, 32)), "blocks of 32"},
		"an overlap":             {edit(second, entry("b", []uint64{32}, 2, 0)), "an overlap"},
		"an odd offset":          {edit(second, entry("b", []uint64{32}, 2, 33)), "no multiple of 32"},
		"an offset outside":      {edit(second, entry("b", []uint64{32}, 2, 1<<40)), "cut short"},
		"an offset without end":  {edit(second, entry("b", []uint64{32}, 2, 1<<63)), "no multiple"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, gguf, test.file, test.says) })
	}
}

// TestUnknownTypes: formats grow types faster than readers learn them. What they hold can still be counted.
func TestUnknownTypes(t *testing.T) {
	for format, b := range map[string][]byte{
		safetensors: weightstest.Safetensors(tensor("a", "F2_NEW", 5, 10), tensor("b", "F32", 4)),
		gguf:        weightstest.GGUF(tensor("a", "GGML_999", 5, 10), tensor("b", "F32", 4)),
	} {
		r, err := inspect(map[string][]byte{"m." + format: b}, nil)
		want := &ballast.Weights{Format: format, Files: 1, Tensors: 2, Parameters: 11, DTypes: map[string]int64{"other": 10, "F32": 1}}
		if diff := cmp.Diff(want, r.Weights); err != nil || diff != "" || len(r.Problems) > 0 {
			t.Errorf("%s: %v %v\n%s", format, err, r.Problems, diff)
		}
	}
}

// counting is a source of any size, of which only the header is there. It counts what is asked of it.
type counting struct {
	header []byte
	size   int64
	bytes  int64
	calls  int
}

func (c *counting) source() weights.Source {
	return weights.Source{Size: c.size, ReadAt: func(_ context.Context, p []byte, off int64) error {
		c.calls++
		c.bytes += int64(len(p))
		clear(p)
		if off < int64(len(c.header)) {
			copy(p, c.header[off:])
		}
		return nil
	}}
}

// TestOnlyTheHeaderIsRead: of files of terabytes, whatever is in their headers.
func TestOnlyTheHeaderIsRead(t *testing.T) {
	const tera = int64(1) << 40
	st := weightstest.SafetensorsOf(fmt.Sprintf(`{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, tera, tera), nil)
	vocabulary := make([]any, 100_000)
	for i := range vocabulary {
		vocabulary[i] = float32(i)
	}
	gg := weightstest.GGUFFile{Keys: []weightstest.Key{{Name: "scores", Value: vocabulary}}}.Write(tensor("a", "F32", 4))
	texts := make([]any, 100_000)
	for i := range texts {
		texts[i] = "token"
	}
	tokens := weightstest.GGUFFile{Keys: []weightstest.Key{{Name: "tokens", Value: texts}}}.Write(tensor("a", "F32", 4))
	for name, test := range map[string]struct {
		format string
		c      counting
		bytes  int64
		calls  int
	}{
		"safetensors":             {safetensors, counting{header: st, size: int64(len(st)) + tera}, 64 << 10, 1},
		"gguf, numbers skipped":   {gguf, counting{header: gg, size: tera}, 192 << 10, 2},
		"gguf, texts passed over": {gguf, counting{header: tokens, size: tera}, int64(2*len(tokens)) + 64<<10, 6},
	} {
		h, err := weights.Read(t.Context(), test.format, test.c.source(), weights.MaxHeaderBytes)
		if err != nil || len(h.Tensors) != 1 || test.c.bytes > test.bytes || test.c.calls > test.calls {
			t.Errorf("%s: %v, %v; %d bytes in %d calls, want at most %d in %d", name, h, err, test.c.bytes, test.c.calls, test.bytes, test.calls)
		}
	}
}

// TestHeaderLimit: a header that goes on beyond the caller's limit is refused before it is read.
func TestHeaderLimit(t *testing.T) {
	for format, b := range map[string][]byte{safetensors: weightstest.Safetensors(tensor("a", "F32", 4)), gguf: weightstest.GGUF(tensor("a", "F32", 4))} {
		c := counting{header: b, size: int64(len(b))}
		if _, err := weights.Read(t.Context(), format, c.source(), 50); !errors.Is(err, weights.ErrFormat) || c.bytes > 58 {
			t.Errorf("%s: %v after %d bytes", format, err, c.bytes)
		}
	}
}

// TestOnePieceIsBounded: what a decoder has to hold at once is not as long as the header.
func TestOnePieceIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		before, filler, after string
		what                  string // of the refusal
	}{
		"a text":            {`{"__metadata__":{"a":"`, "a", `"}}`, "more than"},
		"a name":            {`{"`, "a", `":{}}`, "more than"},
		"an entry":          {`{"a":{"x":"`, "a", `"}}`, "more than"},
		"a list":            {`{"a":{"x":[`, "0,", `0]}}`, "more than"},
		"blanks":            {`{`, " ", `}`, "more than"},
		"blanks at the end": {`{}`, " ", ``, "follows"},
	} {
		for mib, refused := range map[int]bool{1: false, 24: true} {
			if !refused && c.what == "more than" && name != "blanks" {
				continue // refused for what it says
			}
			n := mib << 20 / len(c.filler)
			b := weightstest.SafetensorsOf(c.before+strings.Repeat(c.filler, n)+c.after, nil)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := weights.Read(t.Context(), safetensors, source(b), weights.MaxHeaderBytes)
			runtime.ReadMemStats(&after)
			if refused != errors.Is(err, weights.ErrFormat) || refused && !strings.Contains(err.Error(), c.what) {
				t.Errorf("%s of %d MiB: %v", name, mib, err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
				t.Errorf("%s of %d MiB: %d MiB were allocated", name, mib, got>>20)
			}
		}
	}
}

// TestSourceErrors: a store that does not answer says nothing about the file.
func TestSourceErrors(t *testing.T) {
	down := errors.New("the store is down")
	var many []ballast.TensorInfo
	for i := range 5000 {
		many = append(many, tensor(fmt.Sprintf("layer.%d", i), "F32", 4))
	}
	for format, b := range map[string][]byte{safetensors: weightstest.Safetensors(many...), gguf: weightstest.GGUF(many...)} {
		reads := 0
		for fail := 0; ; fail++ {
			src, n := source(b), 0
			inner := src.ReadAt
			src.ReadAt = func(ctx context.Context, p []byte, off int64) error {
				if n++; n == fail+1 {
					return down
				}
				return inner(ctx, p, off)
			}
			_, err := weights.Read(t.Context(), format, src, weights.MaxHeaderBytes)
			if err == nil {
				break
			}
			if reads++; !errors.Is(err, down) || errors.Is(err, weights.ErrFormat) {
				t.Fatalf("%s, read %d fails: %v", format, fail+1, err)
			}
		}
		if reads < 2 {
			t.Errorf("%s: only %d reads could fail", format, reads)
		}
	}
}

// TestPromisesCostNothing: what a header promises is not allocated before it is there.
func TestPromisesCostNothing(t *testing.T) {
	u32, u64 := binary.LittleEndian.AppendUint32, binary.LittleEndian.AppendUint64
	begin := func(tensors, keys uint64) []byte { return u64(u64(u32([]byte("GGUF"), 3), tensors), keys) }
	array := append(append(u64(begin(0, 1), 1), 'k'), u64(u32(u32(nil, 9), 8), 1<<40)...)
	for name, c := range map[string]struct {
		format string
		file   []byte
	}{
		"tensors": {gguf, begin(1<<18, 0)}, "keys": {gguf, begin(0, 1<<16)}, "array": {gguf, array},
		"header": {safetensors, append(u64(nil, 90_000_000), '{')},
	} {
		src := counting{header: c.file, size: 1 << 40}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = weights.Read(t.Context(), c.format, src.source(), 1<<20)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
			t.Errorf("%s: %d bytes were allocated", name, got)
		}
	}
}
