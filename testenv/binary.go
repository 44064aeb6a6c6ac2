package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Binary builds the real program, once per test binary, and returns its path. Its name is ballast.
func Binary(t testing.TB) string {
	t.Helper()
	return process.binary.get(t, buildBinary)
}

func buildBinary() (string, error) {
	dir, err := os.MkdirTemp("", "ballast-test-binary-")
	if err != nil {
		return "", fmt.Errorf("testenv: folder for the binary: %w", err)
	}
	atEnd(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "ballast")
	cmd := exec.Command("go", "build", "-o", path, "github.com/ballast-registry/ballast/cmd/registry")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("testenv: building the binary: %w\n%s", err, out)
	}
	return path, nil
}
