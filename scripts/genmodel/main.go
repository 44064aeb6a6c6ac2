// Command genmodel writes a small model folder in the layout that Hugging Face models have: safetensors shards with an
// index, a config and a tokenizer. The files are valid and the weights depend on -seed only.
//
//	go run ./scripts/genmodel [-shards 2] [-mib 8] [-seed 1] DIR
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

func main() {
	shards := flag.Int("shards", 2, "safetensors `files`")
	mib := flag.Int("mib", 8, "`MiB` of weights in each")
	seed := flag.Uint64("seed", 1, "of the weights")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(flag.Arg(0), *shards, *mib, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "genmodel:", err)
		os.Exit(1)
	}
}

// index is model.safetensors.index.json.
type index struct {
	Metadata  map[string]int64  `json:"metadata"`
	WeightMap map[string]string `json:"weight_map"`
}

func write(dir string, shards, mib int, seed uint64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	ix := index{Metadata: map[string]int64{"total_size": int64(shards) * int64(mib) << 20}, WeightMap: map[string]string{}}
	for i := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, shards)
		tensor := fmt.Sprintf("model.layers.%d.mlp.weight", i)
		if err := writeShard(filepath.Join(dir, name), tensor, mib, rand.NewPCG(seed, uint64(i))); err != nil {
			return err
		}
		ix.WeightMap[tensor] = name
	}
	return writeJSON(dir, map[string]any{
		"model.safetensors.index.json": ix,
		"config.json": map[string]any{
			"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "torch_dtype": "float32",
			"hidden_size": columns, "intermediate_size": mib << 20 / 4 / columns, "num_hidden_layers": shards, "vocab_size": 4,
		},
		"tokenizer.json": map[string]any{
			"version": "1.0", "model": map[string]any{"type": "BPE", "vocab": map[string]int{"<s>": 0, "</s>": 1, "a": 2, "b": 3}, "merges": []string{}},
		},
	})
}

const columns = 256

// writeShard writes one tensor of mib MiB: the header's length, the header, the numbers.
func writeShard(file, tensor string, mib int, src rand.Source) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	size := int64(mib) << 20
	header, err := json.Marshal(map[string]any{
		"__metadata__": map[string]string{"format": "pt"},
		tensor:         map[string]any{"dtype": "F32", "shape": []int64{size / 4 / columns, columns}, "data_offsets": []int64{0, size}},
	})
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_ = binary.Write(w, binary.LittleEndian, uint64(len(header)))
	_, _ = w.Write(header)
	if err := writeWeights(w, size, rand.New(src)); err != nil {
		return err
	}
	return w.Flush()
}

func writeWeights(w io.Writer, size int64, r *rand.Rand) error {
	row := make([]float32, columns)
	for ; size > 0; size -= 4 * columns {
		for i := range row {
			row[i] = float32(r.NormFloat64())
		}
		if err := binary.Write(w, binary.LittleEndian, row); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(dir string, files map[string]any) error {
	for name, v := range files {
		b, err := json.MarshalIndent(v, "", "  ")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), append(b, '\n'), 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
