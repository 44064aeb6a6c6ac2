package deploy_test

import (
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// unit is what a unit of systemd says, by directive. Each of them may be there more than once.
type unit map[string][]string

func readUnit(t *testing.T, path string) unit {
	t.Helper()
	u := unit{}
	for line := range strings.Lines(string(content(t, path))) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			u[name] = append(u[name], value)
		}
	}
	return u
}

// one is the value of a directive that is there once.
func (u unit) one(t *testing.T, name string) string {
	t.Helper()
	if len(u[name]) != 1 {
		t.Fatalf("%s is %q", name, u[name])
	}
	return u[name][0]
}

// TestUnitRuns runs the line of the unit as systemd would: with its variables and those of the file that it names, as a user without a
// home, with nothing to write to but the folder of its state and a /tmp of its own. With no settings but addresses that brings up the
// embedded store, whose process has to end with the service though only that is told to.
func TestUnitRuns(t *testing.T) {
	u := readUnit(t, "../../deploy/systemd/ballast.service")
	line := strings.Fields(u.one(t, "ExecStart"))
	b := newBox(t, line[0], 65533)
	b.mountProc(t)
	state := "/var/lib/" + u.one(t, "StateDirectory")
	b.mount(t, state, false)
	b.mount(t, "/tmp", false)
	if u.one(t, "PrivateTmp") != "yes" || u.one(t, "ProtectSystem") != "strict" || u.one(t, "ProtectHome") != "yes" || u.one(t, "KillMode") != "mixed" {
		t.Error("the unit says something else than what is tried here")
	}
	file, port := strings.TrimPrefix(u.one(t, "EnvironmentFile"), "-"), freePort(t)
	b.write(t, file, 0o600, []byte("BALLAST_LISTEN=localhost:"+port+"\nBALLAST_METRICS_LISTEN=off\nBALLAST_S3_LISTEN=127.0.0.1:0\n"))
	env := append(strings.Fields(u.one(t, "Environment")), "HOME=/")
	env = append(env, strings.Fields(string(content(t, b.at(file))))...) // systemd reads it as root: the user cannot
	if !slices.Contains(env, "BALLAST_DATA="+state) {
		t.Errorf("the data folder is not that of the state: %q", env)
	}
	b.onlyMounts(t, env)
	stop, err := time.ParseDuration(u.one(t, "TimeoutStopSec"))
	check(t, err)
	if least := leastGrace(t, valueOf(env, "BALLAST_DRAIN_TIMEOUT")); stop < least {
		t.Errorf("the registry is killed after %s, and may need %s", stop, least)
	}
	for range 2 { // Restart= means that it starts on what is there
		r := b.start(t, env, line[1:]...)
		answers(t, r.out, "http://localhost:"+port+"/healthz")
		answers(t, r.out, "http://localhost:"+port+"/readyz")
		said := b.run(t, env, "token", "create", "--url", "http://localhost:"+port, "--token-file", filepath.Join(state, "admin.token"), "--grant", "acme=writer")
		if strings.TrimSpace(said) == "" {
			t.Error("no token was made")
		}
		store := regexp.MustCompile(`store +http://(127\.0\.0\.1:\d+), .*\(embedded\)`).FindStringSubmatch(r.out.String())
		if store == nil {
			t.Fatalf("no embedded store: %s", r.out)
		}
		r.stop(t, stop)
		if c, err := net.Dial("tcp", store[1]); err == nil {
			c.Close()
			t.Error("the embedded store goes on without the service")
		}
	}
}
