package client

import (
	"io/fs"
	"syscall"
	"time"
)

// identityOf is false for a file system that does not tell.
func identityOf(info fs.FileInfo) (identity, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || s.Ino == 0 {
		return identity{}, false
	}
	return identity{uint64(s.Dev), s.Ino, info.Size(), info.ModTime().UTC(), time.Unix(s.Ctimespec.Unix()).UTC()}, true
}
