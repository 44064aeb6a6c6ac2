package weights_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/weights"
	"github.com/ballast-registry/ballast/internal/weights/weightstest"
)

var generous = weights.Limits{Files: 1000, Header: weights.MaxHeaderBytes, Parallel: 4, All: true}

func inspect(files map[string][]byte, change func(*weights.Limits)) (weights.Report, error) {
	var list []weights.File
	for p, b := range files {
		list = append(list, weights.File{Path: p, Source: source(b)})
	}
	l := generous
	if change != nil {
		change(&l)
	}
	return weights.Inspect(context.Background(), list, l)
}

func TestWhatCounts(t *testing.T) {
	f32 := func(name string, n int64) []byte { return weightstest.Safetensors(tensor(name, "F32", 4*n, n)) }
	sum := func(format string, files, tensors int, dtypes map[string]int64) *ballast.Weights {
		w := &ballast.Weights{Format: format, Files: files, Tensors: tensors, DTypes: dtypes}
		for _, n := range dtypes {
			w.Parameters += n
		}
		return w
	}
	for name, test := range map[string]struct {
		files    map[string][]byte
		want     *ballast.Weights
		problems []string // the beginnings of
	}{
		"nothing":    {files: map[string][]byte{"config.json": []byte("{}"), "pytorch_model.bin": []byte("pickle")}},
		"one file":   {files: map[string][]byte{"model.safetensors": f32("a", 3)}, want: sum(safetensors, 1, 1, map[string]int64{"F32": 3})},
		"no tensors": {files: map[string][]byte{"model.safetensors": weightstest.Safetensors()}, want: sum(safetensors, 1, 0, map[string]int64{})},
		"shards": {
			files: map[string][]byte{
				"model.safetensors.index.json": weightstest.Index("s1.safetensors", "s2.safetensors"), "s1.safetensors": f32("layer.0", 3), "s2.safetensors": f32("layer.1", 4),
				"consolidated.safetensors": f32("the.same.under.other.names", 7), "model.gguf": weightstest.GGUF(tensor("blk", "F16", 2, 1)),
			},
			want: sum(safetensors, 2, 2, map[string]int64{"F32": 7}),
		},
		"a tensor in two shards": {
			files:    map[string][]byte{"i.index.json": weightstest.Index("s1.safetensors", "s2.safetensors"), "s1.safetensors": f32("layer.0", 3), "s2.safetensors": f32("layer.0", 3)},
			want:     sum(safetensors, 2, 1, map[string]int64{"F32": 3}),
			problems: []string{`i.index.json names the tensor "layer.1", which its shard "s2.safetensors" does not hold`},
		},
		"folders of a pipeline": {
			files: map[string][]byte{"text_encoder/model.safetensors": f32("w", 3), "text_encoder_2/model.safetensors": f32("w", 4)},
			want:  sum(safetensors, 2, 2, map[string]int64{"F32": 7}),
		},
		"one model at several widths": {
			files: map[string][]byte{"m-F16.gguf": weightstest.GGUF(tensor("blk", "F16", 64, 32)), "m-Q4_0.gguf": weightstest.GGUF(tensor("blk", "Q4_0", 18, 32))},
			want:  sum(gguf, 2, 1, map[string]int64{"F16": 32}),
		},
		"a missing shard": {
			files:    map[string][]byte{"model.safetensors.index.json": weightstest.Index("s1.safetensors", "s2.safetensors"), "s1.safetensors": f32("layer.0", 3)},
			problems: []string{`model.safetensors.index.json names a shard that is not there: "s2.safetensors"`},
		},
		"a missing shard of another format": {
			files:    map[string][]byte{"pytorch_model.bin.index.json": weightstest.Index("p1.bin", "p2.bin"), "p1.bin": nil, "model.safetensors": f32("a", 1)},
			want:     sum(safetensors, 1, 1, map[string]int64{"F32": 1}),
			problems: []string{`pytorch_model.bin.index.json names a shard that is not there: "p2.bin"`},
		},
		"an index without a weight_map": {
			files:    map[string][]byte{"model.safetensors.index.json": []byte("{}"), "model.safetensors": f32("a", 1)},
			problems: []string{"model.safetensors.index.json is no index: it is not a JSON object with a weight_map"},
		},
		"an index that is no JSON": {
			files:    map[string][]byte{"pytorch_model.bin.index.json": []byte("x{"), "model.safetensors": f32("a", 1)},
			problems: []string{"pytorch_model.bin.index.json is no index"},
		},
		"a shard of another folder": {
			files:    map[string][]byte{"sub/model.safetensors.index.json": weightstest.Index("s1.safetensors"), "s1.safetensors": f32("layer.0", 3)},
			problems: []string{`sub/model.safetensors.index.json names a shard that is not there`},
		},
		"a shard that is cut": {
			files:    map[string][]byte{"i.index.json": weightstest.Index("s1.safetensors", "s2.safetensors"), "s1.safetensors": f32("layer.0", 3), "s2.safetensors": f32("layer.1", 3)[:20]},
			problems: []string{"s2.safetensors is cut short"},
		},
		"a GGUF file beside that is cut": {
			files:    map[string][]byte{"model.safetensors": f32("a", 1), "m.gguf": []byte("GG")},
			want:     sum(safetensors, 1, 1, map[string]int64{"F32": 1}),
			problems: []string{"m.gguf is cut short"},
		},
		"an index that is cut": {
			files:    map[string][]byte{"model.safetensors.index.json": weightstest.Index("s1.safetensors")[:20], "s1.safetensors": f32("layer.0", 3)},
			problems: []string{"model.safetensors.index.json does not hold valid JSON"},
		},
		"an index of numbers": {
			files:    map[string][]byte{"model.safetensors.index.json": []byte(`{"weight_map":{"a":1}}`), "s1.safetensors": f32("layer.0", 3)},
			problems: []string{"model.safetensors.index.json has a weight_map that does not name"},
		},
		"what is no index": {
			files: map[string][]byte{"words.index.json": []byte(` ["a"]`), "more.index.json": []byte(`{"a":{"weight_map":[{"x":[1]}]},"b":[]}`), "empty.index.json": nil, "m.safetensors": f32("a", 1)},
			want:  sum(safetensors, 1, 1, map[string]int64{"F32": 1}),
		},
		"capitals": {files: map[string][]byte{"MODEL.SAFETENSORS": f32("a", 1)}, want: sum(safetensors, 1, 1, map[string]int64{"F32": 1})},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := inspect(test.files, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, r.Weights); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
			if len(r.Problems) != len(test.problems) {
				t.Fatalf("problems: %v", r.Problems)
			}
			for i, p := range r.Problems {
				if !strings.HasPrefix(p.String(), test.problems[i]) {
					t.Errorf("problem %q, want %q…", p, test.problems[i])
				}
			}
			// Without All, what does not count is not read, and the sum is the same.
			if less, err := inspect(test.files, func(l *weights.Limits) { l.All = false }); err != nil || !cmp.Equal(less.Weights, test.want) {
				t.Errorf("without what does not count: %v, %v", less.Weights, err)
			}
		})
	}
}

func TestInspectLimits(t *testing.T) {
	files := map[string][]byte{}
	for i := range 5 {
		files[fmt.Sprintf("m%d.safetensors", i)] = weightstest.Safetensors(tensor(fmt.Sprint(i), "U8", 1))
	}
	if r, err := inspect(files, func(l *weights.Limits) { l.Files = 5 }); err != nil || r.Weights == nil {
		t.Errorf("five files of five: %v, %v", r, err)
	}
	if r, err := inspect(files, func(l *weights.Limits) { l.Files = 4 }); err != nil || r.Weights != nil || len(r.Problems) != 1 {
		t.Errorf("five files of four: %v, %v", r, err)
	}
	if r, err := inspect(files, func(l *weights.Limits) { l.Header = 20 }); err != nil || r.Weights != nil || len(r.Problems) != 5 {
		t.Errorf("headers over the limit: %v, %v", r, err)
	}
	if r, err := inspect(files, func(l *weights.Limits) { l.Total = 100 }); err != nil || r.Weights != nil || len(r.Problems) == 0 {
		t.Errorf("more bytes than may be read: %v, %v", r, err)
	}
	huge := weightstest.SafetensorsOf(`{"a":{"dtype":"NEW","shape":[9223372036854775807],"data_offsets":[0,1]},"b":{"dtype":"NEW","shape":[1],"data_offsets":[1,1]}}`, make([]byte, 1))
	if r, err := inspect(map[string][]byte{"m.safetensors": huge}, nil); err != nil || r.Weights != nil || len(r.Problems) != 1 {
		t.Errorf("more parameters than fit: %v, %v", r, err)
	}
}

// TestInspectRemembersNoNames: what many files make the reader remember of them is not as long as they make it.
func TestInspectRemembersNoNames(t *testing.T) {
	const files, perFile = 8, 1000
	long := strings.Repeat("n", 4000)
	var list []weights.File
	for i := range files {
		var shards []string
		header := []string{}
		for j := range perFile {
			shards = append(shards, fmt.Sprintf("%d-%d-%s", i, j, long))
			header = append(header, fmt.Sprintf(`"%d-%d-%s":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, i, j, long))
		}
		index, tensors := weightstest.Index(shards...), weightstest.SafetensorsOf("{"+strings.Join(header, ",")+"}", nil)
		list = append(list,
			weights.File{Path: fmt.Sprintf("%d/x.index.json", i), Source: source(index)},
			weights.File{Path: fmt.Sprintf("w/%d.safetensors", i), Source: source(tensors)})
	}
	held, most := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}, uint64(0)
	before := held()
	for i := range list { // whenever a file is begun, what was kept of those before it is live
		inner := list[i].ReadAt
		list[i].ReadAt = func(ctx context.Context, p []byte, off int64) error {
			if off == 0 {
				most = max(most, held())
			}
			return inner(ctx, p, off)
		}
	}
	r, err := weights.Inspect(t.Context(), list, weights.Limits{Files: 100, Header: 32 << 20, Parallel: 1})
	if err != nil || len(r.Problems) != files {
		t.Fatalf("%d problems, %v", len(r.Problems), err)
	}
	if kept := int64(most) - int64(before); kept > 16<<20 {
		t.Errorf("of %d MiB of names, %d MiB were kept", 2*files*perFile*len(long)>>20, kept>>20)
	}
}

// TestInspectSourceErrors: the sum of what could be read is no answer.
func TestInspectSourceErrors(t *testing.T) {
	down := errors.New("the store is down")
	for _, broken := range []string{"model.safetensors.index.json", "s1.safetensors", "s2.safetensors"} {
		var list []weights.File
		for p, b := range map[string][]byte{
			"model.safetensors.index.json": weightstest.Index("s1.safetensors", "s2.safetensors"),
			"s1.safetensors":               weightstest.Safetensors(tensor("a", "U8", 1)), "s2.safetensors": weightstest.Safetensors(tensor("b", "U8", 1)),
		} {
			f := weights.File{Path: p, Source: source(b)}
			if p == broken {
				f.ReadAt = func(context.Context, []byte, int64) error { return down }
			}
			list = append(list, f)
		}
		if r, err := weights.Inspect(t.Context(), list, generous); !errors.Is(err, down) {
			t.Errorf("%s: %v, %v", broken, r, err)
		}
	}
}
