package ballast

import "github.com/opencontainers/go-digest"

// The formats of weight files whose headers the registry reads, which are also the extensions of their names.
const (
	FormatSafetensors = "safetensors"
	FormatGGUF        = "gguf"
)

// Weights is what the headers of a version's weight files say, as the registry itself read them: nobody declares it.
// docs/formats.md says which files count.
type Weights struct {
	Format     string           `json:"format"`     // of the files that count: FormatSafetensors or FormatGGUF
	Files      int              `json:"files"`      // that count
	Tensors    int              `json:"tensors"`    // of these files; one name in one folder counts once
	Parameters int64            `json:"parameters"` // numbers that these tensors hold
	DTypes     map[string]int64 `json:"dtypes"`     // parameters of each type, as its format names it; "other" are those that the registry does not know
}

// TensorInfo is one tensor of a weight file.
type TensorInfo struct {
	Name   string  `json:"name"`
	DType  string  `json:"dtype"`  // as the format names it
	Shape  []int64 `json:"shape"`  // in the order of the file: GGUF has the innermost dimension first
	Offset int64   `json:"offset"` // of its first byte in the file
	Size   int64   `json:"size"`   // bytes; 0 also where the type is not known and the header does not say
}

// TensorsPage is one page of a weight file's tensors in the order of their bytes.
type TensorsPage struct {
	Key     string        `json:"key"`
	Digest  digest.Digest `json:"digest"` // of the manifest
	Path    string        `json:"path"`   // of the file
	Format  string        `json:"format"`
	Total   int           `json:"total"` // tensors of the file
	Tensors []TensorInfo  `json:"tensors"`
	Cursor  string        `json:"cursor,omitempty"`
}
