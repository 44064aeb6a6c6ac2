package objstoretest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

func putFile(t testing.TB, s Subject, key string, body []byte, sum digest.Digest) (objstore.Object, error) {
	t.Helper()
	return s.Bucket.PutFile(t.Context(), key, bytes.NewReader(body), int64(len(body)), sum)
}

// testPutFile: a file goes up whole and replaces what is there, and the store keeps its SHA-256.
func testPutFile(t *testing.T, s Subject) {
	mustPut(t, s, "f/1.db", []byte("what was there"))
	for key, body := range map[string][]byte{"f/1.db": bytes.Repeat([]byte("a page of a file "), 1<<17), "f/2.db": []byte("x"), "f/empty": nil} {
		put, err := putFile(t, s, key, body, ballast.DigestOf(body))
		must(t, err)
		head, err := s.Bucket.Head(t.Context(), key)
		must(t, err)
		if put.Key != key || put.Size != int64(len(body)) || put.SHA256 != ballast.DigestOf(body) || put.ETag != head.ETag || put.VersionID != head.VersionID {
			t.Errorf("put says %+v, head %+v", put, head)
		}
		if head.Size != int64(len(body)) || head.SHA256 != ballast.DigestOf(body) || len(head.Oddities) != 0 {
			t.Errorf("head of %s: %+v", key, head)
		}
		if got, _ := mustGet(t, s, key, objstore.ReadOptions{}); !bytes.Equal(got, body) {
			t.Errorf("%s holds %d bytes of %d, or others", key, len(got), len(body))
		}
	}
}

// testPutFileWrong: what is not as its digest says, or too large, changes nothing.
func testPutFileWrong(t *testing.T, s Subject) {
	before := mustPut(t, s, "f", []byte("what was there"))
	if _, err := putFile(t, s, "f", []byte("one"), ballast.DigestOf([]byte("two"))); err == nil {
		t.Error("a file was taken that is not what its digest says")
	}
	if _, err := putFile(t, s, "none", []byte("one"), ballast.DigestOf([]byte("two"))); err == nil {
		t.Error("a new one was taken that is not what its digest says")
	}
	wantAbsent(t, s, "none")
	if _, err := s.Bucket.PutFile(t.Context(), "f", strings.NewReader(""), ballast.MaxPutSize+1, ballast.EmptyDigest); err == nil {
		t.Error("a file over MaxPutSize was taken")
	}
	if got, o := mustGet(t, s, "f", objstore.ReadOptions{}); string(got) != "what was there" || o.ETag != before.ETag {
		t.Errorf("they left %q, %+v", got, o)
	}
}
