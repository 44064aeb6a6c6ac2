package crash_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ballast-registry/ballast/testenv"
)

const (
	namespaceVariable = "BALLAST_POWERLOSS_MOUNTS" // the process has mounts of its own
	// requirePrograms is what CI sets so that nothing is left out for what the machine lacks.
	requirePrograms = "BALLAST_REQUIRE_PROGRAMS"
)

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 && os.Getenv(namespaceVariable) == "" { // never in the process of a store: that inherits it
		if code, err := runApart(); err == nil {
			os.Exit(code)
		}
	}
	testenv.Main(m)
}

// runApart runs this test binary again with mounts of its own: nobody else sees them, and they end with its processes.
// An error means that it could not be started.
func runApart() (code int, err error) {
	runtime.LockOSThread() // the child dies with the thread that started it
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), namespaceVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() < 0 {
		fmt.Fprintln(os.Stderr, err)
		return 2, nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// needPower skips the test on a machine where no power can be cut.
func needPower(t *testing.T) {
	t.Helper()
	var lacks []error
	switch {
	case os.Geteuid() != 0:
		lacks = append(lacks, errors.New("loop devices and mounts take root"))
	case os.Getenv(namespaceVariable) == "":
		lacks = append(lacks, errors.New("no mount namespace can be made here"))
	}
	for _, device := range []string{"/dev/fuse", "/dev/loop-control"} {
		if err := unix.Access(device, unix.R_OK|unix.W_OK); err != nil {
			lacks = append(lacks, fmt.Errorf("%s: %w", device, err))
		}
	}
	need(t, lacks, "cp", "mkfs.ext4", "mount")
}

// need skips the test where something or a program is lacking, and fails it where that is forbidden.
func need(t *testing.T, lacks []error, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			lacks = append(lacks, err)
		}
	}
	switch {
	case len(lacks) == 0:
	case os.Getenv(requirePrograms) == "1":
		t.Fatalf("%v (%s=1 forbids to skip)", errors.Join(lacks...), requirePrograms)
	default:
		t.Skip(errors.Join(lacks...))
	}
}

// limit bounds each wait for something that must happen, on a machine that does much else.
const limit = 2 * time.Minute

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// command runs a program that must succeed.
func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// unmount waits a while for who still uses the mount, then hides it: it ends with its last user.
func unmount(t *testing.T, dir string) {
	t.Helper()
	err := unix.Unmount(dir, 0)
	for deadline := time.Now().Add(10 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); err = unix.Unmount(dir, 0) {
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Logf("unmounting %s: %v", dir, errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)))
	}
}
