package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the top of the repository.
const root = ".."

var (
	rowLine  = regexp.MustCompile(`(?m)^\| (\d+|[AB]-W\d+) \|(.*)\|$`)
	testName = regexp.MustCompile("`([a-z0-9./]+) (Test[A-Za-z0-9_]+)(?:/([a-z-]+))?`")
	mutants  = []int{13, 19, 21, 27, 30, 38, 43, 44, 47, 55, 60, 63}
)

// TestOrigins holds origins.md to the tree: it has every row once, each with the test that proves it or the reason why
// there is none, and every test that it names exists.
func TestOrigins(t *testing.T) {
	page, err := os.ReadFile("origins.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems(os.DirFS(root), string(page)) {
		t.Error(problem)
	}
}

// TestOriginsReportsWhatIsWrong is the control.
func TestOriginsReportsWhatIsWrong(t *testing.T) {
	page, err := os.ReadFile("origins.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"a test that is gone":  {"`internal/api TestHealthTakesNoLock`", "`internal/api TestHealthTakesALock`", "row 69: there is no internal/api TestHealthTakesALock"},
		"a script that is":     {"TestScripts/filters", "TestScripts/sieves", "row 33: there is no cmd/registry TestScripts/sieves"},
		"another package":      {"`internal/index TestDelete`", "`internal/engine TestDelete`", "row 52: there is no internal/engine TestDelete"},
		"a row without proof":  {"`internal/api TestHealthTakesNoLock`", "–", "row 69: names no test and gives no reason"},
		"a row that is gone":   {"| 47 |", "| 48 |", "row 47: is there 0 times"},
		"a row twice":          {"| 47 |", "| 48 |", "row 48: is there 2 times"},
		"a weakness forgotten": {"| B-W22 |", "| B-W23 |", "row B-W22: is there 0 times"},
	} {
		doctored := strings.Replace(string(page), c.old, c.new, 1)
		if found := problems(os.DirFS(root), doctored); !slices.Contains(found, c.want) {
			t.Errorf("%s: found %q, want %q", name, found, c.want)
		}
	}
	if found := problems(os.DirFS("."), string(page)); !slices.Contains(found, "row 13: no mutant breaks its rule") {
		t.Errorf("no mutants: found %q", found)
	}
}

func problems(tree fs.FS, page string) (found []string) {
	report := func(row, format string, args ...any) {
		found = append(found, "row "+row+": "+fmt.Sprintf(format, args...))
	}
	times := map[string]int{}
	for _, m := range rowLine.FindAllStringSubmatch(page, -1) {
		row, text := m[1], m[2]
		times[row]++
		tests := testName.FindAllStringSubmatch(text, -1)
		if len(tests) == 0 && !strings.Contains(row, "W") && !strings.Contains(text, "**Other**") {
			report(row, "names no test and gives no reason")
		}
		for _, test := range tests {
			if !exists(tree, test[1], test[2], test[3]) {
				report(row, "there is no %s", strings.Trim(test[0], "`"))
			}
		}
	}
	for _, row := range wanted() {
		if times[row] != 1 {
			report(row, "is there %d times", times[row])
		}
	}
	for _, row := range mutants {
		if files, err := fs.Glob(tree, fmt.Sprintf("testenv/mutants/row-%02d-*.txtar", row)); err != nil || len(files) == 0 {
			report(fmt.Sprint(row), "no mutant breaks its rule")
		}
	}
	return found
}

// wanted are the rows: 70 behaviours, 20 weaknesses of A and 22 of B.
func wanted() (rows []string) {
	for kind, n := range map[string]int{"": 70, "A-W": 20, "B-W": 22} {
		for i := range n {
			rows = append(rows, fmt.Sprintf("%s%d", kind, i+1))
		}
	}
	return rows
}

// exists reports whether a folder has a test of that name; a subtest of TestScripts is a script.
func exists(tree fs.FS, folder, test, script string) bool {
	if script != "" {
		_, err := fs.Stat(tree, path.Join(folder, "testdata", script+".txtar"))
		return test == "TestScripts" && err == nil
	}
	files, err := fs.Glob(tree, path.Join(folder, "*_test.go"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(files, func(file string) bool {
		source, err := fs.ReadFile(tree, file)
		return err == nil && strings.Contains(string(source), "\nfunc "+test+"(t *testing.T)")
	})
}
