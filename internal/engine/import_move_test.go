package engine_test

import (
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// TestMove removes what was copied once the version is ready, and only that: what was replaced since stays, and is named.
func TestMove(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		m := newReplacer(s.Bucket)
		s.Bucket = m
		r := newImportRig(t, s, nil)
		f := small("moved")
		drop(t, m.Bucket, "tenants/acme/inbox/m/", f)
		drop(t, m.Bucket, "tenants/acme/inbox/m/", folder{".git/HEAD": []byte("x")})
		drop(t, m.Bucket, "tenants/acme/inbox/m-not/", f)
		drop(t, r.beside, "acme/m/", f)
		m.at(objstoretest.OpDelete, "tenants/acme/inbox/m/config.json", func() { drop(t, m.Bucket, "tenants/acme/inbox/m/", folder{"config.json": []byte("of tomorrow")}) })
		got, err := r.imports(t, writer, "inbox:m", "m:1", moving)
		if err != nil || got.Result == nil || got.Moved == nil || !got.Moved.Done || got.Moved.Files != 2 || got.Moved.Left != 1 {
			t.Fatalf("moved %+v, %v", got.Moved, err)
		}
		if k := got.Moved.Kept; len(k) != 1 || k[0].Path != "config.json" || !strings.Contains(k[0].Why, "replaced") {
			t.Errorf("kept %+v", k)
		}
		if paths := strings.Join(left(t, m.Bucket, "tenants/acme/inbox/"), " "); paths != "m-not/config.json m-not/empty m-not/model.safetensors m/.git/HEAD m/config.json" {
			t.Errorf("the inbox holds %s", paths)
		}
		// The same files again, which are a version already: nothing is copied, and they are moved all the same.
		if got, err = r.imports(t, writer, "s3://"+r.besideName+"/acme/m", "m:1", moving); err != nil || got.Moved == nil || got.Moved.Files != 3 {
			t.Errorf("moved again %+v, %v", got.Moved, err)
		}
		if paths := left(t, r.beside, "acme/"); len(paths) != 0 {
			t.Errorf("beside there is %q", paths)
		}
		if v := r.mustPush(t, writer, "m", f); v.Key != "acme::m::1" {
			t.Errorf("the version is %s", v.Key)
		}
	})
}

// TestFailedMoveRemovesNothing: only a version that is ready takes its sources away.
func TestFailedMoveRemovesNothing(t *testing.T) {
	r := newImportRig(t, memStore(t), nil)
	drop(t, r.store, "tenants/acme/inbox/m/", small("m"))
	r.mustPush(t, writer, "m:1", small("other"))
	m, err := r.imports(t, writer, "inbox:m", "m:1", moving)
	wantCode(t, err, ballast.CodeAlreadyExists)
	if paths := left(t, r.store, "tenants/acme/inbox/m/"); len(paths) != 3 || m.Moved != nil {
		t.Errorf("left %q, %+v", paths, m.Moved)
	}
}

// TestMoveOutlivesARestart and a store that does not answer: it goes on where it was, and a refusal is said.
func TestMoveOutlivesARestart(t *testing.T) {
	mem := objstoretest.NewMem()
	s, db := storeOn(t, mem), index.NewMem()
	opt := options(t, s, db)
	first, err := engine.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Engine: first, store: s, index: db, opt: opt}
	f := small("m")
	drop(t, mem, "tenants/acme/inbox/m/", f)
	mem.Fail(objstoretest.OpDelete, 2, objstore.ErrUnavailable, true) // removed, and the answer lost
	m, err := r.askImport(t, writer, "inbox:m", "m:1", moving)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "it is stuck", func() bool {
		m, err = first.Import(t.Context(), writer, m.ID, 0)
		return err == nil && m.Waiting != nil && m.Moved != nil && m.Moved.Files > 0 // it waits after the first removal, too, which it then finds done
	})
	if m.Status != ballast.UploadDone || m.Moved.Done || m.Moved.Files != 1 || m.Waiting.Code != ballast.CodeUnavailable {
		t.Errorf("in the middle: %+v with %+v, waiting for %v", m, m.Moved, m.Waiting)
	}
	first.Close()
	mem.Fail(objstoretest.OpDelete, 1, objstore.ErrDenied, false)
	second := start(t, s, db, options(t, s, db))
	if m = second.awaitImport(t, writer, m.ID); m.Moved.Files != 2 || m.Moved.Left != 1 || !strings.Contains(m.Moved.Kept[0].Why, "does not let") {
		t.Errorf("after the restart: %+v", m.Moved)
	}
}
