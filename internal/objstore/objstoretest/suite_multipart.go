package objstoretest

import (
	"bytes"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// partBytes is one part of the least size that may be followed by another.
func partBytes(fill byte) []byte { return bytes.Repeat([]byte{fill}, ballast.MinPartSize) }

func testMultipart(t *testing.T, s Subject) {
	bodies := [][]byte{partBytes('1'), partBytes('2'), []byte("the end")}
	id := mustCreate(t, s, "global/blobs/m")
	for i := range bodies {
		n := len(bodies) - i // the order of arrival is no matter
		mustSendPart(t, s, "global/blobs/m", id, n, bodies[n-1])
	}
	parts := mustParts(t, s, "global/blobs/m", id, 0)
	for i, p := range parts {
		if p.Number != i+1 || p.Size != int64(len(bodies[i])) || p.SHA256 != ballast.DigestOf(bodies[i]) || p.ETag == "" || p.Modified.IsZero() {
			t.Errorf("part %d: %+v", i+1, p)
		}
	}
	wantAbsent(t, s, "global/blobs/m")
	done, err := s.Bucket.CompleteMultipart(t.Context(), "global/blobs/m", id, parts)
	must(t, err)
	head, err := s.Bucket.Head(t.Context(), "global/blobs/m")
	must(t, err)
	whole := bytes.Join(bodies, nil)
	if head.SHA256 != "" || head.Size != int64(len(whole)) || head.ETag != done.ETag || len(head.Oddities) != 0 {
		t.Errorf("complete says %+v, head %+v: a composite checksum is no digest of the content", done, head)
	}
	if got, _ := mustGet(t, s, "global/blobs/m", objstore.ReadOptions{IfMatch: head.ETag}); !bytes.Equal(got, whole) {
		t.Error("the object is not its parts")
	}
	_, err = collect(s.Bucket.ListParts(t.Context(), "global/blobs/m", id, 0))
	wantIs(t, err, objstore.ErrNoSuchUpload, "ListParts of a completed upload")
}

func testPartPages(t *testing.T, s Subject) {
	id := mustCreate(t, s, "global/blobs/pages")
	for n := range 23 {
		mustSendPart(t, s, "global/blobs/pages", id, 2*(n+1), []byte{byte(n)})
	}
	mustSendPart(t, s, "global/blobs/pages", id, ballast.MaxParts, []byte("last"))
	mustSendPart(t, s, "global/blobs/pages", id, 4, []byte("again")) // a later upload of a number replaces it
	numbers := func(after int) (list []int) {
		for _, p := range mustParts(t, s, "global/blobs/pages", id, after) {
			list = append(list, p.Number)
			if p.Number == 4 && p.SHA256 != ballast.DigestOf([]byte("again")) {
				t.Errorf("part 4 is %+v", p)
			}
		}
		return list
	}
	want := make([]int, 0, 24)
	for n := range 23 {
		want = append(want, 2*(n+1))
	}
	want = append(want, ballast.MaxParts)
	for after, skip := range map[int]int{0: 0, 1: 0, 2: 1, 21: 10, 46: 23, ballast.MaxParts: 24} {
		if d := cmp.Diff(want[skip:], numbers(after), equateEmpty); d != "" {
			t.Errorf("parts after %d (-want +got):\n%s", after, d)
		}
	}
	abortForCertain(t, s, "global/blobs/pages", id)
}

func testCompleteOnce(t *testing.T, s Subject) {
	id := mustCreate(t, s, "global/blobs/taken")
	mustSendPart(t, s, "global/blobs/taken", id, 1, []byte("late"))
	mustPut(t, s, "global/blobs/taken", []byte("early"))
	_, err := s.Bucket.CompleteMultipart(t.Context(), "global/blobs/taken", id, mustParts(t, s, "global/blobs/taken", id, 0))
	wantIs(t, err, objstore.ErrPrecondition, "Complete onto an existing key")
	if got, _ := mustGet(t, s, "global/blobs/taken", objstore.ReadOptions{}); string(got) != "early" {
		t.Errorf("the object is now %q", got)
	}
	abortForCertain(t, s, "global/blobs/taken", id)
}

func testCompleteWrong(t *testing.T, s Subject) {
	id := mustCreate(t, s, "global/blobs/w")
	mustSendPart(t, s, "global/blobs/w", id, 1, []byte("small"))
	mustSendPart(t, s, "global/blobs/w", id, 2, []byte("end"))
	parts := mustParts(t, s, "global/blobs/w", id, 0)
	complete := func(parts ...objstore.Part) error {
		_, err := s.Bucket.CompleteMultipart(t.Context(), "global/blobs/w", id, parts)
		return err
	}
	other := parts[0]
	other.ETag = quoteMD5([]byte("another"))
	wantIs(t, complete(other), objstore.ErrInvalidPart, "a part with another ETag")
	other.Number, other.ETag = 9, parts[0].ETag
	wantIs(t, complete(other), objstore.ErrInvalidPart, "a part that is not there")
	other = parts[0]
	other.SHA256 = ballast.DigestOf([]byte("another"))
	if complete(other) == nil {
		t.Error("a part with another checksum was completed")
	}
	if complete(parts...) == nil {
		t.Error("a first part under the minimum was completed")
	}
	if complete() == nil {
		t.Error("a Complete without parts was taken")
	}
	wantAbsent(t, s, "global/blobs/w")
	abortForCertain(t, s, "global/blobs/w", id)
}

func testNoSuchUpload(t *testing.T, s Subject) {
	id := mustCreate(t, s, "global/blobs/gone")
	mustSendPart(t, s, "global/blobs/gone", id, 1, []byte("x"))
	parts := mustParts(t, s, "global/blobs/gone", id, 0)
	abortForCertain(t, s, "global/blobs/gone", id)
	_, err := collect(s.Bucket.ListParts(t.Context(), "global/blobs/gone", id, 0))
	wantIs(t, err, objstore.ErrNoSuchUpload, "ListParts after an abort")
	_, err = s.Bucket.CompleteMultipart(t.Context(), "global/blobs/gone", id, parts)
	wantIs(t, err, objstore.ErrNoSuchUpload, "Complete after an abort")
	req, err := s.Signer.SignPart(t.Context(), "global/blobs/gone", id, 2, ballast.DigestOf([]byte("y")), 1, ttl)
	must(t, err)
	if status, _ := send(t, s, req, []byte("y"), nil); status != http.StatusNotFound {
		t.Errorf("a part after the abort: %d", status)
	}
	wantAbsent(t, s, "global/blobs/gone")
}

func sourceOf(o objstore.Object) objstore.Source {
	return objstore.Source{Key: o.Key, ETag: o.ETag, VersionID: o.VersionID, Size: o.Size}
}

// testCopy copies what came by one PUT and what came in parts; a copy has its source's bytes and nothing else of it.
func testCopy(t *testing.T, s Subject) {
	small := mustPut(t, s, "tenants/a/blobs/from +&%é?", []byte("source"))
	body := append(partBytes('a'), 'b')
	id := mustCreate(t, s, "tenants/a/blobs/large")
	mustSendPart(t, s, "tenants/a/blobs/large", id, 1, body[:ballast.MinPartSize])
	mustSendPart(t, s, "tenants/a/blobs/large", id, 2, body[ballast.MinPartSize:])
	_, err := s.Bucket.CompleteMultipart(t.Context(), "tenants/a/blobs/large", id, mustParts(t, s, "tenants/a/blobs/large", id, 0))
	must(t, err)
	large, err := s.Bucket.Head(t.Context(), "tenants/a/blobs/large")
	must(t, err)
	for source, want := range map[*objstore.Object][]byte{&small: []byte("source"), &large: body} {
		key := "global/blobs/copy" + ballast.DigestOf(want).Encoded()
		var copied atomic.Int64
		from := sourceOf(*source)
		from.Copied = func(n int64) { copied.Add(n) }
		made, err := s.Bucket.Copy(t.Context(), key, from)
		must(t, err)
		if copied.Load() != int64(len(want)) {
			t.Errorf("of %d bytes %d were told of", len(want), copied.Load())
		}
		head, err := s.Bucket.Head(t.Context(), key)
		must(t, err)
		if head.ETag != made.ETag || head.VersionID != made.VersionID || head.Size != int64(len(want)) || len(head.Oddities) != 0 {
			t.Errorf("copied %+v, head %+v", made, head)
		}
		if head.SHA256 != "" && head.SHA256 != ballast.DigestOf(want) {
			t.Errorf("the copy shows the digest %s", head.SHA256)
		}
		if got, _ := mustGet(t, s, key, objstore.ReadOptions{IfMatch: made.ETag}); !bytes.Equal(got, want) {
			t.Errorf("the copy has %d bytes, and not its source's", len(got))
		}
		if open, err := s.Bucket.ListUploads(t.Context(), key); err != nil || len(open) != 0 {
			t.Errorf("a copy left %+v, %v", open, err)
		}
	}
}

func testCopyWrong(t *testing.T, s Subject) {
	from := mustPut(t, s, "tenants/a/blobs/from", []byte("source"))
	const key = "global/blobs/copy"
	try := func(change func(*objstore.Source)) error {
		source := sourceOf(from)
		change(&source)
		_, err := s.Bucket.Copy(t.Context(), key, source)
		return err
	}
	wantIs(t, try(func(o *objstore.Source) { o.ETag = quoteMD5([]byte("another")) }), objstore.ErrPrecondition, "a source that is another")
	wantIs(t, try(func(o *objstore.Source) { o.Key, o.VersionID = "tenants/a/blobs/none", "" }), objstore.ErrNotFound, "a source that is not there")
	if try(func(o *objstore.Source) { o.ETag = "" }) == nil || try(func(o *objstore.Source) { o.Size = 0 }) == nil {
		t.Error("a source without an ETag or a size was copied")
	}
	wantAbsent(t, s, key)
	mustPut(t, s, key, []byte("early"))
	wantIs(t, try(func(*objstore.Source) {}), objstore.ErrPrecondition, "a copy onto an existing key")
	if got, _ := mustGet(t, s, key, objstore.ReadOptions{}); string(got) != "early" {
		t.Errorf("the object is now %q", got)
	}
	if open, err := s.Bucket.ListUploads(t.Context(), key); err != nil || len(open) != 0 {
		t.Errorf("refused copies left %+v, %v", open, err)
	}
}

// testCopyFromBeside copies from another bucket, where the same key may be something else.
func testCopyFromBeside(t *testing.T, s Subject) {
	const key = "legacy/from +&%é?"
	mustPut(t, s, key, []byte("of this bucket"))
	o, err := s.Beside.Put(t.Context(), key, []byte("from beside"), objstore.Condition{})
	must(t, err)
	from := sourceOf(o)
	from.Bucket = s.BesideName
	_, err = s.Bucket.Copy(t.Context(), "copy", from)
	must(t, err)
	if got, _ := mustGet(t, s, "copy", objstore.ReadOptions{}); string(got) != "from beside" {
		t.Errorf("copied %q", got)
	}
	_, err = s.Beside.Put(t.Context(), key, []byte("changed since"), objstore.Condition{})
	must(t, err)
	_, err = s.Bucket.Copy(t.Context(), "again", from)
	if from.VersionID == "" {
		wantIs(t, err, objstore.ErrPrecondition, "a source that was changed")
		wantAbsent(t, s, "again")
	}
	for _, name := range []string{"Upper-Case", "a", "a_b", "../" + s.BesideName, s.BesideName + "/legacy", "a..b", ".ab"} {
		from.Bucket = name
		if _, err := s.Bucket.Copy(t.Context(), "odd", from); err == nil {
			t.Errorf("copied from the bucket %q", name)
		}
	}
	wantAbsent(t, s, "odd")
}

func testListUploads(t *testing.T, s Subject) {
	want := map[string]bool{mustCreate(t, s, "global/blobs/u/key"): true, mustCreate(t, s, "global/blobs/u/key"): true}
	others := map[string]string{"global/blobs/u/key2": mustCreate(t, s, "global/blobs/u/key2"), "global/blobs/u/key/sub": mustCreate(t, s, "global/blobs/u/key/sub")}
	found, err := s.Bucket.ListUploads(t.Context(), "global/blobs/u/key")
	must(t, err)
	for _, u := range found {
		if !want[u.ID] || u.Key != "global/blobs/u/key" || u.Initiated.IsZero() || time.Since(u.Initiated).Abs() > time.Hour {
			t.Errorf("listed %+v", u)
		}
		delete(want, u.ID)
		abortForCertain(t, s, u.Key, u.ID)
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
	testUploadsUnder(t, s, others)
	if found, err = s.Bucket.ListUploads(t.Context(), "global/blobs/u/key"); err != nil || len(found) != 0 {
		t.Errorf("after the aborts: %+v, %v", found, err)
	}
	for key, id := range others {
		abortForCertain(t, s, key, id)
	}
}

// testUploadsUnder lists by prefix what is open, by its ids: a store finds all of it, or only what lies under one exact key.
func testUploadsUnder(t *testing.T, s Subject, open map[string]string) {
	for prefix, want := range map[string]int{"": len(open), "global/blobs/": len(open), "global/blobs/u/key2": 1, "global/elsewhere/": 0} {
		found := map[string]string{}
		for u, err := range s.Bucket.UploadsUnder(t.Context(), prefix) {
			must(t, err)
			found[u.Key] = u.ID
			if !strings.HasPrefix(u.Key, prefix) || open[u.Key] != u.ID || time.Since(u.Initiated).Abs() > time.Hour {
				t.Errorf("under %q is listed %+v", prefix, u)
			}
		}
		_, whole := open[prefix]
		if len(found) != want && (whole || len(found) > 0) {
			t.Errorf("under %q are listed %v", prefix, found)
		}
	}
}
