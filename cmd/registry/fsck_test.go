package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast/internal/s3dev"
	"github.com/ballast-registry/ballast/testenv"
)

// What somebody sees who damages a registry by hand and has it checked and repaired, beside the service and without.
func TestFsckSaysWhatToDo(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0"))
	token, err := os.ReadFile(filepath.Join(data, tokenFile))
	if err != nil {
		t.Fatal(err)
	}
	env := append(serveCommand(t, data).Env, envURL+"="+s.url(t), envToken+"="+strings.TrimSpace(string(token)))
	says := func(code int, args []string, texts ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), testenv.Binary(t), args...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		failed := (*exec.ExitError)(nil)
		if err != nil && !errors.As(err, &failed) || cmd.ProcessState.ExitCode() != code {
			t.Errorf("%v: %v, want exit code %d\n%s", args, err, code, out)
		}
		for _, text := range texts {
			if !strings.Contains(string(out), text) {
				t.Errorf("%v does not say %q:\n%s", args, text, out)
			}
		}
	}
	files := filepath.Join(t.TempDir(), "files")
	if err := errors.Join(os.Mkdir(files, 0o700), os.WriteFile(filepath.Join(files, "weights.bin"), []byte("weights"), 0o600)); err != nil {
		t.Fatal(err)
	}
	says(0, []string{"push", files, "global::m:1"})
	says(0, []string{"fsck", "--deep"}, "nothing is wrong")
	says(1, []string{"fsck", "--offline", "--data", data, "--s3-listen", "127.0.0.1:0"}, "end it first")

	blobs := filepath.Join(data, "s3", s3dev.Bucket, "global", "blobs", "sha256")
	objects, err := filepath.Glob(filepath.Join(blobs, "*", "9a129038*")) // of the weights
	if err != nil || len(objects) != 1 {
		t.Fatalf("objects %q, %v", objects, err)
	}
	if err := os.Remove(objects[0]); err != nil {
		t.Fatal(err)
	}
	says(1, []string{"fsck"}, "missing_bytes", "versions  m::1", "repair    the blob becomes absent", "ballast fsck --repair --yes")
	says(1, []string{"fsck", "--remove-orphans"}, "missing_bytes")
	says(1, []string{"fsck", "--repair"}, "nothing was changed: the same command with --yes")
	says(1, []string{"fsck", "--repair", "--yes"}, "missing_bytes  repaired", "ballast push FOLDER global::m::1")
	says(1, []string{"fsck", "--repair"}, "a repair would change nothing")
	says(0, []string{"push", files, "global::m:1"})
	says(0, []string{"fsck", "--deep", "--json"}, `{"fsck":{`)
	s.stop(t)

	offline := []string{"fsck", "--offline", "--data", data, "--s3-listen", "127.0.0.1:0"}
	says(0, offline, "nothing is wrong")
	says(2, append(offline, "--remove-orphans", "--yes"), "leave out --offline")
	key := filepath.Join(data, recordKeyFile)
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	says(1, offline, "put the copy back, or name it with --record-key")
	says(0, append(offline, "--record-key", key+".away"), "nothing is wrong")
}
