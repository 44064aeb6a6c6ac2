package engine_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// replacer is a bucket behind which somebody does something, once, right before a key is read, copied or removed.
type replacer struct {
	objstore.Bucket
	mu     sync.Mutex
	before map[objstoretest.Op]map[string]func()
}

func newReplacer(b objstore.Bucket) *replacer {
	return &replacer{Bucket: b, before: map[objstoretest.Op]map[string]func(){objstoretest.OpGet: {}, objstoretest.OpCopy: {}, objstoretest.OpDelete: {}}}
}

func (m *replacer) at(op objstoretest.Op, key string, do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before[op][key] = do
}

func (m *replacer) meet(op objstoretest.Op, key string) {
	m.mu.Lock()
	do := m.before[op][key]
	delete(m.before[op], key)
	m.mu.Unlock()
	if do != nil {
		do()
	}
}

func (m *replacer) Get(ctx ctx, key string, opt objstore.ReadOptions) (io.ReadCloser, objstore.Object, error) {
	m.meet(objstoretest.OpGet, key)
	return m.Bucket.Get(ctx, key, opt)
}

func (m *replacer) Copy(ctx ctx, key string, source objstore.Source) (objstore.Object, error) {
	m.meet(objstoretest.OpCopy, source.Key)
	return m.Bucket.Copy(ctx, key, source)
}

func (m *replacer) DeleteMatch(ctx ctx, key, etag string) error {
	m.meet(objstoretest.OpDelete, key)
	return m.Bucket.DeleteMatch(ctx, key, etag)
}

// TestSourceIsReplaced between any two looks at it: the import is refused and names the file, and nothing is published.
func TestSourceIsReplaced(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		m := newReplacer(s.Bucket)
		s.Bucket = m
		r := newImportRig(t, s, nil)
		f := folder{"config.json": []byte("{}"), "weights.bin": random(100_000, 1)}
		for i, c := range []struct {
			name string
			op   objstoretest.Op
			do   func(key string)
		}{
			{"replaced before it is hashed", objstoretest.OpGet, func(key string) { drop(t, m.Bucket, key, folder{"": random(100_000, 2)}) }},
			{"removed before it is hashed", objstoretest.OpGet, func(key string) { must(0, m.Bucket.Delete(t.Context(), key)) }},
			{"replaced before it is copied", objstoretest.OpCopy, func(key string) { drop(t, m.Bucket, key, folder{"": random(100_000, 2)}) }},
			{"cut before it is copied", objstoretest.OpCopy, func(key string) { drop(t, m.Bucket, key, folder{"": random(10, 2)}) }},
			{"removed before it is copied", objstoretest.OpCopy, func(key string) { must(0, m.Bucket.Delete(t.Context(), key)) }},
		} {
			at := fmt.Sprintf("tenants/acme/inbox/%d/", i)
			g := folder{"weights.bin": append([]byte(c.name), f["weights.bin"]...)}
			drop(t, m.Bucket, at, g)
			m.at(c.op, at+"weights.bin", func() { c.do(at + "weights.bin") })
			got, err := r.imports(t, writer, fmt.Sprintf("inbox:%d", i), "m:1")
			if e := wantCode(t, err, ballast.CodePrecondition); !strings.Contains(e.Detail, `"weights.bin" was replaced or removed`) || got.Status != ballast.UploadFailed {
				t.Errorf("%s: the import is %s with %s", c.name, got.Status, e.Detail)
			}
			if _, err := r.Version(t.Context(), writer, ref("m:1")); ballast.CodeOf(err) != ballast.CodeNotFound {
				t.Errorf("%s: the version is %v", c.name, err)
			}
		}
		drop(t, m.Bucket, "tenants/acme/inbox/again/", f)
		r.mustImport(t, writer, "inbox:again", "m:1") // the label is free
		m.at(objstoretest.OpGet, "tenants/acme/inbox/same/weights.bin", func() { drop(t, m.Bucket, "tenants/acme/inbox/same/", f) })
		drop(t, m.Bucket, "tenants/acme/inbox/same/", f)
		r.mustImport(t, writer, "inbox:same", "m:1") // by the same bytes, which is no change
	})
}

// TestCopyThatLies: what the store copied is read again. Bytes that are not what was hashed fail the import.
func TestCopyThatLies(t *testing.T) {
	mem := objstoretest.NewMem()
	r := newImportRig(t, storeOn(t, mem), nil)
	f := folder{"weights.bin": random(1000, 1)}
	drop(t, mem, "tenants/acme/inbox/m/", f)
	key := ballast.BlobKey(acme, ballast.DigestOf(f["weights.bin"]))
	mem.Before(func(_ context.Context, op objstoretest.Op, k string) {
		if op == objstoretest.OpGet && k == key { // after the copy, before it is read
			mem.Alter(key, func(_ *objstore.Object, body []byte) []byte { body[500] ^= 1; return body })
			mem.Before(nil)
		}
	})
	_, err := r.imports(t, writer, "inbox:m", "m:1")
	e := wantCode(t, err, ballast.CodeIntegrity)
	if e.Expected != ballast.DigestOf(f["weights.bin"]) || e.Actual == "" {
		t.Errorf("refused with %+v", e)
	}
	r.mustImport(t, writer, "inbox:m", "m:1")
}

// TestImportOutlivesARestart: what was hashed is not read again, and what was listed is not listed again.
func TestImportOutlivesARestart(t *testing.T) {
	mem := objstoretest.NewMem()
	s, db := storeOn(t, mem), index.NewMem()
	opt := options(t, s, db)
	opt.Limits.CommitWait = time.Millisecond
	first, err := engine.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Engine: first, store: s, index: db, opt: opt}
	f := folder{}
	for i := range 40 {
		f[fmt.Sprintf("%02d.bin", i)] = fmt.Append(nil, "weights ", i)
	}
	drop(t, mem, "tenants/acme/inbox/m/", f)
	var reads sync.Map
	stuck := make(chan struct{})
	mem.Before(func(ctx context.Context, op objstoretest.Op, key string) {
		if op != objstoretest.OpGet || !strings.Contains(key, "/inbox/") {
			return
		}
		n, _ := reads.LoadOrStore(key, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		if strings.HasSuffix(key, "39.bin") {
			close(stuck)
			<-ctx.Done()
		}
	})
	m, err := r.askImport(t, writer, "inbox:m", "m:1")
	if err != nil {
		t.Fatal(err)
	}
	<-stuck
	waitFor(t, "all others are hashed", func() bool {
		got, err := first.Import(t.Context(), writer, m.ID, 0)
		return err == nil && got.Progress != nil && got.Progress.BytesHashed == got.Progress.Bytes-int64(len(f["39.bin"]))
	})
	first.Close()
	lists := mem.Calls(objstoretest.OpList)
	mem.Before(func(_ context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpGet && strings.Contains(key, "/inbox/") {
			n, _ := reads.LoadOrStore(key, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		}
		if op == objstoretest.OpList {
			lists++
		}
	})
	second := start(t, s, db, options(t, s, db))
	if m = second.awaitImport(t, writer, m.ID); m.Status != ballast.UploadDone || m.Result.Digest != f.manifest() {
		t.Errorf("after the restart it is %s, %v", m.Status, m.Error)
	}
	reads.Range(func(key, n any) bool {
		want := int64(1)
		if strings.HasSuffix(key.(string), "39.bin") {
			want = 2
		}
		if got := n.(*atomic.Int64).Load(); got != want {
			t.Errorf("%s was read %d times, want %d", key, got, want)
		}
		return true
	})
}

// TestImportIsCancelled while it hashes and while the store copies: it ends at once, and the label is free.
func TestImportIsCancelled(t *testing.T) {
	for op, at := range map[objstoretest.Op]string{objstoretest.OpGet: "tenants/acme/inbox/m/weights.bin", objstoretest.OpCopy: "tenants/acme/blobs/"} {
		t.Run(string(op), func(t *testing.T) {
			mem := objstoretest.NewMem()
			r := newImportRig(t, storeOn(t, mem), nil)
			drop(t, mem, "tenants/acme/inbox/m/", folder{"weights.bin": []byte("w")})
			reached, left := make(chan struct{}), make(chan struct{})
			mem.Before(func(ctx context.Context, o objstoretest.Op, key string) {
				if o == op && strings.HasPrefix(key, at) {
					close(reached)
					<-ctx.Done()
					close(left)
				}
			})
			m, err := r.askImport(t, writer, "inbox:m", "m:1", moving)
			if err != nil {
				t.Fatal(err)
			}
			<-reached
			if err := r.CancelImport(t.Context(), writer, m.ID); err != nil {
				t.Fatal(err)
			}
			<-left
			mem.Before(nil)
			if m = r.awaitImport(t, writer, m.ID); m.Status != ballast.UploadAborted || m.Moved != nil {
				t.Errorf("it is %s, moved %+v", m.Status, m.Moved)
			}
			if v := r.mustImport(t, writer, "inbox:m", "m:1"); v.Key != "acme::m::1" {
				t.Errorf("again it is %s", v.Key)
			}
			if err := r.CancelImport(t.Context(), writer, m.ID); err != nil {
				t.Errorf("cancelled again: %v", err)
			}
		})
	}
}

// TestSourceThatMayNotBeRead: a 403 is said, and is no absence. When the registry may not read its own objects either, it
// is its credentials that are wrong, and the import waits for them.
func TestSourceThatMayNotBeRead(t *testing.T) {
	mem := objstoretest.NewMem()
	r := newImportRig(t, storeOn(t, mem), nil)
	legacy := mem.Neighbour("legacy")
	drop(t, legacy, "acme/m/", folder{"weights.bin": []byte("w")})
	legacy.Fail(objstoretest.OpList, 1, objstore.ErrDenied, false)
	_, err := r.askImport(t, writer, "s3://legacy/acme/m", "m:1")
	if e := ballast.AsError(storeErr(t, err)); e.Code != ballast.CodeUnavailable || !strings.Contains(e.Detail, "refuses the registry") {
		t.Errorf("a list that is refused: %v", err)
	}
	legacy.Fail(objstoretest.OpGet, 1, objstore.ErrDenied, false)
	_, err = r.imports(t, writer, "s3://legacy/acme/m", "m:1")
	if e := wantCode(t, err, ballast.CodeUnavailable); !strings.Contains(e.Detail, `does not let the registry read "weights.bin"`) {
		t.Errorf("a read that is refused: %v", err)
	}
	for what, c := range map[string]error{"cannot be read as it is": objstore.ErrUnreadable} {
		legacy.Fail(objstoretest.OpGet, 1, c, false)
		_, err = r.imports(t, writer, "s3://legacy/acme/m", "m:1")
		if e := wantCode(t, err, ballast.CodePrecondition); !strings.Contains(e.Detail, what) {
			t.Errorf("%v: %v", c, err)
		}
	}
	// The registry's credentials are refused everywhere.
	legacy.Fail(objstoretest.OpGet, 1, objstore.ErrDenied, false)
	mem.Before(func(_ context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpGet && key == "index/owner.json" {
			mem.Fail(objstoretest.OpGet, 1, objstore.ErrDenied, false)
		}
	})
	m, err := r.askImport(t, writer, "s3://legacy/acme/m", "m:1")
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "it waits", func() bool {
		m, err = r.Import(t.Context(), writer, m.ID, 0)
		return err == nil && m.Waiting != nil
	})
	if m.Status != ballast.UploadImporting || m.Waiting.Code != ballast.CodeUnavailable {
		t.Errorf("it is %s, waiting for %v", m.Status, m.Waiting)
	}
	mem.Before(nil)
	mem.Heal()
	if m = r.awaitImport(t, writer, m.ID); m.Status != ballast.UploadDone || m.Waiting != nil {
		t.Errorf("it is %s, %v", m.Status, m.Error)
	}
}

func storeErr(t *testing.T, err error) error {
	t.Helper()
	if err == nil {
		t.Error("it was not refused")
	}
	return err
}

// TestThrottledSource: the store is busy again and again, and the import gets there.
func TestThrottledSource(t *testing.T) {
	mem := objstoretest.NewMem()
	r := newImportRig(t, storeOn(t, mem), nil)
	f := small("m")
	drop(t, mem, "tenants/acme/inbox/m/", f)
	var calls atomic.Int64
	mem.Before(func(_ context.Context, op objstoretest.Op, key string) {
		if (op == objstoretest.OpGet || op == objstoretest.OpCopy) && key != "index/owner.json" && calls.Add(1) <= 3 {
			mem.Fail(op, 1, objstore.ErrUnavailable, false)
		}
	})
	if v := r.mustImport(t, writer, "inbox:m", "m:1"); v.Digest != f.manifest() || calls.Load() < 4 {
		t.Errorf("imported %s after %d calls", v.Digest, calls.Load())
	}
}

// TestCutBodies are fetched again, by imports and by the verifier, without beginning the object anew.
func TestCutBodies(t *testing.T) {
	s := memStore(t)
	f := folder{"weights.bin": random(10_000, 1)}
	blob := ballast.BlobKey(acme, ballast.DigestOf(f["weights.bin"]))
	cut := &cutter{Bucket: s.Bucket, cut: map[string]int{"tenants/acme/inbox/m/weights.bin": 2, blob: 2}, gets: map[string]int{}}
	s.Bucket = cut
	r := newImportRig(t, s, func(o *engine.Options) { o.Limits.VerifyRange, o.Limits.VerifyRetry = 1000, time.Hour })
	drop(t, cut.Bucket, "tenants/acme/inbox/m/", f)
	r.mustImport(t, writer, "inbox:m", "m:1")
	cut.mu.Lock()
	defer cut.mu.Unlock()
	for _, key := range []string{"tenants/acme/inbox/m/weights.bin", blob} {
		if n := cut.gets[key]; n != 12 {
			t.Errorf("%s was asked for %d times, want each of 10 ranges once and 2 again", key, n)
		}
	}
}

// cutter cuts the bodies of so many ranges of a key.
type cutter struct {
	objstore.Bucket
	mu        sync.Mutex
	cut, gets map[string]int
}

func (c *cutter) Get(ctx ctx, key string, opt objstore.ReadOptions) (io.ReadCloser, objstore.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gets[key]++
	body, o, err := c.Bucket.Get(ctx, key, opt)
	if err != nil || c.cut[key] == 0 {
		return body, o, err
	}
	c.cut[key]--
	return io.NopCloser(io.MultiReader(io.LimitReader(body, 10), errReader{})), o, nil
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) {
	return 0, fmt.Errorf("the connection: %w", objstore.ErrUnavailable)
}

// TestImportOfAnOriginThatIsGone: what the operator no longer allows ends, also after a restart.
func TestImportOfAnOriginThatIsGone(t *testing.T) {
	mem := objstoretest.NewMem()
	s, db := storeOn(t, mem), index.NewMem()
	opt := options(t, s, db)
	opt.Origins = origins("legacy", mem.Neighbour("legacy"))
	first, err := engine.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Engine: first, store: s, index: db, opt: opt}
	drop(t, mem.Neighbour("legacy"), "acme/m/", small("m"))
	release := holdCalls(t, mem.Neighbour("legacy"), objstoretest.OpGet, "acme/m/config.json")
	m, err := r.askImport(t, writer, "s3://legacy/acme/m", "m:1")
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	release()
	second := start(t, s, db, options(t, s, db))
	if m = second.awaitImport(t, writer, m.ID); m.Status != ballast.UploadFailed || m.Error.Code != ballast.CodePrecondition || !strings.Contains(m.Error.Detail, "s3://legacy/acme/m/ any more") {
		t.Errorf("it is %s, %v", m.Status, m.Error)
	}
}
