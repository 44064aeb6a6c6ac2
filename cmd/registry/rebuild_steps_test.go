package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/ballast-registry/ballast/internal/failpoint"
)

// stepsOfRebuild are the steps that the sources of a rebuild name, and where.
func stepsOfRebuild(t *testing.T) map[failpoint.Step]string {
	t.Helper()
	found := map[failpoint.Step]string{}
	for _, pattern := range []string{"engine/rebuild*.go", "index/rebuild*.go", "index/fill*.go"} {
		names, err := filepath.Glob(filepath.Join("../../internal", filepath.FromSlash(pattern)))
		if err != nil || len(names) == 0 {
			t.Fatalf("there is no %s: the test is blind (%v)", pattern, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if p, ok := s.X.(*ast.Ident); ok && p.Name == "failpoint" && !slices.Contains([]string{"Do", "Step"}, s.Sel.Name) {
						found[stepCalled(t, s.Sel.Name)] = filepath.Base(name)
					}
				}
				return true
			})
		}
	}
	for _, one := range []failpoint.Step{failpoint.BeginRebuild, failpoint.RebuildFill, failpoint.PutRecord, failpoint.FetchSnapshot} {
		if found[one] == "" {
			t.Fatalf("the step %s is not found: the test is blind", one)
		}
	}
	return found
}

// stepCalled is the step that sources call by a name: PutRecord is put-record.
func stepCalled(t *testing.T, name string) failpoint.Step {
	t.Helper()
	var text strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			text.WriteByte('-')
		}
		text.WriteRune(unicode.ToLower(r))
	}
	for _, s := range failpoint.Steps() {
		if s.String() == text.String() {
			return s
		}
	}
	t.Fatalf("failpoint.%s is no step by its name", name)
	return 0
}
