package objstoretest

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

const ttl = 10 * time.Minute

var equateEmpty = cmpopts.EquateEmpty()

func testSignedPut(t *testing.T, s Subject) {
	body := []byte("weights")
	before := time.Now()
	req, err := s.Signer.SignPut(t.Context(), "global/blobs/a", ballast.DigestOf(body), int64(len(body)), ttl)
	must(t, err)
	if req.ExpiresAt.After(time.Now().Add(ttl)) || req.ExpiresAt.Before(before) {
		t.Errorf("expires at %v", req.ExpiresAt)
	}
	if status, text := send(t, s, req, body, nil); status != http.StatusOK {
		t.Fatalf("PUT: %d %s", status, text)
	}
	if status, _ := send(t, s, req, body, nil); status != http.StatusPreconditionFailed {
		t.Errorf("the same PUT again: %d", status)
	}
	head, err := s.Bucket.Head(t.Context(), "global/blobs/a")
	must(t, err)
	if head.SHA256 != ballast.DigestOf(body) || len(head.Oddities) != 0 {
		t.Errorf("head: %+v", head)
	}
}

func testSignedEmptyPut(t *testing.T, s Subject) {
	req, err := s.Signer.SignPut(t.Context(), "global/blobs/e", ballast.EmptyDigest, 0, ttl)
	must(t, err)
	if status, text := send(t, s, req, nil, nil); status != http.StatusOK {
		t.Fatalf("PUT of nothing: %d %s", status, text)
	}
	req, err = s.Signer.SignPut(t.Context(), "global/blobs/f", ballast.EmptyDigest, 0, ttl)
	must(t, err)
	if status, _ := send(t, s, req, []byte("x"), nil); status < 400 {
		t.Errorf("a byte was taken where none was signed: %d", status)
	}
	wantAbsent(t, s, "global/blobs/f")
}

func testSignedPutWrong(t *testing.T, s Subject) {
	body := []byte("weights")
	req, err := s.Signer.SignPut(t.Context(), "global/blobs/w", ballast.DigestOf(body), int64(len(body)), ttl)
	must(t, err)
	for name, c := range map[string]struct {
		body  string
		extra http.Header
	}{
		"other bytes":         {"WEIGHTS", nil},
		"a shorter body":      {"weight", nil},
		"a longer body":       {"weights!", nil},
		"no If-None-Match":    {"weights", http.Header{"If-None-Match": nil}},
		"no checksum":         {"weights", http.Header{checksumHeader: nil}},
		"another checksum":    {"WEIGHTS", http.Header{checksumHeader: {ballast.ChecksumHeader(ballast.DigestOf([]byte("WEIGHTS")))}}},
		"a streaming trailer": {"weights", http.Header{"X-Amz-Content-Sha256": {"STREAMING-UNSIGNED-PAYLOAD-TRAILER"}}},
	} {
		if status, text := send(t, s, req, []byte(c.body), c.extra); status < 400 || status >= 500 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	tampered := req
	tampered.URL = strings.Replace(req.URL, "/blobs/w", "/blobs/v", 1)
	if status, _ := send(t, s, tampered, body, nil); status != http.StatusForbidden {
		t.Errorf("another key under the same signature: %d", status)
	}
	wantAbsent(t, s, "global/blobs/w")
	wantAbsent(t, s, "global/blobs/v")
}

func testSignedGet(t *testing.T, s Subject) {
	mustPut(t, s, "global/blobs/g", []byte("0123456789"))
	head, err := s.Bucket.Head(t.Context(), "global/blobs/g")
	must(t, err)
	req, err := s.Signer.SignGet(t.Context(), "global/blobs/g", head.VersionID, ttl)
	must(t, err)
	if status, got := send(t, s, req, nil, nil); status != http.StatusOK || got != "0123456789" {
		t.Errorf("GET: %d %q", status, got)
	}
	if status, got := send(t, s, req, nil, http.Header{"Range": {"bytes=2-4"}}); status != http.StatusPartialContent || got != "234" {
		t.Errorf("GET of a range: %d %q", status, got)
	}
	put := req
	put.Method = http.MethodPut
	if status, _ := send(t, s, put, []byte("x"), nil); status < 400 {
		t.Errorf("a PUT with a GET's signature: %d", status)
	}
}

func testSignedPartWrong(t *testing.T, s Subject) {
	id := mustCreate(t, s, "global/blobs/p")
	req, err := s.Signer.SignPart(t.Context(), "global/blobs/p", id, 1, ballast.DigestOf([]byte("part")), 4, ttl)
	must(t, err)
	for name, c := range map[string]struct {
		body  string
		extra http.Header
	}{
		"other bytes": {"PART", nil}, "a shorter part": {"par", nil}, "a longer part": {"parts", nil},
		"no checksum": {"part", http.Header{checksumHeader: nil}},
	} {
		if status, text := send(t, s, req, []byte(c.body), c.extra); status < 400 || status >= 500 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if parts := mustParts(t, s, "global/blobs/p", id, 0); len(parts) != 0 {
		t.Errorf("the store holds %+v", parts)
	}
	abortForCertain(t, s, "global/blobs/p", id)
}

// testOddities: what nobody signed is kept by stores and breaks readers, so Head must show it, or not be readable.
func testOddities(t *testing.T, s Subject) {
	body := []byte("odd weights")
	for i, extra := range []http.Header{
		{"Content-Encoding": {"gzip"}},
		{"X-Amz-Meta-Note": {"x"}},
	} {
		key := fmt.Sprintf("global/blobs/odd%d", i)
		req, err := s.Signer.SignPut(t.Context(), key, ballast.DigestOf(body), int64(len(body)), ttl)
		must(t, err)
		if status, _ := send(t, s, req, body, extra); status >= 400 {
			continue // a store that refuses them is better still
		}
		if head, err := s.Bucket.Head(t.Context(), key); err != nil || len(head.Oddities) == 0 {
			t.Errorf("%v left no trace: %+v, %v", extra, head, err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIs(t testing.TB, err, want error, what string, args ...any) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", fmt.Sprintf(what, args...), err, want)
	}
}

func wantAbsent(t testing.TB, s Subject, key string) {
	t.Helper()
	_, err := s.Bucket.Head(t.Context(), key)
	wantIs(t, err, objstore.ErrNotFound, "Head of %q", key)
	_, _, err = s.Bucket.Get(t.Context(), key, objstore.ReadOptions{})
	wantIs(t, err, objstore.ErrNotFound, "Get of %q", key)
}

func mustPut(t testing.TB, s Subject, key string, body []byte) objstore.Object {
	t.Helper()
	o, err := s.Bucket.Put(t.Context(), key, body, objstore.Condition{})
	must(t, err)
	return o
}

func mustGet(t testing.TB, s Subject, key string, opt objstore.ReadOptions) ([]byte, objstore.Object) {
	t.Helper()
	r, o, err := s.Bucket.Get(t.Context(), key, opt)
	must(t, err)
	defer r.Close()
	body, err := io.ReadAll(r)
	must(t, err)
	return body, o
}

func mustCreate(t testing.TB, s Subject, key string) string {
	t.Helper()
	id, err := s.Bucket.CreateMultipart(t.Context(), key)
	must(t, err)
	return id
}

func mustSendPart(t testing.TB, s Subject, key, id string, number int, body []byte) {
	t.Helper()
	req, err := s.Signer.SignPart(t.Context(), key, id, number, ballast.DigestOf(body), int64(len(body)), ttl)
	must(t, err)
	if status, text := send(t, s, req, body, nil); status != http.StatusOK {
		t.Fatalf("part %d: %d %s", number, status, text)
	}
}

func mustParts(t testing.TB, s Subject, key, id string, after int) []objstore.Part {
	t.Helper()
	parts, err := collect(s.Bucket.ListParts(t.Context(), key, id, after))
	must(t, err)
	return parts
}

// abortForCertain repeats an abort until the store says that the upload is gone, as recovery does.
func abortForCertain(t testing.TB, s Subject, key, id string) {
	t.Helper()
	for range 10 {
		err := s.Bucket.AbortMultipart(t.Context(), key, id)
		if errors.Is(err, objstore.ErrNoSuchUpload) {
			return
		}
		must(t, err)
	}
	t.Errorf("abort of %q %s never answered NoSuchUpload", key, id)
}

// send returns the status and the body of the answer.
func send(t testing.TB, s Subject, req ballast.SignedRequest, body []byte, extra http.Header) (int, string) {
	t.Helper()
	resp, err := Send(t.Context(), s.Client, req, body, extra)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(text)
}

func collect[T any](seq iter.Seq2[T, error]) (list []T, err error) {
	for v, err := range seq {
		if err != nil {
			return list, err
		}
		list = append(list, v)
	}
	return list, nil
}
