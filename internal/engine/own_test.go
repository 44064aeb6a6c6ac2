package engine_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// A client began to send in parts what turns out to be the manifest of its commit. The service writes the manifest, and
// leaves no parts behind.
func TestManifestBegunInParts(t *testing.T) {
	m, r := memRig(t, nil)
	f := small("a")
	_, manifest, err := ballast.BuildManifest(f.files())
	if err != nil {
		t.Fatal(err)
	}
	u := must(r.open(t, writer, "m:1"))
	if err := r.sendBlob(t, writer, u.ID, ballast.DigestOf(manifest), manifest, ballast.MethodMultipart); err != nil {
		t.Fatal(err)
	}
	if err := r.sendAll(t, writer, u.ID, f); err != nil {
		t.Fatal(err)
	}
	must(r.commit(t, writer, u.ID, f.files(), ballast.Metadata{}))
	if open := must(m.ListUploads(t.Context(), ballast.BlobKey(acme, ballast.DigestOf(manifest)))); len(open) > 0 {
		t.Errorf("left behind: %+v", open)
	}
}

// An object that nobody can read lies where a blob's parts are to go: an upload that nobody knows any more left it
// there. The commit ends, the object is removed, and the next upload is none the worse.
func TestUnreadableObjectInThePlaceOfParts(t *testing.T) {
	m, r := memRig(t, nil)
	f := folder{"w": []byte("weights")}
	d := ballast.DigestOf(f["w"])
	left := must(r.open(t, writer, "m:1"))
	asked := must(r.Blobs(t.Context(), writer, left.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: d, Size: 7, Method: ballast.MethodPut}}}))
	m.Do(*asked.Blobs[0].Request, f["w"], http.Header{"X-Amz-Server-Side-Encryption-Customer-Algorithm": {"AES256"}})
	if err := r.AbortUpload(t.Context(), writer, left.ID); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the blob is free", func() bool { return !must(r.opt.Index.HasPins(t.Context(), index.BlobID{Scope: acme, Digest: d})) })
	u := must(r.open(t, writer, "m:1"))
	if err := r.sendBlob(t, writer, u.ID, d, f["w"], ballast.MethodMultipart); err != nil {
		t.Fatal(err)
	}
	_, _ = r.Commit(t.Context(), writer, u.ID, ballast.CommitRequest{Files: f.files()})
	waitFor(t, "the commit has ended", func() bool { return must(r.Upload(t.Context(), writer, u.ID, 0)).Status.Settled() })
	wantCode(t, must(r.Upload(t.Context(), writer, u.ID, 0)).Error, ballast.CodeIntegrity)
	r.mustPush(t, writer, "m:1", f)
}

// An upload is taken over while its commit is being checked. Its client hears that, and not that bytes are missing.
func TestAbortedWhileCommitIsChecked(t *testing.T) {
	m, r := memRig(t, nil)
	f := folder{"w": []byte("weights"), "empty": nil}
	d := ballast.DigestOf(f["w"])
	u := must(r.open(t, writer, "m:1"))
	if err := r.sendBlob(t, writer, u.ID, d, f["w"], ballast.MethodPut); err != nil {
		t.Fatal(err)
	}
	abort := sync.OnceFunc(func() {
		if err := r.AbortUpload(t.Context(), writer, u.ID); err != nil {
			t.Error(err)
		}
		waitFor(t, "the blob is free", func() bool { return !must(r.opt.Index.HasPins(t.Context(), index.BlobID{Scope: acme, Digest: d})) })
	})
	m.Before(func(_ context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpPut && key == ballast.BlobKey(acme, ballast.EmptyDigest) {
			abort()
		}
	})
	_, err := r.Commit(t.Context(), writer, u.ID, ballast.CommitRequest{Files: f.files()})
	wantCode(t, err, ballast.CodeLeaseLost)
}

// A manifest that is not in the bucket, or is another there, is an error of its own and never an empty or absent version.
func TestALostManifestIsTold(t *testing.T) {
	for what, harm := range map[string]func(m *objstoretest.Mem, key string){
		"missing": func(m *objstoretest.Mem, key string) {
			if err := m.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		},
		"changed": func(m *objstoretest.Mem, key string) {
			m.Alter(key, func(_ *objstore.Object, body []byte) []byte {
				return bytes.Replace(body, []byte("config"), []byte("konfig"), 1)
			})
		},
	} {
		t.Run(what, func(t *testing.T) {
			m, r := memRig(t, nil)
			v := r.mustPush(t, writer, "m:1", small("a"))
			r.Close()     // and with it go the file lists that it keeps
			r.lost = true // the invariants do not hold from here on
			harm(m, v.ObjectKey)
			r = start(t, r.store, r.index, options(t, r.store, r.index))
			r.lost = true
			_, err := r.Files(t.Context(), reader, ref("m:1"), engine.ListFiles{URLs: true, Limit: 10})
			wantCode(t, err, ballast.CodeIntegrity)
			_, err = r.File(t.Context(), reader, ref("m:1"), "config.json")
			wantCode(t, err, ballast.CodeIntegrity)
		})
	}
}

// What is read is found by its key: no read lists the bucket, and objects that nobody published change nothing.
func TestReadsListNothing(t *testing.T) {
	m, r := memRig(t, nil)
	v := r.mustPush(t, writer, "m:1", small("a"))
	r.Close()
	r.lost = true // what nobody published lies under the prefix from here on
	m.Plant(strings.TrimSuffix(v.ObjectKey, v.Digest.Encoded())+strings.Repeat("0", 64), []byte("nobody published this"))
	r = start(t, r.store, r.index, options(t, r.store, r.index))
	r.lost = true
	waitFor(t, "the start has looked at the bucket", func() bool { return r.Ready(t.Context()) == nil })
	r.mustPush(t, writer, "n:1", small("b")) // what a start lists of the bucket is behind it
	listed := m.Calls(objstoretest.OpList)
	must(r.Version(t.Context(), reader, ref("m")))
	must(r.File(t.Context(), reader, ref("m@"+v.Digest.String()), "config.json"))
	if got := r.pull(t, reader, "m:1"); len(got) != len(small("a")) {
		t.Errorf("%d files", len(got))
	}
	if n := m.Calls(objstoretest.OpList) - listed; n != 0 {
		t.Errorf("%d lists", n)
	}
	for _, err := range m.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
	}
	if m.Calls(objstoretest.OpList) == listed {
		t.Error("control: a list is not counted")
	}
}
