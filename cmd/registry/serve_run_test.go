package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/ballast-registry/ballast/internal/api/apitest"
	"github.com/ballast-registry/ballast/internal/s3dev"
	"github.com/ballast-registry/ballast/testenv"
)

// service is a running `ballast serve`.
type service struct {
	cmd    *exec.Cmd
	said   []string // the lines up to export BALLAST_TOKEN
	stderr *strings.Builder
}

// serveCommand is the real binary with a data folder, on free ports, apart from the settings of who runs the tests.
func serveCommand(t *testing.T, data string, args ...string) *exec.Cmd {
	t.Helper()
	all := append([]string{"serve", "--data", data, "--listen", "localhost:0", "--metrics-listen", "localhost:0"}, args...)
	cmd := exec.CommandContext(t.Context(), testenv.Binary(t), all...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true"}
	return cmd
}

func startService(t *testing.T, cmd *exec.Cmd) *service {
	t.Helper()
	s := &service{cmd: cmd, stderr: &strings.Builder{}}
	cmd.Stderr = s.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		s.said = append(s.said, strings.TrimSpace(lines.Text()))
		if strings.Contains(lines.Text(), "BALLAST_TOKEN") {
			return s
		}
	}
	_ = cmd.Wait()
	t.Fatalf("the service ended: %s", s.stderr)
	return nil
}

// stop asks the service to end and fails unless it does so in order.
func (s *service) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, s.stderr)
	}
}

// after returns what follows a prefix in what the service said.
func (s *service) after(t *testing.T, prefix string) string {
	t.Helper()
	for _, line := range s.said {
		if _, rest, ok := strings.Cut(line, prefix); ok {
			return rest
		}
	}
	t.Fatalf("no %q in %q", prefix, s.said)
	return ""
}

// url is where the service answers, with each answer held to docs/openapi.yaml.
func (s *service) url(t *testing.T) string {
	t.Helper()
	return apitest.Proxy(t, s.after(t, "export BALLAST_URL="))
}

func get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestServeAlone: with no settings the registry comes up on a store of its own, says where everything is, keeps its
// secrets to itself, and comes up again with the same token.
func TestServeAlone(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0"))
	url := s.url(t)
	if want := "$(cat " + filepath.Join(data, tokenFile) + ")"; s.after(t, "export BALLAST_TOKEN=") != want {
		t.Errorf("said %q", s.said)
	}
	for _, name := range []string{tokenFile, recordKeyFile, indexFile, "s3.credentials"} {
		if info, err := os.Stat(filepath.Join(data, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	token := readToken(t, data)
	if status, body := get(t, url+"/v1/whoami", token); status != http.StatusOK || !strings.Contains(body, `"role":"admin"`) {
		t.Errorf("whoami: %d %s", status, body)
	}
	if status, body := get(t, s.after(t, "metrics  "), ""); status != http.StatusOK || !strings.Contains(body, "ballast_http_requests_total") || !strings.Contains(body, "ballast_store_call_seconds") {
		t.Errorf("metrics: %d %s", status, body)
	}
	if status, _ := get(t, url+"/metrics", token); status != http.StatusNotFound {
		t.Errorf("the API serves /metrics: %d", status)
	}
	s.stop(t)
	if said := strings.Join(s.said, "\n") + s.stderr.String(); strings.Contains(said, token) {
		t.Errorf("the token was printed: %s", said)
	}
	again := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0"))
	defer again.stop(t)
	if status, _ := get(t, again.url(t)+"/v1/whoami", token); status != http.StatusOK {
		t.Errorf("after a restart: %d", status)
	}
}

// TestTheStoresPortMovesUnlessItWasGiven: and it says so, as it says that the service stops.
func TestTheStoresPortMovesUnlessItWasGiven(t *testing.T) {
	if taken, err := net.Listen("tcp", s3dev.DefaultListen); err == nil { // else somebody has it already
		defer taken.Close()
	}
	said := refused(t, serveCommand(t, t.TempDir(), "--s3-listen", s3dev.DefaultListen))
	if !strings.Contains(said, "--s3-listen "+s3dev.DefaultListen+": another program listens there") {
		t.Errorf("given: %s", said)
	}
	s := startService(t, serveCommand(t, t.TempDir()))
	s.stop(t)
	for _, line := range []string{"--s3-listen: " + s3dev.DefaultListen + " is taken", "stopping", "stopped"} {
		if strings.Count(s.stderr.String(), line) != 1 {
			t.Errorf("no %q in %s", line, s.stderr)
		}
	}
}

func readToken(t *testing.T, data string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(data, tokenFile))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// refused runs the command to its end and returns what it said, failing unless it refused with exit code 1, in words that
// begin with what is wrong and not with the package that found out.
func refused(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exitFailed {
		t.Fatalf("%v: %s", err, out)
	}
	if regexp.MustCompile(`(?m)^ballast: (objstore|engine|index|s3dev): `).Match(out) {
		t.Errorf("a user reads the name of a package: %s", out)
	}
	return string(out)
}

func TestServeRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := portOf(taken.Addr())
	for name, c := range map[string]struct{ args, want string }{
		"a taken port":         {"--listen localhost:" + port + " --s3-listen 127.0.0.1:0", "--listen localhost:" + port + ": another program listens there"},
		"a taken metrics port": {"--metrics-listen localhost:" + port + " --s3-listen 127.0.0.1:0", "--metrics-listen localhost:" + port + ": another"},
		"a taken store port":   {"--s3-listen 127.0.0.1:" + port, "--s3-listen 127.0.0.1:" + port + ": another program listens there"},
		"one host for both":    {"--listen 127.0.0.1:0 --s3-listen 127.0.0.1:0", "localhost and 127.0.0.1"},
		"no way to the store":  {"--listen 0.0.0.0:0", "--s3-listen 0.0.0.0:9000 --s3-public-endpoint http://"},
		"no data folder":       {"--data /dev/null/x", "name another one with --data"},
		"an endpoint alone":    {"--s3-endpoint http://127.0.0.1:1", "--s3-endpoint needs --s3-bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			if said := refused(t, serveCommand(t, t.TempDir(), strings.Fields(c.args)...)); !strings.Contains(said, c.want) {
				t.Errorf("said %s", said)
			}
		})
	}
}

// TestDataFolderIsGuarded: one service a folder, and no service on an index whose record key is gone.
func TestDataFolderIsGuarded(t *testing.T) {
	data := t.TempDir()
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0"))
	held := regexp.MustCompile(`^ballast: another ballast serve( \(process \d+\))? uses the data folder ` + regexp.QuoteMeta(data) + `: .*--data\n$`)
	if said := refused(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0")); !held.MatchString(said) {
		t.Errorf("second service: %s", said)
	}
	s.stop(t)
	if err := os.Remove(filepath.Join(data, recordKeyFile)); err != nil {
		t.Fatal(err)
	}
	if said := refused(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0")); !strings.Contains(said, "--record-key") {
		t.Errorf("without the key: %s", said)
	}
}

// TestServeSaysWhatIsWrongWithItsStore, first and alone.
func TestServeSaysWhatIsWrongWithItsStore(t *testing.T) {
	keys := []string{"AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret"}
	for name, c := range map[string]struct {
		args, want string
		env        []string
	}{
		"no answer":      {"", "ballast: no answer from http://127.0.0.1:1 (", keys},
		"no credentials": {"", "ballast: no AWS credentials found: set AWS_ACCESS_KEY_ID", nil},
		"no session":     {"--s3-put-profile put", "ballast: no answer from the store at http://127.0.0.1:1 when it was asked for a session", []string{keys[0], keys[1], "AWS_SHARED_CREDENTIALS_FILE=" + credentialsOf(t, "put")}},
		"no profile":     {"--s3-put-profile ballast-put", "\n  [ballast-put]\n  aws_access_key_id", keys},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := serveCommand(t, t.TempDir(), append([]string{"--s3-endpoint", "http://127.0.0.1:1", "--s3-bucket", "b"}, strings.Fields(c.args)...)...)
			cmd.Env = append(cmd.Env, c.env...)
			if said := refused(t, cmd); !strings.HasPrefix(said, "ballast: ") || !strings.Contains(said, c.want) {
				t.Errorf("said %s", said)
			}
		})
	}
}

// credentialsOf is a shared file with one profile.
func credentialsOf(t *testing.T, profile string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("["+profile+"]\naws_access_key_id = key\naws_secret_access_key = secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestServeOnMinIO: three identities and the waiver for its known hole get through; fewer do not, and say what to give.
func TestServeOnMinIO(t *testing.T) {
	store := testenv.MinIO(t)
	on := func(args ...string) *exec.Cmd {
		cmd := serveCommand(t, t.TempDir(), append([]string{"--s3-endpoint", store.Endpoint, "--s3-bucket", store.Bucket}, args...)...)
		cmd.Env = append(cmd.Env, "AWS_SHARED_CREDENTIALS_FILE="+store.Credentials(t))
		return cmd
	}
	if said := refused(t, on("--allow-unsafe-store")); !strings.Contains(said, "--s3-put-profile") || !strings.Contains(said, "--s3-get-profile") {
		t.Errorf("with one identity: %s", said)
	}
	three := []string{"--s3-put-profile", "put", "--s3-get-profile", "get"}
	if said := refused(t, on(three...)); !strings.Contains(said, "--allow-unsafe-store") {
		t.Errorf("with the hole: %s", said)
	}
	s := startService(t, on(append(three, "--allow-unsafe-store", "--log-format", "json")...))
	if status, body := get(t, s.url(t)+"/readyz", ""); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, body)
	}
	s.stop(t)
	if said := refused(t, on(append(three, "--allow-unsafe-store")...)); !strings.Contains(said, "--take-over") {
		t.Errorf("an empty index on a prefix that is owned: %s", said)
	}
}
