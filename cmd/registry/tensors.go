package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/weights"
)

// inside says what is inside in one line; of nothing known it is empty.
func inside(w *ballast.Weights) string {
	if w == nil {
		return ""
	}
	var types []string
	for _, t := range slices.Sorted(maps.Keys(w.DTypes)) {
		types = append(types, t+" "+humanize.Comma(w.DTypes[t]))
	}
	text := fmt.Sprintf("%s, %s in %s, %s parameters", w.Format, count(w.Tensors, "tensor"), count(w.Files, "file"), humanize.Comma(w.Parameters))
	if len(types) > 0 {
		text += ": " + strings.Join(types, ", ")
	}
	return text
}

// tensors asks for those of every weight file. One that has no header to read is said to have none.
func (a *app) tensors(ctx context.Context, c *client.Client, ref ballast.Ref, files []ballast.FileInfo) ([]fileTensors, error) {
	all := []fileTensors{}
	for _, f := range files {
		if weights.FormatOf(f.Path) == "" {
			continue
		}
		tensors, err := collect(c.Tensors(ctx, ref, f.Path))
		if ballast.CodeOf(err) == ballast.CodePrecondition {
			fmt.Fprintf(a.stderr, "no tensors are listed: %s\n", harmless(ballast.AsError(err).Detail))
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, fileTensors{f.Path, tensors})
	}
	return all, nil
}

func (a *app) tensorTable(files []fileTensors) error {
	var rows [][]string
	for _, f := range files {
		for _, t := range f.Tensors {
			rows = append(rows, []string{f.Path, t.Name, t.DType, strings.ReplaceAll(fmt.Sprint(t.Shape), " ", "×"), size(t.Size)})
		}
	}
	fmt.Fprintln(a.stdout)
	return a.table([]string{"FILE", "TENSOR", "TYPE", "SHAPE", "SIZE"}, rows)
}
