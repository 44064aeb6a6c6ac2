package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast/testenv"
)

// doctor runs the command with --json and returns its checks by name, and its exit code.
func doctor(t *testing.T, env []string, args ...string) (checks map[string]finding, d diagnosis, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testenv.Binary(t), append([]string{"doctor", "--json"}, args...)...)
	cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true"}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // its code is looked at
	if err := json.Unmarshal(stdout.Bytes(), &d); err != nil {
		t.Fatalf("%v: %s %s", err, &stdout, &stderr)
	}
	checks = map[string]finding{}
	for _, f := range d.Checks {
		checks[f.Name] = f
	}
	return checks, d, cmd.ProcessState.ExitCode()
}

// TestDoctorBesideAService looks at the store of a service that runs, and leaves a place where none ever ran as it was, whether
// there is a folder yet or not.
func TestDoctorBesideAService(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if _, d, code := doctor(t, nil, "--data", data); code != exitDone || !d.Safe {
		t.Errorf("before the first start: exit %d, %+v", code, d.Checks)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(data), "*")); err != nil || len(left) > 0 {
		t.Errorf("it left %q, %v", left, err)
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, d, code := doctor(t, nil, "--data", data); code != exitDone || !d.Safe {
		t.Errorf("of an empty folder: exit %d, %+v", code, d.Checks)
	}
	if left, err := filepath.Glob(filepath.Join(data, "*")); err != nil || len(left) > 0 {
		t.Errorf("it left %q, %v", left, err)
	}
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0"))
	env := []string{"BALLAST_URL=" + s.after(t, "export BALLAST_URL="), "BALLAST_TOKEN=" + readToken(t, data)}
	checks, d, code := doctor(t, env, "--data", data)
	if code != exitDone || !d.Safe {
		t.Errorf("beside a service: exit %d, %+v", code, d.Checks)
	}
	for _, name := range []string{"service", "record_key", "copy_source", "list_bucket"} {
		if checks[name].State != stateOK {
			t.Errorf("%s: %+v", name, checks[name])
		}
	}
	if c := checks["lifecycle_objects"]; c.State != stateUnknown || !strings.Contains(c.Seen, "cannot be told") {
		t.Errorf("what the embedded store does not have: %+v", c)
	}
	if err := os.Chmod(filepath.Join(data, recordKeyFile), 0o604); err != nil {
		t.Fatal(err)
	}
	checks, d, code = doctor(t, nil, "--data", data)
	if c := checks["permissions"]; code != exitFailed || d.Safe || c.State != stateUnsafe || !strings.Contains(c.Remedy, "chmod o-rw ") {
		t.Errorf("with an open key: exit %d, %+v", code, c)
	}
	s.stop(t)
	if err := os.Remove(filepath.Join(data, recordKeyFile)); err != nil {
		t.Fatal(err)
	}
	if checks, _, code := doctor(t, nil, "--data", data); code != exitFailed || checks["record_key"].State != stateUnsafe {
		t.Errorf("without the key: exit %d, %+v", code, checks["record_key"])
	}
}
