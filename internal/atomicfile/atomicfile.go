// Package atomicfile gives a file its name once it is whole and on disk: whoever opens it, after whatever crash, finds all
// of it or nothing. A loss of power may keep the name of a file and nothing of what was written to it.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Create writes a new file with mode 0600, to stay. Errors: fs.ErrExist when there is one, which is left as it is.
func Create(path, text string) error { return write(path, text, Name) }

// Replace is Create in the place of what may be there.
func Replace(path, text string) error { return write(path, text, replace) }

func write(path, text string, place func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return place(f.Name(), path)
}

// Name gives the file at from, which is whole and on disk, the name to in the same folder, to stay. from may keep its own
// name. Errors: fs.ErrExist when the name is taken.
func Name(from, to string) error { return name(from, to, os.Link) }

func name(from, to string, link func(from, to string) error) error {
	err := link(from, to)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EPERM) { // as link(2) says it of a file system
		err = renameNew(from, to, err)
	}
	// Whoever is told that the name is taken relies on it too, so it has to stay for both.
	if err := syncFolder(filepath.Dir(to)); err != nil {
		return err
	}
	return err
}

func replace(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(to))
}

// renameNew is for a file system without hard links, as some network and FUSE ones are. Renaming replaces; so whoever gives
// a name there holds the folder's lock while it looks and renames.
func renameNew(from, to string, noLink error) error {
	unlock, err := lockFolder(filepath.Dir(to))
	if err != nil {
		return fmt.Errorf("the file system has neither hard links (%w) nor locks of folders (%w): use a folder on another one", noLink, err)
	}
	defer unlock()
	switch _, err := os.Lstat(to); {
	case err == nil:
		return &fs.PathError{Op: "create", Path: to, Err: fs.ErrExist}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return os.Rename(from, to)
}

// syncFolder makes the names of a folder outlast a loss of power.
func syncFolder(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
