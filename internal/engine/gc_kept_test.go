package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// TestGCOfLateParts finds parts under the key of a blob that is about to be forgotten: nobody would look there any more.
func TestGCOfLateParts(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		c := newCollector(t, s)
		u := must(c.open(t, writer, "m:1"))
		d := ballast.DigestOf(random(1000, 1))
		must(c.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: d, Size: 1000}}}))
		if err := c.AbortUpload(t.Context(), writer, u.ID); err != nil {
			t.Fatal(err)
		}
		c.collect(t, false)
		c.clock.by(graceOver)
		c.collect(t, false) // nothing had been sent: it is absent from here on
		key := ballast.BlobKey(acme, d)
		must(s.CreateMultipart(t.Context(), key))
		stranger := ballast.BlobKey(acme, ballast.DigestOf([]byte("nobody recorded this")))
		strangers := must(s.CreateMultipart(t.Context(), stranger))
		c.clock.by(2 * graceOver)
		if dry, run := c.collect(t, true), c.collect(t, false); dry.Removed != run.Removed || run.Removed.Blobs != 1 || run.Removed.Records != 0 {
			t.Errorf("gc removed %+v, and a dry run said %+v", run.Removed, dry.Removed)
		}
		if open := must(s.ListUploads(t.Context(), key)); len(open) != 0 {
			t.Errorf("%d multiparts are open", len(open))
		}
		c.clock.by(2 * graceOver)
		if run := c.collect(t, false); run.Removed.Records != 1 || run.Removed.Blobs != 0 {
			t.Errorf("then gc removed %+v", run.Removed)
		}
		if open := must(s.ListUploads(t.Context(), stranger)); len(open) != 1 {
			t.Errorf("%d of a multipart that nobody recorded are left", len(open))
		}
		if err := s.AbortMultipart(t.Context(), stranger, strangers); err != nil && !errors.Is(err, objstore.ErrNoSuchUpload) {
			t.Error(err)
		}
	})
}

// TestGCOfAManifestThatIsAFile deletes a version whose list of files another version has as a file: it stays for as long as
// that does, and with it what it names, so that the deletion can be taken back. Then all of it goes.
func TestGCOfAManifestThatIsAFile(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		c := newCollector(t, s)
		f := small("first")
		v := c.mustPush(t, writer, "m:1", f)
		list := folder{"manifest.json": stored(t, s, ballast.BlobKey(acme, v.Digest))}
		c.mustPush(t, writer, "lists:1", list)
		c.remove(t, "m:1")
		for range 3 {
			c.clock.by(graceOver)
			if run := c.collect(t, false); run.Removed.Blobs+run.Removed.References > 0 {
				t.Fatalf("gc removed %+v", run.Removed)
			}
		}
		if back, _, err := c.Restore(t.Context(), keeper, engine.Own{Ref: ref("m:1")}); err != nil || back.Digest != v.Digest {
			t.Fatalf("restored %+v, %v", back, err)
		}
		if got := c.pull(t, reader, "m:1"); len(got) != len(f) {
			t.Errorf("pulled %d files", len(got))
		}
		c.remove(t, "m:1")
		c.remove(t, "lists:1")
		for range 4 { // one list, the file that is a list, its files, their records
			c.clock.by(graceOver)
			c.collect(t, false)
		}
		if left := c.left(t); len(left) != 0 {
			t.Errorf("%q are left", left)
		}
		if q := must(c.Quota(t.Context(), writer, acme)); q.Usage.Bytes != 0 {
			t.Errorf("acme uses %+v", q.Usage)
		}
	})
}

// TestSinceGC: what an operator waits for is a run that did all it had to. Dry runs and failed ones are none.
func TestSinceGC(t *testing.T) {
	m := objstoretest.NewMem()
	c := newCollector(t, storeOn(t, m))
	c.mustPush(t, writer, "m:1", small("a"))
	c.remove(t, "m:1")
	c.collect(t, false)
	c.clock.by(graceOver)
	c.collect(t, true)
	m.Fail(objstoretest.OpDelete, 0, objstore.ErrUnavailable, false)
	must(c.StartGC(t.Context(), admin, ballast.GCRequest{}))
	if run := must(c.GC(t.Context(), admin, time.Minute)); run.State != ballast.GCFailed {
		t.Fatalf("gc is %s while the store removes nothing", run.State)
	}
	if age := c.SinceGC(); age < graceOver {
		t.Errorf("a dry and a failed run made it %s", age)
	}
	m.Heal()
	c.collect(t, false)
	if age := c.SinceGC(); age > graceOver/2 {
		t.Errorf("after a run it is %s", age)
	}
}
