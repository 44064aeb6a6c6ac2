package crash_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// disk is an image file behind a cache that loses its content when the power is cut.
type disk struct {
	fs.Inode
	size int64
	rnd  *rand.Rand
	// onCut runs at the moment of the cut, while no write or flush can come between.
	onCut func()

	mu      sync.Mutex
	now     *os.File // what readers see
	kept    *os.File // what outlasts a cut; no longer written after it
	pending []write  // in now and not yet in kept, oldest first
	flushes int
	cutAt   int // number of the flush that the cut falls on; 0: on none
	before  bool
	cut     chan struct{} // closed by the cut
}

type write struct {
	offset int64
	data   []byte
}

var _ = interface {
	fs.NodeGetattrer
	fs.NodeOpener
	fs.NodeReader
	fs.NodeWriter
	fs.NodeFsyncer
}((*disk)(nil))

const imageName = "image"

// serveDisk serves the image at path as the only file of a new mount and returns that file's path. What is flushed goes
// into the image; after the cut it is left alone.
func serveDisk(t *testing.T, image string, rnd *rand.Rand, onCut func()) (d *disk, device string) {
	t.Helper()
	d = &disk{rnd: rnd, onCut: onCut, cut: make(chan struct{})}
	d.kept = must[*os.File](t)(os.OpenFile(image, os.O_RDWR, 0))
	t.Cleanup(func() { d.kept.Close() })
	d.now = must[*os.File](t)(os.OpenFile(copyImage(t, image), os.O_RDWR, 0))
	t.Cleanup(func() { d.now.Close() })
	d.size = must[os.FileInfo](t)(d.kept.Stat()).Size()
	dir := t.TempDir()
	mountFUSE(t, dir, d)
	return d, filepath.Join(dir, imageName)
}

// mountFUSE mounts a file system that holds d. It opens the device itself: go-fuse would let children inherit it, and
// one that lives on keeps a dead file system waiting.
func mountFUSE(t *testing.T, dir string, d *disk) {
	t.Helper()
	fd := must[int](t)(unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0))
	const maxIO = 1 << 20
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,max_read=%d", fd, maxIO)
	check(t, unix.Mount("ballast-test-disk", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options))
	t.Cleanup(func() { unmount(t, dir) })
	root := &fs.Inode{}
	server, err := fs.Mount(fmt.Sprintf("/dev/fd/%d", fd), root, &fs.Options{
		MountOptions: fuse.MountOptions{MaxWrite: maxIO},
		OnAdd: func(ctx context.Context) {
			root.AddChild(imageName, root.NewPersistentInode(ctx, d, fs.StableAttr{Mode: syscall.S_IFREG}), false)
		},
	})
	check(t, err)
	t.Cleanup(func() { go server.Wait() })
}

// Getattr implements fs.NodeGetattrer.
func (d *disk) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(d.size)
	return 0
}

// Open implements fs.NodeOpener.
func (d *disk) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) { return nil, 0, 0 }

// Read implements fs.NodeReader.
func (d *disk) Read(_ context.Context, _ fs.FileHandle, dest []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	n, err := d.now.ReadAt(dest, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, syscall.EIO
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// Write implements fs.NodeWriter.
func (d *disk) Write(_ context.Context, _ fs.FileHandle, data []byte, offset int64) (uint32, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.now.WriteAt(data, offset); err != nil {
		return 0, syscall.EIO
	}
	if !d.isCut() {
		d.pending = append(d.pending, write{offset, bytes.Clone(data)})
	}
	return uint32(len(data)), 0
}

// Fsync implements fs.NodeFsyncer: the loop device asks for it when the file system flushes its disk.
func (d *disk) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isCut() {
		return 0
	}
	d.flushes++
	due := d.flushes == d.cutAt
	if due && d.before {
		return d.loseLocked()
	}
	for _, w := range d.pending {
		if _, err := d.kept.WriteAt(w.data, w.offset); err != nil {
			return syscall.EIO
		}
	}
	d.pending = nil
	if due {
		return d.loseLocked()
	}
	return 0
}

func (d *disk) isCut() bool {
	select {
	case <-d.cut:
		return true
	default:
		return false
	}
}

// cutNow cuts the power, unless it is cut.
func (d *disk) cutNow() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.isCut() {
		d.loseLocked()
	}
}

// cutAtFlush cuts the power at the nth flush from now, before or after it has had its effect.
func (d *disk) cutAtFlush(n int, before bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutAt, d.before = d.flushes+n, before
}

// piece is how much a disk writes whole or not at all, in bytes.
const piece = 4096

// loseLocked keeps of what was not flushed nothing, a beginning, or any pieces.
func (d *disk) loseLocked() (errno syscall.Errno) {
	d.onCut()
	defer close(d.cut)
	survives := []func() bool{
		func() bool { return false },
		beginning(d.rnd.IntN(1 + len(d.pending))),
		func() bool { return d.rnd.IntN(2) == 0 },
		func() bool { return d.rnd.IntN(10) > 0 },
	}[d.rnd.IntN(4)]
	for _, w := range d.pending {
		for from := 0; from < len(w.data); from += piece {
			part := w.data[from:min(from+piece, len(w.data))]
			if !survives() {
				continue
			}
			if _, err := d.kept.WriteAt(part, w.offset+int64(from)); err != nil {
				errno = syscall.EIO
			}
		}
	}
	return errno
}

// beginning is true for the first n calls.
func beginning(n int) func() bool {
	return func() bool { n--; return n >= 0 }
}

// copyImage makes a copy that the test may write to.
func copyImage(t *testing.T, image string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), imageName)
	command(t, "cp", "--sparse=always", image, to)
	return to
}

// newImage makes an image with an empty ext4.
func newImage(t *testing.T) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), imageName)
	check(t, os.WriteFile(image, nil, 0o600))
	check(t, os.Truncate(image, imageSize))
	command(t, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
	return image
}

// imageSize in bytes; the file has holes. The service leaves a quarter of a GiB free.
const imageSize = 2 << 30

// mountImage mounts an image on a loop device, which goes when it is unmounted.
func mountImage(t *testing.T, image string, options ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	command(t, "mount", "-t", "ext4", "-o", strings.Join(append(options, "loop", "noatime"), ","), image, dir)
	t.Cleanup(func() { unmount(t, dir) })
	return dir
}
