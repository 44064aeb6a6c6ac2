package client_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/weights/weightstest"
	"github.com/ballast-registry/ballast/testenv"
)

var tensor = weightstest.Tensor

// sharded is a model of two shards with 12 parameters.
func sharded() map[string][]byte {
	return map[string][]byte{
		"config.json":                  []byte("{}"),
		"model.safetensors.index.json": weightstest.Index("s-1.safetensors", "s-2.safetensors"),
		"s-1.safetensors":              weightstest.Safetensors(tensor("layer.0", "F32", 32, 2, 4)),
		"s-2.safetensors":              weightstest.Safetensors(tensor("layer.1", "BF16", 8, 4)),
	}
}

func TestPushCountsParameters(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c, dir := w.t, w.as("acme=writer"), folder(w.t, sharded())
		pushed, err := w.push(c, dir, "m", client.PushOptions{})
		w.must(err)
		want := &ballast.Weights{Format: "safetensors", Files: 2, Tensors: 2, Parameters: 12, DTypes: map[string]int64{"F32": 8, "BF16": 4}}
		if diff := cmp.Diff(want, pushed.Version.Weights); diff != "" {
			t.Errorf("weights: want (-), got (+):\n%s", diff)
		}
		if n := pushed.Version.Metadata.NumParameters; n == nil || *n != 12 || len(pushed.Warnings) > 0 {
			t.Errorf("num_parameters %v, warnings %q", n, pushed.Warnings)
		}
		again, err := w.push(c, dir, "m", client.PushOptions{})
		w.must(err)
		if !again.Unchanged || again.MetadataKept {
			t.Errorf("pushed again: %+v", again)
		}
		own := int64(13)
		said, err := w.push(c, dir, "said", client.PushOptions{Metadata: ballast.Metadata{NumParameters: &own}})
		w.must(err)
		if n := said.Version.Metadata.NumParameters; n == nil || *n != own || said.Version.Weights.Parameters != 12 {
			t.Errorf("a number of the caller's own became %v, the registry's is %+v", n, said.Version.Weights)
		}
		again, err = w.push(c, dir, "said", client.PushOptions{})
		w.must(err)
		if !again.Unchanged || again.MetadataKept {
			t.Errorf("what the caller did not say was taken for something said: %+v", again)
		}
		full, err := w.push(c, dir, "full", client.PushOptions{Metadata: ballast.Metadata{Description: strings.Repeat("d", ballast.MaxMetadataBytes-len(`{"description":""}`))}})
		w.must(err)
		if n := full.Version.Metadata.NumParameters; n != nil {
			t.Errorf("metadata that was full holds num_parameters %d", *n)
		}
	})
}

// TestWeightsThatAreNone: each is a warning, and with Strict a refusal before the registry is asked for anything.
func TestWeightsThatAreNone(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	nobody, err := client.New(client.Options{URL: "http://127.0.0.1:1"})
	w.must(err)
	for name, test := range map[string]struct {
		change  func(map[string][]byte)
		exclude []string
		want    []string
	}{
		"all well": {change: func(map[string][]byte) {}},
		"cut short": {
			change: func(f map[string][]byte) { f["s-2.safetensors"] = f["s-2.safetensors"][:90] },
			want:   []string{"s-2.safetensors is cut short"},
		},
		"not contiguous": {
			change: func(f map[string][]byte) {
				f["s-2.safetensors"] = weightstest.SafetensorsOf(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, make([]byte, 2))
			},
			want: []string{"s-2.safetensors has a gap or an overlap"},
		},
		"another format": {
			change: func(f map[string][]byte) { f["m.gguf"] = []byte("ggml of old"); delete(f, "config.json") },
			want:   []string{`m.gguf is no GGUF file: it begins with "ggml"`},
		},
		"a shard missing": {
			change: func(f map[string][]byte) { delete(f, "s-1.safetensors") },
			want:   []string{`model.safetensors.index.json names a shard that is not there: "s-1.safetensors"`},
		},
		"a shard left out": {
			change: func(map[string][]byte) {}, exclude: []string{"s-2*"},
			want: []string{`model.safetensors.index.json names a shard that is not there: "s-2.safetensors"`},
		},
		"two things": {
			change: func(f map[string][]byte) { delete(f, "s-1.safetensors"); f["s-2.safetensors"] = nil },
			want:   []string{"model.safetensors.index.json names", "s-2.safetensors is cut short"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := sharded()
			test.change(files)
			dir := folder(t, files)
			o := client.PushOptions{Exclude: test.exclude}
			pushed, err := w.push(c, dir, strings.ReplaceAll(name, " ", "-"), o)
			w.must(err)
			begins := func(got, want string) bool { return strings.HasPrefix(got, want) }
			if !slices.EqualFunc(pushed.Warnings, test.want, begins) {
				t.Errorf("warnings %q, want %q", pushed.Warnings, test.want)
			}
			sum := pushed.Version.Weights != nil && pushed.Version.Metadata.NumParameters != nil
			if ok := len(test.want) == 0 || name == "another format"; sum != ok {
				t.Errorf("weights %+v, num_parameters %v", pushed.Version.Weights, pushed.Version.Metadata.NumParameters)
			}
			o.Strict = true
			if len(test.want) == 0 {
				_, err = w.push(c, dir, "strictly", o)
				w.must(err)
				return
			}
			refused, err := w.push(nobody, dir, "m", o)
			if ballast.CodeOf(err) != ballast.CodeInvalid || !strings.Contains(err.Error(), test.want[0]) || !slices.EqualFunc(refused.Warnings, test.want, begins) {
				t.Errorf("strictly: %v, %q", err, refused.Warnings)
			}
		})
	}
}

// TestTheDemoModelIsSound: what another writer wrote, by the same format, passes without a warning.
func TestTheDemoModelIsSound(t *testing.T) {
	w, dir := newWorld(t, testenv.Embedded(t)), t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "run", "../scripts/genmodel", "-shards", "3", "-mib", "1", dir).CombinedOutput(); err != nil {
		t.Fatalf("genmodel: %v\n%s", err, out)
	}
	pushed, err := w.push(w.as("acme=writer"), dir, "m", client.PushOptions{Strict: true})
	w.must(err)
	want := &ballast.Weights{Format: "safetensors", Files: 3, Tensors: 3, Parameters: 3 << 18, DTypes: map[string]int64{"F32": 3 << 18}}
	if diff := cmp.Diff(want, pushed.Version.Weights); diff != "" {
		t.Errorf("weights: want (-), got (+):\n%s", diff)
	}
}

func TestTensorsArePaged(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c := w.t, w.as("acme=writer")
		var all []ballast.TensorInfo
		for i := range 1200 {
			all = append(all, tensor(fmt.Sprintf("blk.%d.weight", i), "F32", 4, 1))
		}
		_, err := w.push(c, folder(t, map[string][]byte{"deep/a b.safetensors": weightstest.Safetensors(all...), "m.gguf": weightstest.GGUF(all...)}), "m:1", client.PushOptions{})
		w.must(err)
		for _, path := range []string{"deep/a b.safetensors", "m.gguf"} {
			var got []string
			for t, err := range w.as("acme=reader").Tensors(t.Context(), ref(w.t, "m"), path) {
				w.must(err)
				got = append(got, t.Name)
			}
			if len(got) != len(all) || !slices.ContainsFunc(all, func(x ballast.TensorInfo) bool { return x.Name == got[0] }) || len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(all) {
				t.Errorf("%s: %d tensors", path, len(got))
			}
		}
	})
}
