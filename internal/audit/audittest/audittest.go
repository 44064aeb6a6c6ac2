// Package audittest keeps an audit for a test, and holds every line of it to its form and to the rule that none has a
// secret.
package audittest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
)

// Audit is an audit in a folder of its own.
type Audit struct {
	*audit.Log
	Dir string
}

// Open begins one. Its clock goes on by a second with every line, so that no refusal is over the rate that refusals have.
func Open(t testing.TB, dir string) *Audit {
	t.Helper()
	folder, err := audit.OpenFolder(dir, audit.Bounds{}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	begun, seconds := time.Now(), atomic.Int64{}
	a := &Audit{audit.New(folder, audit.Options{
		Every: 10 * time.Millisecond, Clock: func() time.Time { return begun.Add(time.Duration(seconds.Add(1)) * time.Second) },
	}), dir}
	t.Cleanup(func() { a.Lines(t) })
	return a
}

// Lines ends the audit and returns what it wrote.
func (a *Audit) Lines(t testing.TB) []ballast.AuditEntry {
	t.Helper()
	if err := a.Close(); err != nil {
		t.Errorf("audit: %v", err)
	}
	return Read(t, a.Dir)
}

// Read returns all lines of a folder.
func Read(t testing.TB, dir string) (all []ballast.AuditEntry) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			var e ballast.AuditEntry
			if err := ballast.StrictUnmarshal(line, &e); err != nil || e.At.IsZero() || e.Action == "" {
				t.Errorf("%s: %v: %q", file, err, line)
			}
			if text := string(line); audit.Redact(text) != text || strings.Contains(strings.ToLower(text), "x-amz-") {
				t.Errorf("%s: a line of the audit has a secret: %s", file, line)
			}
			all = append(all, e)
		}
	}
	return all
}
