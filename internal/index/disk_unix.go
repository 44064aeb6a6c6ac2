//go:build unix

package index

import "golang.org/x/sys/unix"

// freeBytes is the room on the disk of a folder; ok is false where that cannot be told.
func freeBytes(folder string) (free int64, ok bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true //nolint:unconvert // their types differ between systems
}
