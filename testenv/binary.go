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
	return process.binary.get(t, func() (string, error) { return buildBinary() })
}

// FailpointBinary is Binary with the tag failpoints: it can be stopped at each of the steps of package failpoint.
func FailpointBinary(t testing.TB) string {
	t.Helper()
	return process.failpoints.get(t, func() (string, error) { return buildBinary("-tags", "failpoints") })
}

func buildBinary(flags ...string) (string, error) {
	dir, err := os.MkdirTemp("", "ballast-test-binary-")
	if err != nil {
		return "", fmt.Errorf("testenv: folder for the binary: %w", err)
	}
	atEnd(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "ballast")
	args := append(append([]string{"build"}, flags...), "-o", path, "github.com/ballast-registry/ballast/cmd/registry")
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("testenv: building the binary: %w\n%s", err, out)
	}
	return path, nil
}
