package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// page is one of docs.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// runbooks are the rows of a page that begin with a metric: its name, the alert, what it means, what to do.
func runbooks(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| `ballast_") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for n := range cells {
			cells[n] = strings.TrimSpace(cells[n])
		}
		rows = append(rows, cells)
	}
	return rows
}

// lacking are the rows with an alert that do not say what it means and what to do.
func lacking(rows [][]string) (names []string) {
	for _, cells := range rows {
		if len(cells) != 4 || cells[1] == "" || cells[1] != "—" && (cells[2] == "" || cells[3] == "") {
			names = append(names, cells[0])
		}
	}
	return names
}

// TestEachAlertHasARunbook: whoever is woken by a metric finds what it means and what to do; and each command that
// docs/operations.md names is one.
func TestEachAlertHasARunbook(t *testing.T) {
	text := page(t, "operations.md")
	rows := runbooks(text)
	if names := lacking(rows); len(names) > 0 || len(rows) < 20 {
		t.Errorf("of %d rows these lack something: %q", len(rows), names)
	}
	if bare := regexp.MustCompile("(?m)^(\\| `ballast_ready` .*)\\|[^|]+\\|$").ReplaceAllString(text, "$1| |"); len(lacking(runbooks(bare))) != 1 {
		t.Errorf("control: %q", lacking(runbooks(bare)))
	}
	parser, err := kong.New(&commands{}, kong.Vars{"version": ""})
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, node := range parser.Model.Children {
		known[node.Name] = true
	}
	named := regexp.MustCompile("`ballast ([a-z]+)").FindAllStringSubmatch(text, -1)
	for _, m := range named {
		if !known[m[1]] {
			t.Errorf("there is no ballast %s", m[1])
		}
	}
	if len(named) < 5 || known["doctors"] {
		t.Errorf("control: %d commands", len(named))
	}
}

// measurement is a command that repeats one.
var measurement = regexp.MustCompile(`go test [^\n` + "`" + `]*?(\./[a-z0-9/]+)`)

// chosen is the pattern of what it runs.
var chosen = regexp.MustCompile(`-(?:run|bench) ('[^']*'|\S+)`)

// unrepeatable are the commands of a text that run nothing.
func unrepeatable(t *testing.T, text string) (commands []string, tried int) {
	t.Helper()
	for _, m := range measurement.FindAllStringSubmatch(strings.ReplaceAll(text, `\|`, "|"), -1) {
		tried++
		var patterns []*regexp.Regexp
		for _, p := range chosen.FindAllStringSubmatch(m[0], -1) {
			if name, _, _ := strings.Cut(strings.Trim(p[1], "'"), "/"); name != "^$" {
				patterns = append(patterns, regexp.MustCompile(name))
			}
		}
		if !slices.ContainsFunc(testsOf(t, m[1]), func(name string) bool {
			return slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(name) })
		}) {
			commands = append(commands, m[0])
		}
	}
	return commands, tried
}

// testsOf are the tests and benchmarks of a package, by the names that patterns are held to.
func testsOf(t *testing.T, pkg string) (names []string) {
	t.Helper()
	files, err := filepath.Glob("../../" + pkg + "/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// TestMeasurementsCanBeRepeated: each command that docs give for a figure runs something.
func TestMeasurementsCanBeRepeated(t *testing.T) {
	for name, least := range map[string]int{"operations.md": 4, "performance.md": 6, "limits.md": 1} {
		if bad, tried := unrepeatable(t, page(t, name)); len(bad) > 0 || tried < least {
			t.Errorf("%s: of %d commands these run nothing: %q", name, tried, bad)
		}
	}
	if bad, _ := unrepeatable(t, "`go test -run 'TestOfNothing' ./e2e`"); len(bad) != 1 {
		t.Error("control: a test that is not there passes")
	}
}
