package testenv_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func put(t *testing.T, c *minio.Client, bucket, key, body string) error {
	t.Helper()
	_, err := c.PutObject(t.Context(), bucket, key, bytes.NewReader([]byte(body)), int64(len(body)), minio.PutObjectOptions{})
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
		c := s.Client(t, s.Service)
		if err := put(t, c, s.Bucket, "global/blobs/a", "weights"); err != nil {
			t.Fatal(err)
		}
		body, err := get(t, s.Client(t, s.Get), s.Bucket, "global/blobs/a")
		if err != nil || body != "weights" {
			t.Fatalf("got %q, %v", body, err)
		}
	})
}
