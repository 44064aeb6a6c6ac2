//go:build !nos3dev

package s3dev

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzReadKeys: a credentials file gives a pair that stands in its default profile, or is refused without showing what
// it holds; it is never changed.
func FuzzReadKeys(f *testing.F) {
	for _, s := range []string{
		"[default]\naws_access_key_id = ID\naws_secret_access_key = S=/+\n", "aws_access_key_id = ID\naws_secret_access_key = S\n", "[default]\naws_access_key_id = ID\n",
		"[other]\naws_access_key_id = ID\naws_secret_access_key = S\n[default]\n", " [default] \r\n# aws_access_key_id = X\r\naws_access_key_id=ID\r\naws_secret_access_key\t=\tS\r\n", "", "\x00", "[default",
		"[default]\naws_access_key_id = \naws_secret_access_key = S\n", "[default]\n" + strings.Repeat("a", 70_000),
	} {
		f.Add([]byte(s))
	}
	file := filepath.Join(f.TempDir(), "credentials")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := loadOrMakeKeys(file)
		if left, _ := os.ReadFile(file); !bytes.Equal(left, b) {
			t.Fatalf("%q was changed to %q", b, left)
		}
		if err != nil {
			if keys != (Keys{}) || len(err.Error()) > 300+len(file) {
				t.Errorf("%q: refused with %v, and gives %#v", b, err, keys)
			}
			return
		}
		for _, s := range []string{keys.ID, keys.Secret} {
			if s == "" || strings.TrimSpace(s) != s || strings.Contains(s, "\n") || !bytes.Contains(b, []byte(s)) {
				t.Errorf("%q gives %q", b, s)
			}
		}
		if strings.Contains(keys.String(), keys.Secret) && !strings.Contains(keys.ID, keys.Secret) {
			t.Errorf("%q shows its secret", b)
		}
	})
}
