package engine_test

import (
	"context"
	"io"
	"iter"
	"slices"
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

// refusing is a bucket that refuses some calls about keys that hold a text.
type refusing struct {
	objstore.Bucket
	mu sync.Mutex
	at map[objstoretest.Op]string
}

// refuse refuses calls from now on; without any it refuses none.
func (b *refusing) refuse(text string, ops ...objstoretest.Op) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = map[objstoretest.Op]string{}
	for _, op := range ops {
		b.at[op] = text
	}
}

func (b *refusing) verdict(op objstoretest.Op, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text, ok := b.at[op]; ok && strings.Contains(key, text) {
		return objstore.ErrUnavailable
	}
	return nil
}

func (b *refusing) Get(ctx ctx, key string, opt objstore.ReadOptions) (io.ReadCloser, objstore.Object, error) {
	if err := b.verdict(objstoretest.OpGet, key); err != nil {
		return nil, objstore.Object{}, err
	}
	return b.Bucket.Get(ctx, key, opt)
}

func (b *refusing) Put(ctx ctx, key string, body []byte, cond objstore.Condition) (objstore.Object, error) {
	if err := b.verdict(objstoretest.OpPut, key); err != nil {
		return objstore.Object{}, err
	}
	return b.Bucket.Put(ctx, key, body, cond)
}

func (b *refusing) Delete(ctx ctx, key string) error {
	if err := b.verdict(objstoretest.OpDelete, key); err != nil {
		return err
	}
	return b.Bucket.Delete(ctx, key)
}

func (b *refusing) DeleteMatch(ctx ctx, key, etag string) error {
	if err := b.verdict(objstoretest.OpDelete, key); err != nil {
		return err
	}
	return b.Bucket.DeleteMatch(ctx, key, etag)
}

func (b *refusing) AbortMultipart(ctx ctx, key, id string) error {
	if err := b.verdict(objstoretest.OpAbortMultipart, key); err != nil {
		return err
	}
	return b.Bucket.AbortMultipart(ctx, key, id)
}

func (b *refusing) ListParts(ctx ctx, key, id string, after int) iter.Seq2[objstore.Part, error] {
	if err := b.verdict(objstoretest.OpListParts, key); err != nil {
		return func(yield func(objstore.Part, error) bool) { yield(objstore.Part{}, err) }
	}
	return b.Bucket.ListParts(ctx, key, id, after)
}

// halfDone is how work comes to be begun and not ended, and what a check says of it.
type halfDone struct {
	begin func(t *testing.T, r *rig, b *refusing)
	want  []string
}

func halfDoneWays() map[string]halfDone {
	return map[string]halfDone{
		"an upload that nobody ends": {func(t *testing.T, r *rig, b *refusing) {
			sending(t, r)
			b.refuse("/blobs/", objstoretest.OpListParts)
		}, []string{"of acme::open::1 was given up"}},
		"a commit whose files cannot be read again": {func(t *testing.T, r *rig, b *refusing) {
			b.refuse(keyOf(sentParts), objstoretest.OpGet)
			if err := delivered(t, r, sentParts); err != nil {
				t.Fatal(err)
			}
			r.waitBlob(t, sentParts, index.BlobStored)
		}, []string{"is to be read again", "of acme::m::1 is committed"}},
		"a lie that cannot be removed": {func(t *testing.T, r *rig, b *refusing) {
			b.refuse("/blobs/", objstoretest.OpDelete)
			if err := delivered(t, r, "promised"); err != nil { // unless it is found out later
				wantCode(t, err, ballast.CodeIntegrity)
			}
			r.waitBlob(t, "promised", index.BlobDeleting)
		}, []string{"is deleting"}},
		"parts that cannot be dropped": {func(t *testing.T, r *rig, b *refusing) {
			id := sendParts(t, r)
			b.refuse("/blobs/", objstoretest.OpAbortMultipart)
			if err := r.AbortUpload(t.Context(), writer, id); err != nil {
				t.Fatal(err)
			}
			r.waitBlob(t, sentParts, index.BlobAborting)
		}, []string{"is aborting"}},
		"a retirement that cannot be recorded": {func(t *testing.T, r *rig, b *refusing) {
			r.mustPush(t, writer, "m:1", small("a"))
			b.refuse("/models/", objstoretest.OpPut)
			if _, recorded, err := r.Retire(t.Context(), keeper, own("m:1")); err != nil || recorded {
				t.Fatalf("retired: recorded %t, %v", recorded, err)
			}
		}, []string{"acme::m::1 is retired, and the record"}},
		"an import whose source cannot be read": {func(t *testing.T, r *rig, b *refusing) {
			drop(t, b, "tenants/acme/inbox/m/", folder{"model.bin": []byte("imported")})
			b.refuse("/inbox/", objstoretest.OpGet)
			id := must(r.askImport(t, writer, "inbox:m", "m:1")).ID
			waitFor(t, "the files to be listed", func() bool { return must(r.opt.Index.Upload(t.Context(), id)).Import.Listed })
		}, []string{"into acme::m::1 is under way"}},
		"a move whose source cannot be removed": {func(t *testing.T, r *rig, b *refusing) {
			drop(t, b, "tenants/acme/inbox/m/", folder{"model.bin": []byte("imported")})
			b.refuse("/inbox/", objstoretest.OpDelete)
			id := must(r.askImport(t, writer, "inbox:m", "m:1", moving)).ID
			waitFor(t, "the import to be done", func() bool { return must(r.Import(t.Context(), writer, id, 0)).Status == ballast.UploadDone })
		}, []string{"into acme::m::1 is done, and its sources"}},
	}
}

// delivered commits an upload whose one file was promised by the digest of a text, and sent in one part.
func delivered(t *testing.T, r *rig, promised string) error {
	t.Helper()
	u := must(r.open(t, writer, "m:1"))
	d, body := ballast.DigestOf([]byte(promised)), []byte(sentParts)
	if err := r.sendBlob(t, writer, u.ID, d, body, ballast.MethodMultipart); err != nil {
		t.Fatal(err)
	}
	file := ballast.File{Path: "model.bin", Size: int64(len(body)), Digest: d}
	_, err := r.Commit(t.Context(), writer, u.ID, ballast.CommitRequest{Files: []ballast.File{file}})
	return err
}

func (r *rig) waitBlob(t *testing.T, text string, state index.BlobState) {
	t.Helper()
	id := index.BlobID{Scope: acme, Digest: ballast.DigestOf([]byte(text))}
	waitFor(t, "the blob to be "+string(state), func() bool { return must(r.opt.Index.Blob(t.Context(), id)).State == state })
}

// Work that was begun and does not get done is named beside the service, and once that has ended; the next start goes on with
// it, and then nothing is left to name.
func TestHalfDoneWorkIsNamed(t *testing.T) {
	for what, way := range halfDoneWays() {
		t.Run(what, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s store) {
				var later atomic.Int64
				clock := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
				bucket, db := &refusing{Bucket: s.Bucket}, index.NewMem()
				s.Bucket = bucket
				opt := options(t, s, db)
				opt.Index, opt.Now = must(index.Open(t.Context(), db, clock)), clock
				opt.Limits.CommitWait = 10 * time.Millisecond
				r := start(t, s, db, opt)
				way.begin(t, r, bucket)
				later.Store(int64(48 * time.Hour))
				var said []string
				for _, f := range finished(t, r, ballast.StartFsck{}).Findings {
					if f.Kind != ballast.FindingHalfDone || f.Scope != "acme" || f.Do == "" {
						t.Errorf("beside the service: %+v", f)
					}
					said = append(said, f.What)
				}
				wantSaid(t, "beside the service", said, way.want)
				r.Close()
				run, found := checked(t, opt, ballast.StartFsck{})
				if len(found) > 0 {
					t.Errorf("without a service: %+v", found)
				}
				wantSaid(t, "without a service", run.Skipped, way.want)
				bucket.refuse("")
				start(t, s, db, opt)
				waitFor(t, "the work to be done", func() bool { return nothingHalfDone(t, opt) })
			})
		})
	}
}

func wantSaid(t *testing.T, where string, said, want []string) {
	t.Helper()
	for _, text := range want {
		if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, text) }) {
			t.Errorf("%s nothing says %q: %q", where, text, said)
		}
	}
}

func nothingHalfDone(t *testing.T, opt engine.Options) bool {
	h, err := opt.Index.HalfDone(context.WithoutCancel(t.Context()), 10)
	if err != nil {
		t.Fatal(err)
	}
	return len(h.Removals)+len(h.Rereads)+len(h.Records)+len(h.Uploads)+len(h.Lapsed) == 0
}

// More is half done than is worth a line each.
func TestHalfDoneWorkIsNamedInShort(t *testing.T) {
	var later atomic.Int64
	db := index.NewMem()
	_, r := memRig(t, func(o *engine.Options) {
		o.Index = must(index.Open(t.Context(), db, func() time.Time { return time.Now().Add(time.Duration(later.Load())) }))
	})
	for range 25 {
		must(r.open(t, writer, "m"))
	}
	r.Close()
	later.Store(int64(time.Hour))
	run, found := checked(t, r.opt, ballast.StartFsck{})
	if said := len(run.Skipped); len(found) > 0 || said != 1+21 || !strings.Contains(run.Skipped[said-1], "5 others") { // one is of the index's file
		t.Errorf("found %+v, not looked at %q", found, run.Skipped)
	}
}
