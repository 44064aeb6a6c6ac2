package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/weights"
)

func (w *walked) look(ctx context.Context) error {
	files := make([]weights.File, 0, len(w.sources))
	for _, s := range w.sources {
		files = append(files, weights.File{Path: s.path, Source: weights.Source{Size: s.size, ReadAt: s.readAt}})
	}
	return w.inspect(ctx, files)
}

// inspect reads the headers of weight files before anything is sent. What is wrong with them is a warning, or with Strict
// a refusal; what they add up to is said in the metadata where the caller does not.
func (p *push) inspect(ctx context.Context, files []weights.File) error {
	found, err := weights.Inspect(ctx, files, weights.Limits{
		Files: ballast.MaxFiles, Header: weights.MaxHeaderBytes, Parallel: runtime.GOMAXPROCS(0), All: true,
	})
	if err != nil {
		return err
	}
	for _, problem := range found.Problems {
		p.warnings = append(p.warnings, problem.String())
	}
	if p.o.Strict && len(p.warnings) > 0 {
		return refuse(p.warnings)
	}
	for _, w := range p.warnings {
		p.note("warning: " + w)
	}
	p.countParameters(found.Weights)
	return nil
}

// readAt reads a range of a local file.
func (s source) readAt(ctx context.Context, b []byte, off int64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f, err := os.Open(s.file)
	if err != nil {
		return unusable(s.file, err)
	}
	defer f.Close()
	switch _, err := f.ReadAt(b, off); {
	case errors.Is(err, io.EOF): // it was longer a moment ago
		return changed(s.path)
	case err != nil:
		return unusable(s.file, err)
	}
	return nil
}

func refuse(warnings []string) error {
	const shown = 5
	text := strings.Join(warnings[:min(len(warnings), shown)], "; ")
	if more := len(warnings) - shown; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return ballast.Errorf(ballast.CodeInvalid, "nothing was sent: %s. Mend that, leave it out with --exclude, or push without --strict", text)
}

// countParameters fills in a number that the caller left open, unless the metadata would be too large with it.
func (p *push) countParameters(w *ballast.Weights) {
	m := p.o.Metadata
	if w == nil || w.Parameters == 0 || m.NumParameters != nil {
		return
	}
	m.NumParameters = &w.Parameters
	if m.Check() == nil {
		p.o.Metadata = m
	}
}
