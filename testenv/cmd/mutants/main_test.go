package main

import (
	"path/filepath"
	"testing"
)

// TestMutantsCanBePlanted finds the mutants whose text has moved on, which `make mutants` would tell of much later.
func TestMutantsCanBePlanted(t *testing.T) {
	t.Chdir("../../..")
	files, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no mutants: %v", err)
	}
	for _, file := range files {
		m, err := parse(file)
		if err == nil {
			_, err = m.plant(t.TempDir())
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		m.old += "and what nobody wrote" // the control
		if _, err := m.plant(t.TempDir()); err == nil {
			t.Errorf("%s: what is not in %s was planted there", file, m.file)
		}
	}
}
