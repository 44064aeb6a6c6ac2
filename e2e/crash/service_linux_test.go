package crash_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// service is a running `ballast serve` with its embedded store.
type service struct {
	url, data string
	cmd       *exec.Cmd
	wait      func() error  // for the end of cmd
	stderr    *bytes.Buffer // to be read when the process has ended
}

// dataIn is the data folder on a mounted disk.
func dataIn(mount string) string { return filepath.Join(mount, "data") }

// program is what is launched as the service. The zero value is the real one.
type program struct {
	binary  string   // empty: the one that testenv builds
	wrapper []string // a command line to put before its own
	env     []string
}

// launch starts the service. An error tells why it ended instead of serving; the end of ctx is the end of one that does not
// serve yet.
func (p program) launch(ctx context.Context, t *testing.T, data string) (*service, error) {
	t.Helper()
	binary := p.binary
	if binary == "" {
		binary = testenv.Binary(t)
	}
	args := slices.Concat(p.wrapper, []string{binary, "serve", "--data", data, "--listen", "localhost:0", "--metrics-listen", "off", "--s3-listen", "127.0.0.1:0"})
	s := &service{data: data, cmd: exec.Command(args[0], args[1:]...), stderr: &bytes.Buffer{}}
	s.cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true"}, p.env...)
	s.wait = sync.OnceValue(s.cmd.Wait)
	s.cmd.Stderr = s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdout, err := s.cmd.StdoutPipe()
	check(t, err)
	check(t, s.cmd.Start())
	t.Cleanup(s.kill)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(ctx, s.kill)()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if _, url, ok := strings.Cut(lines.Text(), "export BALLAST_URL="); ok {
			s.url = url
			return s, nil
		}
	}
	s.kill()
	return nil, fmt.Errorf("the service does not start: %s", s.stderr)
}

func (s *service) pid(*testing.T) int { return s.cmd.Process.Pid }

// storePID is the process of the embedded store.
func (s *service) storePID(t *testing.T) int {
	t.Helper()
	text := must[[]byte](t)(os.ReadFile(filepath.Join(s.data, "s3.lock")))
	pid, _, _ := strings.Cut(string(text), "\n")
	return must[int](t)(strconv.Atoi(strings.TrimSpace(pid)))
}

// kill ends the service, its store and what wraps it at once.
func (s *service) kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.wait()
}

// stop ends the service in order.
func (s *service) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	defer time.AfterFunc(limit, s.kill).Stop()
	if err := s.wait(); err != nil {
		return fmt.Errorf("%w: %s", err, s.stderr)
	}
	return nil
}

// client is the first token's owner. p, unless nil, is the power that the service runs on: without it no answer arrives.
func (s *service) client(p *power) (*client.Client, error) {
	token := client.TokenFile(filepath.Join(s.data, "admin.token"))
	if _, err := token(context.Background()); err != nil {
		return nil, errors.Join(errors.New("the first token is gone"), err)
	}
	// A push that goes on knows its upload by the registry's URL, and the next service has another port.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == registryName+":80" {
			address = strings.TrimPrefix(s.url, "http://")
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	var all http.RoundTripper = transport
	if p != nil {
		all = p.carry(transport)
	}
	return client.New(client.Options{URL: "http://" + registryName, TokenSource: token, Transport: all})
}

const registryName = "localhost" // a service on loopback refuses others

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
