// Package lint proves that the layer rules of .golangci.yml bite: it plants violations in a copy of the tree's shape and
// wants each reported by its rule, and nothing else.
package lint

import (
	_ "embed"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ballast-registry/ballast/testenv"
)

//go:embed violations.txtar
var violations []byte

// config is the repository's, seen from this folder.
const config = "../../.golangci.yml"

var wantLine = regexp.MustCompile(`(?m)^// want: (.+)$`)

func TestLayerRulesReportPlantedViolations(t *testing.T) {
	linter := testenv.NeedTool(t, "golangci-lint")
	tree := t.TempDir()
	want := map[string]string{}
	var imports []string
	for _, file := range txtar.Parse(violations).Files {
		write(t, filepath.Join(tree, file.Name), file.Data)
		imports = append(imports, importsOf(t, file.Data)...)
		if m := wantLine.FindSubmatch(file.Data); m != nil {
			want[file.Name] = string(m[1])
		}
	}
	makePackages(t, tree, imports)
	rules, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tree, ".golangci.yml"), rules)

	got := reported(t, linter, tree)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("planted (-) and reported (+), as file: rule\n%s", diff)
	}
	for rule := range rulesOf(rules) {
		if !slices.Contains(slices.Collect(maps.Values(want)), rule) {
			t.Errorf("rule %q has no planted violation", rule)
		}
	}
}

const module = "github.com/ballast-registry/ballast"

func importsOf(t *testing.T, source []byte) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, spec := range file.Imports {
		paths = append(paths, strings.Trim(spec.Path.Value, `"`))
	}
	return paths
}

// majorVersion is the end of a module path that its version must agree with.
var majorVersion = regexp.MustCompile(`/v(\d+)$`)

// makePackages makes an empty package for each import: the module's own in their place, every other as a module of its
// own, so that nothing is downloaded.
func makePackages(t *testing.T, tree string, imports []string) {
	t.Helper()
	mod := "module " + module + "\n\ngo 1.26\n"
	slices.Sort(imports)
	for _, path := range slices.Compact(imports) {
		if dir, ok := strings.CutPrefix(path, module); ok {
			write(t, filepath.Join(tree, dir, "empty.go"), []byte("package ballast\n"))
			continue
		}
		if !strings.Contains(path, ".") {
			continue // the standard library
		}
		version := "v0.0.0"
		if m := majorVersion.FindStringSubmatch(path); m != nil {
			version = "v" + m[1] + ".0.0"
		}
		dir := "./other/" + path
		write(t, filepath.Join(tree, dir, "go.mod"), []byte("module "+path+"\n\ngo 1.26\n"))
		write(t, filepath.Join(tree, dir, "empty.go"), []byte("package empty\n"))
		mod += "require " + path + " " + version + "\nreplace " + path + " => " + dir + "\n"
	}
	write(t, filepath.Join(tree, "go.mod"), []byte(mod))
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

var listName = regexp.MustCompile(`from list '([^']+)'`)

// reported runs depguard alone on tree and returns the rule that reported each file.
func reported(t *testing.T, linter, tree string) map[string]string {
	t.Helper()
	cmd := exec.Command(linter, "run", "--enable-only=depguard", "--output.json.path=stdout", "--output.text.path=stderr", "--show-stats=false", "./...")
	cmd.Dir = tree
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var report struct {
		Issues []struct {
			FromLinter, Text string
			Pos              struct{ Filename string }
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	found := map[string]string{}
	for _, issue := range report.Issues {
		rule := issue.FromLinter + ": " + issue.Text
		if m := listName.FindStringSubmatch(issue.Text); m != nil {
			rule = m[1]
		}
		found[issue.Pos.Filename] += rule
	}
	return found
}

var ruleName = regexp.MustCompile(`(?m)^        (\w+):\n          list-mode:`)

func rulesOf(config []byte) map[string]bool {
	names := map[string]bool{}
	for _, m := range ruleName.FindAllSubmatch(config, -1) {
		names[string(m[1])] = true
	}
	return names
}
