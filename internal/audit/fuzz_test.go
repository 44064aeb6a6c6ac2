package audit_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
)

// FuzzReader gives the reader a file of anything: it ends, and what it answers is what was kept.
func FuzzReader(f *testing.F) {
	f.Add([]byte("{\"at\":\"2026-11-22T08:00:00Z\",\"action\":\"bytes.read\"}\n\n{\n"), int64(3))
	f.Add([]byte("\n\n\n"), int64(0))
	f.Add([]byte(`{"at":"2026-11-22T08:00:00Z","action":"x","scope":"UP"}`), int64(9))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte, offset int64) {
		if err := os.WriteFile(filepath.Join(dir, "audit-000000000002.jsonl"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		from := audit.Place{File: 2, Offset: max(offset, 0)}
		for range len(b) + 2 {
			page, err := audit.NewReader(dir).Back(t.Context(), audit.Search{From: from, Limit: 1, Budget: 1, Keep: func(e ballast.AuditEntry) bool { return e.Action != "" }})
			if err != nil {
				t.Fatal(err)
			}
			if page.Done {
				return
			}
			from = page.Next
		}
		t.Fatal("it does not end")
	})
}
