package testenv_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
	"github.com/ballast-registry/ballast/testenv/tool"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func put(t *testing.T, c *minio.Client, bucket, key, body string) error {
	t.Helper()
	_, err := c.PutObject(t.Context(), bucket, key, strings.NewReader(body), int64(len(body)), minio.PutObjectOptions{})
	return err
}

func get(t *testing.T, c *minio.Client, bucket, key string) (string, error) {
	t.Helper()
	o, err := c.GetObject(t.Context(), bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return "", err
	}
	defer o.Close()
	body, err := io.ReadAll(o)
	return string(body), err
}

func TestEachStoreKeepsObjects(t *testing.T) {
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		for _, key := range []string{"global/blobs/a", "some/prefix/tenants/acme/blobs/a"} {
			if err := put(t, s.Client(t, s.Put), s.Bucket, key, "weights"); err != nil {
				t.Fatalf("put %s: %v", key, err)
			}
			if body, err := get(t, s.Client(t, s.Get), s.Bucket, key); err != nil || body != "weights" {
				t.Fatalf("get %s: %q, %v", key, body, err)
			}
		}
	})
}

func TestEachTestHasABucketOfItsOwn(t *testing.T) {
	var seen []string
	for range 2 {
		testenv.Each(t, func(t *testing.T, s *testenv.Store) { seen = append(seen, s.Name+s.Bucket) })
	}
	for i, a := range seen {
		for _, b := range seen[:i] {
			if a == b {
				t.Errorf("bucket %s was handed out twice", a)
			}
		}
	}
}

// The rights of MinIO's three users are what the product documents, no more: it is what keeps its holes shut.
func TestUsersMayDoNoMoreThanTheyShould(t *testing.T) {
	s := testenv.MinIO(t)
	service := s.Client(t, s.Service)
	for _, key := range []string{"global/blobs/a", "global/models/m", "global/staging/u"} {
		if err := put(t, service, s.Bucket, key, "x"); err != nil {
			t.Fatal(err)
		}
	}
	reads := func(k objstore.Keys, key string) error {
		_, err := get(t, s.Client(t, k), s.Bucket, key)
		return err
	}
	writes := func(k objstore.Keys, key string) error { return put(t, s.Client(t, k), s.Bucket, key, "y") }
	removes := func(k objstore.Keys, key string) error {
		return s.Client(t, k).RemoveObject(t.Context(), s.Bucket, key, minio.RemoveObjectOptions{})
	}
	for _, c := range []struct {
		name    string
		err     error
		allowed bool
	}{
		{"service reads a record", reads(s.Service, "global/models/m"), true},
		{"put writes a blob", writes(s.Put, "global/blobs/b"), true},
		{"put writes to staging", writes(s.Put, "tenants/acme/staging/b"), true},
		{"put writes a record", writes(s.Put, "global/models/m"), false},
		{"put reads a blob", reads(s.Put, "global/blobs/a"), false},
		{"put reads staging", reads(s.Put, "global/staging/u"), false},
		{"put removes a blob", removes(s.Put, "global/blobs/a"), false},
		{"get reads a blob", reads(s.Get, "global/blobs/a"), true},
		{"get reads a record", reads(s.Get, "global/models/m"), false},
		{"get reads staging", reads(s.Get, "global/staging/u"), false},
		{"get writes a blob", writes(s.Get, "global/blobs/c"), false},
		{"get removes a blob", removes(s.Get, "global/blobs/a"), false},
	} {
		if c.allowed && c.err != nil {
			t.Errorf("%s: %v", c.name, c.err)
		}
		if code := minio.ToErrorResponse(c.err).Code; !c.allowed && code != minio.AccessDenied {
			t.Errorf("%s: answered %v, want AccessDenied", c.name, c.err)
		}
	}
}

func TestVersionedBucketKeepsVersions(t *testing.T) {
	s := testenv.MinIOVersioned(t)
	c := s.Client(t, s.Service)
	info, err := c.PutObject(t.Context(), s.Bucket, "global/blobs/a", bytes.NewReader(nil), 0, minio.PutObjectOptions{})
	if err != nil || info.VersionID == "" {
		t.Fatalf("version id %q, %v", info.VersionID, err)
	}
}

func TestConfigNamesIdentitiesThatTheStoreNeeds(t *testing.T) {
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		cfg := s.Config()
		if one := cfg.Put == nil && cfg.Get == nil; one != s.OneIdentity {
			t.Errorf("one identity: %v, want %v", one, s.OneIdentity)
		}
		file, err := os.ReadFile(s.Credentials(t))
		if err != nil || !bytes.Contains(file, []byte("[put]\naws_access_key_id = "+s.Put.ID+"\n")) {
			t.Errorf("credentials file: %s %v", file, err)
		}
	})
}

// again runs one test of this binary in a process of its own.
func again(t *testing.T, test string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

func TestMissingToolSkipsOrFails(t *testing.T) {
	empty := tool.CacheVariable + "=" + t.TempDir()
	out, err := again(t, "TestVersionedBucketKeepsVersions", empty, testenv.RequireVariable+"=").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("SKIP")) || !bytes.Contains(out, []byte("make tools")) {
		t.Errorf("without the tools the test must be skipped and say what to run: %v\n%s", err, out)
	}
	out, err = again(t, "TestVersionedBucketKeepsVersions", empty, testenv.RequireVariable+"=1").CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("FAIL")) {
		t.Errorf("with %s=1 the skip must be a failure: %v\n%s", testenv.RequireVariable, err, out)
	}
}

const holdVariable = "BALLAST_TESTENV_HOLD"

// TestHoldServers is no test: it is the process that TestServersEndWithAKilledTest kills.
func TestHoldServers(t *testing.T) {
	if os.Getenv(holdVariable) == "" {
		t.Skip("runs only in the process of another test")
	}
	testenv.Each(t, func(_ *testing.T, s *testenv.Store) { fmt.Println("holding", s.Host()) })
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestServersEndWithAKilledTest(t *testing.T) {
	testenv.NeedTool(t, "minio")
	testenv.NeedTool(t, "mc")
	temp := t.TempDir()
	cmd := again(t, "TestHoldServers", holdVariable+"=1", "TMPDIR="+temp)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hosts := holding(t, out, 2)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // killed
	for _, host := range hosts {
		eventually(t, host+" is closed", func() bool {
			conn, err := net.Dial("tcp", host)
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		})
	}
	eventually(t, "temporary folders are gone", func() bool {
		left, err := filepath.Glob(filepath.Join(temp, "ballast-test-*"))
		return err == nil && len(left) == 0
	})
}

// holding reads the addresses of n servers from the output of TestHoldServers.
func holding(t *testing.T, out io.Reader, n int) []string {
	t.Helper()
	var hosts []string
	lines := bufio.NewScanner(out)
	for len(hosts) < n && lines.Scan() {
		if host, ok := strings.CutPrefix(lines.Text(), "holding "); ok {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) < n {
		t.Fatal("the process ended before its servers ran")
	}
	return hosts
}

// eventually polls until ok, for at most a generous while.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after a minute: %s", what)
		}
	}
}
