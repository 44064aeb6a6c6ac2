package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fileSystemName is what people call the file system of a magic number.
func fileSystemName(magic int64) string {
	switch uint32(magic) { //nolint:gosec // numbers of 32 bits
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.SMB_SUPER_MAGIC, 0xFE534D42:
		return "smb"
	case 0xFF534D42:
		return "cifs"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC:
		return "afs"
	case unix.CEPH_SUPER_MAGIC:
		return "ceph"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case 0x2FC12FC1:
		return "zfs"
	}
	return fmt.Sprintf("a file system of type %#x, which is not known to be a network's", uint32(magic)) //nolint:gosec // see above
}

func fileSystemOf(folder string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return "", fmt.Errorf("file system of %s: %w", folder, err)
	}
	return fileSystemName(int64(st.Type)), nil //nolint:unconvert // not everywhere of 64 bits
}

// clockIsSet asks the kernel whether something keeps the clock right.
func clockIsSet() (bool, error) {
	status, err := unix.Adjtimex(&unix.Timex{})
	if err != nil {
		return false, fmt.Errorf("the state of the clock: %w", err)
	}
	return status != unix.TIME_ERROR, nil
}
