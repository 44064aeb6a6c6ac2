package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// issuer is who signs requests for writers.
type issuer interface {
	// publish makes content a verified blob of the scope.
	publish(t *testing.T, scope string, content []byte)
	// put and part sign a request to send content into the scope.
	put(t *testing.T, scope string, content []byte) ballast.SignedRequest
	part(t *testing.T, scope string, content []byte) ballast.SignedRequest
}

// throughRegistry is the way of every writer.
type throughRegistry struct {
	*registry
	writers map[string]*client.Client
}

func (r throughRegistry) publish(t *testing.T, scope string, content []byte) {
	c := r.writers[scope]
	u := open(t, c, "published")
	send(t, askPut(t, c, u.ID, content), content, nil)
	if u, err := commit(t, c, u.ID, file("weights", content)); err != nil || u.Status != ballast.UploadDone {
		t.Fatalf("upload %s: %v", u.Status, err)
	}
}

func (r throughRegistry) put(t *testing.T, scope string, content []byte) ballast.SignedRequest {
	c := r.writers[scope]
	return askPut(t, c, open(t, c, "attack").ID, content)
}

func (r throughRegistry) part(t *testing.T, scope string, content []byte) ballast.SignedRequest {
	c := r.writers[scope]
	d := ballast.DigestOf(content)
	a := ask(t, c, open(t, c, "attack").ID, ballast.BlobRequest{
		Digest: d, Size: int64(len(content)), Method: ballast.MethodMultipart, PartSize: ballast.MinPartSize,
		Parts: []ballast.PartDigest{{Number: 1, SHA256: d.Encoded()}},
	})
	if len(a.Parts) != 1 {
		t.Fatalf("no part to send: %+v", a)
	}
	return a.Parts[0].Request
}

// asService signs with the identity that may do everything, as a registry would that had no other.
type asService struct {
	*objstore.S3
	store *testenv.Store
}

func (a asService) publish(t *testing.T, name string, content []byte) {
	key := ballast.BlobKey(scope(name), ballast.DigestOf(content))
	_, err := a.Put(t.Context(), key, content, objstore.Condition{})
	check(t, err)
}

func (a asService) put(t *testing.T, name string, content []byte) ballast.SignedRequest {
	d := ballast.DigestOf(content)
	return must[ballast.SignedRequest](t)(a.SignPut(t.Context(), ballast.BlobKey(scope(name), d), d, int64(len(content)), time.Minute))
}

// part belongs to a multipart without checksums: the product's asks for SHA-256 of each part, which a copied one lacks,
// so that it would be refused for that alone.
func (a asService) part(t *testing.T, name string, content []byte) ballast.SignedRequest {
	d := ballast.DigestOf(content)
	key := ballast.BlobKey(scope(name), d)
	core := minio.Core{Client: a.store.Client(t, a.store.Root)}
	id := must[string](t)(core.NewMultipartUpload(t.Context(), a.store.Bucket, key, minio.PutObjectOptions{}))
	return must[ballast.SignedRequest](t)(a.SignPart(t.Context(), key, id, 1, d, int64(len(content)), time.Minute))
}

// copyOrder is the header that makes some stores copy in place of storing the body.
func copyOrder(s *testenv.Store, from string, content []byte) http.Header {
	return http.Header{"X-Amz-Copy-Source": {"/" + s.Bucket + "/" + ballast.BlobKey(scope(from), ballast.DigestOf(content))}}
}

// TestCopySource: a writer who adds an unsigned x-amz-copy-source to what the registry signed neither gets another
// tenant's bytes nor changes a verified blob. With the service's own signature the same requests do both.
func TestCopySource(t *testing.T) {
	t.Parallel()
	t.Run("three identities", func(t *testing.T) {
		s := testenv.MinIO(t)
		r := serve(t, s, t.TempDir())
		copySource(t, s, throughRegistry{r, map[string]*client.Client{"acme": r.as(t, "acme=writer"), "them": r.as(t, "them=writer")}}, false)
	})
	t.Run("one identity", func(t *testing.T) {
		s := testenv.MinIO(t)
		cfg := s.Config()
		cfg.Put, cfg.Get = nil, nil
		copySource(t, s, asService{must[*objstore.S3](t)(objstore.Open(t.Context(), cfg)), s}, true)
	})
}

// copySource makes each attack and compares what it achieved with what it should.
func copySource(t *testing.T, s *testenv.Store, sign issuer, achieves bool) {
	secret, bait, verified, part := random(3000), random(1000), random(1000), random(1000)
	sign.publish(t, "acme", secret)
	for name, stolen := range map[string]func() bool{
		"another tenant's blob": func() bool {
			send(t, sign.put(t, "them", bait), bait, copyOrder(s, "acme", secret))
			got := read(t, s, ballast.BlobKey(scope("them"), ballast.DigestOf(bait)))
			return bytes.Equal(got, secret)
		},
		"a verified blob overwritten": func() bool {
			early := sign.put(t, "acme", verified)
			sign.publish(t, "acme", verified)
			send(t, early, verified, copyOrder(s, "acme", secret))
			got := read(t, s, ballast.BlobKey(scope("acme"), ballast.DigestOf(verified)))
			return !bytes.Equal(got, verified)
		},
		"a part": func() bool {
			req := sign.part(t, "them", part)
			send(t, req, part, copyOrder(s, "acme", secret))
			return len(partsOf(t, s, req)) > 0
		},
	} {
		if got := stolen(); got != achieves {
			t.Errorf("%s: the attack succeeded: %t", name, got)
		}
	}
}

// partsOf lists the parts of the multipart that a signed part belongs to.
func partsOf(t *testing.T, s *testenv.Store, req ballast.SignedRequest) []minio.ObjectPart {
	t.Helper()
	u := must[*url.URL](t)(url.Parse(req.URL))
	key := strings.TrimPrefix(u.Path, "/"+s.Bucket+"/")
	core := minio.Core{Client: s.Client(t, s.Root)}
	return must[minio.ListObjectPartsResult](t)(core.ListObjectParts(t.Context(), s.Bucket, key, u.Query().Get("uploadId"), 0, 10)).ObjectParts
}

// TestOneIdentityIsRefused: on a store with that hole, serve wants three identities, and --allow-unsafe-store does not
// waive it.
func TestOneIdentityIsRefused(t *testing.T) {
	t.Parallel()
	s := testenv.MinIO(t)
	one := *s
	one.OneIdentity = true // give no other profiles
	for _, flag := range []bool{false, true} {
		one.Unsafe = flag
		said := refused(t, serveCommand(t, &one, t.TempDir()))
		if !strings.Contains(said, "--s3-put-profile") || !strings.Contains(said, "--s3-get-profile") {
			t.Errorf("flag given %t: %s", flag, said)
		}
	}
}

// TestZeroSignature: on MinIO whoever saw a signed URL can replace a verified blob, which is why serve starts there only
// with --allow-unsafe-store; a pull notices. The embedded store refuses.
func TestZeroSignature(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		r := serve(t, s, t.TempDir())
		c := r.as(t, "acme=writer")
		content, other := []byte("verified weights"), []byte("somebody's bytes")
		u := open(t, c, "m:1")
		signed := askPut(t, c, u.ID, content)
		send(t, signed, content, nil)
		must[ballast.Upload](t)(commit(t, c, u.ID, file("weights", content)))

		body, header := chunked(other, "x-amz-checksum-crc32")
		status := send(t, forge(t, signed), body, header)
		got := read(t, s, ballast.BlobKey(scope("acme"), ballast.DigestOf(content)))
		_, err := c.Pull(t.Context(), client.PullOptions{Ref: ref("m:1"), Dir: t.TempDir()})
		if s.Unsafe {
			if !bytes.Equal(got, other) || ballast.CodeOf(err) != ballast.CodeIntegrity {
				t.Errorf("status %d, %q is stored, pull: %v", status, got, err)
			}
			return
		}
		if status/100 != 4 || !bytes.Equal(got, content) || err != nil {
			t.Errorf("status %d, %q is stored, pull: %v", status, got, err)
		}
	})
}

// forge makes a request that only looks signed, with the key id and the session that a signed one shows.
func forge(t *testing.T, signed ballast.SignedRequest) ballast.SignedRequest {
	t.Helper()
	u := must[*url.URL](t)(url.Parse(signed.URL))
	query := url.Values{"X-Amz-SignedHeaders": {"host"}, "X-Amz-Signature": {strings.Repeat("0", 64)}, "X-Amz-Expires": {"600"}}
	for _, same := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Security-Token"} {
		if value := u.Query().Get(same); value != "" {
			query.Set(same, value)
		}
	}
	u.RawQuery = query.Encode()
	return ballast.SignedRequest{Method: http.MethodPut, URL: u.String()}
}

// chunked is content in the aws-chunked encoding with a trailing checksum, and the headers that say so.
func chunked(content []byte, trailer string) ([]byte, http.Header) {
	sum := ballast.ChecksumHeader(ballast.DigestOf(content))
	if trailer == "x-amz-checksum-crc32" {
		sum = base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(content)))
	}
	encoded := fmt.Sprintf("%x\r\n%s\r\n0\r\n%s:%s\r\n\r\n", len(content), content, trailer, sum)
	return []byte(encoded), http.Header{
		"X-Amz-Content-Sha256": {"STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, "X-Amz-Decoded-Content-Length": {strconv.Itoa(len(content))},
		"Content-Encoding": {"aws-chunked"}, "X-Amz-Trailer": {trailer},
	}
}
