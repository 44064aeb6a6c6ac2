package client

import (
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// cloneFile makes to share the blocks of from until one of them is written to, where the file system can.
func cloneFile(to, from *os.File) error { return unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) }

// linkFile gives an open file one more name. Going by the descriptor, no folder on the way can be swapped for another.
func linkFile(file *os.File, root *os.Root, name string) error {
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	from := "/proc/self/fd/" + strconv.Itoa(int(file.Fd()))
	if err := unix.Linkat(unix.AT_FDCWD, from, int(dir.Fd()), path.Base(name), unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: file.Name(), New: name, Err: err}
	}
	return nil
}
