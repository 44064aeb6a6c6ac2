package docs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// updateVariable set to 1 makes TestDependencies write the page anew: all but the reasons, which are the author's.
const updateVariable = "BALLAST_UPDATE"

var (
	dependencyRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]*) \\| ([^|]*) \\| ([^|]*) \\| ?(.*?) ?\\|$")
	indirectRow   = regexp.MustCompile(`(?m)^\| ([^|]+) \| (\d+) \| (.*) \|$`)
)

// dependency is a row of the page.
type dependency struct{ path, version, released, licence, why string }

func (d dependency) String() string {
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |", d.path, d.version, d.released, d.licence, d.why)
}

// TestDependencies holds dependencies.md to the go.mod files: a row for each direct requirement and each tool, with the version, the
// day of its release and the licence as the module cache has them, and every indirect one under its licence.
func TestDependencies(t *testing.T) {
	page := readPage(t)
	want, problems := regenerate(t, page, readMod(t, "../go.mod"))
	if os.Getenv(updateVariable) == "1" {
		if err := os.WriteFile("dependencies.md", []byte(want), 0o644); err != nil { //nolint:gosec // a page of the documentation
			t.Fatal(err)
		}
		page = want
	}
	for _, problem := range append(problems, differences(page, want)...) {
		t.Error(problem)
	}
	if t.Failed() {
		t.Logf("%s=1 go test ./docs -run TestDependencies writes all but the reasons", updateVariable)
	}
}

// TestDependenciesReportsWhatIsWrong is the control.
func TestDependenciesReportsWhatIsWrong(t *testing.T) {
	page, mod := readPage(t), readMod(t, "../go.mod")
	kong := dependencyRow.FindString(page)
	for name, c := range map[string]struct{ old, new, want string }{
		"a row that is gone":     {kong + "\n", "", "- | `github.com/alecthomas/kong`"},
		"one that nobody needs":  {kong, kong + "\n| `example.com/unused` | v1.0.0 | 2026-01-01 | MIT | fun |", "+ | `example.com/unused`"},
		"another version":        {"`github.com/alecthomas/kong` | v", "`github.com/alecthomas/kong` | v9", "+ | `github.com/alecthomas/kong` | v9"},
		"another licence":        {kong, strings.Replace(kong, "| MIT |", "| GPL-3.0 |", 1), "| GPL-3.0 |"},
		"another day":            {kong, strings.Replace(kong, "| 20", "| 19", 1), "| 19"},
		"no reason":              {kong, strings.Join(strings.Split(kong, "|")[:5], "|") + "|  |", "kong: why?"},
		"an indirect one hidden": {"`gopkg.in/ini.v1`", "", "- | Apache-2.0 |"},
		"a tool forgotten":       {"| `github.com/peak/s5cmd/v2` |", "| `github.com/peak/s5cmd/v3` |", "- | `github.com/peak/s5cmd/v2`"},
	} {
		doctored := strings.Replace(page, c.old, c.new, 1)
		if doctored == page {
			t.Errorf("%s: %q is not in the page", name, c.old)
			continue
		}
		want, problems := regenerate(t, doctored, mod)
		found := strings.Join(append(problems, differences(doctored, want)...), "\n")
		if !strings.Contains(found, c.want) {
			t.Errorf("%s: found %s, want %s", name, found, c.want)
		}
	}
}

func readPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

func readMod(t *testing.T, file string) *modfile.File {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse(file, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return mod
}

// regenerate returns the page as it should be, and what only its author can mend.
func regenerate(t *testing.T, page string, mod *modfile.File) (want string, problems []string) {
	t.Helper()
	old := map[string]dependency{}
	for _, m := range dependencyRow.FindAllStringSubmatch(page, -1) {
		old[m[1]] = dependency{m[1], m[2], m[3], m[4], m[5]}
	}
	cache := moduleCache(t)
	table := func(needed []module.Version) string {
		var rows []string
		for _, m := range needed {
			row := cache.look(t, m, old[m.Path])
			if row.why == "" {
				problems = append(problems, m.Path+": why? The last column says what it is for")
			}
			rows = append(rows, row.String())
		}
		return strings.Join(rows, "\n")
	}
	var direct, indirect []module.Version
	for _, r := range mod.Require {
		if r.Indirect {
			indirect = append(indirect, r.Mod)
		} else {
			direct = append(direct, r.Mod)
		}
	}
	want = section(t, page, "direct", table(direct))
	want = section(t, want, "tools", table(tools(t)))
	return section(t, want, "indirect", cache.byLicence(t, indirect, page)), problems
}

// section puts rows in the place of those between two marks of a page.
func section(t *testing.T, page, name, rows string) string {
	t.Helper()
	mark := regexp.MustCompile("(?s)(<!-- " + name + " -->\n[^\n]+\n[^\n]+\n).*?\n(<!-- /" + name + " -->)")
	if !mark.MatchString(page) {
		t.Fatalf("dependencies.md has no section %s", name)
	}
	return mark.ReplaceAllStringFunc(page, func(found string) string {
		m := mark.FindStringSubmatch(found)
		return m[1] + rows + "\n" + m[2]
	})
}

// differences are the lines that a page lacks (-) and those that it has instead (+).
func differences(page, want string) (found []string) {
	has, needs := strings.Split(page, "\n"), strings.Split(want, "\n")
	for _, line := range needs {
		if !slices.Contains(has, line) {
			found = append(found, "- "+line)
		}
	}
	for _, line := range has {
		if !slices.Contains(needs, line) {
			found = append(found, "+ "+line)
		}
	}
	return found
}

// tools are the programs that tests and lint run, each pinned by a go.mod of its own.
func tools(t *testing.T) (list []module.Version) {
	t.Helper()
	mods, err := filepath.Glob("../testenv/tools/*/go.mod")
	if err != nil || len(mods) == 0 {
		t.Fatalf("no tools: %v", err)
	}
	for _, file := range mods {
		mod := readMod(t, file)
		for _, r := range mod.Require {
			direct := !r.Indirect
			for _, tool := range mod.Tool {
				direct = direct || tool.Path == r.Mod.Path || strings.HasPrefix(tool.Path, r.Mod.Path+"/")
			}
			if direct {
				list = append(list, r.Mod)
			}
		}
	}
	return list
}

// modules is the module cache. What it lacks, because nobody built it here, is taken from the page.
type modules string

func moduleCache(t *testing.T) modules {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return modules(strings.TrimSpace(string(out)))
}

// look is the row of a module.
func (c modules) look(t *testing.T, m module.Version, old dependency) dependency {
	t.Helper()
	row := dependency{m.Path, m.Version, "?", "?", old.why}
	if old.version == m.Version {
		row.released, row.licence = old.released, old.licence
	}
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ Time time.Time }
	if text, err := os.ReadFile(filepath.Join(string(c), "cache", "download", escaped, "@v", m.Version+".info")); err == nil && json.Unmarshal(text, &info) == nil {
		row.released = info.Time.UTC().Format(time.DateOnly)
	}
	if found := licencesIn(filepath.Join(string(c), escaped+"@"+m.Version)); found != "" {
		row.licence = found
	}
	return row
}

// byLicence is the table of indirect modules.
func (c modules) byLicence(t *testing.T, list []module.Version, page string) string {
	t.Helper()
	old := map[string]string{}
	for _, m := range indirectRow.FindAllStringSubmatch(page, -1) {
		for name := range strings.FieldsSeq(m[3]) {
			old[strings.Trim(name, "`")] = m[1]
		}
	}
	by := map[string][]string{}
	for _, m := range list {
		licence := c.look(t, m, dependency{version: m.Version, licence: old[m.Path]}).licence
		by[licence] = append(by[licence], "`"+m.Path+"`")
	}
	var rows []string
	for licence, names := range by {
		slices.Sort(names)
		rows = append(rows, fmt.Sprintf("| %s | %d | %s |", licence, len(names), strings.Join(names, " ")))
	}
	slices.Sort(rows)
	return strings.Join(rows, "\n")
}

// phrases are by which a licence is known, in lower case with single blanks.
var phrases = []struct{ licence, phrase, without string }{
	{"AGPL-3.0", "gnu affero general public license version 3", ""},
	{"GPL-3.0", "gnu general public license version 3", ""},
	{"Apache-2.0", "apache license", ""},
	{"BSD-2-Clause", "redistribution and use in source and binary forms", "neither the name"},
	{"BSD-3-Clause", "neither the name", ""},
	{"ISC", "permission to use, copy, modify, and/or distribute", ""},
	{"ISC", "permission to use, copy, modify, and distribute", ""},
	{"MIT", "permission is hereby granted, free of charge", ""},
	{"MPL-2.0", "mozilla public license", ""},
	{"Unlicense", "this is free and unencumbered software", ""},
}

// licencesIn names the licences whose texts lie in the folder of a module; "" without a folder.
func licencesIn(folder string) string {
	files, err := os.ReadDir(folder)
	if err != nil {
		return ""
	}
	var found []string
	for _, f := range files {
		name := strings.ToLower(strings.TrimSuffix(f.Name(), path.Ext(f.Name())))
		if f.IsDir() || !slices.Contains([]string{"license", "licence", "copying", "unlicense"}, name) || strings.HasSuffix(f.Name(), ".docs") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			return ""
		}
		flat := strings.Join(strings.Fields(strings.ToLower(string(text))), " ")
		for _, p := range phrases {
			if strings.Contains(flat, p.phrase) && (p.without == "" || !strings.Contains(flat, p.without)) && !slices.Contains(found, p.licence) {
				found = append(found, p.licence)
			}
		}
	}
	if len(found) == 0 {
		return "none found"
	}
	slices.Sort(found)
	return strings.Join(found, " and ")
}
