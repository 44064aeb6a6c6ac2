package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// service is a running `ballast serve`.
type service struct {
	url, data string
	cmd       *exec.Cmd
	home      string // of who runs commands
	log       *lines
	end       func() error // of one that runs in this process
	ended     bool
}

// lines is a buffer that may be read while a process writes to it.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// environment is apart from that of who runs the tests.
func environment(home string, more ...string) []string {
	return append([]string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true"}, more...)
}

// serveCommand is `ballast serve` on a store; on a store of its own when s is nil.
func serveCommand(t *testing.T, s *testenv.Store, data string, env ...string) *exec.Cmd {
	t.Helper()
	args := []string{"serve", "--data", data, "--listen", "localhost:0", "--metrics-listen", "off"}
	if s == nil {
		args = append(args, "--s3-listen", "127.0.0.1:0")
	} else {
		args = append(args, s.ServeFlags()...)
		if len(env) == 0 {
			env = []string{"AWS_SHARED_CREDENTIALS_FILE=" + s.Credentials(t)}
		}
	}
	cmd := exec.CommandContext(t.Context(), testenv.Binary(t), args...)
	cmd.Env = environment(t.TempDir(), env...)
	return cmd
}

// start runs a service and waits until it has said where it is.
func start(t *testing.T, data string, cmd *exec.Cmd) *service {
	t.Helper()
	s := &service{data: data, cmd: cmd, home: t.TempDir(), log: &lines{}}
	cmd.Stderr = s.log
	stdout := must[io.ReadCloser](t)(cmd.StdoutPipe())
	check(t, cmd.Start())
	t.Cleanup(func() {
		if !s.ended {
			_, _ = cmd.Process.Kill(), cmd.Wait()
		}
		if t.Failed() {
			t.Logf("the service's log:\n%s", s.log)
		}
	})
	for said := bufio.NewScanner(stdout); said.Scan(); {
		if _, url, ok := strings.Cut(said.Text(), "export BALLAST_URL="); ok {
			s.url = url
		}
		if strings.Contains(said.Text(), "export BALLAST_TOKEN=") {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return s
		}
	}
	t.Fatal("the service ended")
	return nil
}

// stop ends the service in order.
func (s *service) stop(t *testing.T) {
	t.Helper()
	if s.ended = s.end != nil; s.ended {
		check(t, s.end())
		return
	}
	check(t, s.cmd.Process.Signal(syscall.SIGTERM))
	err := s.cmd.Wait()
	s.ended = true
	check(t, err)
}

// refusal runs `ballast serve` to its end, which is soon, and returns what it said.
func refusal(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	defer time.AfterFunc(limit, func() { _ = cmd.Cancel() }).Stop()
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	return string(out)
}

// token mints a token for a writer of the tenant acme.
func (s *service) token(t *testing.T) client.Token {
	t.Helper()
	admin := must[*client.Client](t)(client.New(client.Options{URL: s.url, TokenSource: client.TokenFile(filepath.Join(s.data, "admin.token"))}))
	grant := must[ballast.Grant](t)(ballast.ParseGrant("acme=writer"))
	info := must[ballast.TokenInfo](t)(admin.CreateToken(t.Context(), ballast.CreateToken{Name: "test", Grants: []ballast.Grant{grant}}))
	return client.Token(info.Token)
}

// ready asks /readyz.
func (s *service) ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz: %d %s", res.StatusCode, body)
	}
	return nil
}

// command is how a `ballast` command ended.
type command struct {
	code int
	said string // on stderr
}

// run runs a `ballast` command.
func (s *service) run(t *testing.T, token client.Token, args ...string) command {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), testenv.Binary(t), args...)
	cmd.Env = environment(s.home, "BALLAST_URL="+s.url, "BALLAST_TOKEN="+string(token))
	cmd.Stderr = &stderr
	_ = cmd.Run() // the exit code says how it ended
	return command{cmd.ProcessState.ExitCode(), stderr.String()}
}
