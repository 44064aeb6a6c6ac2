package engine_test

import (
	"context"
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

const ownerKey = "index/owner.json"

// memRig is an engine on the fake whose faults the test steers.
func memRig(t *testing.T, tune func(*engine.Options)) (*objstoretest.Mem, *rig) {
	s, db := memStore(t), index.NewMem()
	opt := options(t, s, db)
	if tune != nil {
		tune(&opt)
	}
	return s.Bucket.(*objstoretest.Mem), start(t, s, db, opt)
}

// Between a request's first look at owner.json and what it does last, another service takes over and the look grows old.
func TestNothingIsSignedOrCreatedAfterTheFenceGrewOld(t *testing.T) {
	body := random(partSize+1, 1)
	for name, tc := range map[string]struct {
		method ballast.Method
		at, op objstoretest.Op
	}{
		"signed PUT":       {ballast.MethodPut, objstoretest.OpHead, objstoretest.OpSign},
		"signed part":      {ballast.MethodMultipart, objstoretest.OpListParts, objstoretest.OpSign},
		"create multipart": {ballast.MethodMultipart, objstoretest.OpListUploads, objstoretest.OpCreateMultipart},
	} {
		t.Run(name, func(t *testing.T) {
			var late atomic.Int64
			m, r := memRig(t, func(o *engine.Options) {
				o.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
			})
			r.lost = true
			u := must(r.open(t, writer, "m:1"))
			want := ballast.BlobRequest{Digest: ballast.DigestOf(body), Size: int64(len(body)), Method: tc.method}
			if tc.method == ballast.MethodMultipart {
				want.PartSize, want.Parts = partSize, partDigests(body)
			}
			req := ballast.BlobsRequest{Blobs: []ballast.BlobRequest{want}}
			if tc.op == objstoretest.OpCreateMultipart {
				m.Fail(objstoretest.OpCreateMultipart, 1, objstore.ErrUnavailable, false)
			}
			_, err := r.Blobs(t.Context(), writer, u.ID, req) // the next call finds an upload that has begun
			if err != nil && tc.op != objstoretest.OpCreateMultipart {
				t.Fatal(err)
			}
			calls, once := m.Calls(tc.op), sync.Once{}
			m.Before(func(ctx context.Context, op objstoretest.Op, key string) {
				if op != tc.at {
					return
				}
				once.Do(func() {
					if _, err := m.Put(ctx, ownerKey, []byte(`{"index_id":"another","epoch":7}`), objstore.Condition{}); err != nil {
						t.Error(err)
					}
					late.Store(int64(engine.DefaultLimits().FenceAge))
				})
			})
			_, err = r.Blobs(t.Context(), writer, u.ID, req)
			wantCode(t, err, ballast.CodeUnavailable)
			if late.Load() == 0 {
				t.Fatalf("no %s came between", tc.at)
			}
			if n := m.Calls(tc.op); n != calls {
				t.Fatalf("%d calls of %s after the prefix was lost", n-calls, tc.op)
			}
		})
	}
}

// The background look at owner.json may take as long as it likes: nobody waits for it while the last one is young.
func TestASlowLookHoldsNobodyUp(t *testing.T) {
	release, looking := make(chan struct{}), make(chan struct{})
	s, db := memStore(t), index.NewMem()
	m := s.Bucket.(*objstoretest.Mem)
	looks := 0
	m.Before(func(_ context.Context, op objstoretest.Op, key string) {
		if op != objstoretest.OpGet || key != ownerKey {
			return
		}
		if looks++; looks == 2 { // the first is the claim's
			close(looking)
			<-release
		}
	})
	r := start(t, s, db, options(t, s, db))
	defer close(release)
	<-looking
	ready := make(chan error, 1)
	go func() { ready <- r.Ready(t.Context()) }()
	select {
	case err := <-ready:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a request waits for the background look")
	}
}
