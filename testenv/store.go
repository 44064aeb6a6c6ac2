package testenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/s3dev"
	"github.com/ballast-registry/ballast/testenv/canary"
)

// Store is a bucket of a running store, empty when a test gets it and removed after the test.
type Store struct {
	Name     string // "embedded" or "minio"
	Endpoint string // http://127.0.0.1:port
	Region   string
	Bucket   string
	// Root may do everything in the store. Service, Put and Get are the identities that the product wants: everything in
	// the bucket; PutObject below blobs/ and staging/; GetObject below blobs/. The embedded store has Root only, four times.
	Root, Service, Put, Get objstore.Keys
	// OneIdentity: the store refuses unsigned x-amz-* headers, so that one identity may serve as all.
	OneIdentity bool
	// Unsafe: the store has the zero-signature hole, so that only --allow-unsafe-store accepts it.
	Unsafe bool
	// Server is the embedded store's process, nil for MinIO.
	Server *s3dev.Server

	minio *minioServer // nil for the embedded store
}

// bucketPrefix begins the names of the buckets that tests use; the users' policies name it.
const bucketPrefix = "t-"

// limit bounds each step of preparing a store, on a machine that builds and tests at once.
const limit = 2 * time.Minute

// Through is the same bucket reached through a proxy before its endpoint.
func (s *Store) Through(p *Proxy) *Store {
	c := *s
	c.Endpoint = p.URL
	return &c
}

// Config opens the store with the identities that it needs: one, or all three. Callers may change the copy they get.
func (s *Store) Config() objstore.Config {
	cfg := objstore.Config{
		Endpoint: s.Endpoint, Region: s.Region, Bucket: s.Bucket, PathStyle: true,
		Service: objstore.Identity{Keys: s.Service},
	}
	if !s.OneIdentity {
		cfg.Put, cfg.Get = &objstore.Identity{Keys: s.Put}, &objstore.Identity{Keys: s.Get}
	}
	return cfg
}

// Host is the host:port of Endpoint.
func (s *Store) Host() string { return strings.TrimPrefix(s.Endpoint, "http://") }

// Client is minio-go on the store: a second, independent implementation of S3 for setting up and inspecting.
func (s *Store) Client(t testing.TB, k objstore.Keys) *minio.Client {
	t.Helper()
	c, err := s.client(k)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *Store) client(k objstore.Keys) (*minio.Client, error) {
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		return nil, err
	}
	return minio.New(u.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(k.ID, k.Secret, ""),
		Region:       s.Region,
		BucketLookup: minio.BucketLookupPath,
	})
}

// ServeFlags are those with which `ballast serve` takes the store; the keys it finds in Credentials.
func (s *Store) ServeFlags() []string {
	flags := []string{"--s3-endpoint", s.Endpoint, "--s3-bucket", s.Bucket, "--s3-region", s.Region}
	if !s.OneIdentity {
		flags = append(flags, "--s3-put-profile", "put", "--s3-get-profile", "get")
	}
	if s.Unsafe {
		flags = append(flags, "--allow-unsafe-store")
	}
	return flags
}

// Credentials writes keys as a file in the AWS shared-credentials format and returns its path: the profiles default
// (Service), put and get.
func (s *Store) Credentials(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for profile, k := range map[string]objstore.Keys{"default": s.Service, "put": s.Put, "get": s.Get} {
		fmt.Fprintf(&b, "[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", profile, k.ID, k.Secret)
	}
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// newBucket makes the bucket and has it removed after the test.
func (s *Store) newBucket(t testing.TB, versioned bool) {
	t.Helper()
	s.Bucket = bucketPrefix + strings.ToLower(rand.Text())
	c := s.Client(t, s.Root)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := c.MakeBucket(ctx, s.Bucket, minio.MakeBucketOptions{Region: s.Region}); err != nil {
		t.Fatalf("testenv: making bucket %s: %v", s.Bucket, err)
	}
	if versioned {
		if err := c.EnableVersioning(ctx, s.Bucket); err != nil {
			t.Fatalf("testenv: versioning of bucket %s: %v", s.Bucket, err)
		}
	}
}

// Embedded returns a new bucket of the embedded store.
func Embedded(t testing.TB) *Store {
	t.Helper()
	s := storeOf(process.embedded.get(t, startEmbedded))
	s.newBucket(t, false)
	s.removeAfter(t)
	return s
}

// removeAfter removes a bucket of the embedded store after the test.
func (s *Store) removeAfter(t testing.TB) {
	folder := s.Folder()
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
}

// Folder is where the store keeps a bucket. In the embedded store each object is the file of its key; MinIO has a folder for
// each, with the bytes of small ones in xl.meta.
func (s *Store) Folder() string {
	if s.minio != nil {
		return filepath.Join(s.minio.folder, s.Bucket)
	}
	return filepath.Join(filepath.Dir(s.Server.CredentialsFile), "s3", s.Bucket)
}

// Beside is another new bucket of the same store, with the same identities.
func (s *Store) Beside(t testing.TB) *Store {
	t.Helper()
	c := *s
	c.newBucket(t, false)
	if c.Server != nil {
		c.removeAfter(t)
	} else {
		c.dropAfter(t)
	}
	return &c
}

// EmbeddedIn runs an embedded store on the data folder of a registry that has ended, until the test ends.
func EmbeddedIn(t testing.TB, data string) *Store {
	t.Helper()
	s, err := StartEmbeddedIn(t, data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Server.Close)
	return s
}

// StartEmbeddedIn is EmbeddedIn where a folder that no store can be started on is a finding, and another one is to be
// started on it before the test ends: whoever has the store closes its Server.
func StartEmbeddedIn(t testing.TB, data string) (*Store, error) {
	t.Helper()
	if !process.running {
		t.Fatal("testenv: TestMain must call testenv.Main")
	}
	server, err := startServer(context.WithoutCancel(t.Context()), data, t.TempDir())
	if err != nil {
		return nil, err
	}
	return storeOf(server), nil
}

// storeOf is the bucket that a server makes, and its one identity.
func storeOf(server *s3dev.Server) *Store {
	keys := objstore.Keys{ID: server.Keys.ID, Secret: server.Keys.Secret}
	canary.Secret(keys.Secret)
	return &Store{
		Name: "embedded", Endpoint: server.Endpoint, Region: server.Region, Bucket: server.Bucket, Server: server, OneIdentity: true,
		Root: keys, Service: keys, Put: keys, Get: keys,
	}
}

// startServer has this test binary be the store's process, which removes the folder mortal when it ends.
func startServer(ctx context.Context, data, mortal string) (*s3dev.Server, error) {
	return s3dev.Start(ctx, s3dev.Options{
		Data:   data,
		Listen: "127.0.0.1:0",
		Env:    []string{childVariable + "=" + mortal},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

func startEmbedded() (*s3dev.Server, error) {
	folder, err := os.MkdirTemp("", "ballast-test-s3dev-")
	if err != nil {
		return nil, fmt.Errorf("testenv: folder for the embedded store: %w", err)
	}
	atEnd(func() { _ = os.RemoveAll(folder) })
	server, err := startServer(context.Background(), folder, folder)
	if err != nil {
		return nil, err
	}
	atEnd(server.Close)
	return server, nil
}
