package faults_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/testenv"
)

// requirePrograms set to 1, as in CI, forbids to skip for the lack of a right.
const requirePrograms = "BALLAST_REQUIRE_PROGRAMS"

// disk is a small file system of a test's own.
type disk struct {
	t   *testing.T
	dir string
}

func newDisk(t *testing.T, bytes int64) disk {
	t.Helper()
	d := disk{t, t.TempDir()}
	err := unix.Mount("none", d.dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=700", bytes))
	switch {
	case errors.Is(err, unix.EPERM) && os.Getenv(requirePrograms) != "1":
		t.Skipf("only root may mount: %v", err)
	case err != nil:
		t.Fatalf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return d
}

// data is the folder for a service.
func (d disk) data() string { return filepath.Join(d.dir, "data") }

// fill takes all room but some bytes.
func (d disk) fill(leave int64) {
	d.t.Helper()
	var st unix.Statfs_t
	check(d.t, unix.Statfs(d.dir, &st))
	f := must[*os.File](d.t)(os.Create(filepath.Join(d.dir, "filler")))
	defer f.Close()
	if size := int64(st.Bavail)*int64(st.Bsize) - leave; size > 0 {
		check(d.t, unix.Fallocate(int(f.Fd()), 0, 0, size))
	}
	if leave > 0 {
		return
	}
	for _, block := range [][]byte{make([]byte, 1<<16), make([]byte, 1)} { // and what was set free meanwhile
		var err error
		for err == nil {
			_, err = f.WriteAt(block, must[os.FileInfo](d.t)(f.Stat()).Size())
		}
		if !errors.Is(err, syscall.ENOSPC) {
			d.t.Fatalf("filling the disk: %v", err)
		}
	}
}

func (d disk) free() {
	d.t.Helper()
	check(d.t, os.Remove(filepath.Join(d.dir, "filler")))
}

// untilFull changes the index until it finds no room: what it had set free before, it fills first.
func (w *world) untilFull() error {
	for range 5000 {
		if _, err := w.c.CreateUpload(w.t.Context(), ballast.CreateUpload{Name: ref("filler").Name, Attempt: fmt.Sprintf("%032x", random(16))}); err != nil {
			return err
		}
	}
	return nil
}

// TestFullDiskUnderTheIndex: nothing can be changed, all can be read, and with room again all goes on.
func TestFullDiskUnderTheIndex(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		d := newDisk(t, 16<<20)
		front := testenv.NewProxy(t, s.Endpoint)
		w := newWorldOf(t, start(t, d.data(), tillFull(serveCommand(t, s.Through(front), d.data()))))
		w.store, w.front = s, front
		w.filled()
		d.fill(0)
		err := w.untilFull()
		if err := refused("opening uploads", err, ballast.CodeUnavailable); err != nil {
			t.Fatal(err)
		}
		wantWords(t, err.Error(), "disk", "full", "room")
		if err := w.during(ballast.CodeUnavailable); err != nil {
			t.Error(err)
		}
		check(t, w.pull("kept:1"))
		w.wantExit(7, "push", newModel().write(t), "full:1")
		d.free()
		w.after()
	})
}

// TestFullDiskUnderTheStore: the embedded store and the index share a disk with too little room for a large file, then
// with none at all.
func TestFullDiskUnderTheStore(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 330<<20)
	w := newWorldOf(t, start(t, d.data(), tillFull(serveCommand(t, nil, d.data())))).filled()

	d.fill(100 << 20)
	done, err := w.commit(w.half)
	if done || ballast.CodeOf(err) != ballast.CodeUnavailable {
		t.Errorf("commit of a file that must be written twice: %t, %v", done, err)
	}
	small := model{"config.json": random(100)}
	check(t, w.push("small:1", small))
	w.kept["small:1"] = small
	d.free()

	d.fill(0)
	if err := w.during(ballast.CodeUnavailable); err != nil {
		t.Error(err)
	}
	if err := refused("push", w.push("full:1", newModel()), ballast.CodeUnavailable); err != nil {
		t.Error(err)
	}
	check(t, w.pull("kept:1"))
	d.free()

	w.recovered()
	w.stop(t)
	w.store = testenv.EmbeddedIn(t, d.data())
	w.atRest()
}

// tillFull lets a service change things as long as its disk takes a byte.
func tillFull(cmd *exec.Cmd) *exec.Cmd {
	cmd.Args = append(cmd.Args, "--min-free", "0")
	return cmd
}
