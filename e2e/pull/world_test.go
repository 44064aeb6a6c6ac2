package pull_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv(growVariable) != "" {
		grow()
		return
	}
	testenv.Main(m)
}

const (
	model       = "global::m::1"
	partSize    = 8 << 20
	connections = 4
)

// world is a registry with one model, its store behind a proxy that only clients go through.
type world struct {
	t     *testing.T
	front *testenv.Proxy
	*service
	sums map[string][sha256.Size]byte
	size int64
}

// service is a running `ballast serve` at an address that stays its own.
type service struct {
	cmd    *exec.Cmd
	again  func() *exec.Cmd
	env    []string // of a user
	stderr *bytes.Buffer
}

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

// eachStore runs a test on both stores.
func eachStore(t *testing.T, test func(w *world)) { eachStoreWith(t, 0, test) }

// eachStoreWith is eachStore for a model with so many small files more.
func eachStoreWith(t *testing.T, small int, test func(w *world)) {
	t.Parallel()
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		t.Parallel()
		test(newWorld(t, s, small))
	})
}

func newWorld(t *testing.T, s *testenv.Store, small int) *world {
	t.Helper()
	w := &world{t: t, front: testenv.NewProxy(t, s.Endpoint), sums: map[string][sha256.Size]byte{}}
	w.service = serve(t, s, w.front.URL)
	dir := t.TempDir()
	files := map[string]int{"large.bin": 61<<20 + 5, "shard-1.bin": 20 << 20, "shard-2.bin": 20<<20 + 1, "config.json": 700, "empty": 0}
	for n := range small {
		files[fmt.Sprintf("small-%d.bin", n)] = 1000
	}
	for name, n := range files {
		b := make([]byte, n)
		_, _ = rand.Read(b)
		w.sums[name], w.size = sha256.Sum256(b), w.size+int64(n)
		check(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	w.run("push", dir, model, "--part-size", "8MiB").want(t, 0)
	return w
}

func serve(t *testing.T, s *testenv.Store, front string) *service {
	t.Helper()
	listener := must[net.Listener](t)(net.Listen("tcp", "localhost:0"))
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	address := "localhost:" + port // another name than the store's
	check(t, listener.Close())
	data, home := t.TempDir(), t.TempDir()
	args := append([]string{"serve", "--data", data, "--listen", address, "--metrics-listen", "off", "--s3-public-endpoint", front}, s.ServeFlags()...)
	env := []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true"}
	r := &service{env: append(env, "BALLAST_URL=http://"+address, "BALLAST_TOKEN_FILE="+filepath.Join(data, "admin.token")), stderr: &bytes.Buffer{}}
	credentials := s.Credentials(t)
	r.again = func() *exec.Cmd {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), testenv.Binary(t), args...)
		cmd.Env, cmd.Stderr = append(env, "AWS_SHARED_CREDENTIALS_FILE="+credentials), r.stderr
		return cmd
	}
	check(t, r.start())
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() })
	return r
}

// start runs the service and waits until it has said where it is.
func (r *service) start() error {
	cmd := r.again()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.cmd = cmd
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "export BALLAST_TOKEN=") {
			return nil
		}
	}
	return fmt.Errorf("the service ended: %w: %s", cmd.Wait(), r.stderr)
}

// stop ends the service in order.
func (r *service) stop() error {
	return errors.Join(r.cmd.Process.Signal(syscall.SIGTERM), r.cmd.Wait())
}

// command is the real binary at work for a user.
func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.t.Context(), testenv.Binary(w.t), args...)
	cmd.Env = w.env
	return cmd
}

// outcome is how a command ended.
type outcome struct {
	code           int
	stdout, stderr string
}

func (w *world) run(args ...string) outcome {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := w.command(args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		w.t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func (o outcome) want(t *testing.T, code int) outcome {
	t.Helper()
	if o.code != code {
		t.Fatalf("exit code %d, want %d\n%s%s", o.code, code, o.stdout, o.stderr)
	}
	return o
}

// pullArgs pull the model as all tests do: without waiting for the disk, which is another's test.
func pullArgs(dir string, more ...string) []string {
	return append([]string{"pull", model, dir, "--parallel", fmt.Sprint(connections), "--no-sync"}, more...)
}

func (w *world) pull(dir string, more ...string) outcome {
	w.t.Helper()
	return w.run(pullArgs(dir, more...)...)
}

// wantModel compares a folder with what was pushed, by itself.
func (w *world) wantModel(dir string) {
	w.t.Helper()
	entries := must[[]os.DirEntry](w.t)(os.ReadDir(dir))
	if len(entries) != len(w.sums) {
		w.t.Errorf("the folder holds %d entries instead of %d", len(entries), len(w.sums))
	}
	for name, want := range w.sums {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || sha256.Sum256(b) != want {
			w.t.Errorf("%s: %d other bytes, %v", name, len(b), err)
		}
	}
}

// faults is what meets the downloads: none for most.
type faults func(number int64, r *http.Request) testenv.Fault

// meet has the proxy count downloads and hurt those that f picks.
func (w *world) meet(f faults) *testenv.Meter {
	m := &testenv.Meter{Fault: f}
	w.front.Clear()
	w.front.Add(func(r *http.Request) bool { return r.Method == http.MethodGet }, -1, m.Count)
	return m
}

// wantBytes holds what clients were sent to the bound.
func (w *world) wantBytes(m *testenv.Meter, interruptions int) {
	w.t.Helper()
	if err := w.overBound(m, interruptions); err != nil {
		w.t.Error(err)
	}
	w.t.Logf("%d bytes passed for a model of %d, %d interruptions", m.Passed.Load(), w.size, interruptions)
}

func (w *world) overBound(m *testenv.Meter, interruptions int) error {
	most := w.size + int64(interruptions)*connections*partSize
	if passed := m.Passed.Load(); passed < w.size || passed > most {
		return fmt.Errorf("%d bytes passed for a model of %d: with %d interruptions %d are allowed", passed, w.size, interruptions, most)
	}
	return nil
}

// counted hands a fault out and counts how often.
type counted struct {
	mu sync.Mutex
	n  int
}

func (c *counted) of(f testenv.Fault) testenv.Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return f
}

func (c *counted) times(t *testing.T) int {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		t.Error("the fault struck nothing")
	}
	return c.n
}

// soon is long enough for anything that has to happen on a machine that does much else.
const soon = 2 * time.Minute
