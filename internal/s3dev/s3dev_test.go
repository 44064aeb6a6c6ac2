//go:build !nos3dev

package s3dev_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/ballast-registry/ballast/internal/s3dev"
	"github.com/ballast-registry/ballast/testenv/canary"
)

func options(t *testing.T, data string) s3dev.Options {
	t.Helper()
	return s3dev.Options{
		Data:   data,
		Listen: "127.0.0.1:0",
		Env:    []string{childVariable + "=1"},
		Logger: canary.Log(t, slog.LevelInfo),
	}
}

func start(t *testing.T, opt s3dev.Options) *s3dev.Server {
	t.Helper()
	s, err := s3dev.Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T, s *s3dev.Server) *minio.Client {
	t.Helper()
	c, err := minio.New(strings.TrimPrefix(s.Endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(s.Keys.ID, s.Keys.Secret, ""), Region: s.Region, BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func put(t *testing.T, s *s3dev.Server, key string, body []byte) {
	t.Helper()
	_, err := client(t, s).PutObject(t.Context(), s.Bucket, key, bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func get(t *testing.T, s *s3dev.Server, key string) []byte {
	t.Helper()
	o, err := client(t, s).GetObject(t.Context(), s.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	body, err := io.ReadAll(o)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	return body
}

func TestObjects(t *testing.T) {
	data := t.TempDir()
	s := start(t, options(t, data))
	put(t, s, "global/blobs/a", []byte("weights"))
	if body := get(t, s, "global/blobs/a"); string(body) != "weights" {
		t.Errorf("got %q", body)
	}
	t.Run("presigned GET", func(t *testing.T) {
		u, err := client(t, s).PresignedGetObject(t.Context(), s.Bucket, "global/blobs/a", time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.Get(u.String())
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); string(body) != "weights" || err != nil {
			t.Errorf("%s: %q, %v", res.Status, body, err)
		}
		if res.Close {
			t.Error("the connection is closed after each request: keep-alive is off")
		}
	})
	t.Run("copy", func(t *testing.T) {
		_, err := client(t, s).CopyObject(t.Context(),
			minio.CopyDestOptions{Bucket: s.Bucket, Object: "global/blobs/b"}, minio.CopySrcOptions{Bucket: s.Bucket, Object: "global/blobs/a"})
		if err != nil {
			t.Errorf("copies are refused: %v", err)
		}
	})
	t.Run("plain file", func(t *testing.T) {
		path := filepath.Join(data, "s3", s.Bucket, "global/blobs/a")
		if body, err := os.ReadFile(path); string(body) != "weights" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v: other users of the machine must not read weights", info.Mode(), err)
		}
	})
	t.Run("multipart", func(t *testing.T) { multipart(t, s) })
	t.Run("anonymous", func(t *testing.T) {
		res, err := http.Get(s.Endpoint + "/" + s.Bucket + "/global/blobs/a")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("an unsigned request got %s", res.Status)
		}
	})
}

// A request that is refused before its chunks are read must not leave them to be taken for the next request.
func TestChunkedBodyDoesNotReachTheNextRequest(t *testing.T) {
	s := start(t, options(t, t.TempDir()))
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.Endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "PUT /%s/a HTTP/1.1\r\nHost: store\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", s.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode < 400 {
		t.Fatalf("the unsigned PUT got %s, %v", res.Status, err)
	}
	if rest, err := io.ReadAll(answers); len(rest) > 0 {
		t.Errorf("the unread chunk was answered as a request: %.100q, %v", rest, err)
	}
}

func multipart(t *testing.T, s *s3dev.Server) {
	core := minio.Core{Client: client(t, s)}
	id, err := core.NewMultipartUpload(t.Context(), s.Bucket, "big", minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first, last := bytes.Repeat([]byte("a"), 5<<20), []byte("end")
	var parts []minio.CompletePart
	// 10,000 is the highest number that S3 allows.
	for number, body := range map[int][]byte{1: first, 10_000: last} {
		part, err := core.PutObjectPart(t.Context(), s.Bucket, "big", id, number, bytes.NewReader(body), int64(len(body)), minio.PutObjectPartOptions{})
		if err != nil {
			t.Fatalf("part %d: %v", number, err)
		}
		parts = append(parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
	}
	if parts[0].PartNumber != 1 {
		parts[0], parts[1] = parts[1], parts[0]
	}
	if _, err := core.CompleteMultipartUpload(t.Context(), s.Bucket, "big", id, parts, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, "big"); !bytes.Equal(got, append(first, last...)) {
		t.Errorf("%d bytes came back", len(got))
	}
}

func TestKeysOutliveARestart(t *testing.T) {
	data := t.TempDir()
	s := start(t, options(t, data))
	put(t, s, "a", []byte("weights"))
	s.Close()
	if info, err := os.Stat(s.CredentialsFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("credentials file: mode %v, %v", info.Mode(), err)
	}
	again := start(t, options(t, data))
	if again.Keys != s.Keys {
		t.Errorf("keys changed from %v to %v", s.Keys, again.Keys)
	}
	if body := get(t, again, "a"); string(body) != "weights" {
		t.Errorf("got %q", body)
	}
	if other := start(t, options(t, t.TempDir())); other.Keys == s.Keys {
		t.Error("two stores were given the same keys")
	}
}

func TestKeysStaySecret(t *testing.T) {
	k := s3dev.Keys{ID: "someone", Secret: "hush"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("keys", "keys", k)
	for _, text := range []string{log.String(), k.String(), k.GoString()} {
		if !strings.Contains(text, "someone") || strings.Contains(text, "hush") {
			t.Errorf("%q", text)
		}
	}
}

func TestUnusableCredentialsAreNamed(t *testing.T) {
	data := t.TempDir()
	file := filepath.Join(data, "s3.credentials")
	if err := os.WriteFile(file, []byte("[other]\naws_access_key_id = a\naws_secret_access_key = b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s3dev.Start(t.Context(), options(t, data)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v does not name %s", err, file)
	}
	if _, err := s3dev.ReadKeys(filepath.Join(data, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file is %v", err)
	}
}

func TestTakenAddressIsRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	opt := options(t, t.TempDir())
	opt.Listen = ln.Addr().String()
	_, err = s3dev.Start(t.Context(), opt)
	if !errors.Is(err, s3dev.ErrAddressTaken) || !strings.Contains(err.Error(), opt.Listen) {
		t.Errorf("error %v, want ErrAddressTaken with the address", err)
	}
}

// Only where nobody said where to listen may the store move.
func TestTakenDefaultMovesOnUnlessItWasGiven(t *testing.T) {
	if ln, err := net.Listen("tcp", s3dev.DefaultListen); err == nil { // else somebody has it already
		defer ln.Close()
	}
	opt := options(t, t.TempDir())
	opt.Listen = s3dev.DefaultListen
	if _, err := s3dev.Start(t.Context(), opt); !errors.Is(err, s3dev.ErrAddressTaken) {
		t.Errorf("error %v, want ErrAddressTaken", err)
	}
	opt.Listen = ""
	s := start(t, opt)
	if s.Endpoint == "http://"+s3dev.DefaultListen {
		t.Fatalf("endpoint %s is taken", s.Endpoint)
	}
	put(t, s, "a", nil)
}

func TestOneProcessServesAFolder(t *testing.T) {
	data := t.TempDir()
	start(t, options(t, data))
	_, err := s3dev.Start(t.Context(), options(t, data))
	if err == nil || !strings.Contains(err.Error(), "another process serves") {
		t.Errorf("error %v", err)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	data := t.TempDir()
	start(t, options(t, data))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel) // the second start waits for the folder's lock
	if _, err := s3dev.Start(ctx, options(t, data)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestFree(t *testing.T) {
	s := start(t, options(t, t.TempDir()))
	if n, err := s.Free(); err != nil || n <= 0 {
		t.Errorf("free: %d, %v", n, err)
	}
}

func TestSyncAndSecondClose(t *testing.T) {
	s := start(t, options(t, t.TempDir()))
	put(t, s, "a", []byte("weights"))
	if err := s.Sync(t.Context()); err != nil {
		t.Error(err)
	}
	s.Close()
	s.Close()
	if err := s.Sync(t.Context()); err == nil {
		t.Error("a closed store claims to have flushed")
	}
}
