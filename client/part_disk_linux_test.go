package client

import (
	"errors"
	"math"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Where files lie in memory, room is looked for and not taken: that would write zeroes to all of it.
func TestReserveInMemoryWritesNothing(t *testing.T) {
	file, err := os.CreateTemp("/dev/shm", "ballast-test-reserve-")
	if err != nil {
		t.Skip("no file system in memory: ", err)
	}
	defer file.Close()
	if err := os.Remove(file.Name()); err != nil {
		t.Fatal(err)
	}
	room, memory := roomInMemory(file)
	if !memory {
		t.Skip("/dev/shm is no tmpfs")
	}
	if err := reserve(file, 8<<20); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil || st.Size != 8<<20 || st.Blocks != 0 {
		t.Errorf("%d bytes in %d blocks, %v", st.Size, st.Blocks, err)
	}
	if room == math.MaxInt64 {
		return
	}
	if _, err := file.WriteAt(make([]byte, 4<<20), 0); err != nil {
		t.Fatal(err)
	}
	if again, _ := roomInMemory(file); again < 4<<20 {
		t.Errorf("a file of 4 MiB may have %d bytes", again)
	}
	if err := reserve(file, 2*room); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("twice of what there is was reserved: %v", err)
	}
}
