package engine

import (
	"errors"
	"os"
	"path/filepath"
)

// WriteSecret writes a new file with mode 0600, whole and to stay or not at all, and refuses to replace one.
func WriteSecret(path, text string) error { return putSecret(path, text, os.Link) }

// ReplaceSecret is WriteSecret in the place of what may be there.
func ReplaceSecret(path, text string) error { return putSecret(path, text, os.Rename) }

// putSecret gives the text its name when it is on disk: a loss of power may keep the name of a file and not what was
// written to it.
func putSecret(path, text string, place func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
