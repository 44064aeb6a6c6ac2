package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// Subject is what the conformance suite tries: a bucket, the signer of the same store, and a client that reaches what
// it signs.
type Subject struct {
	Bucket objstore.Bucket
	Signer objstore.Signer
	Client *http.Client
	// Beside is another bucket of the same store, by the name under which Copy takes from it.
	Beside     objstore.Bucket
	BesideName string
}

// Run holds a store to the contracts of objstore. open returns an empty one for each test.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for name, test := range map[string]func(*testing.T, Subject){
		"BadKeys": testBadKeys, "PutHeadGet": testPutHeadGet, "EmptyObject": testEmptyObject, "PutLimit": testPutLimit,
		"PutFile": testPutFile, "PutFileWrong": testPutFileWrong,
		"Conditions": testConditions, "OneWinner": testOneWinner, "Ranges": testRanges, "Absent": testAbsent,
		"Delete": testDelete, "DeleteMatch": testDeleteMatch, "List": testList, "OddNames": testOddNames, "Cancelled": testCancelled,
		"Multipart": testMultipart, "PartPages": testPartPages, "CompleteOnce": testCompleteOnce,
		"CompleteWrong": testCompleteWrong, "NoSuchUpload": testNoSuchUpload, "ListUploads": testListUploads, "Copy": testCopy, "CopyWrong": testCopyWrong, "CopyFromBeside": testCopyFromBeside,
		"SignedPut": testSignedPut, "SignedEmptyPut": testSignedEmptyPut, "SignedPutWrong": testSignedPutWrong,
		"SignedGet": testSignedGet, "SignedPartWrong": testSignedPartWrong, "Oddities": testOddities,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			s.Signer = CheckSigner(t, s.Signer)
			test(t, s)
		})
	}
}

func testBadKeys(t *testing.T, s Subject) {
	ctx := t.Context()
	for _, key := range []string{"", "/", "a/", "/a", "a//b", "a/./b", "../a", "a/..", "a\nb", "a\x7f", "\xff", strings.Repeat("k", 1025)} {
		_, putErr := s.Bucket.Put(ctx, key, nil, objstore.Condition{})
		_, fileErr := s.Bucket.PutFile(ctx, key, strings.NewReader(""), 0, ballast.EmptyDigest)
		_, _, getErr := s.Bucket.Get(ctx, key, objstore.ReadOptions{})
		_, headErr := s.Bucket.Head(ctx, key)
		_, createErr := s.Bucket.CreateMultipart(ctx, key)
		_, partsErr := collect(s.Bucket.ListParts(ctx, key, "u", 0))
		_, completeErr := s.Bucket.CompleteMultipart(ctx, key, "u", []objstore.Part{{Number: 1}})
		_, copyErr := s.Bucket.Copy(ctx, key, objstore.Source{Key: "k", ETag: `"e"`, Size: 1})
		_, copyFromErr := s.Bucket.Copy(ctx, "k", objstore.Source{Key: key, ETag: `"e"`, Size: 1})
		_, uploadsErr := s.Bucket.ListUploads(ctx, key)
		_, signPutErr := s.Signer.SignPut(ctx, key, ballast.EmptyDigest, 0, ttl)
		_, signPartErr := s.Signer.SignPart(ctx, key, "u", 1, ballast.EmptyDigest, 0, ttl)
		_, signGetErr := s.Signer.SignGet(ctx, key, "", ttl)
		for call, err := range map[string]error{
			"Put": putErr, "PutFile": fileErr, "Get": getErr, "Head": headErr, "Delete": s.Bucket.Delete(ctx, key), "DeleteMatch": s.Bucket.DeleteMatch(ctx, key, `"e"`), "CreateMultipart": createErr,
			"ListParts": partsErr, "CompleteMultipart": completeErr, "AbortMultipart": s.Bucket.AbortMultipart(ctx, key, "u"),
			"Copy to": copyErr, "Copy from": copyFromErr,
			"ListUploads": uploadsErr, "SignPut": signPutErr, "SignPart": signPartErr, "SignGet": signGetErr,
		} {
			wantIs(t, err, objstore.ErrBadKey, "%s of %.20q", call, key)
		}
	}
}

func testPutHeadGet(t *testing.T, s Subject) {
	body := []byte("the quick brown fox")
	put := mustPut(t, s, "a/b.json", body)
	head, err := s.Bucket.Head(t.Context(), "a/b.json")
	must(t, err)
	if head.Key != "a/b.json" || head.Size != int64(len(body)) || head.SHA256 != ballast.DigestOf(body) || head.Modified.IsZero() {
		t.Errorf("head: %+v", head)
	}
	if head.ETag != put.ETag || !strings.HasPrefix(head.ETag, `"`) || len(head.Oddities) != 0 {
		t.Errorf("put says %+v, head %+v", put, head)
	}
	if standard := head.StorageClass == "" || head.StorageClass == "STANDARD"; !standard {
		t.Errorf("storage class %q", head.StorageClass)
	}
	if got, o := mustGet(t, s, "a/b.json", objstore.ReadOptions{IfMatch: head.ETag, VersionID: head.VersionID}); !bytes.Equal(got, body) || o.ETag != head.ETag || o.Size != head.Size {
		t.Errorf("got %q, %+v", got, o)
	}
	mustPut(t, s, "a/b.json", []byte("other"))
	if got, _ := mustGet(t, s, "a/b.json", objstore.ReadOptions{}); string(got) != "other" {
		t.Errorf("an unconditional put left %q", got)
	}
}

func testEmptyObject(t *testing.T, s Subject) {
	mustPut(t, s, "empty", nil)
	head, err := s.Bucket.Head(t.Context(), "empty")
	must(t, err)
	if head.Size != 0 || head.SHA256 != ballast.EmptyDigest {
		t.Errorf("head: %+v", head)
	}
	if got, _ := mustGet(t, s, "empty", objstore.ReadOptions{}); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func testPutLimit(t *testing.T, s Subject) {
	if _, err := s.Bucket.Put(t.Context(), "large", make([]byte, objstore.MaxPut+1), objstore.Condition{}); err == nil {
		t.Error("a body over MaxPut was taken")
	}
	wantAbsent(t, s, "large")
}

func testConditions(t *testing.T, s Subject) {
	ctx := t.Context()
	first, err := s.Bucket.Put(ctx, "k", []byte("1"), objstore.Condition{IfAbsent: true})
	must(t, err)
	_, err = s.Bucket.Put(ctx, "k", []byte("2"), objstore.Condition{IfAbsent: true})
	wantIs(t, err, objstore.ErrPrecondition, "If-None-Match on an existing key")
	second, err := s.Bucket.Put(ctx, "k", []byte("3"), objstore.Condition{IfMatch: first.ETag})
	must(t, err)
	_, err = s.Bucket.Put(ctx, "k", []byte("4"), objstore.Condition{IfMatch: first.ETag})
	wantIs(t, err, objstore.ErrPrecondition, "If-Match of an older ETag")
	_, err = s.Bucket.Put(ctx, "none", []byte("5"), objstore.Condition{IfMatch: first.ETag})
	wantIs(t, err, objstore.ErrPrecondition, "If-Match on an absent key")
	wantAbsent(t, s, "none")
	if got, o := mustGet(t, s, "k", objstore.ReadOptions{}); string(got) != "3" || o.ETag != second.ETag {
		t.Errorf("got %q, %+v", got, o)
	}
}

func testOneWinner(t *testing.T, s Subject) {
	var wins atomic.Int32
	var winner atomic.Value
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			body := []byte{byte('a' + i)}
			_, err := s.Bucket.Put(t.Context(), "race", body, objstore.Condition{IfAbsent: true})
			if err == nil {
				wins.Add(1)
				winner.Store(body)
				return
			}
			wantIs(t, err, objstore.ErrPrecondition, "the loser's put")
		})
	}
	group.Wait()
	got, _ := mustGet(t, s, "race", objstore.ReadOptions{})
	if wins.Load() != 1 || !bytes.Equal(got, winner.Load().([]byte)) {
		t.Errorf("%d winners, object %q", wins.Load(), got)
	}
}

func testRanges(t *testing.T, s Subject) {
	o := mustPut(t, s, "r", []byte("0123456789"))
	for _, c := range []struct {
		offset, length int64
		want           string
	}{{0, 0, "0123456789"}, {0, 3, "012"}, {4, 0, "456789"}, {4, 2, "45"}, {8, 99, "89"}} {
		got, _ := mustGet(t, s, "r", objstore.ReadOptions{Offset: c.offset, Length: c.length})
		if string(got) != c.want {
			t.Errorf("range %d+%d: %q, want %q", c.offset, c.length, got, c.want)
		}
	}
	if _, part, err := s.Bucket.Get(t.Context(), "r", objstore.ReadOptions{Offset: 4, Length: 2}); err != nil || part.Size != 10 {
		t.Errorf("a range's object says size %d, want the whole object's 10 (%v)", part.Size, err)
	}
	if _, _, err := s.Bucket.Get(t.Context(), "r", objstore.ReadOptions{Offset: 10}); err == nil {
		t.Error("a range past the end was served")
	}
	mustPut(t, s, "r", []byte("changed"))
	_, _, err := s.Bucket.Get(t.Context(), "r", objstore.ReadOptions{IfMatch: o.ETag})
	wantIs(t, err, objstore.ErrPrecondition, "Get with an older ETag")
}

func testAbsent(t *testing.T, s Subject) {
	wantAbsent(t, s, "no/such")
	mustPut(t, s, "no/such/child", nil)
	wantAbsent(t, s, "no/such")
	wantAbsent(t, s, "no")
}

func testDelete(t *testing.T, s Subject) {
	mustPut(t, s, "d", []byte("x"))
	mustPut(t, s, "dd", []byte("x"))
	must(t, s.Bucket.Delete(t.Context(), "d"))
	wantAbsent(t, s, "d")
	must(t, s.Bucket.Delete(t.Context(), "d"))
	if _, err := s.Bucket.Head(t.Context(), "dd"); err != nil {
		t.Error(err)
	}
}

func testDeleteMatch(t *testing.T, s Subject) {
	o := mustPut(t, s, "d", []byte("x"))
	other := mustPut(t, s, "dd", []byte("another"))
	wantIs(t, s.Bucket.DeleteMatch(t.Context(), "d", other.ETag), objstore.ErrPrecondition, "a delete of another object")
	if got, _ := mustGet(t, s, "d", objstore.ReadOptions{}); string(got) != "x" {
		t.Errorf("it left %q", got)
	}
	must(t, s.Bucket.DeleteMatch(t.Context(), "d", o.ETag))
	wantAbsent(t, s, "d")
	wantIs(t, s.Bucket.DeleteMatch(t.Context(), "d", o.ETag), objstore.ErrNotFound, "a delete of nothing")
	if _, err := s.Bucket.Head(t.Context(), "dd"); err != nil {
		t.Error(err)
	}
}

func testList(t *testing.T, s Subject) {
	keys := []string{"a", "l-", "l/0"}
	for i := range 12 {
		keys = append(keys, "l/1/"+string(rune('a'+i)))
	}
	keys = append(keys, "l/1a", "l/2", "l0", "z")
	for _, k := range keys {
		mustPut(t, s, k, []byte(k))
	}
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", keys}, {"l/", "", keys[2:17]}, {"l/1/", "", keys[3:15]}, {"l/1/", "l/1/c", keys[6:15]},
		{"l/", "l/1", keys[3:17]}, {"l/", "l/2", nil}, {"none/", "", nil},
	} {
		found, err := collect(s.Bucket.List(t.Context(), c.prefix, c.after))
		must(t, err)
		var got []string
		for _, o := range found {
			got = append(got, o.Key)
			if o.Size != int64(len(o.Key)) || o.ETag != quoteMD5([]byte(o.Key)) && len(o.ETag) < 3 || o.Modified.IsZero() {
				t.Errorf("listed %+v", o)
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("List(%q, %q) (-want +got):\n%s", c.prefix, c.after, d)
		}
	}
	for range s.Bucket.List(t.Context(), "", "") {
		break // a caller may stop early
	}
}

func testOddNames(t *testing.T, s Subject) {
	for _, key := range []string{"a b", "plus+and%25", "ünïcødé", "q?x=1&y#z", "tilde~()'!*", "a:b@c", "semi;colon,$="} {
		key = "global/blobs/" + key
		mustPut(t, s, key, []byte(key))
		if got, _ := mustGet(t, s, key, objstore.ReadOptions{}); string(got) != key {
			t.Errorf("%q holds %q", key, got)
		}
		found, err := collect(s.Bucket.List(t.Context(), key, ""))
		if err != nil || len(found) != 1 || found[0].Key != key {
			t.Errorf("list of %q: %+v, %v", key, found, err)
		}
		req, err := s.Signer.SignGet(t.Context(), key, "", ttl)
		must(t, err)
		if status, got := send(t, s, req, nil, nil); status != http.StatusOK || got != key {
			t.Errorf("signed GET of %q: %d %q", key, status, got)
		}
	}
}

func testCancelled(t *testing.T, s Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, putErr := s.Bucket.Put(ctx, "c", nil, objstore.Condition{})
	_, fileErr := s.Bucket.PutFile(ctx, "c", strings.NewReader(""), 0, ballast.EmptyDigest)
	_, headErr := s.Bucket.Head(ctx, "c")
	_, listErr := collect(s.Bucket.List(ctx, "", ""))
	for call, err := range map[string]error{"Put": putErr, "PutFile": fileErr, "Head": headErr, "List": listErr, "Delete": s.Bucket.Delete(ctx, "c")} {
		wantIs(t, err, context.Canceled, "%s with a done ctx", call)
		if errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("%s with a done ctx reads as absent: %v", call, err)
		}
	}
	mustPut(t, s, "c", bytes.Repeat([]byte("x"), 1<<20))
	ctx, cancel = context.WithCancel(t.Context())
	r, _, err := s.Bucket.Get(ctx, "c", objstore.ReadOptions{})
	must(t, err)
	defer r.Close()
	cancel()
	if n, err := io.Copy(io.Discard, r); err == nil && n < 1<<20 {
		t.Errorf("a body cut at %d bytes ended without an error", n)
	}
}
