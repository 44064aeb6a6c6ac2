package e2e_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv"
)

// tainted is what a client sends by a signed PUT in place of what was signed: size bytes of the blob named digest.
type tainted struct {
	digest digest.Digest
	size   int64
	body   []byte
	header http.Header // that nobody signed
}

func withHeader(name, value string) tainted {
	body := random(100)
	return tainted{ballast.DigestOf(body), 100, body, http.Header{name: {value}}}
}

// withTrailer sends real bytes in the aws-chunked encoding, whose length was signed. The blob's name is the digest of
// what stands on the wire, of what it decodes to, or of something else.
func withTrailer(trailer, named string) tainted {
	real := random(100)
	body, header := chunked(real, trailer)
	digests := map[string]digest.Digest{"wire": ballast.DigestOf(body), "decoded": ballast.DigestOf(real), "other": ballast.DigestOf(random(10))}
	return tainted{digests[named], int64(len(body)), body, header}
}

// TestTaintedPut: whatever a client adds to a signed PUT, either the store refuses it, or the upload fails with integrity
// and the object goes.
func TestTaintedPut(t *testing.T) {
	cases := map[string]tainted{
		"content encoding": withHeader("Content-Encoding", "gzip"),
		"aws-chunked":      withHeader("Content-Encoding", "aws-chunked"),
		"user metadata":    withHeader("X-Amz-Meta-Owner", "me"),
		"storage class":    withHeader("X-Amz-Storage-Class", "REDUCED_REDUNDANCY"),
		"redirect":         withHeader("X-Amz-Website-Redirect-Location", "https://elsewhere.example"),
		"crc32 of wire":    withTrailer("x-amz-checksum-crc32", "wire"),
		"crc32 of decoded": withTrailer("x-amz-checksum-crc32", "decoded"),
		"crc32 of other":   withTrailer("x-amz-checksum-crc32", "other"),
		"sha256 of wire":   withTrailer("x-amz-checksum-sha256", "wire"),
		"sha256 of decode": withTrailer("x-amz-checksum-sha256", "decoded"),
		"sha256 of other":  withTrailer("x-amz-checksum-sha256", "other"),
	}
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		c := serve(t, s, t.TempDir()).as(t, "acme=writer")
		for name, sent := range cases {
			t.Run(name, func(t *testing.T) { sendTainted(t, s, c, sent) })
		}
	})
}

func sendTainted(t *testing.T, s *testenv.Store, c *client.Client, sent tainted) {
	u := open(t, c, "m")
	a := ask(t, c, u.ID, ballast.BlobRequest{Digest: sent.digest, Size: sent.size, Method: ballast.MethodPut})
	status := send(t, *a.Request, sent.body, sent.header)
	_, err := commit(t, c, u.ID, ballast.File{Path: "weights", Size: sent.size, Digest: sent.digest})
	key := ballast.BlobKey(scope("acme"), sent.digest)
	switch {
	case status/100 == 4:
		if ballast.CodeOf(err) != ballast.CodeMissing || read(t, s, key) != nil {
			t.Errorf("refused by the store; commit: %v", err)
		}
	case err == nil: // then nothing of what was added was kept
		assertPlain(t, s, key, sent.digest)
	default:
		assertFailed(t, c, u.ID, err)
		if status/100 == 2 && ballast.DigestOf(read(t, s, key)) == sent.digest && sent.header.Get("X-Amz-Trailer") != "" {
			assertPlain(t, s, key, sent.digest) // the store decoded the body: only the declared size was wrong
			return
		}
		eventually(t, "the object goes", func() bool { return read(t, s, key) == nil })
	}
}

// assertPlain wants an object to be as it was signed.
func assertPlain(t *testing.T, s *testenv.Store, key string, d digest.Digest) {
	t.Helper()
	o := must[minio.ObjectInfo](t)(s.Client(t, s.Root).StatObject(t.Context(), s.Bucket, key, minio.StatObjectOptions{}))
	odd := o.Metadata.Get("Content-Encoding") + o.Metadata.Get("X-Amz-Website-Redirect-Location")
	if odd != "" || len(o.UserMetadata) > 0 || o.StorageClass != "" && o.StorageClass != "STANDARD" || ballast.DigestOf(read(t, s, key)) != d {
		t.Errorf("published: %+v", o)
	}
}

// assertFailed wants an upload to have ended with integrity, in its own state and in the answer to its commit.
func assertFailed(t *testing.T, c *client.Client, upload string, err error) {
	t.Helper()
	u := must[ballast.Upload](t)(c.Upload(t.Context(), upload, 0))
	if ballast.CodeOf(err) != ballast.CodeIntegrity || u.Status != ballast.UploadFailed || ballast.CodeOf(u.Error) != ballast.CodeIntegrity {
		t.Errorf("commit: %v; upload %s: %v", err, u.Status, u.Error)
	}
}

// TestDeclaredSize: who declares another size than the bytes of the digest have publishes nothing, even when somebody
// honest brings the bytes.
func TestDeclaredSize(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		c := serve(t, s, t.TempDir()).as(t, "acme=writer")
		body := random(100)
		honest, liar := open(t, c, "m:1"), open(t, c, "m:2")
		req := askPut(t, c, honest.ID, body)
		ask(t, c, liar.ID, ballast.BlobRequest{Digest: ballast.DigestOf(body), Size: 101})
		send(t, req, body, nil)
		must[ballast.Upload](t)(commit(t, c, honest.ID, file("weights", body)))
		_, err := commit(t, c, liar.ID, ballast.File{Path: "weights", Size: 101, Digest: ballast.DigestOf(body)})
		assertFailed(t, c, liar.ID, err)
		check(t, pull(t, c, "m", map[string][]byte{"weights": body}))
	})
}

// TestLyingMultipart: every part is what its URL says, but together they are not the digest. The problem document names
// both digests, the object goes, and an honest upload of the digest beside it gets through.
func TestLyingMultipart(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		c := serve(t, s, t.TempDir()).as(t, "acme=writer")
		honest, lie := random(ballast.MinPartSize+10), random(ballast.MinPartSize+10)
		liar, beside := open(t, c, "m:1"), open(t, c, "m:2")
		d := ballast.DigestOf(honest)
		sendParts(t, c, beside.ID, d, honest)
		sendParts(t, c, liar.ID, d, lie) // in the same multipart
		_, err := commit(t, c, liar.ID, file("weights", honest))
		assertFailed(t, c, liar.ID, err)
		if e := ballast.AsError(err); e.Expected != d || e.Actual != ballast.DigestOf(lie) {
			t.Errorf("expected %s, actual %s", e.Expected, e.Actual)
		}
		key := ballast.BlobKey(scope("acme"), d)
		eventually(t, "the object goes", func() bool { return read(t, s, key) == nil })
		sendParts(t, c, beside.ID, d, honest)
		must[ballast.Upload](t)(commit(t, c, beside.ID, file("weights", honest)))
		check(t, pull(t, c, "m", map[string][]byte{"weights": honest}))
	})
}

// sendParts sends body as the blob d, whatever its digest.
func sendParts(t *testing.T, c *client.Client, upload string, d digest.Digest, body []byte) {
	t.Helper()
	want := ballast.BlobRequest{Digest: d, Size: int64(len(body)), Method: ballast.MethodMultipart, PartSize: ballast.MinPartSize}
	var parts [][]byte
	for part := range slices.Chunk(body, ballast.MinPartSize) {
		parts = append(parts, part)
		want.Parts = append(want.Parts, ballast.PartDigest{Number: len(parts), SHA256: ballast.DigestOf(part).Encoded()})
	}
	var a ballast.BlobAnswer
	eventually(t, "the blob is free", func() bool {
		a = ask(t, c, upload, want)
		return a.State != ballast.BlobBusy
	})
	for _, p := range a.Parts {
		objstoretest.AssertSigned(t, objstoretest.KindPart, p.Request)
		if status := send(t, p.Request, parts[p.Number-1], nil); status != http.StatusOK {
			t.Fatalf("part %d: %d", p.Number, status)
		}
	}
}
