package hostile_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// limit bounds each wait for something that must happen, on a machine that does much else.
const limit = 2 * time.Minute

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eachStore runs a test on both stores, side by side with the other tests.
func eachStore(t *testing.T, test func(t *testing.T, s *testenv.Store)) {
	t.Parallel()
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		t.Parallel()
		test(t, s)
	})
}

// registry is a running `ballast serve`.
type registry struct {
	store     *testenv.Store
	url, data string
	cmd       *exec.Cmd
	log       *lines
}

// lines is a buffer that may be read while a process writes to it.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve starts a registry on a store and waits until it is up.
func serve(t *testing.T, s *testenv.Store, data string, more ...string) *registry {
	t.Helper()
	args := append([]string{"serve", "--data", data, "--listen", "localhost:0", "--metrics-listen", "off", "--rate-limit", "0"}, s.ServeFlags()...)
	r := &registry{store: s, data: data, log: &lines{}, cmd: exec.CommandContext(t.Context(), testenv.Binary(t), append(args, more...)...)}
	r.cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true", "AWS_SHARED_CREDENTIALS_FILE=" + s.Credentials(t)}
	r.cmd.Stderr = r.log
	stdout := must[io.ReadCloser](t)(r.cmd.StdoutPipe())
	check(t, r.cmd.Start())
	t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			_, _ = r.cmd.Process.Kill(), r.cmd.Wait()
		}
	})
	for said := bufio.NewScanner(stdout); said.Scan(); {
		if _, url, ok := strings.Cut(said.Text(), "export BALLAST_URL="); ok {
			r.url = url
		}
		if strings.Contains(said.Text(), "export BALLAST_TOKEN=") {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return r
		}
	}
	_ = r.cmd.Wait()
	t.Fatalf("the service ended: %s", r.log)
	return nil
}

// stop ends the service in order and holds what it left to every invariant.
func (r *registry) stop(t *testing.T) {
	t.Helper()
	r.end(t)
	bucket := must[*objstore.S3](t)(objstore.Open(t.Context(), r.store.Config()))
	if err := enginetest.AtRest(context.WithoutCancel(t.Context()), r.data, bucket); err != nil {
		t.Error(err)
	}
}

func (r *registry) end(t *testing.T) {
	t.Helper()
	check(t, r.cmd.Process.Signal(syscall.SIGTERM))
	check(t, r.cmd.Wait())
}

// admin is the token of the first start.
func (r *registry) admin(t *testing.T) client.Token {
	t.Helper()
	return client.Token(strings.TrimSpace(string(must[[]byte](t)(os.ReadFile(filepath.Join(r.data, "admin.token"))))))
}

// mint makes a token for the grants.
func (r *registry) mint(t *testing.T, grants ...string) client.Token {
	t.Helper()
	c := must[*client.Client](t)(client.New(client.Options{URL: r.url, Token: r.admin(t)}))
	in := ballast.CreateToken{Name: "test"}
	for _, g := range grants {
		in.Grants = append(in.Grants, must[ballast.Grant](t)(ballast.ParseGrant(g)))
	}
	return client.Token(must[ballast.TokenInfo](t)(c.CreateToken(t.Context(), in)).Token)
}

// as returns a client with a new token for the grants, which tries everything once.
func (r *registry) as(t *testing.T, grants ...string) *client.Client {
	t.Helper()
	return must[*client.Client](t)(client.New(client.Options{URL: r.url, Token: r.mint(t, grants...), Tries: 1}))
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func ref(s string) ballast.Ref {
	r, err := ballast.ParseRef(s)
	if err != nil {
		panic(err)
	}
	return r
}

func scope(s string) ballast.Scope { return ref(s + "::x").Scope }

// plant puts an object as somebody does who has credentials of the store.
func plant(t *testing.T, s *testenv.Store, key string, body []byte) {
	t.Helper()
	check(t, put(t, s, s.Root, key, body))
}

func put(t *testing.T, s *testenv.Store, k objstore.Keys, key string, body []byte) error {
	t.Helper()
	_, err := s.Client(t, k).PutObject(t.Context(), s.Bucket, key, bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{})
	return err
}

// read returns what lies under a key; nil when nothing does.
func read(t *testing.T, s *testenv.Store, key string) []byte {
	t.Helper()
	o := must[*minio.Object](t)(s.Client(t, s.Root).GetObject(t.Context(), s.Bucket, key, minio.GetObjectOptions{}))
	defer o.Close()
	b, err := io.ReadAll(o)
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return nil
	}
	check(t, err)
	return b
}

// objects lists the bucket: the ETag of what lies where, and since when.
func objects(t *testing.T, s *testenv.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for o := range s.Client(t, s.Root).ListObjects(t.Context(), s.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		check(t, o.Err)
		all[o.Key] = o.ETag + " " + o.LastModified.String()
	}
	return all
}
