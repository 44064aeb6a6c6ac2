package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpenFilesAreWarnedOf: a start says which of its files others can read, and is silent about those that it made.
func TestOpenFilesAreWarnedOf(t *testing.T) {
	for name, c := range map[string]struct {
		open map[string]os.FileMode // by name in the data folder; "." is the folder
		want []string
	}{
		"as made":          {},
		"the group's":      {map[string]os.FileMode{".": 0o770, recordKeyFile: 0o640}, nil},
		"the folder":       {map[string]os.FileMode{".": 0o777}, []string{"."}},
		"only its list":    {map[string]os.FileMode{".": 0o755}, nil},
		"the first token":  {map[string]os.FileMode{tokenFile: 0o644}, []string{tokenFile}},
		"keys and index":   {map[string]os.FileMode{recordKeyFile: 0o604, indexFile: 0o666, "s3.credentials": 0o606}, []string{indexFile, recordKeyFile, "s3.credentials"}},
		"of no importance": {map[string]os.FileMode{"s3.lock": 0o644}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir, log := t.TempDir(), &bytes.Buffer{}
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{recordKeyFile, tokenFile, indexFile, "s3.credentials", "s3.lock"} {
				if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for file, mode := range c.open {
				if err := os.Chmod(filepath.Join(dir, file), mode); err != nil {
					t.Fatal(err)
				}
			}
			s := &serving{cmd: &serveCmd{}, data: dir, log: slog.New(slog.NewTextHandler(log, nil))}
			s.warnOfOpenFiles()
			if got := strings.Count(log.String(), "\n"); got != len(c.want) {
				t.Errorf("%d lines, want %d: %s", got, len(c.want), log)
			}
			for _, file := range c.want {
				if !strings.Contains(log.String(), "path="+filepath.Join(dir, file)+"\n") {
					t.Errorf("nothing about %s: %s", file, log)
				}
			}
		})
	}
}
