package audit_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
)

func page(t *testing.T) string { return string(must(os.ReadFile("../../docs/audit.md"))) }

// TestFieldsAreDocumented, and so are the actions.
func TestFieldsAreDocumented(t *testing.T) {
	text := page(t)
	for f := range reflect.TypeFor[ballast.AuditEntry]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !regexp.MustCompile("(?m)^\\|[^|]*`" + name + "`[^|]*\\|").MatchString(text) {
			t.Errorf("docs/audit.md has no row of the field %s", name)
		}
	}
	for _, a := range []ballast.AuditAction{ballast.AuditRead, ballast.AuditWrite, ballast.AuditAuth, ballast.AuditRefused, ballast.AuditLost} {
		if !strings.Contains(text, "| `"+string(a)+"` |") {
			t.Errorf("docs/audit.md has no row of %s", a)
		}
	}
}

var examples = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestExamplesRun runs the commands with jq in docs/audit.md over an audit, and looks at what they print.
func TestExamplesRun(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		if os.Getenv("BALLAST_REQUIRE_TOOLS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	folder := must(audit.OpenFolder(filepath.Join(dir, "audit"), audit.Bounds{}, time.Now))
	l := audit.New(folder, audit.Options{})
	for range 3 {
		l.Write(served(), good)
	}
	refused := good
	refused.Code, refused.Status, refused.Name = ballast.CodeRetired, 410, "gpu"
	l.Write(served(), refused)
	nobody := audit.Request{Method: "GET", Path: "/v1/models", Status: 401, Code: ballast.CodeUnauthenticated, Remote: "10.0.0.9"}
	l.Write(served(), nobody)
	must("", l.Close())
	if err := os.WriteFile(filepath.Join(dir, "audit", "audit-000000000009.jsonl"), []byte(`{"at":"2026-11-22T08:00:00.000000Z","action":"lines.lost","lost":7}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`^ *3 ci@acme\n$`,
		`"key": "acme::llama/tiny::1",\s+"bytes": 126\s`,
		`(?s)Z\tgpu@acme\t10\.0\.0\.7\tretired\tGET /v1/.*Z\t-\t10\.0\.0\.9\tunauthenticated\tGET /v1/models\n$`,
		`^7\n$`,
	}
	found := examples.FindAllStringSubmatch(page(t), -1)
	if len(found) != len(want) {
		t.Fatalf("%d examples", len(found))
	}
	for i, m := range found {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", m[1])
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || !regexp.MustCompile(want[i]).Match(out) {
			t.Errorf("%s: %v\n%s\nwant %s", m[1], err, out, want[i])
		}
	}
}
