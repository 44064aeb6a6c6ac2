package client

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// reserve makes a file of size bytes for which there is room on the disk, where the file system can promise that: a disk
// that is too small is then found out before anything has travelled.
func reserve(file *os.File, size int64) error {
	if room, memory := roomInMemory(file); memory {
		if room < size { // of this file alone, where fallocate would add up those that are open side by side
			return &os.PathError{Op: "reserve", Path: file.Name(), Err: unix.ENOSPC}
		}
		return file.Truncate(size)
	}
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		err = unix.Fallocate(int(file.Fd()), 0, 0, size)
	}
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		if errors.Is(err, full) {
			return &os.PathError{Op: "fallocate", Path: file.Name(), Err: err}
		}
	}
	if err != nil { // as some network and FUSE file systems say that they cannot
		err = file.Truncate(size)
	}
	return err
}

// roomInMemory is how many bytes a file may have on a file system that lies in memory, with those that it has; memory is
// false for others. To allocate there is to write zeroes, which took a quarter of a second a GiB while nothing else could be
// done with the cores, and nothing is kept together by it.
func roomInMemory(file *os.File) (room int64, memory bool) {
	var disk unix.Statfs_t
	var own unix.Stat_t
	if err := errors.Join(unix.Fstatfs(int(file.Fd()), &disk), unix.Fstat(int(file.Fd()), &own)); err != nil || disk.Type != unix.TMPFS_MAGIC {
		return 0, false
	}
	if disk.Blocks == 0 { // mounted without a limit
		return math.MaxInt64, true
	}
	const block = 512                              // bytes, whatever the file system's are
	free := int64(disk.Bavail) * int64(disk.Bsize) //nolint:unconvert // other types on other systems
	return free + own.Blocks*block, true
}

// writeBack has the kernel begin to write a range of the file to the disk, so that syncing has less to wait for.
func writeBack(file *os.File, from, length int64) {
	_ = unix.SyncFileRange(int(file.Fd()), from, length, unix.SYNC_FILE_RANGE_WRITE) // syncing tells what went wrong
}

// syncFolder returns once everything that was written to the root's file system is on its disk, names included. One call
// does for ten thousand files what would else take as many.
func syncFolder(root *os.Root, _ []string) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(dir.Fd())))
}
