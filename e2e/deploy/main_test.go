package deploy_test

import (
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	check(t, err)
	return text
}

// with returns an environment in which variables have these values. Each must have one before: a manifest that lacks it is
// found out.
func with(t *testing.T, env []string, values map[string]string) []string {
	t.Helper()
	env = slices.Clone(env)
	for name, value := range values {
		at := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if at < 0 {
			t.Fatalf("there is no %s in %q", name, env)
		}
		env[at] = name + "=" + value
	}
	return env
}

// valueOf is that of a variable, or "".
func valueOf(env []string, name string) string {
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	check(t, l.Close())
	_, port, err := net.SplitHostPort(l.Addr().String())
	check(t, err)
	return port
}

// leastGrace is what the manager of a registry has to give it to end: its drain, and the last copy of the index, which takes five
// minutes at most (docs/limits.md).
func leastGrace(t *testing.T, drain string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(drain)
	check(t, err)
	return d + 5*time.Minute
}

// patience bounds what an answer is waited for; how fast this machine is says nothing.
const patience = 2 * time.Minute

// answers asks as a probe does until the answer is a good one.
func answers(t *testing.T, said interface{ String() string }, url string) {
	t.Helper()
	client, last := http.Client{Timeout: 10 * time.Second}, ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		resp, err := client.Get(url)
		if err != nil {
			last = err.Error()
			continue
		}
		resp.Body.Close()
		if last = resp.Status; resp.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatalf("%s: %s; %s", url, last, said)
}
