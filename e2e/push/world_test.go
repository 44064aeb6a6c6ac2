package push_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	model       = "global::m::1"
	partSize    = 8 << 20
	connections = 4
)

// world is a registry and a folder to push, its store behind a proxy that only clients go through.
type world struct {
	t     *testing.T
	front *testenv.Proxy
	*service
	dir  string
	sums map[string][sha256.Size]byte
	size int64
}

// service is a running `ballast serve` at an address that stays its own.
type service struct {
	cmd    *exec.Cmd
	again  func() *exec.Cmd
	env    []string // of a user
	home   string
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
func eachStore(t *testing.T, test func(w *world)) {
	t.Parallel()
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		t.Parallel()
		test(newWorld(t, s))
	})
}

func newWorld(t *testing.T, s *testenv.Store) *world {
	t.Helper()
	w := &world{t: t, front: testenv.NewProxy(t, s.Endpoint), sums: map[string][sha256.Size]byte{}}
	w.service = serve(t, s, w.front.URL)
	w.dir = t.TempDir()
	for name, n := range map[string]int{"large.bin": 61<<20 + 5, "shard-1.bin": 20 << 20, "shard-2.bin": 20<<20 + 1, "config.json": 700, "empty": 0} {
		w.add(name, n)
	}
	return w
}

// add puts a file of n random bytes into the folder.
func (w *world) add(name string, n int) {
	w.t.Helper()
	b := make([]byte, n)
	_, _ = rand.Read(b)
	w.sums[name], w.size = sha256.Sum256(b), w.size+int64(n)
	check(w.t, os.WriteFile(filepath.Join(w.dir, name), b, 0o600))
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
	r := &service{home: home, env: append(env, "BALLAST_URL=http://"+address, "BALLAST_TOKEN_FILE="+filepath.Join(data, "admin.token")), stderr: &bytes.Buffer{}}
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

// pushArgs push the folder as all tests do.
func (w *world) pushArgs(more ...string) []string {
	return append([]string{"push", w.dir, model, "--parallel", fmt.Sprint(connections), "--part-size", "8MiB"}, more...)
}

func (w *world) push(more ...string) outcome {
	w.t.Helper()
	return w.run(w.pushArgs(more...)...)
}

// wantModel pulls what was pushed and compares it with the folder, by itself.
func (w *world) wantModel() {
	w.t.Helper()
	w.front.Clear()
	dir := w.t.TempDir()
	w.run("pull", model, dir, "--no-sync").want(w.t, 0)
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

// gauge counts what clients send to the store, and what they send again although the store has it.
type gauge struct {
	taken    atomic.Int64 // bytes of bodies
	requests atomic.Int64
	open     atomic.Int64 // requests that are being served
	fault    func(number int64, r *http.Request) testenv.Fault

	mu    sync.Mutex
	acked map[string]bool // what the store has acknowledged: a key, or a part of one
	again []string        // of these, what was sent again
	parts int             // requests for parts
}

// meet has the proxy count uploads and hurt those that f picks.
func (w *world) meet(f func(number int64, r *http.Request) testenv.Fault) *gauge {
	g := &gauge{fault: f, acked: map[string]bool{}}
	w.front.Clear()
	w.front.Add(func(r *http.Request) bool { return r.Method == http.MethodPut }, -1, g.count)
	return g
}

func (g *gauge) count(w http.ResponseWriter, r *http.Request, next http.Handler) {
	number := g.requests.Add(1)
	g.open.Add(1)
	defer g.open.Add(-1)
	what := r.URL.Path + " part " + r.URL.Query().Get("partNumber")
	g.mu.Lock()
	held := g.acked[what]
	if r.URL.Query().Has("partNumber") {
		g.parts++
	}
	g.mu.Unlock()
	r.Body = &weighed{ReadCloser: r.Body, read: func(n int) {
		if g.taken.Add(int64(n)); held && n > 0 {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.again = append(g.again, what)
			held = false
		}
	}}
	store := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&acknowledging{w, func() { g.mu.Lock(); defer g.mu.Unlock(); g.acked[what] = true }}, r)
	})
	if g.fault != nil {
		if fault := g.fault(number, r); fault != nil {
			fault(w, r, store)
			return
		}
	}
	store.ServeHTTP(w, r)
}

type weighed struct {
	io.ReadCloser
	read func(int)
}

// Read implements io.Reader.
func (b *weighed) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read(n)
	return n, err
}

type acknowledging struct {
	http.ResponseWriter
	acked func()
}

// WriteHeader implements http.ResponseWriter.
func (a *acknowledging) WriteHeader(status int) {
	if status == http.StatusOK {
		a.acked()
	}
	a.ResponseWriter.WriteHeader(status)
}

// wantBytes holds what clients sent to the bound, and to nothing that the store had.
func (w *world) wantBytes(g *gauge, interruptions int) {
	w.t.Helper()
	if err := w.overBound(g, interruptions); err != nil {
		w.t.Error(err)
	}
	w.t.Logf("%d bytes were sent of a model of %d, %d interruptions", g.taken.Load(), w.size, interruptions)
}

func (w *world) overBound(g *gauge, interruptions int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	most := w.size + int64(interruptions)*connections*partSize
	switch taken := g.taken.Load(); {
	case len(g.again) > 0:
		return fmt.Errorf("sent again, though the store had it: %v", g.again)
	case taken < w.size || taken > most:
		return fmt.Errorf("%d bytes were sent of a model of %d: with %d interruptions %d are allowed", taken, w.size, interruptions, most)
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
