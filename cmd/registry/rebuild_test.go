package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/testenv"
)

// losing is a registry that no service runs, and that loses its index again and again.
type losing struct {
	data  string
	store *testenv.Store // nil: the embedded one, in the data folder
	env   []string
}

// weightsOf is the one file of a version of m.
func weightsOf(version int) string { return strings.Repeat("w", version) }

// madeToLose has versions in each state, and what no record holds.
func madeToLose(t *testing.T, store *testenv.Store) *losing {
	t.Helper()
	l := &losing{data: filepath.Join(t.TempDir(), "data"), store: store}
	if store != nil {
		l.env = []string{"AWS_SHARED_CREDENTIALS_FILE=" + store.Credentials(t)}
	}
	s := startService(t, l.serve(t))
	env := append(serveCommand(t, l.data).Env, envURL+"="+s.url(t), envToken+"="+readToken(t, l.data))
	do := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), testenv.Binary(t), args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	for i, label := range []string{"1", "2", "3", "4", "5"} {
		file := filepath.Join(t.TempDir(), "weights.bin")
		if err := os.WriteFile(file, []byte(weightsOf(i+1)), 0o600); err != nil {
			t.Fatal(err)
		}
		do("push", filepath.Dir(file), "global::m:"+label)
	}
	for _, args := range [][]string{
		{"alias", "set", "global::m@champion", "1"}, {"promote", "global::m:1"}, {"retire", "global::m:2"}, {"rm", "global::m:3"},
		{"rm", "global::m:4"}, {"restore", "global::m:4"},
	} {
		do(args...)
	}
	s.stop(t)
	return l
}

func (l *losing) serve(t *testing.T) *exec.Cmd {
	t.Helper()
	args := []string{"--s3-listen", "127.0.0.1:0"}
	if l.store != nil {
		args = l.store.ServeFlags()
	}
	cmd := serveCommand(t, l.data, args...)
	cmd.Env = append(cmd.Env, l.env...)
	return cmd
}

// rebuild is the command, with an order to package failpoint.
func (l *losing) rebuild(t *testing.T, order string, args ...string) *exec.Cmd {
	t.Helper()
	all := []string{"rebuild", "--data", l.data, "--wait", "1ms", "--json"}
	if l.store == nil {
		all = append(all, "--s3-listen", "127.0.0.1:0")
	} else {
		all = append(all, l.store.ServeFlags()...)
	}
	cmd := exec.CommandContext(t.Context(), testenv.FailpointBinary(t), append(all, args...)...)
	cmd.Env = append(l.serve(t).Env, failpoint.Variable+"="+order)
	return cmd
}

// rebuilt is the report of a rebuild that comes to its end, less what each has of its own.
func (l *losing) rebuilt(t *testing.T, order string, args ...string) engine.Report {
	t.Helper()
	cmd := l.rebuild(t, order, args...)
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

// lose takes files of the data folder away, those that are there.
func (l *losing) lose(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(l.data, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// swap puts other bytes of the same size in the place of a version's file.
func (l *losing) swap(t *testing.T, version int) {
	t.Helper()
	l.withStore(t, func(s *testenv.Store) {
		content := weightsOf(version)
		key := ballast.BlobKey(ballast.Global, ballast.DigestOf([]byte(content)))
		other := strings.NewReader(strings.Repeat("x", len(content)))
		if _, err := s.Client(t, s.Root).PutObject(t.Context(), s.Bucket, key, other, int64(other.Len()), minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

// withStore runs the store, if it is one that the registry runs, while do lasts.
func (l *losing) withStore(t *testing.T, do func(*testenv.Store)) {
	t.Helper()
	s := l.store
	if s == nil {
		started, err := testenv.StartEmbeddedIn(t, l.data)
		if err != nil {
			t.Fatal(err)
		}
		defer started.Server.Close()
		s = started
	}
	do(s)
}

func TestRebuildCommandRefuses(t *testing.T) {
	l := madeToLose(t, nil)
	refuses := func(what, says string, args ...string) {
		t.Helper()
		out, err := l.rebuild(t, "", args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), says) {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
	refuses("an index that is in use", "holds a registry already")
	s := startService(t, l.serve(t))
	refuses("a folder that a service uses", "end it first")
	s.stop(t)
	l.lose(t, indexFile)
	key := filepath.Join(l.data, recordKeyFile)
	if err := os.Rename(key, key+".lost"); err != nil {
		t.Fatal(err)
	}
	refuses("without the record key", "--accept-unsigned")
	if _, err := os.Stat(key); err == nil {
		t.Error("a refused rebuild made a key")
	}
	r := l.rebuilt(t, "", "--accept-unsigned")
	if len(r.Unsigned) != 5 || r.Ready != 3 {
		t.Errorf("report is %+v", r)
	}
}
