package client

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
)

// A version published through the API alone may hold a file that is named as pull names its unfinished ones.
func TestTidyKeepsTheFilesOfTheVersion(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-2 * staleAfter)
	for _, name := range []string{".ballast-mine.part", ".ballast-killed.part"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	p := &pull{root: root, all: []ballast.File{{Path: ".ballast-mine.part"}}}
	if err := p.tidy(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".ballast-*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != ".ballast-mine.part" {
		t.Errorf("left: %v, %v", left, err)
	}
}
