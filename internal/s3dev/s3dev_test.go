package s3dev_test

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/ballast-registry/ballast/internal/s3dev"
)

func start(t *testing.T, opt s3dev.Options) *s3dev.Server {
	t.Helper()
	opt.Env = append(opt.Env, childVariable+"=1")
	opt.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := s3dev.Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T, s *s3dev.Server) *minio.Client {
	t.Helper()
	c, err := minio.New(s.Endpoint[len("http://"):], &minio.Options{Creds: credentials.NewStaticV4(s.Keys.ID, s.Keys.Secret, ""), Region: s.Region})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPutAndGet(t *testing.T) {
	s := start(t, s3dev.Options{Data: t.TempDir(), Listen: "127.0.0.1:0"})
	body := []byte("weights")
	_, err := client(t, s).PutObject(t.Context(), s.Bucket, "a/b", bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
}
