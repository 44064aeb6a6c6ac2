//go:build linux || darwin

package index

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// boltLockHolder returns the id of the process that has the file at path locked, or 0 where the kernel does not tell:
// only Linux does, and not of processes in other containers.
func boltLockHolder(path string) (pid int) {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	locks, err := os.ReadFile("/proc/locks")
	if !ok || err != nil {
		return 0
	}
	id := fmt.Sprintf("%02x:%02x:%d", unix.Major(uint64(stat.Dev)), unix.Minor(uint64(stat.Dev)), stat.Ino)
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK ADVISORY WRITE 4711 fd:00:1234 0 EOF
		if f := strings.Fields(line); len(f) > 5 && f[1] == "FLOCK" && f[5] == id {
			_, _ = fmt.Sscan(f[4], &pid)
		}
	}
	return pid
}

// boltUnlock lets go of a file that bbolt has locked and mapped: as long as it is mapped, closing it does not unlock it.
func boltUnlock(file *os.File) error { return unix.Flock(int(file.Fd()), unix.LOCK_UN) }
