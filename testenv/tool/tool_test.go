package tool_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ballast-registry/ballast/testenv/tool"
)

// repository makes a tree with one pinned program, tiny and without dependencies, and goes there.
func repository(t *testing.T) {
	t.Helper()
	root := t.TempDir()
	mod := filepath.Join(root, "testenv", "tools", "hello")
	for name, content := range map[string]string{
		"go.mod":      "module example.com/pin\n\ngo 1.26\n\ntool example.com/pin/cmd\n",
		"go.sum":      "",
		"cmd/main.go": "package main\n\nfunc main() { println(\"hello\") }\n",
	} {
		path := filepath.Join(mod, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(root)
	t.Setenv(tool.CacheVariable, filepath.Join(t.TempDir(), "cache"))
}

func TestBuildThenFind(t *testing.T) {
	repository(t)
	if _, err := tool.Find("hello"); !errors.Is(err, tool.ErrNotBuilt) {
		t.Fatalf("before the build: %v, want ErrNotBuilt", err)
	}
	built, err := tool.Build(t.Context(), "hello", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := tool.Find("hello"); err != nil || found != built {
		t.Fatalf("found %q, %v, want %q", found, err, built)
	}
	if info, err := os.Stat(built); err != nil || info.Mode()&0o111 == 0 {
		t.Fatalf("%v %v is no program", info, err)
	}
}

func TestChangedPinIsAnotherProgram(t *testing.T) {
	repository(t)
	if _, err := tool.Build(t.Context(), "hello", io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"more.go", "go.sum"} {
		if err := os.WriteFile("testenv/tools/hello/"+file, []byte("\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if path, err := tool.Find("hello"); !errors.Is(err, tool.ErrNotBuilt) {
			t.Fatalf("after %s changed: %q, %v, want ErrNotBuilt", file, path, err)
		}
	}
}

func TestParallelBuildsBuildOnce(t *testing.T) {
	repository(t)
	var group sync.WaitGroup
	logs := make([]strings.Builder, 4)
	for i := range logs {
		group.Go(func() {
			if _, err := tool.Build(t.Context(), "hello", &logs[i]); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	builds := 0
	for i := range logs {
		builds += strings.Count(logs[i].String(), "building hello")
	}
	if builds != 1 {
		t.Errorf("built %d times", builds)
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	repository(t)
	if err := os.WriteFile("testenv/tools/hello/cmd/main.go", []byte("package main\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tool.Build(t.Context(), "hello", io.Discard); err == nil {
		t.Fatal("a program without main was built")
	}
	if _, err := tool.Find("hello"); !errors.Is(err, tool.ErrNotBuilt) {
		t.Fatalf("after a failed build: %v, want ErrNotBuilt", err)
	}
}

func TestPinsOfTheRepository(t *testing.T) {
	names, err := tool.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"golangci-lint", "mc", "minio"} {
		if !strings.Contains(strings.Join(names, " "), want) {
			t.Errorf("%s is not among the pins %v", want, names)
		}
	}
}
