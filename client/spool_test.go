package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAbandonedSpoolsGo: what an import left and nobody went on with is removed; what is younger, is locked or is no spool stays.
func TestAbandonedSpoolsGo(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	plant := func(name string, age time.Duration) string {
		folder := filepath.Join(dir, name)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"lock", "a.bytes"} {
			path := filepath.Join(folder, file)
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
				t.Fatal(err)
			}
		}
		return folder
	}
	old, held, recent, other := strings.Repeat("0a", 16), strings.Repeat("1b", 16), strings.Repeat("2c", 16), "models"
	for _, name := range []string{old, held, other} {
		plant(name, spoolLife+time.Hour)
	}
	fresh := filepath.Join(plant(recent, spoolLife+time.Hour), "a.bytes")
	if err := os.Chtimes(fresh, now.Add(-time.Hour), now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	running := &spool{dir: filepath.Join(dir, held)}
	if err := running.take(); err != nil {
		t.Fatal(err)
	}
	defer running.close()
	sweepSpools(dir, now.Add(-spoolLife))
	for name, stays := range map[string]bool{old: false, held: true, recent: true, other: true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}
