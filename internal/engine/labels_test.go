package engine_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

func TestSameLabel(t *testing.T) {
	r := newRig(t, memStore(t))
	v := r.mustPush(t, writer, "m:1", small("a"))
	_, err := r.open(t, writer, "m:1")
	if e := wantCode(t, err, ballast.CodeAlreadyExists); e.Expected != v.Digest {
		t.Fatalf("expected digest %s, want %s", e.Expected, v.Digest)
	}
	_, err = r.open(t, writer, "m:1.0.0")
	if e := wantCode(t, err, ballast.CodeAlreadyExists); !strings.Contains(e.Detail, v.Key) {
		t.Fatalf("detail %q does not name %s", e.Detail, v.Key)
	}
}

func TestUnchangedPushWithoutVersion(t *testing.T) {
	r := newRig(t, memStore(t))
	a := r.mustPush(t, writer, "m", small("a"))
	again := r.mustPush(t, writer, "m", small("a"))
	if a.Key != "acme::m::1" || again.Key != a.Key {
		t.Fatalf("%s, then %s", a.Key, again.Key)
	}
	if b := r.mustPush(t, writer, "m", small("b")); b.Key != "acme::m::2" {
		t.Fatalf("changed files became %s", b.Key)
	}
	r.mustPush(t, writer, "m:7.1.0-rc.1", small("c"))
	if d := r.mustPush(t, writer, "m", small("d")); d.Key != "acme::m::8" {
		t.Fatalf("after 7.1.0-rc.1 came %s", d.Key)
	}
}

func TestTwentyVersionsAtOnce(t *testing.T) {
	r := newRig(t, memStore(t))
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { r.mustPush(t, writer, fmt.Sprintf("m:%d", i+1), small(fmt.Sprint(i))) })
	}
	all.Wait()
	page, err := r.Versions(t.Context(), reader, ballast.Scope{}, ref("m").Name, engine.ListVersions{Limit: 100})
	if err != nil || len(page.Versions) != 20 {
		t.Fatalf("%d versions, %v", len(page.Versions), err)
	}
}

func TestOneLabelTwentyPublishers(t *testing.T) {
	r := newRig(t, memStore(t))
	var mu sync.Mutex
	var all sync.WaitGroup
	ready, refused := 0, 0
	for i := range 20 {
		all.Go(func() {
			u, err := r.open(t, writer, "m:1")
			mu.Lock()
			defer mu.Unlock()
			switch code := ballast.CodeOf(err); {
			case code == ballast.CodeConflict || code == ballast.CodeAlreadyExists:
				refused++
			case err != nil:
				t.Error(err)
			default:
				f := small(fmt.Sprint(i))
				if err := r.sendAll(t, writer, u.ID, f); err != nil {
					t.Error(err)
				}
				if _, err := r.commit(t, writer, u.ID, f.files(), ballast.Metadata{}); err != nil {
					t.Error(err)
				}
				ready++
			}
		})
	}
	all.Wait()
	if ready != 1 || refused != 19 {
		t.Fatalf("%d ready, %d refused", ready, refused)
	}
}

func TestLabelIsFreeAgain(t *testing.T) {
	t.Run("abort", func(t *testing.T) {
		r := newRig(t, memStore(t))
		u := must(r.open(t, writer, "m:1"))
		_, err := r.open(t, writer, "m:1")
		if e := wantCode(t, err, ballast.CodeConflict); e.Holder == nil || e.Holder.Upload != u.ID {
			t.Fatalf("holder is %+v", e.Holder)
		}
		if err := r.AbortUpload(t.Context(), writer, u.ID); err != nil {
			t.Fatal(err)
		}
		r.mustPush(t, writer, "m:1", small("a"))
		_, err = r.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: ballast.DigestOf([]byte("x")), Size: 1}}})
		wantCode(t, err, ballast.CodeLeaseLost)
	})
	t.Run("lease", func(t *testing.T) {
		s, db := memStore(t), index.NewMem()
		opt := options(t, s, db)
		opt.Limits.Lease = 200 * time.Millisecond
		r := start(t, s, db, opt)
		must(r.open(t, writer, "m:1"))
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if _, err := r.open(t, writer, "m:1"); err == nil {
				return
			} else if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	})
}
