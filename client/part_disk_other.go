//go:build !linux

package client

import (
	"errors"
	"os"
	"path"
)

// reserve makes a file of size bytes.
func reserve(file *os.File, size int64) error { return file.Truncate(size) }

// writeBack is left to the system.
func writeBack(*os.File, int64, int64) {}

// syncFolder returns once the files at paths are on the disk, and their names.
func syncFolder(root *os.Root, paths []string) error {
	all := map[string]bool{".": true}
	for _, at := range paths {
		for ; at != "."; at = path.Dir(at) {
			all[at] = true
		}
	}
	for at := range all {
		if err := syncOne(root, at); err != nil {
			return err
		}
	}
	return nil
}

func syncOne(root *os.Root, at string) error {
	file, err := root.Open(at)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
