// Command mutants proves that the tests can fail: it plants each violation of testenv/mutants, one at a time, and wants
// the test that guards the rule to fail. The tree is not touched; the go command gets the changed file as an overlay.
//
//	go run ./testenv/cmd/mutants [NAME…]
//
// A violation is a txtar file. Its comment says which rule is broken, then names the changed file and the guard:
//
//	file: internal/hash/reader.go
//	test: ./internal/hash TestReaderRefusesWrongBytes
//	tags: failpoints
//
// The line tags is for guards that are built with some; subtests may be named, as in TestMatrix/killed.
//
// What stands behind the test is passed to it. The sections old and new hold the text to replace, which must occur once,
// and what to put there.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

const folder = "testenv/mutants"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string, out io.Writer) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("mutants: nothing in %s: run at the top of the repository (%w)", folder, err)
	}
	bad := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		verdict := "caught"
		if err := try(ctx, file); err != nil {
			verdict = err.Error()
			bad++
		}
		fmt.Fprintf(out, "%-40s %s\n", name, verdict)
	}
	if bad > 0 {
		return fmt.Errorf("mutants: %d were not caught", bad)
	}
	return ctx.Err()
}

// mutant is one planted violation.
type mutant struct {
	file, old, new string
	pkg, test      string
	tags           string
	flags          []string
}

// try returns nil when the guard fails on the mutant, and only on it.
func try(ctx context.Context, file string) error {
	m, err := parse(file)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ballast-mutant-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.plant(dir)
	if err != nil {
		return err
	}
	if out, err := m.goTest(ctx, overlay, "-run", "^$"); err != nil {
		return fmt.Errorf("does not compile:\n%s", out)
	}
	guard := []string{"-timeout=5m", "-run", "^(" + strings.ReplaceAll(m.test, "/", ")$/^(") + ")$"}
	out, err := m.goTest(ctx, overlay, append(guard, "-count=1")...)
	var exit *exec.ExitError
	switch {
	case strings.Contains(string(out), "panic: test timed out"):
		return fmt.Errorf("TIMED OUT %s, which is no verdict", m.test)
	case errors.As(err, &exit):
		return m.innocent(ctx, guard)
	case err != nil:
		return err
	case strings.Contains(string(out), "no tests to run"):
		return fmt.Errorf("STALE: there is no test %s", m.test)
	}
	return fmt.Errorf("SURVIVED %s", m.test)
}

// innocent returns nil when the guard passes without the mutant: one that always fails guards nothing.
func (m mutant) innocent(ctx context.Context, guard []string) error {
	if out, err := m.goTest(ctx, "", guard...); err != nil {
		return fmt.Errorf("FAILS ANYWAY %s: %w\n%s", m.test, err, out)
	}
	return nil
}

func (m mutant) goTest(ctx context.Context, overlay string, args ...string) ([]byte, error) {
	args = slices.Concat([]string{"test", "-tags=" + m.tags}, args, []string{m.pkg}, m.flags)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = os.Environ()
	if overlay != "" { // in GOFLAGS, so that a test which builds the real binary gets the mutant too
		cmd.Env = append(cmd.Env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	}
	return cmd.CombinedOutput()
}

func parse(file string) (mutant, error) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		return mutant{}, err
	}
	var m mutant
	for line := range strings.Lines(string(archive.Comment)) {
		if v, ok := strings.CutPrefix(line, "file: "); ok {
			m.file = strings.TrimSpace(v)
		}
		if v, ok := strings.CutPrefix(line, "test: "); ok {
			if words := strings.Fields(v); len(words) > 1 {
				m.pkg, m.test, m.flags = words[0], words[1], words[2:]
			}
		}
		if v, ok := strings.CutPrefix(line, "tags: "); ok {
			m.tags = strings.TrimSpace(v)
		}
	}
	for _, section := range archive.Files {
		switch section.Name {
		case "old":
			m.old = strings.TrimSuffix(string(section.Data), "\n")
		case "new":
			m.new = strings.TrimSuffix(string(section.Data), "\n")
		}
	}
	if m.file == "" || m.old == "" || m.test == "" {
		return mutant{}, fmt.Errorf("%s lacks file, test or old", file)
	}
	return m, nil
}

// plant writes the changed file and the overlay that puts it in place of the original, and returns the overlay's path.
func (m mutant) plant(dir string) (string, error) {
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return "", fmt.Errorf("STALE: the old text occurs %d times in %s", n, m.file)
	}
	changed := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600); err != nil {
		return "", err
	}
	content, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, content, 0o600)
}
