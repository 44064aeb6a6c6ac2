//go:build !nos3dev

package s3dev

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Roles of this test binary's processes; see TestMain.
const (
	childRole  = "BALLAST_S3DEV_TEST_CHILD"
	parentRole = "BALLAST_S3DEV_TEST_PARENT"
)

func serverFor(t *testing.T, data string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{
		Data: data, Listen: "127.0.0.1:0", Env: []string{childRole + "=1"}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func answers(address string) bool {
	res, err := http.Get("http://" + address + "/")
	if err == nil {
		_ = res.Body.Close()
	}
	return err == nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after a minute: %s", what)
		}
	}
}

// TestParent is no test: it is the process that TestChildEndsWithAKilledParent kills.
func TestParent(t *testing.T) {
	data := os.Getenv(parentRole)
	if data == "" {
		t.Skip("runs only in the process of another test")
	}
	fmt.Println(serverFor(t, data).address)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestChildEndsWithAKilledParent(t *testing.T) {
	data := t.TempDir()
	parent := exec.Command(os.Args[0], "-test.run=^TestParent$")
	parent.Env = append(os.Environ(), parentRole+"="+data)
	stdin, inErr := parent.StdinPipe()
	stdout, outErr := parent.StdoutPipe()
	if err := errors.Join(inErr, outErr, parent.Start()); err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	var address string
	if _, err := fmt.Fscanln(stdout, &address); err != nil || !answers(address) {
		t.Fatalf("the parent's store at %q: %v", address, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	eventually(t, "the child is gone", func() bool { return !answers(address) })
	serverFor(t, data) // its lock too
}

func TestDeadChildIsStartedAgainOnItsAddress(t *testing.T) {
	data := t.TempDir()
	s := serverFor(t, data)
	first := holder(t, data)
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another child serves", func() bool { return holder(t, data).Pid != first.Pid && answers(s.address) })
}

// holder is the process that the lock names.
func holder(t *testing.T, data string) *os.Process {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(data, "s3.lock"))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		return &os.Process{} // being written
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCommandLineUseIsRefused(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"=1")
	out, err := cmd.CombinedOutput() // stdin is empty
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !bytes.Contains(out, []byte("ballast serve")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func minioClient(t *testing.T, s *Server) *minio.Client {
	t.Helper()
	c, err := minio.New(s.address, &minio.Options{Creds: credentials.NewStaticV4(s.Keys.ID, s.Keys.Secret, ""), Region: s.Region})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// put writes an object with the store's keys.
func put(t *testing.T, s *Server, key string) {
	t.Helper()
	if _, err := minioClient(t, s).PutObject(t.Context(), s.Bucket, key, strings.NewReader("weights"), 7, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestAttributesInAFolderWhereItExists(t *testing.T) {
	data := t.TempDir()
	if err := os.Mkdir(sidecarFolder(data), 0o700); err != nil {
		t.Fatal(err)
	}
	s := serverFor(t, data)
	put(t, s, "a/b")
	if found, err := filepath.Glob(filepath.Join(sidecarFolder(data), s.Bucket, "a", "b", "*", "etag")); err != nil || len(found) != 1 {
		t.Errorf("attributes in the folder: %v, %v", found, err)
	}
	if len(s.folders) != 2 {
		t.Errorf("%d folders are flushed, want objects and attributes", len(s.folders))
	}
}

func TestChildThatFlushesEachObject(t *testing.T) {
	s, err := prepare(Options{Data: t.TempDir(), Listen: "127.0.0.1:0", Env: []string{childRole + "=1"}})
	if err != nil {
		t.Fatal(err)
	}
	s.fsync = true
	if err := s.launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	put(t, s, "a/b c")
	core := minio.Core{Client: minioClient(t, s)}
	id, err := core.NewMultipartUpload(t.Context(), s.Bucket, "big", minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := core.PutObjectPart(t.Context(), s.Bucket, "big", id, 1, strings.NewReader("x"), 1, minio.PutObjectPartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = core.CompleteMultipartUpload(t.Context(), s.Bucket, "big", id, []minio.CompletePart{{PartNumber: 1, ETag: part.ETag}}, minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFsyncUpReachesTheRoot(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := fsyncUp(root, filepath.Join(root, "a")); err != nil {
		t.Error(err)
	}
	if err := fsyncUp(root, filepath.Join(root, "a", "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an object that is not there was flushed: %v", err)
	}
}

func TestLinesOfTheChildAreLoggedWhole(t *testing.T) {
	var log bytes.Buffer
	l := &lineLogger{log: slog.New(slog.NewJSONHandler(&log, nil))}
	for _, piece := range []string{"one", " line\n\nsec", "ond\n", strings.Repeat("x", 3*lineLimit), "\nlast\n"} {
		if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	var got []string
	for in := json.NewDecoder(&log); in.More(); {
		var entry struct{ Line string }
		if err := in.Decode(&entry); err != nil {
			t.Fatal(err)
		}
		got = append(got, entry.Line)
	}
	want := []string{"one line", "second", strings.Repeat("x", lineLimit), "last"}
	if !slices.Equal(got, want) {
		t.Errorf("logged %q", got)
	}
}
