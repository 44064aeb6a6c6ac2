package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/testenv"
)

// madeToLose is a data folder of an embedded registry with versions in each state, and what no record holds. No service runs.
func madeToLose(t *testing.T) (data string) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "data")
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0"))
	token, err := os.ReadFile(filepath.Join(data, tokenFile))
	if err != nil {
		t.Fatal(err)
	}
	for i, args := range [][]string{
		{"push", "FILES", "global::m:1"}, {"push", "FILES", "global::m:2"}, {"push", "FILES", "global::m:3"},
		{"alias", "set", "global::m@champion", "1"}, {"promote", "global::m:1"}, {"retire", "global::m:2"}, {"rm", "global::m:3"},
	} {
		if args[0] == "push" {
			folder := filepath.Join(t.TempDir(), "files")
			if err := os.MkdirAll(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "weights.bin"), []byte(strings.Repeat("w", i+1)), 0o600); err != nil {
				t.Fatal(err)
			}
			args[1] = folder
		}
		cmd := exec.CommandContext(t.Context(), testenv.Binary(t), args...)
		cmd.Env = append(serveCommand(t, data).Env, envURL+"="+s.url(t), envToken+"="+strings.TrimSpace(string(token)))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	s.stop(t)
	return data
}

// rebuildCommand rebuilds a data folder, or is stopped at a step.
func rebuildCommand(t *testing.T, data, stopAt string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testenv.FailpointBinary(t), append([]string{"rebuild", "--data", data, "--s3-listen", "127.0.0.1:0", "--wait", "1ms", "--json"}, args...)...)
	cmd.Env = append(serveCommand(t, data).Env, failpoint.Variable+"="+stopAt)
	return cmd
}

func rebuildNow(t *testing.T, data string, args ...string) engine.Report {
	t.Helper()
	cmd := rebuildCommand(t, data, "", args...)
	var out, told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &told
	if err := cmd.Run(); err != nil {
		t.Fatalf("rebuild: %v\n%s%s", err, &out, &told)
	}
	var r engine.Report
	dec := json.NewDecoder(&out)
	var raw map[string]any
	if err := dec.Decode(&raw); err != nil {
		t.Fatal(err)
	}
	delete(raw, "elapsed_seconds")
	b, _ := json.Marshal(raw)
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	r.Epoch = 0
	return r
}

func loseIndex(t *testing.T, data string) {
	t.Helper()
	if err := os.Remove(filepath.Join(data, indexFile)); err != nil {
		t.Fatal(err)
	}
}

// A rebuild that is killed anywhere leaves an index that is not served, and the next one makes the same as if nothing had
// been.
func TestKilledRebuild(t *testing.T) {
	data := madeToLose(t)
	loseIndex(t, data)
	want := rebuildNow(t, data)
	if want.Ready != 1 || want.Retired != 1 || want.Deleted != 1 || want.Snapshot == "" || want.Filled.Aliases != 1 || want.Filled.Production != 1 {
		t.Fatalf("report is %+v", want)
	}
	for _, step := range []failpoint.Step{
		failpoint.BeginRebuild, failpoint.SaveIntent, failpoint.PutOwner, failpoint.SyncOwner, failpoint.RebuildFiles, failpoint.RebuildVersion,
		failpoint.RebuildBlobs, failpoint.RebuildFill, failpoint.RebuildReady, failpoint.PutToken, failpoint.SyncRecord, failpoint.EndRebuild,
	} {
		for _, moment := range []failpoint.Moment{failpoint.Before, failpoint.After} {
			name := step.String() + ":" + string(moment)
			loseIndex(t, data)
			out, err := rebuildCommand(t, data, name+":kill").CombinedOutput()
			exit := (*exec.ExitError)(nil)
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("%s: it was to be killed, and ended with %v\n%s", name, err, out)
			}
			if step == failpoint.RebuildReady {
				cmd := serveCommand(t, data, "--s3-listen", "127.0.0.1:0")
				if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "half-built") {
					t.Errorf("%s: a half-built index is served: %v\n%s", name, err, out)
				}
			}
			if step == failpoint.EndRebuild && moment == failpoint.After { // it has ended
				continue
			}
			if d := cmp.Diff(want, rebuildNow(t, data)); d != "" {
				t.Errorf("%s: the next one makes another index:\n%s", name, d)
			}
		}
	}
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0"))
	s.stop(t)
}

func TestRebuildCommandRefuses(t *testing.T) {
	data := madeToLose(t)
	refuses := func(what, says string, args ...string) {
		t.Helper()
		out, err := rebuildCommand(t, data, "", args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), says) {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
	refuses("an index that is in use", "holds a registry already")
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0"))
	refuses("a folder that a service uses", "end it first")
	s.stop(t)
	loseIndex(t, data)
	key := filepath.Join(data, recordKeyFile)
	if err := os.Rename(key, key+".lost"); err != nil {
		t.Fatal(err)
	}
	refuses("without the record key", "--accept-unsigned")
	if _, err := os.Stat(key); err == nil {
		t.Error("a refused rebuild made a key")
	}
	r := rebuildNow(t, data, "--accept-unsigned")
	if len(r.Unsigned) != 3 || r.Ready != 1 {
		t.Errorf("report is %+v", r)
	}
}
