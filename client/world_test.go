package client_test

import (
	"cmp"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/api"
	"github.com/ballast-registry/ballast/internal/api/apitest"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
	"github.com/ballast-registry/ballast/testenv/canary"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// world is a registry on a real store, each behind a proxy with faults that only clients go through.
type world struct {
	t        *testing.T
	store    *testenv.Proxy
	registry *testenv.Proxy
	admin    client.Token
	attempts string // folder
	hashes   string // folder
}

// eachWorld runs a test on every store.
func eachWorld(t *testing.T, test func(w *world)) {
	testenv.Each(t, func(t *testing.T, s *testenv.Store) { test(newWorld(t, s)) })
}

func newWorld(t *testing.T, s *testenv.Store) *world { return newWorldWith(t, s, api.Options{}) }

// newWorldWith is newWorld whose face has options of its own.
func newWorldWith(t *testing.T, s *testenv.Store, face api.Options) *world {
	t.Helper()
	w := &world{t: t, store: testenv.NewProxy(t, s.Endpoint), attempts: t.TempDir(), hashes: t.TempDir()}
	log := canary.Log(t, slog.LevelWarn)
	cfg := s.Config()
	cfg.PublicEndpoint = w.store.URL
	bucket, err := objstore.Open(t.Context(), cfg)
	w.must(err)
	x, err := index.Open(t.Context(), index.NewMem(), time.Now)
	w.must(err)
	e := enginetest.Open(t, engine.Options{
		Index: x, Bucket: bucket, Signer: bucket, RecordKey: engine.NewRecordKey([]byte("0123456789abcdef0123456789abcdef")), Logger: log,
		Limits: engine.Limits{ReclaimRetry: 50 * time.Millisecond, VerifyRetry: 100 * time.Millisecond},
	})
	_, err = e.EnsureAdmin(t.Context(), func(token string) error { w.admin = client.Token(token); return nil })
	w.must(err)
	face.Logger, face.Store = log, bucket.Where()
	srv := httptest.NewServer(apitest.Validate(t, api.New(e, face)))
	t.Cleanup(srv.Close)
	w.registry = testenv.NewProxy(t, srv.URL)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// as returns a client with a new token for the grants.
func (w *world) as(grants ...string) *client.Client {
	w.t.Helper()
	return w.client(client.Options{Token: w.token(grants...)})
}

func (w *world) token(grants ...string) client.Token {
	w.t.Helper()
	in := ballast.CreateToken{Name: "test"}
	for _, text := range grants {
		g, err := ballast.ParseGrant(text)
		w.must(err)
		in.Grants = append(in.Grants, g)
	}
	info, err := w.client(client.Options{Token: w.admin}).CreateToken(w.t.Context(), in)
	w.must(err)
	return client.Token(info.Token)
}

func (w *world) client(o client.Options) *client.Client {
	w.t.Helper()
	o.URL = w.registry.URL
	c, err := client.New(o)
	w.must(err)
	return c
}

// push pushes dir; the options that a test leaves open are filled in.
func (w *world) push(c *client.Client, dir, target string, o client.PushOptions) (client.PushResult, error) {
	w.t.Helper()
	o.Path, o.Target, o.AttemptDir, o.HashDir = dir, ref(w.t, target), w.attempts, cmp.Or(o.HashDir, w.hashes)
	return c.Push(w.t.Context(), o)
}

func (w *world) pull(c *client.Client, what, dir string, o client.PullOptions) (client.PullResult, error) {
	w.t.Helper()
	o.Ref, o.Dir = ref(w.t, what), dir
	return c.Pull(w.t.Context(), o)
}

// folder writes files; a name that ends in "/" has no content.
func folder(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// contents reads every file of a folder, through links.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = os.ReadFile(filepath.Join(dir, path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// mib returns n MiB that repeat nowhere near.
func mib(n int, seed byte) []byte {
	b := make([]byte, n<<20)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// Requests that faults are for.
func method(m string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == m }
}

func part(number string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == number
	}
}

func path(m, suffix string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == m && strings.HasSuffix(r.URL.Path, suffix) }
}
