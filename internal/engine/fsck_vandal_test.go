package engine_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv"
)

// vandal is somebody with rights of his own on the bucket, who does there what the registry knows nothing of. Keys are
// whole. Whatever fails, fails the test.
type vandal interface {
	keys() []string
	read(key string) string
	remove(key string)
	write(key, body string)     // with its SHA-256, as careful clients do
	overwrite(key, body string) // without
	inParts(key, body string)   // as a multipart of one part, which has another ETag than the same bytes at once
	rot(key, body string)       // changes what lies on the disk, and nothing of what the store says of it
	open(key string)            // a multipart, with one part, that stays open
}

// memVandal is one at the store in memory.
type memVandal struct {
	t   *testing.T
	mem *objstoretest.Mem
}

func (v memVandal) keys() []string { return v.mem.Keys("") }

func (v memVandal) read(key string) string {
	body, ok := v.mem.Peek(key)
	if !ok {
		v.t.Fatalf("no object %q", key)
	}
	return string(body)
}

func (v memVandal) remove(key string) {
	if err := v.mem.Delete(v.t.Context(), key); err != nil {
		v.t.Fatal(err)
	}
}

func (v memVandal) write(key, body string) { v.mem.Plant(key, []byte(body)) }

func (v memVandal) overwrite(key, body string) {
	v.write(key, body)
	v.alter(key, func(o *objstore.Object) { o.SHA256 = "" }, body)
}

func (v memVandal) inParts(key, body string) {
	v.write(key, body)
	v.alter(key, func(o *objstore.Object) { o.SHA256, o.ETag = "", strings.TrimSuffix(o.ETag, `"`)+`-1"` }, body)
}

func (v memVandal) rot(key, body string) { v.alter(key, func(*objstore.Object) {}, body) }

func (v memVandal) alter(key string, change func(*objstore.Object), body string) {
	if !v.mem.Alter(key, func(o *objstore.Object, _ []byte) []byte { change(o); return []byte(body) }) {
		v.t.Fatalf("no object %q", key)
	}
}

func (v memVandal) open(key string) {
	if _, err := v.mem.CreateMultipart(v.t.Context(), key); err != nil {
		v.t.Fatal(err)
	}
}

// bucketVandal is one at a real store, with a client of his own.
type bucketVandal struct {
	t      *testing.T
	store  *testenv.Store
	client minio.Core
}

func vandalOn(t *testing.T, s *testenv.Store) vandal {
	return bucketVandal{t, s, minio.Core{Client: s.Client(t, s.Root)}}
}

func (v bucketVandal) ok(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

func (v bucketVandal) keys() (keys []string) {
	for o := range v.client.Client.ListObjects(v.t.Context(), v.store.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		v.ok(o.Err)
		keys = append(keys, o.Key)
	}
	return keys
}

func (v bucketVandal) read(key string) string {
	r, err := v.client.Client.GetObject(v.t.Context(), v.store.Bucket, key, minio.GetObjectOptions{})
	v.ok(err)
	defer r.Close()
	body, err := io.ReadAll(r)
	v.ok(err)
	return string(body)
}

func (v bucketVandal) remove(key string) {
	v.ok(v.client.Client.RemoveObject(v.t.Context(), v.store.Bucket, key, minio.RemoveObjectOptions{}))
}

func (v bucketVandal) write(key, body string) {
	v.put(key, body, minio.PutObjectOptions{UserMetadata: map[string]string{"X-Amz-Checksum-Sha256": ballast.ChecksumHeader(ballast.DigestOf([]byte(body)))}})
}

func (v bucketVandal) overwrite(key, body string) { v.put(key, body, minio.PutObjectOptions{}) }

func (v bucketVandal) put(key, body string, opt minio.PutObjectOptions) {
	_, err := v.client.Client.PutObject(v.t.Context(), v.store.Bucket, key, strings.NewReader(body), int64(len(body)), opt)
	v.ok(err)
}

func (v bucketVandal) inParts(key, body string) {
	id, part := v.begin(key, body)
	_, err := v.client.CompleteMultipartUpload(v.t.Context(), v.store.Bucket, key, id, []minio.CompletePart{{PartNumber: 1, ETag: part.ETag}}, minio.PutObjectOptions{})
	v.ok(err)
}

func (v bucketVandal) begin(key, body string) (id string, part minio.ObjectPart) {
	id, err := v.client.NewMultipartUpload(v.t.Context(), v.store.Bucket, key, minio.PutObjectOptions{})
	v.ok(err)
	part, err = v.client.PutObjectPart(v.t.Context(), v.store.Bucket, key, id, 1, bytes.NewReader([]byte(body)), int64(len(body)), minio.PutObjectPartOptions{})
	v.ok(err)
	return id, part
}

func (v bucketVandal) open(key string) { v.begin(key, "part") }

func (v bucketVandal) rot(key, body string) {
	was, file := v.read(key), filepath.Join(v.store.Folder(), filepath.FromSlash(key))
	if v.store.Server == nil {
		file = filepath.Join(file, "xl.meta")
	}
	kept, err := os.ReadFile(file)
	v.ok(err)
	if bytes.Count(kept, []byte(was)) != 1 {
		v.t.Fatalf("%s does not hold %q once", file, was)
	}
	v.ok(os.WriteFile(file, bytes.Replace(kept, []byte(was), []byte(body), 1), 0o600))
}
