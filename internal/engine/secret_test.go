package engine_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ballast-registry/ballast/internal/engine"
)

func TestSecretsStandAloneAndAreTheirOwners(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := engine.WriteSecret(path, "first"); err != nil {
		t.Fatal(err)
	}
	if err := engine.WriteSecret(path, "second"); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("writing over a secret: %v", err)
	}
	wantSecret(t, dir, "first")
	if err := engine.ReplaceSecret(path, "third"); err != nil {
		t.Fatal(err)
	}
	wantSecret(t, dir, "third")
}

// wantSecret wants one file in dir, with the text, for its owner alone.
func wantSecret(t *testing.T, dir, text string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v beside the secret, %v", entries, err)
	}
	path := filepath.Join(dir, entries[0].Name())
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode of the secret: %v, %v", info.Mode(), err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Fatalf("the secret is %q, want %q: %v", got, text, err)
	}
}
