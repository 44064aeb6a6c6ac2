// Package crash kills a running registry and cuts the power under it, as tests. It exports nothing.
//
// Publishers push to the real binary, which is killed with -9 at some moment or step and started again on the same folder:
// what was ever reported ready is there, every invariant holds, and every push that was cut off goes on.
//
// A killed process loses nothing that the kernel has, so other tests put a disk under the kernel: the data folder is an
// ext4 file system on a loop device, the image of which is a file of a FUSE file system that keeps on a cut what was
// flushed and, of the rest, nothing, a beginning, or any part, as disks do. A cut falls at some moment while publishers
// push, while the service starts, around a flush, or at the worst moments that are known. What is left is mounted afresh,
// held to the invariants, and a registry started on it: every version that was ever reported ready is there, and every
// push that was cut off goes on.
//
// The controls run the same program with a kernel that forgets one kind of sync (strace answers the system call and does
// nothing); each must lose something. Another test reads from the system calls of one push that objects are flushed before
// the index relies on them, and the index before the answer.
//
// The power is also cut before and after steps of package failpoint, under the walk of internal/engine that takes them all.
//
// A service that is told to stop while publishers push is killed, and the power is cut, before and after each step of its
// end.
//
// Cutting the power needs Linux, root, loop devices, /dev/fuse, mkfs.ext4, mount and strace. All mounts are made in a mount
// namespace of the test's own, so that they are gone with it, however it ends. BALLAST_KILLS sets the number of kills,
// BALLAST_POWER_CUTS that of cuts at some moment; from 100 on every step has its cuts.
package crash
