package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7/pkg/lifecycle"

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

// TestDoctorBesideAService looks at the store of a service that runs, and leaves a place where none ever ran as it was.
func TestDoctorBesideAService(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if _, d, code := doctor(t, nil, "--data", data); code != exitDone || !d.Safe {
		t.Errorf("before the first start: exit %d, %+v", code, d.Checks)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(data), "*")); err != nil || len(left) > 0 {
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

// TestDoctorOfABucket: a rule that would remove blobs makes a good store unsafe, and the hole of MinIO's signatures is a warning
// only where serve would take it.
func TestDoctorOfABucket(t *testing.T) {
	store := testenv.MinIO(t)
	env := []string{"AWS_SHARED_CREDENTIALS_FILE=" + store.Credentials(t)}
	flags := append([]string{"--data", t.TempDir()}, store.ServeFlags()...)
	checks, d, code := doctor(t, env, flags...)
	if code != exitDone || checks["zero_signature"].State != stateWarning {
		t.Errorf("exit %d, %+v", code, d.Checks)
	}
	if checks, _, code := doctor(t, env, flags[:len(flags)-1]...); code != exitFailed || checks["zero_signature"].State != stateUnsafe {
		t.Errorf("without the waiver: exit %d, %+v", code, checks["zero_signature"])
	}
	rules := lifecycle.NewConfiguration()
	rules.Rules = []lifecycle.Rule{{ID: "old", Status: "Enabled", RuleFilter: lifecycle.Filter{Prefix: "tenants/"}, Expiration: lifecycle.Expiration{Days: 90}}}
	if err := store.Client(t, store.Root).SetBucketLifecycle(t.Context(), store.Bucket, rules); err != nil {
		t.Fatal(err)
	}
	if checks, d, code := doctor(t, env, flags...); code != exitFailed || d.Safe || checks["lifecycle_objects"].State != stateUnsafe {
		t.Errorf("with a rule that removes: exit %d, %+v", code, checks["lifecycle_objects"])
	}
}

// TestFileSystems: what doctor says of the index's place by the kernel's number of it.
func TestFileSystems(t *testing.T) {
	for magic, want := range map[int64]string{0x6969: "nfs", 0xFF534D42: "cifs", 0xEF53: "ext4", 0x01021994: "tmpfs", 0x794c7630: "overlay"} {
		if got := fileSystemName(magic); got != want {
			t.Errorf("%#x is %q, want %q", magic, got, want)
		}
	}
}
