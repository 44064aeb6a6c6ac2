package deploy_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ballast-registry/ballast/testenv"
)

// box is a root folder of its own, as a container or a unit has one: the program and nothing else that could be run, and nothing that
// its user may write to but what is mounted.
type box struct {
	root    string
	program string // its path inside
	id      uint32 // of the user, who is no other on this machine, and of its group
}

// newBox makes one, with the program at a path inside.
func newBox(t *testing.T, program string, id int64) *box {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a root folder of its own takes root")
	}
	b := &box{t.TempDir(), program, uint32(id)}
	check(t, os.Chmod(b.root, 0o755))
	b.write(t, program, 0o755, content(t, testenv.Binary(t)))
	b.write(t, "/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n")) // which the kubelet mounts too
	return b
}

func (b *box) at(path string) string { return filepath.Join(b.root, path) }

// write puts a file of root's there that the group may read as mode says.
func (b *box) write(t *testing.T, path string, mode os.FileMode, text []byte) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(b.at(path)), 0o755))
	check(t, os.WriteFile(b.at(path), text, 0o600))
	check(t, os.Chown(b.at(path), 0, int(b.id)))
	check(t, os.Chmod(b.at(path), mode))
}

// mount makes a folder of root's. Its group may write there, unless it is mounted to be read.
func (b *box) mount(t *testing.T, path string, readOnly bool) {
	t.Helper()
	check(t, os.MkdirAll(b.at(path), 0o755))
	check(t, os.Chown(b.at(path), 0, int(b.id)))
	if !readOnly {
		check(t, os.Chmod(b.at(path), 0o2775)) // which is what an fsGroup makes of a volume
	}
}

// mountProc shows the kernel's folder of processes, as it is everywhere.
func (b *box) mountProc(t *testing.T) {
	t.Helper()
	check(t, os.Mkdir(b.at("/proc"), 0o555))
	if err := unix.Mount("/proc", b.at("/proc"), "", unix.MS_BIND, ""); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(b.at("/proc"), unix.MNT_DETACH) })
}

// command is the program inside, as its user.
func (b *box) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.program, args...)
	cmd.Env, cmd.Dir = env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: b.root, Credential: &syscall.Credential{Uid: b.id, Gid: b.id, Groups: []uint32{b.id}}}
	return cmd
}

// run runs it to its end, which has to be a good one, and returns what it said.
func (b *box) run(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := b.command(t.Context(), env, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v: %s%s", args, err, out, &said)
	}
	return string(out)
}

// onlyMounts is the control of a box: its user cannot write elsewhere, so the folder of data cannot be there.
func (b *box) onlyMounts(t *testing.T, env []string) {
	t.Helper()
	out, err := b.command(t.Context(), env, "doctor", "--data", "/elsewhere/data", "--listen", "localhost:0").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "/elsewhere/data cannot be used: ") || !strings.Contains(string(out), "permission denied") {
		t.Errorf("control: %v: %s", err, out)
	}
}

// running is a program in a box that goes on.
type running struct {
	cmd *exec.Cmd
	out *output
}

// output is what a process has said so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String implements fmt.Stringer.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (b *box) start(t *testing.T, env []string, args ...string) *running {
	t.Helper()
	r := &running{b.command(t.Context(), env, args...), &output{}}
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	check(t, r.cmd.Start())
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() })
	return r
}

// stop asks it to end, which it has to do in order and within the grace that its manager gives it.
func (r *running) stop(t *testing.T, grace time.Duration) {
	t.Helper()
	check(t, r.cmd.Process.Signal(syscall.SIGTERM))
	defer time.AfterFunc(grace, func() { _ = r.cmd.Process.Kill() }).Stop()
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("it did not end in order: %v: %s", err, r.out)
	}
}
