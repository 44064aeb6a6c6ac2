package testenv

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv/canary"
	"github.com/ballast-registry/ballast/testenv/tool"
)

// minioServer is the running MinIO of this test binary.
type minioServer struct {
	endpoint                string
	folder                  string // of its buckets
	root, service, put, get objstore.Keys
}

// MinIO returns a new bucket of the shared MinIO.
func MinIO(t testing.TB) *Store {
	t.Helper()
	return newMinIO(t, false)
}

// MinIOVersioned returns a new bucket that keeps versions.
func MinIOVersioned(t testing.TB) *Store {
	t.Helper()
	return newMinIO(t, true)
}

func newMinIO(t testing.TB, versioned bool) *Store {
	t.Helper()
	NeedTool(t, "minio")
	NeedTool(t, "mc")
	m := process.minio.get(t, func() (*minioServer, error) { return startMinIO(Place{}) })
	return m.bucket(t, versioned)
}

// Place is where a server runs, when that is not this machine's loopback. The zero value is.
type Place struct {
	Within  []string // goes before the server's command, as in `ip netns exec NAME`
	Address string   // host:port to listen on, which must be free there
}

// MinIOAt returns a bucket of a MinIO of its own, which runs there until the test binary ends.
func MinIOAt(t testing.TB, at Place) *Store {
	t.Helper()
	NeedTool(t, "minio")
	NeedTool(t, "mc")
	m, err := startMinIO(at)
	if err != nil {
		t.Fatal(err)
	}
	return m.bucket(t, false)
}

func (m *minioServer) bucket(t testing.TB, versioned bool) *Store {
	t.Helper()
	s := &Store{
		Name: "minio", Endpoint: m.endpoint, Region: "us-east-1", Unsafe: true,
		Root: m.root, Service: m.service, Put: m.put, Get: m.get, minio: m,
	}
	s.newBucket(t, versioned)
	s.dropAfter(t)
	return s
}

// dropAfter removes a bucket of MinIO after the test.
func (s *Store) dropAfter(t testing.TB) {
	root := s.Client(t, s.Root)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		_ = root.RemoveBucketWithOptions(ctx, s.Bucket, minio.RemoveBucketOptions{ForceDelete: true})
	})
}

// EmptyTrash frees what was removed from MinIO, which begins to do so itself 5 minutes after its start, whatever interval it
// is told: a benchmark in memory would have filled that.
func (s *Store) EmptyTrash() error {
	if s.minio == nil {
		return nil
	}
	trash := filepath.Join(s.minio.folder, ".minio.sys", "tmp", ".trash")
	removed, err := os.ReadDir(trash)
	for _, r := range removed {
		err = errors.Join(err, os.RemoveAll(filepath.Join(trash, r.Name())))
	}
	return err
}

func newKeys() objstore.Keys {
	k := objstore.Keys{ID: rand.Text()[:20], Secret: rand.Text()}
	canary.Secret(k.Secret) // that no log may hold
	return k
}

// startMinIO starts the server and makes its users. The free port that was found may be taken by somebody quicker, so it
// tries a few times.
func startMinIO(at Place) (*minioServer, error) {
	var errs []error
	for range 3 {
		m, err := launchMinIO(at)
		if err == nil {
			return m, m.addUsers()
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// guard runs a server for as long as its stdin is open, which ends with the test binary however that ends; then it
// removes the server's folder. Arguments: the folder, then the command.
const guard = `trap '' INT TERM HUP
dir=$1; shift
"$@" & pid=$!
cat >/dev/null
kill -9 $pid
wait $pid 2>/dev/null
rm -rf "$dir"`

func launchMinIO(at Place) (*minioServer, error) {
	exe, err := tool.Find("minio")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "ballast-test-minio-")
	if err != nil {
		return nil, fmt.Errorf("testenv: folder for MinIO: %w", err)
	}
	address := at.Address
	if address == "" {
		if address, err = freePort(); err != nil {
			return nil, err
		}
	}
	m := &minioServer{endpoint: "http://" + address, folder: filepath.Join(dir, "data"), root: newKeys()}
	var log bytes.Buffer // read only after the guard ended
	args := slices.Concat([]string{"-c", guard, "guard", dir}, at.Within, []string{
		exe, "server", "--quiet", "--address", address, "--certs-dir", filepath.Join(dir, "certs"), m.folder,
	})
	cmd := exec.Command("sh", args...)
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+m.root.ID, "MINIO_ROOT_PASSWORD="+m.root.Secret, "MINIO_BROWSER=off", "MINIO_UPDATE=off",
		"MINIO_API_DELETE_CLEANUP_INTERVAL=5s") // from the sixth minute on; see EmptyTrash
	cmd.Stdout, cmd.Stderr = &log, &log
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("testenv: starting MinIO: %w", err)
	}
	end := func() { _ = pipe.Close(); _ = cmd.Wait() }
	if err := waitReady(m.endpoint + "/minio/health/ready"); err != nil {
		end()
		return nil, fmt.Errorf("testenv: MinIO does not answer: %w\n%s", err, log.Bytes())
	}
	atEnd(end)
	return m, nil
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("testenv: a free port: %w", err)
	}
	return ln.Addr().String(), ln.Close()
}

// waitReady polls url until it answers 200.
func waitReady(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(res.Status)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// addUsers makes the three identities with MinIO's own client, as an operator would.
func (m *minioServer) addUsers() error {
	dir, err := os.MkdirTemp("", "ballast-test-mc-")
	if err != nil {
		return fmt.Errorf("testenv: folder for mc: %w", err)
	}
	defer os.RemoveAll(dir)
	for name, user := range map[string]struct {
		keys  *objstore.Keys
		rules []rule
	}{
		"service": {&m.service, serviceRules()},
		"put":     {&m.put, putRules()},
		"get":     {&m.get, getRules()},
	} {
		*user.keys = newKeys()
		if err := m.addUser(dir, name, *user.keys, user.rules); err != nil {
			return err
		}
	}
	return nil
}

func (m *minioServer) addUser(dir, name string, keys objstore.Keys, rules []rule) error {
	policy, err := document(rules)
	return errors.Join(err, m.addUserWith(dir, name, keys, policy))
}

func (m *minioServer) addUserWith(dir, name string, keys objstore.Keys, policy []byte) error {
	return errors.Join(
		m.mc(dir, "admin", "user", "add", "test", keys.ID, keys.Secret),
		m.setPolicy(dir, name, policy),
		m.mc(dir, "admin", "policy", "attach", "test", name, "--user", keys.ID),
	)
}

func document(rules []rule) ([]byte, error) {
	return json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": rules})
}

// setPolicy makes a policy, or changes it for all who have it.
func (m *minioServer) setPolicy(dir, name string, policy []byte) error {
	file := filepath.Join(dir, name+".json")
	if err := os.WriteFile(file, policy, 0o600); err != nil {
		return err
	}
	return m.mc(dir, "admin", "policy", "create", "test", name, file)
}

// mc runs MinIO's client as root; its alias of the server is "test".
func (m *minioServer) mc(dir string, args ...string) error {
	exe, err := tool.Find("mc")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, append([]string{"--config-dir", dir, "--quiet"}, args...)...)
	cmd.Env = append(os.Environ(), "MC_HOST_test=http://"+m.root.ID+":"+m.root.Secret+"@"+m.endpoint[len("http://"):])
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("testenv: mc %s %s: %w\n%s", args[1], args[2], err, out)
	}
	return nil
}

// rule is a statement of an IAM policy.
type rule struct {
	Effect   string
	Action   []string
	Resource []string
}

// WithUsers is the same bucket of MinIO with three users of its own: what is done to their rights concerns no other test.
func (s *Store) WithUsers(t testing.TB) *Store {
	t.Helper()
	c := *s
	dir := t.TempDir()
	for keys, rules := range map[*objstore.Keys][]rule{&c.Service: serviceRules(), &c.Put: putRules(), &c.Get: getRules()} {
		*keys = newKeys()
		if err := s.minio.addUser(dir, keys.ID, *keys, rules); err != nil {
			t.Fatal(err)
		}
	}
	return &c
}

// Allow lets a user that WithUsers made do these actions in the bucket and no others. Without an action it may do what
// it could at first.
func (s *Store) Allow(t testing.TB, k objstore.Keys, actions ...string) {
	t.Helper()
	rules := []rule{allow(actions, "", "/*")}
	if len(actions) == 0 {
		rules = map[objstore.Keys][]rule{s.Service: serviceRules(), s.Put: putRules(), s.Get: getRules()}[k]
	}
	policy, err := document(rules)
	if err == nil {
		err = s.minio.setPolicy(t.TempDir(), k.ID, policy)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// User makes a user of MinIO who may do what an IAM policy says, as an operator would. The embedded store knows one
// identity, which may do everything and is what it returns.
func (s *Store) User(t testing.TB, policy []byte) objstore.Keys {
	t.Helper()
	if s.Server != nil {
		return s.Root
	}
	keys := newKeys()
	if err := s.minio.addUserWith(t.TempDir(), keys.ID, keys, policy); err != nil {
		t.Fatal(err)
	}
	return keys
}

// Enable lets a user that WithUsers made in, or shuts it out with every session of it.
func (s *Store) Enable(t testing.TB, k objstore.Keys, on bool) {
	t.Helper()
	verb := map[bool]string{true: "enable", false: "disable"}[on]
	if err := s.minio.mc(t.TempDir(), "admin", "user", verb, "test", k.ID); err != nil {
		t.Fatal(err)
	}
}

func allow(actions []string, keys ...string) rule {
	r := rule{Effect: "Allow", Action: actions}
	for _, key := range keys {
		r.Resource = append(r.Resource, "arn:aws:s3:::"+bucketPrefix+"*"+key)
	}
	return r
}

func serviceRules() []rule {
	return []rule{allow([]string{"s3:*"}, "", "/*")}
}

func putRules() []rule {
	return []rule{allow([]string{"s3:PutObject"}, "/*/blobs/*", "/*/staging/*")}
}

func getRules() []rule {
	return []rule{allow([]string{"s3:GetObject", "s3:GetObjectVersion"}, "/*/blobs/*")}
}
