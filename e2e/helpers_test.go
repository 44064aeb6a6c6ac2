package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/api/apitest"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv"
)

func TestMain(m *testing.M) {
	if size := os.Getenv(growVariable); size != "" {
		grow(size)
		return
	}
	testenv.Main(m)
}

// growVariable makes the test binary a process that takes so many bytes, says so by closing its stdout, and waits for the
// end of its stdin.
const growVariable = "BALLAST_E2E_GROW"

func grow(size string) {
	n, err := humanize.ParseBytes(size)
	if err != nil {
		panic(err)
	}
	held := slices.Repeat([]byte{1}, int(n))
	_ = os.Stdout.Close()
	_, _ = io.Copy(io.Discard, os.Stdin)
	held[0]++
}

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
	stdout    io.Reader
	said      string        // on stdout, so far
	stderr    *bytes.Buffer // to be read when the process has ended
}

// environment is apart from that of who runs the tests.
func environment(home string, more ...string) []string {
	return append([]string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true"}, more...)
}

// serveCommand is `ballast serve` on a store, with all that the store needs to be accepted.
func serveCommand(t *testing.T, s *testenv.Store, data string, more ...string) *exec.Cmd {
	t.Helper()
	args := append([]string{"serve", "--data", data, "--listen", "localhost:0", "--metrics-listen", "off"}, s.ServeFlags()...)
	cmd := exec.CommandContext(t.Context(), testenv.Binary(t), append(args, more...)...)
	cmd.Env = environment(t.TempDir(), "AWS_SHARED_CREDENTIALS_FILE="+s.Credentials(t))
	return cmd
}

// serve starts a registry on a store and waits until it is up.
func serve(t *testing.T, s *testenv.Store, data string, more ...string) *registry {
	t.Helper()
	return start(t, s, data, serveCommand(t, s, data, more...))
}

func start(t *testing.T, s *testenv.Store, data string, cmd *exec.Cmd) *registry {
	t.Helper()
	r := launch(t, s, data, cmd)
	r.await(t)
	return r
}

// launch starts the process and returns at once.
func launch(t *testing.T, s *testenv.Store, data string, cmd *exec.Cmd) *registry {
	t.Helper()
	r := &registry{store: s, data: data, cmd: cmd, stderr: &bytes.Buffer{}}
	cmd.Stderr = r.stderr
	r.stdout = must[io.ReadCloser](t)(cmd.StdoutPipe())
	check(t, cmd.Start())
	t.Cleanup(r.kill)
	return r
}

// await waits until the service has said where it is. From then on each of its answers is held to docs/openapi.yaml.
func (r *registry) await(t *testing.T) {
	t.Helper()
	for lines := bufio.NewScanner(r.stdout); lines.Scan(); {
		r.said += lines.Text() + "\n"
		if _, url, ok := strings.Cut(lines.Text(), "export BALLAST_URL="); ok {
			r.url = apitest.Proxy(t, url) // whatever a test asks
		}
		if strings.Contains(lines.Text(), "export BALLAST_TOKEN=") {
			return
		}
	}
	r.kill()
	t.Fatalf("the service ended: %s", r.stderr)
}

func (r *registry) kill() { _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() }

// stop ends the service in order.
func (r *registry) stop(t *testing.T) {
	t.Helper()
	check(t, r.cmd.Process.Signal(syscall.SIGTERM))
	if err := r.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, r.stderr)
	}
}

// refused runs `ballast serve` to its end, which is soon, and returns what it said.
func refused(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	defer time.AfterFunc(limit, func() { _ = cmd.Cancel() }).Stop()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// token mints a token for the grants.
func (r *registry) token(t *testing.T, grants ...string) client.Token {
	t.Helper()
	admin := must[*client.Client](t)(client.New(client.Options{URL: r.url, TokenSource: client.TokenFile(filepath.Join(r.data, "admin.token"))}))
	in := ballast.CreateToken{Name: "test"}
	for _, g := range grants {
		in.Grants = append(in.Grants, must[ballast.Grant](t)(ballast.ParseGrant(g)))
	}
	return client.Token(must[ballast.TokenInfo](t)(admin.CreateToken(t.Context(), in)).Token)
}

// as returns a client with a new token for the grants.
func (r *registry) as(t *testing.T, grants ...string) *client.Client {
	t.Helper()
	return must[*client.Client](t)(client.New(client.Options{URL: r.url, Token: r.token(t, grants...)}))
}

// user is somebody at a command line: a home and a token.
type user struct {
	r    *registry
	env  []string
	path string
}

func (r *registry) user(t *testing.T, token client.Token) user {
	t.Helper()
	return user{r, environment(t.TempDir(), "BALLAST_URL="+r.url, "BALLAST_TOKEN="+string(token)), testenv.Binary(t)}
}

func (u user) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, u.path, args...)
	cmd.Env = u.env
	return cmd
}

// outcome is how a command ended.
type outcome struct {
	code           int
	stdout, stderr string
}

func (u user) run(t *testing.T, args ...string) outcome {
	t.Helper()
	return finish(u.command(t.Context(), args...))
}

func finish(cmd *exec.Cmd) outcome {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		return outcome{-1, "", err.Error()}
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func (o outcome) want(t *testing.T, code int) outcome {
	t.Helper()
	if o.code != code {
		t.Fatalf("exit code %d, want %d\n%s%s", o.code, code, o.stdout, o.stderr)
	}
	return o
}

// folder writes files.
func folder(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	return dir
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

// open opens an upload for target.
func open(t *testing.T, c *client.Client, target string) ballast.Upload {
	t.Helper()
	w := ref(target)
	return must[ballast.Upload](t)(c.CreateUpload(t.Context(), ballast.CreateUpload{Scope: w.Scope, Name: w.Name, Version: w.Version, Attempt: rand.Text()}))
}

// ask asks about one blob.
func ask(t *testing.T, c *client.Client, upload string, b ballast.BlobRequest) ballast.BlobAnswer {
	t.Helper()
	return must[ballast.BlobsResponse](t)(c.Blobs(t.Context(), upload, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{b}})).Blobs[0]
}

// askPut gets a signed PUT for body.
func askPut(t *testing.T, c *client.Client, upload string, body []byte) ballast.SignedRequest {
	t.Helper()
	a := ask(t, c, upload, ballast.BlobRequest{Digest: ballast.DigestOf(body), Size: int64(len(body)), Method: ballast.MethodPut})
	if a.Request == nil {
		t.Fatalf("nothing to send: %+v", a)
	}
	objstoretest.AssertSigned(t, objstoretest.KindPut, *a.Request)
	return *a.Request
}

// send follows a signed request, with headers that nobody signed.
func send(t *testing.T, req ballast.SignedRequest, body []byte, unsigned http.Header) (status int) {
	t.Helper()
	res := must[*http.Response](t)(objstoretest.Send(t.Context(), http.DefaultClient, req, body, unsigned))
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	t.Logf("the store answers %d %s", res.StatusCode, text)
	return res.StatusCode
}

// commit commits and waits until the upload is settled. An error is the registry's problem document.
func commit(t *testing.T, c *client.Client, upload string, files ...ballast.File) (ballast.Upload, error) {
	t.Helper()
	u, err := c.Commit(t.Context(), upload, ballast.CommitRequest{Files: files})
	for err == nil && u.Status == ballast.UploadVerifying {
		u, err = c.Upload(t.Context(), upload, 10*time.Second)
	}
	if err == nil && u.Error != nil {
		err = u.Error
	}
	return u, err
}

func file(path string, body []byte) ballast.File {
	return ballast.File{Path: path, Size: int64(len(body)), Digest: ballast.DigestOf(body)}
}

// pull fetches a version into a new folder and compares it.
func pull(t *testing.T, c *client.Client, what string, want map[string][]byte) error {
	t.Helper()
	dir := t.TempDir()
	if _, err := c.Pull(t.Context(), client.PullOptions{Ref: ref(what), Dir: dir}); err != nil {
		return err
	}
	for name, content := range want {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, content) {
			return fmt.Errorf("%s differs: %d bytes, %w", name, len(got), err)
		}
	}
	return nil
}

// read returns what lies under a key of the bucket, as an independent client sees it; nil when nothing does.
func read(t *testing.T, s *testenv.Store, key string) []byte {
	t.Helper()
	return readAs(t, s, s.Root, key)
}

func readAs(t *testing.T, s *testenv.Store, k objstore.Keys, key string) []byte {
	t.Helper()
	o := must[*minio.Object](t)(s.Client(t, k).GetObject(t.Context(), s.Bucket, key, minio.GetObjectOptions{}))
	defer o.Close()
	b, err := io.ReadAll(o)
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return nil
	}
	check(t, err)
	return b
}

// objects lists the bucket: what lies where, and since when.
func objects(t *testing.T, s *testenv.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, o := range objectsBelow(t, s, "") {
		all[o.Key] = o.ETag + " " + o.LastModified.String()
	}
	return all
}

// objectsBelow lists the bucket below a prefix.
func objectsBelow(t *testing.T, s *testenv.Store, prefix string) (all []minio.ObjectInfo) {
	t.Helper()
	for o := range s.Client(t, s.Root).ListObjects(t.Context(), s.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		check(t, o.Err)
		all = append(all, o)
	}
	return all
}

// eventually waits until done reports true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %s", what, limit)
		}
	}
}

// ready asks /readyz.
func (r *registry) ready(t *testing.T) int {
	t.Helper()
	res := must[*http.Response](t)(http.Get(r.url + "/readyz"))
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}
