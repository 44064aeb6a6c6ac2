package engine_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// leap is a clock that is set forward.
type leap struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (l *leap) now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Add(l.ahead)
}

func (l *leap) by(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ahead += d
}

// collector is a rig whose gc runs by hand, and whose time passes when it is told to.
type collector struct {
	*rig
	clock *leap
}

func newCollector(t *testing.T, s store) *collector {
	c := &collector{clock: &leap{}}
	db := index.NewMem()
	opt := options(t, s, db)
	opt.Index = must(index.Open(t.Context(), db, c.clock.now))
	opt.Now, opt.Limits.GCInterval = c.clock.now, -1
	c.rig = start(t, s, db, opt)
	return c
}

// collect runs gc to its end.
func (c *collector) collect(t *testing.T, dry bool) ballast.GCRun {
	t.Helper()
	for {
		_, err := c.StartGC(t.Context(), admin, ballast.GCRequest{DryRun: dry})
		if ballast.CodeOf(err) == ballast.CodeUnavailable {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	run, err := c.GC(t.Context(), admin, time.Minute)
	if err != nil || run.State != ballast.GCDone || run.DryRun != dry {
		t.Fatalf("gc: %+v, %v", run, err)
	}
	return run
}

// left are the keys of blobs that the bucket holds in a scope.
func (c *collector) left(t *testing.T) (keys []string) {
	t.Helper()
	for obj, err := range c.store.List(t.Context(), acme.Path()+"/blobs/", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, obj.Key)
	}
	return keys
}

func (c *collector) remove(t *testing.T, target string) {
	t.Helper()
	if _, recorded, err := c.Delete(t.Context(), keeper, engine.Own{Ref: ref(target)}); err != nil || !recorded {
		t.Fatalf("delete %s: %t, %v", target, recorded, err)
	}
}

const graceOver = 25 * time.Hour

// TestGC follows the bytes of deleted versions until nothing of them is left, step by step. What another version has in
// common with them stays.
func TestGC(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		c := newCollector(t, s)
		shared := random(3000, 1)
		c.mustPush(t, writer, "m:1", folder{"a": random(1000, 2), "b": shared})
		c.mustPush(t, writer, "m:2", folder{"c": random(2000, 3), "b": shared})
		c.remove(t, "m:1")
		waits := func(blobs int64) {
			t.Helper()
			for _, later := range []time.Duration{0, graceOver - 2*time.Hour} { // by then no signed URL keeps anything
				c.clock.by(later)
				if run := c.collect(t, false); run.Removed != (ballast.GCCounts{}) || run.Waiting.Blobs != blobs {
					t.Errorf("within the grace: %+v", run)
				}
			}
			c.clock.by(2 * time.Hour)
		}
		waits(1)
		dry := c.collect(t, true)
		if len(c.left(t)) != 5 {
			t.Errorf("a dry run removed something: %q are left", c.left(t))
		}
		run := c.collect(t, false)
		if run.Removed.Blobs != 1 || run.Removed.References != 2 || dry.Removed.Blobs != 1 || dry.Removed.Bytes != run.Removed.Bytes {
			t.Errorf("the manifest went as %+v, and a dry run said %+v", run.Removed, dry.Removed)
		}
		waits(1)
		if run := c.collect(t, false); run.Removed.Blobs != 1 || run.Removed.Bytes != 1000 || run.Removed.Records != 1 || len(run.Scopes) != 1 || run.Scopes[0].Scope != acme {
			t.Errorf("its file went as %+v", run)
		}
		if len(c.left(t)) != 3 {
			t.Errorf("%q are left, want the manifest and the two files of m:2", c.left(t))
		}
		c.clock.by(2 * graceOver)
		if run := c.collect(t, false); run.Removed.Records != 1 || run.Removed.Blobs != 0 {
			t.Errorf("records went as %+v", run.Removed)
		}
		if got := c.pull(t, reader, "m:2"); string(got["b"]) != string(shared) {
			t.Error("m:2 lost what it had in common with m:1")
		}
		q := must(c.Quota(t.Context(), writer, acme))
		if q.Usage.Bytes != 5000 || q.Usage.Versions != 1 {
			t.Errorf("acme uses %+v", q.Usage)
		}
	})
}

// TestAPinClearsATombstone pushes what is about to go: it is verified, and stays. What is on its way out is busy.
func TestAPinClearsATombstone(t *testing.T) {
	c := newCollector(t, memStore(t))
	f := small("again")
	c.mustPush(t, writer, "m:1", f)
	c.remove(t, "m:1")
	c.collect(t, false) // which waits until the pins of the push are gone
	c.clock.by(graceOver)
	u := must(c.open(t, writer, "m:2"))
	for path, b := range f {
		a := must(c.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: ballast.DigestOf(b), Size: int64(len(b))}}}))
		if a.Blobs[0].State != ballast.BlobVerified {
			t.Errorf("%s is %s", path, a.Blobs[0].State)
		}
	}
	if run := c.collect(t, false); run.Removed.Blobs != 1 { // the manifest of m:1, which m:2 makes anew
		t.Errorf("gc removed %+v", run.Removed)
	}
	c.clock.by(-graceOver) // or the lease of the upload would be over
	if _, err := c.commit(t, writer, u.ID, f.files(), ballast.Metadata{}); err != nil {
		t.Fatal(err)
	}
	if got := c.pull(t, reader, "m:2"); len(got) != len(f) {
		t.Errorf("pulled %d files", len(got))
	}
}

// TestGCOfUploads lets uploads run out: what they sent goes, whether anybody looked at it or not, and what they left under
// staging/. An object that nobody recorded stays.
func TestGCOfUploads(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		c := newCollector(t, s)
		u := must(c.open(t, writer, "m:1"))
		if err := c.sendAll(t, writer, u.ID, folder{"looked at by nobody": random(1000, 1)}); err != nil {
			t.Fatal(err)
		}
		if err := c.sendBlob(t, writer, u.ID, ballast.DigestOf(random(2000, 2)), random(2000, 2), ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		staged, stranger := acme.Path()+"/staging/"+u.ID+"/1", acme.Path()+"/staging/stranger/1"
		foreign := ballast.BlobKey(acme, ballast.DigestOf(random(10, 9)))
		for _, key := range []string{staged, stranger, foreign} {
			must(s.Put(t.Context(), key, []byte("x"), objstore.Condition{}))
		}
		c.clock.by(time.Hour)
		run := c.collect(t, false)
		if run.Removed.Uploads > 1 || run.Removed.Blobs != 0 { // the reaper may have been first
			t.Errorf("gc of an upload that has just run out: %+v", run.Removed)
		}
		c.clock.by(time.Hour) // a store's clock may say that a part came after the last word of the client
		c.collect(t, false)
		c.clock.by(2 * time.Hour)
		if run := c.collect(t, false); run.Removed.Staging != 1 {
			t.Errorf("gc of staging: %+v", run.Removed)
		}
		c.clock.by(graceOver)
		if run := c.collect(t, false); run.Removed.Blobs != 1 || run.Removed.Bytes != 1000 {
			t.Errorf("gc of its bytes: %+v", run.Removed)
		}
		for key, stays := range map[string]bool{staged: false, stranger: true, foreign: true} {
			if _, err := s.Head(t.Context(), key); errors.Is(err, objstore.ErrNotFound) == stays {
				t.Errorf("%s: %v", key, err)
			}
		}
		if left := c.left(t); len(left) != 1 {
			t.Errorf("%q are left", left)
		}
	})
}

// TestGCOfMultiparts aborts what lies open beside bytes that are there.
func TestGCOfMultiparts(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		c := newCollector(t, s)
		body := random(2000, 2)
		u := must(c.open(t, writer, "m:1"))
		if err := c.sendBlob(t, writer, u.ID, ballast.DigestOf(body), body, ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		must(c.commit(t, writer, u.ID, folder{"a": body}.files(), ballast.Metadata{}))
		key := ballast.BlobKey(acme, ballast.DigestOf(body))
		must(s.CreateMultipart(t.Context(), key))
		if run := c.collect(t, false); run.Removed.Multiparts != 1 {
			t.Errorf("gc of a multipart: %+v", run.Removed)
		}
		if open := must(s.ListUploads(t.Context(), key)); len(open) != 0 {
			t.Errorf("%d multiparts are open", len(open))
		}
		if run := c.collect(t, false); run.Removed.Multiparts != 0 {
			t.Errorf("gc again: %+v", run.Removed)
		}
	})
}

// TestRestoreOfADeletion takes deletions back, of versions that were ready and that were retired.
func TestRestoreOfADeletion(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		c := newCollector(t, s)
		f := small("restored")
		was := c.mustPush(t, writer, "m:1", f)
		if _, _, err := c.Restore(t.Context(), keeper, engine.Own{Ref: ref("m:1")}); ballast.CodeOf(err) != ballast.CodePrecondition || !strings.Contains(err.Error(), "never deleted") {
			t.Errorf("restoring what was never deleted: %v", err)
		}
		c.remove(t, "m:1")
		c.clock.by(graceOver - 2*time.Hour)
		c.collect(t, false)
		back, recorded, err := c.Restore(t.Context(), keeper, engine.Own{Ref: ref("m:1")})
		if err != nil || !recorded || back.Digest != was.Digest || back.Status != ballast.StatusReady || back.Revision != was.Revision+2 {
			t.Fatalf("restored %+v, %t, %v", back, recorded, err)
		}
		again, _, err := c.Restore(t.Context(), keeper, engine.Own{Ref: ref("m:1")})
		if err != nil || again.Revision != back.Revision {
			t.Errorf("again: %+v, %v", again, err)
		}
		c.clock.by(2 * graceOver)
		c.collect(t, false)
		if got := c.pull(t, reader, "m"); len(got) != len(f) {
			t.Errorf("pulled %d files", len(got))
		}
		if _, _, err := c.Retire(t.Context(), keeper, engine.Own{Ref: ref("m:1")}); err != nil {
			t.Fatal(err)
		}
		c.remove(t, "m:1")
		if back, _, err := c.Restore(t.Context(), keeper, engine.Own{Ref: ref("m:1")}); err != nil || back.Status != ballast.StatusRetired {
			t.Fatalf("a retired one came back as %+v, %v", back, err)
		}
		c.remove(t, "m:1")
		c.clock.by(graceOver)
		c.collect(t, false)
		_, _, err = c.Restore(t.Context(), keeper, engine.Own{Ref: ref("m:1")})
		if ballast.CodeOf(err) != ballast.CodeGone || !strings.Contains(err.Error(), "push the files again") {
			t.Errorf("too late: %v", err)
		}
		// The same manifest by an upload that ends: its bytes are there, and what it names is not kept.
		u := must(c.open(t, writer, "other:1"))
		if err := c.sendAll(t, writer, u.ID, f); err != nil {
			t.Fatal(err)
		}
		must(c.commit(t, writer, u.ID, f.files(), ballast.Metadata{}))
		if _, _, err = c.Restore(t.Context(), keeper, engine.Own{Ref: ref("m:1")}); ballast.CodeOf(err) != ballast.CodeGone {
			t.Errorf("with a twin that came later: %v", err)
		}
		c.remove(t, "other:1")
		if _, _, err = c.Restore(t.Context(), keeper, engine.Own{Ref: ref("m:1")}); ballast.CodeOf(err) != ballast.CodeGone {
			t.Errorf("with a twin that came later and was deleted: %v", err)
		}
		if _, _, err = c.Restore(t.Context(), writer, engine.Own{Ref: ref("other:1")}); ballast.CodeOf(err) != ballast.CodeDenied {
			t.Errorf("by a writer: %v", err)
		}
		if _, _, err = c.Restore(t.Context(), keeper, engine.Own{Ref: ref("other:1")}); err != nil {
			t.Errorf("the twin itself: %v", err)
		}
	})
}
