package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/ballast-registry/ballast/testenv"
)

// settingsOf returns the flags and the variables that the commands know.
func settingsOf(t *testing.T) (flags, variables []string) {
	t.Helper()
	parser, err := kong.New(&commands{}, kong.Vars{"version": ""})
	if err != nil {
		t.Fatal(err)
	}
	_ = kong.Visit(parser.Model, func(node kong.Visitable, next kong.Next) error {
		if n, ok := node.(*kong.Node); ok {
			for _, f := range n.Flags {
				flags, variables = append(flags, "--"+f.Name), append(variables, f.Envs...)
			}
		}
		return next(nil)
	})
	return flags, append(variables, envURL, envToken, envTokenFile)
}

// TestDeployKnowsTheProgram: each BALLAST_… variable and each flag of the program in deploy, the Dockerfile and
// docs/operations.md is one that it has.
func TestDeployKnowsTheProgram(t *testing.T) {
	flags, variables := settingsOf(t)
	files := []string{"../../Dockerfile", "../../docs/operations.md"}
	err := filepath.WalkDir("../../deploy", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = regexp.MustCompile(`BALLAST_[A-Z_]+=\S+ go test`).ReplaceAll(text, nil) // which are the tests' own
		for _, name := range regexp.MustCompile(`\bBALLAST_[A-Z0-9_]+`).FindAllString(string(text), -1) {
			if seen++; !slices.Contains(variables, name) {
				t.Errorf("%s: the program knows no %s", file, name)
			}
		}
		for _, m := range regexp.MustCompile("[ `](--[a-z][a-z0-9-]+)").FindAllStringSubmatch(string(text), -1) {
			if strings.HasSuffix(file, ".md") && !slices.Contains(flags, m[1]) {
				t.Errorf("%s: the program has no %s", file, m[1])
			}
		}
	}
	if seen < 20 {
		t.Errorf("control: %d variables", seen)
	}
}

// metricName is that of one of the registry's own metrics.
var metricName = regexp.MustCompile(`\bballast_[a-z_]+`)

// TestMetricsAreDescribed: docs/operations.md has each metric that /metrics shows, and no other, and labels that they have.
func TestMetricsAreDescribed(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	described := metricName.FindAllString(string(text), -1)
	data := filepath.Join(t.TempDir(), "data")
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0", "--rate-limit", "0.001", "--rate-burst", "1"))
	for range 3 { // so that there are requests to count, and some over a limit
		_, _ = get(t, s.after(t, "export BALLAST_URL=")+"/v1/models", readToken(t, data))
	}
	_, body := get(t, s.after(t, "metrics  "), "")
	s.stop(t)
	var shown []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (ballast_[a-z_]+) `).FindAllStringSubmatch(body, -1) {
		shown = append(shown, m[1])
	}
	slices.Sort(described)
	slices.Sort(shown)
	if described = slices.Compact(described); !reflect.DeepEqual(described, shown) {
		t.Errorf("described:\n%s\nshown:\n%s", strings.Join(described, "\n"), strings.Join(shown, "\n"))
	}
	labels := regexp.MustCompile(`[a-z]+="[a-zA-Z-]+"`).FindAllString(string(text), -1)
	for _, label := range labels {
		if !strings.Contains(body, label) {
			t.Errorf("no metric has the label %s", label)
		}
	}
	if len(labels) < 4 {
		t.Errorf("control: labels %q", labels)
	}
}

// TestSystemdUnit is held to systemd's own reading of it, where there is one.
func TestSystemdUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	text, err := os.ReadFile("../../deploy/systemd/ballast.service")
	if err != nil {
		t.Fatal(err)
	}
	verify := func(unit string) (string, error) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "ballast.service")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(unit, "/usr/local/bin/ballast", testenv.Binary(t))), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput()
		return string(out), err
	}
	if out, err := verify(string(text)); err != nil || strings.Contains(out, "ballast.service") {
		t.Errorf("%v: %s", err, out)
	}
	if out, _ := verify(strings.Replace(string(text), "ProtectHome=", "ProtectHouse=", 1)); !strings.Contains(out, "ProtectHouse") {
		t.Errorf("control: a setting that is none passes: %s", out)
	}
}
