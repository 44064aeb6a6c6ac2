package crash_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDiskLosesWhatWasNotFlushed: what was flushed before the cut is there after it, whatever else is; of the rest some
// cuts keep nothing, some keep a part.
func TestDiskLosesWhatWasNotFlushed(t *testing.T) {
	needPower(t)
	const pieces = 8
	nothing, parts := 0, 0
	for seed := range uint64(20) {
		image := filepath.Join(t.TempDir(), imageName)
		check(t, os.WriteFile(image, make([]byte, 2*pieces*piece), 0o600))
		t.Run("power", func(t *testing.T) {
			d, device := serveDisk(t, image, rand.New(rand.NewPCG(seed, 0)), func() {})
			// Not os.OpenFile: it asks the file for readiness, which is to be answered by the process that waits for it.
			fd := must[int](t)(unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0))
			defer unix.Close(fd)
			writePieces(t, fd, 0, pieces, 'a')
			check(t, unix.Fsync(fd))
			writePieces(t, fd, pieces, pieces, 'b')
			d.cutNow()
			writePieces(t, fd, 0, pieces, 'c')
			check(t, unix.Fsync(fd))
		})
		left := must[[]byte](t)(os.ReadFile(image))
		if flushed := left[:pieces*piece]; !bytes.Equal(flushed, bytes.Repeat([]byte{'a'}, len(flushed))) {
			t.Fatalf("seed %d: what was flushed is not there, or what was written after the cut is", seed)
		}
		switch kept := bytes.Count(left, []byte{'b'}); {
		case kept%piece != 0:
			t.Fatalf("seed %d: a piece is torn", seed)
		case kept == 0:
			nothing++
		case kept < pieces*piece:
			parts++
		}
	}
	if nothing == 0 || parts == 0 {
		t.Fatalf("20 cuts: %d kept nothing of what was not flushed, %d a part of it", nothing, parts)
	}
}

func writePieces(t *testing.T, fd, from, n int, content byte) {
	t.Helper()
	for i := from; i < from+n; i++ {
		_, err := unix.Pwrite(fd, bytes.Repeat([]byte{content}, piece), int64(i)*piece)
		check(t, err)
	}
}

// TestFileSystemLosesWhatWasNotFlushed: the same of files, through the file system and the loop device.
func TestFileSystemLosesWhatWasNotFlushed(t *testing.T) {
	needPower(t)
	image := newImage(t)
	t.Run("power", func(t *testing.T) {
		d, device := serveDisk(t, image, rand.New(rand.NewPCG(1, 0)), func() {})
		dir := mountImage(t, device, "commit=300")
		for _, name := range []string{"flushed", "not"} {
			f := must[*os.File](t)(os.Create(filepath.Join(dir, name)))
			_, err := f.WriteString(name)
			check(t, err)
			if name == "flushed" {
				check(t, f.Sync())
			}
			check(t, f.Close())
		}
		d.cutNow()
	})
	dir := mountImage(t, image)
	if got, err := os.ReadFile(filepath.Join(dir, "flushed")); string(got) != "flushed" {
		t.Errorf("a file that was flushed holds %q, %v", got, err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "not")); string(got) == "not" {
		t.Errorf("a file that was not flushed outlasted the cut: %v", err)
	}
}
