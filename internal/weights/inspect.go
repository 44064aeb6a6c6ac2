package weights

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
)

// File is one file of a version.
type File struct {
	Path string
	Source
}

// Limits of one Inspect.
type Limits struct {
	Files    int   // weight files and indexes that are read
	Header   int64 // bytes of one header, and of one index
	Total    int64 // bytes that are read of all of them; 0: no limit
	Parallel int   // files read side by side; memory grows with it
	// All reads the weight files that do not count too, for what is wrong with them, and looks for the tensors that an
	// index names in their shards.
	All bool
}

// Problem is what is wrong with one file, as the end of a sentence that begins with its path.
type Problem struct{ Path, What string }

// String returns path and what is wrong.
func (p Problem) String() string { return p.Path + " " + p.What }

// Report is what Inspect found.
type Report struct {
	// Weights is nil when no file counts, and when one that does could not be read: part of a sum would be a lie.
	Weights  *ballast.Weights
	Problems []Problem // by path
}

// Inspect reads the headers of a version's weight files. Which of them count is decided so that a model that is there
// in several forms is not counted several times:
//
//   - safetensors files, and GGUF files only where there is none;
//   - in a folder with an index of safetensors shards, the shards that it names;
//   - in one folder, of the tensors of one name the first by its file's path.
//
// Errors are those of the sources; what is wrong with the files is in the report.
func Inspect(ctx context.Context, files []File, l Limits) (Report, error) {
	in := &inspection{limits: l, files: map[string]File{}, problems: map[string]string{}, named: map[string]bool{}, indexed: map[string]bool{}, expected: map[string][]expectation{}}
	for _, f := range files {
		f.ReadAt = in.budgeted(f.ReadAt)
		in.files[f.Path] = f
	}
	if err := in.readIndexes(ctx); err != nil {
		return Report{}, err
	}
	format := ""
	for p := range in.files {
		if f := FormatOf(p); f == ballast.FormatSafetensors || format == "" {
			format = f
		}
	}
	var weights []File
	counts := map[string]bool{}
	for p, f := range in.files {
		counts[p] = FormatOf(p) == format && (in.named[p] || !in.indexed[path.Dir(p)])
		if FormatOf(p) != "" && (counts[p] || l.All) {
			weights = append(weights, f)
		}
	}
	if format == "" {
		return in.report(nil), nil
	}
	slices.SortFunc(weights, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	sum, err := in.sum(ctx, weights, format, counts)
	if err != nil {
		return Report{}, err
	}
	return in.report(sum), nil
}

// inspection is one run of Inspect.
type inspection struct {
	limits   Limits
	files    map[string]File          // by path
	problems map[string]string        // by path
	partial  bool                     // the sum would lack something
	named    map[string]bool          // shards that are there, by path
	indexed  map[string]bool          // folders with an index of safetensors shards
	expected map[string][]expectation // of shards, by path
	read     int                      // files
	bytes    atomic.Int64             // of what was read
}

func (in *inspection) report(sum *ballast.Weights) (r Report) {
	if !in.partial {
		r.Weights = sum
	}
	for p, what := range in.problems {
		r.Problems = append(r.Problems, Problem{p, what})
	}
	slices.SortFunc(r.Problems, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return r
}

// within counts one more file to read and reports whether it may be.
func (in *inspection) within(p string) bool {
	if in.read++; in.read <= in.limits.Files {
		return true
	}
	in.problems[p] = fmt.Sprintf("is not read: of one version %d files are", in.limits.Files)
	in.partial = true
	return false
}

// budgeted is a ReadAt that ends when all of them together have read what they may.
func (in *inspection) budgeted(readAt func(context.Context, []byte, int64) error) func(context.Context, []byte, int64) error {
	return func(ctx context.Context, p []byte, off int64) error {
		if total := in.limits.Total; in.bytes.Add(int64(len(p))) > total && total > 0 {
			return bad("is not read to its end: the headers of one version are read up to %d bytes", total)
		}
		return readAt(ctx, p, off)
	}
}

// readIndexes reads every *.index.json and notes the shards that it names.
func (in *inspection) readIndexes(ctx context.Context) error {
	for p, f := range in.files {
		if !mayBeIndex(p) || !in.within(p) {
			continue
		}
		shards, err := readIndex(ctx, f.Source, in.limits.Header, !in.limits.All)
		if err == nil && shards == nil && isIndex(p) {
			err = bad("is no index: it is not a JSON object with a weight_map")
		}
		if errors.Is(err, ErrFormat) {
			in.problems[p], in.partial = err.Error(), true
			continue
		}
		if err != nil {
			return err
		}
		var missing []string
		for _, s := range slices.Sorted(maps.Keys(shards)) {
			shard := path.Join(path.Dir(p), s)
			safetensors := FormatOf(shard) == ballast.FormatSafetensors
			if safetensors {
				in.indexed[path.Dir(p)] = true
			}
			if _, ok := in.files[shard]; ok {
				in.named[shard] = true
				if FormatOf(shard) != "" && in.limits.All {
					in.expected[shard] = append(in.expected[shard], expectation{p, shards[s]})
				}
			} else {
				missing = append(missing, quote(s))
				in.partial = in.partial || safetensors
			}
		}
		if len(missing) > 0 {
			in.problems[p] = lacks(missing)
		}
	}
	return nil
}

// expectation is what an index says of one shard.
type expectation struct {
	index   string // its path
	tensors []string
}

// compare looks in a shard for the tensors that indexes name in it.
func (in *inspection) compare(shard string, tensors []ballast.TensorInfo) {
	if len(in.expected[shard]) == 0 {
		return
	}
	held := make(map[string]bool, len(tensors))
	for _, t := range tensors {
		held[t.Name] = true
	}
	for _, e := range in.expected[shard] {
		i := slices.IndexFunc(e.tensors, func(name string) bool { return !held[name] })
		if i >= 0 && in.problems[e.index] == "" {
			in.problems[e.index] = fmt.Sprintf("names the tensor %s, which its shard %s does not hold", quote(e.tensors[i]), quote(shard))
		}
	}
	delete(in.expected, shard)
}

func lacks(missing []string) string {
	const shown = 5
	if n := len(missing) - shown; n > 0 {
		return fmt.Sprintf("names %d shards that are not there: %s and %d more", len(missing), strings.Join(missing[:shown], ", "), n)
	}
	if len(missing) == 1 {
		return "names a shard that is not there: " + missing[0]
	}
	return fmt.Sprintf("names %d shards that are not there: %s", len(missing), strings.Join(missing, ", "))
}

// sum reads the headers of files, sorted by path, and adds up those that count.
func (in *inspection) sum(ctx context.Context, files []File, format string, counts map[string]bool) (*ballast.Weights, error) {
	s := summing{w: &ballast.Weights{Format: format, DTypes: map[string]int64{}}, seen: map[[sha256.Size]byte]bool{}}
	files = slices.DeleteFunc(files, func(f File) bool { return !in.within(f.Path) })
	for files := range slices.Chunk(files, max(in.limits.Parallel, 1)) {
		headers, err := in.readAll(ctx, files)
		if err != nil {
			return nil, err
		}
		for i, f := range files {
			if headers[i] == nil {
				in.partial = in.partial || counts[f.Path]
				continue
			}
			in.compare(f.Path, headers[i].Tensors)
			if what := s.add(f.Path, headers[i].Tensors, counts[f.Path]); what != "" {
				in.problems[f.Path], in.partial = what, true
			}
		}
	}
	return s.w, nil
}

// readAll reads headers side by side; that of a file with a problem is nil.
func (in *inspection) readAll(ctx context.Context, files []File) ([]*Header, error) {
	headers := make([]*Header, len(files))
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for i, f := range files {
		g.Go(func() error {
			h, err := Read(ctx, FormatOf(f.Path), f.Source, in.limits.Header)
			if errors.Is(err, ErrFormat) {
				mu.Lock()
				defer mu.Unlock()
				in.problems[f.Path] = err.Error()
				return nil
			}
			headers[i] = &h
			return err
		})
	}
	return headers, g.Wait()
}

// summing adds tensors up.
type summing struct {
	w    *ballast.Weights
	seen map[[sha256.Size]byte]bool // hashes of folder and name, which are long and many
}

// add counts the tensors of one file. It returns why that cannot be done, if so.
func (s *summing) add(p string, tensors []ballast.TensorInfo, counts bool) (problem string) {
	if !counts {
		return ""
	}
	s.w.Files++
	folder := path.Dir(p)
	for _, t := range tensors {
		at := sha256.Sum256([]byte(folder + "\x00" + t.Name))
		if s.seen[at] {
			continue
		}
		if len(s.seen) == MaxTensors {
			return fmt.Sprintf("is one too many: together the files have more than %d tensors, which are not summed", MaxTensors)
		}
		s.seen[at] = true
		n, _ := elements(t.Shape)
		if n > math.MaxInt64-s.w.Parameters {
			return "has more parameters than can be counted"
		}
		dtype := t.DType
		if !known(s.w.Format, dtype) {
			dtype = "other"
		}
		s.w.Tensors++
		s.w.Parameters += n
		s.w.DTypes[dtype] += n
	}
	return ""
}
