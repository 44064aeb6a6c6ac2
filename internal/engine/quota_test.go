package engine_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

func upTo(n int64) *int64 { return &n }

func (r *rig) limit(t *testing.T, scope ballast.Scope, q ballast.Quota) {
	t.Helper()
	must(r.SetQuota(t.Context(), admin, scope, q))
}

// used waits until nothing of what ended is pinned any more, and returns what a scope uses.
func (r *rig) used(t *testing.T, scope ballast.Scope) ballast.Usage {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if ids := must(r.opt.Index.Releasing(t.Context())); len(ids) == 0 {
			return *must(r.Quota(t.Context(), admin, scope)).Usage
		}
		if time.Now().After(end) {
			t.Fatal("pins of what ended are not released")
		}
	}
}

const (
	manyPushes = 64
	thatFit    = 10
)

// fileOf is one of the two files of a push; they are asked about one after the other, so that two pushes could each have
// half of what they need.
func fileOf(push, n int) []byte { return fmt.Appendf(nil, "file %d of push %02d", n, push) }

// pushSized is a push as the client makes it: it says how large it is, and gives up what is refused.
func (r *rig) pushSized(t *testing.T, i int) error {
	f := folder{"a": fileOf(i, 0), "b": fileOf(i, 1)}
	size := int64(len(f["a"]) + len(f["b"]))
	u, _, err := r.CreateUpload(t.Context(), writer, ballast.CreateUpload{Name: ref(fmt.Sprintf("m-%d", i)).Name, Attempt: attempt(), Size: size})
	if err != nil {
		return err
	}
	if err = r.sendAll(t, writer, u.ID, f); err == nil {
		_, err = r.commit(t, writer, u.ID, f.files(), ballast.Metadata{})
	}
	if err != nil {
		if aborted := r.AbortUpload(t.Context(), writer, u.ID); aborted != nil {
			t.Error(aborted)
		}
	}
	return err
}

// TestManyPushesAtOnce: of 64 pushes against a quota that fits 10, 10 are ready and the others refused, whatever the bound
// is. What is counted afterwards is exact.
func TestManyPushesAtOnce(t *testing.T) {
	size := int64(2 * len(fileOf(0, 0)))
	for name, q := range map[string]ballast.Quota{
		"bytes":             {Bytes: upTo(thatFit * size)},
		"bytes and half":    {Bytes: upTo(thatFit*size + size/2)},
		"versions":          {Versions: upTo(thatFit)},
		"bytes or versions": {Bytes: upTo((thatFit + 2) * size), Versions: upTo(thatFit)},
		"versions or bytes": {Bytes: upTo(thatFit * size), Versions: upTo(thatFit + 2)},
	} {
		t.Run(name, func(t *testing.T) {
			db := must(index.OpenBolt(filepath.Join(t.TempDir(), "index.db"), index.BoltOptions{NoSync: true}))
			t.Cleanup(func() { db.Close() })
			s := memStore(t)
			r := start(t, s, db, options(t, s, db))
			r.limit(t, acme, q)
			var all sync.WaitGroup
			var ends [manyPushes]error
			for i := range manyPushes {
				all.Go(func() { ends[i] = r.pushSized(t, i) })
			}
			all.Wait()
			ready := 0
			for i, err := range ends {
				switch ballast.CodeOf(err) {
				case "":
					ready++
				case ballast.CodeQuotaExceeded:
				default:
					t.Errorf("push %d: %v", i, err)
				}
			}
			if ready != thatFit {
				t.Errorf("%d are ready, and %d fit", ready, thatFit)
			}
			if u, want := r.used(t, acme), (ballast.Usage{Bytes: thatFit * size, Versions: thatFit}); u != want {
				t.Errorf("%+v are used, want %+v", u, want)
			}
		})
	}
}

// TestAFullQuota: what needs nothing new is refused nothing, whichever way it comes; all else is, before a byte moves.
func TestAFullQuota(t *testing.T) {
	m, r := memRig(t, nil)
	a := folder{"a": []byte("content of a")}
	r.mustPush(t, writer, "m:1", a)
	r.mustPush(t, admin, "g:1", folder{"b": []byte("content of another")})
	r.limit(t, acme, ballast.Quota{Bytes: upTo(12), Versions: upTo(2)})
	if again := r.mustPush(t, writer, "m", a); again.Version.String() != "1" {
		t.Errorf("the same files became %s", again.Key)
	}
	r.mustPush(t, writer, "twin:1", a) // the same bytes under another name
	r.limit(t, acme, ballast.Quota{Bytes: upTo(12), Versions: upTo(2)})
	objects := len(m.Keys(""))
	_, err := r.push(t, writer, "m", folder{"c": []byte("content of c")})
	wantCode(t, err, ballast.CodeQuotaExceeded)
	for _, target := range []string{"third:1", "third"} { // refused when it is opened, and when it is sealed
		_, err = r.push(t, writer, target, a)
		wantCode(t, err, ballast.CodeQuotaExceeded)
	}
	if again := r.mustPush(t, writer, "m", a); again.Version.String() != "1" {
		t.Errorf("the same files became %s", again.Key)
	}
	r.limit(t, acme, ballast.Quota{Bytes: upTo(12)})
	_, err = r.Copy(t.Context(), writer, ref("global::g:1"), ballast.CopyVersion{Name: ref("copied").Name})
	wantCode(t, err, ballast.CodeQuotaExceeded)
	m.Plant(acme.Path()+"/inbox/in/w", []byte("what lies in the inbox"))
	imported, _, err := r.CreateImport(t.Context(), writer, ballast.CreateImport{Source: must(ballast.ParseSource("inbox:in/")), Name: ref("in").Name})
	if err != nil {
		t.Fatal(err)
	}
	end := must(r.Import(t.Context(), writer, imported.ID, time.Minute))
	if end.Error == nil || end.Error.Code != ballast.CodeQuotaExceeded {
		t.Errorf("the import ended %s: %v", end.Status, end.Error)
	}
	if now := len(m.Keys("")); now != objects+1 { // what was planted
		t.Errorf("%d objects became %d", objects, now)
	}
	for _, u := range must(r.openUploads(t.Context())) { // the pushes; what the registry itself does it gives up
		if err := r.AbortUpload(t.Context(), writer, u); err != nil {
			t.Error(err)
		}
	}
	if u, want := r.used(t, acme), (ballast.Usage{Bytes: 12, Versions: 2}); u != want {
		t.Errorf("%+v are used, want %+v", u, want)
	}
	r.limit(t, acme, ballast.Quota{Versions: upTo(3)})
	r.mustPush(t, writer, "m", folder{"c": []byte("content of c")}) // the control: now it fits
}

// openUploads are the ids of acme's uploads that are open.
func (r *rig) openUploads(ctx context.Context) (ids []string, err error) {
	c, err := r.opt.Index.Contents(ctx)
	for id, u := range c.Uploads {
		if u.Scope == acme && !u.Settled() {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// TestWhatEndsIsGivenBack: aborted, expired and failed uploads use nothing.
func TestWhatEndsIsGivenBack(t *testing.T) {
	_, r := memRig(t, nil)
	open := func(target string, body []byte, method ballast.Method) string {
		u := must(r.open(t, writer, target))
		if err := r.sendBlob(t, writer, u.ID, ballast.DigestOf(body), body, method); err != nil {
			t.Fatal(err)
		}
		return u.ID
	}
	put, parts := open("put:1", []byte("aborted"), ballast.MethodPut), open("parts:1", random(partSize+1, 1), ballast.MethodMultipart)
	if u, want := r.used(t, acme), (ballast.Usage{Bytes: 7 + partSize + 1, UploadBytes: 7 + partSize + 1, Uploads: 2, ReservedVersions: 2}); u != want {
		t.Errorf("%+v are used, want %+v", u, want)
	}
	for _, id := range []string{put, parts} {
		if err := r.AbortUpload(t.Context(), writer, id); err != nil {
			t.Fatal(err)
		}
	}
	lie := must(r.open(t, writer, "lie:1"))
	d, sent := ballast.DigestOf([]byte("what was promised")), []byte("what was received")
	if err := r.sendBlob(t, writer, lie.ID, d, sent, ballast.MethodMultipart); err != nil {
		t.Fatal(err)
	}
	_, err := r.commit(t, writer, lie.ID, []ballast.File{{Path: "w", Size: int64(len(sent)), Digest: d}}, ballast.Metadata{})
	wantCode(t, err, ballast.CodeIntegrity)
	if u := r.used(t, acme); u != (ballast.Usage{}) {
		t.Errorf("%+v are used after all have ended", u)
	}
}

// TestWhoSeesAndSetsQuotas: an admin of global all of them; readers see their own scopes'.
func TestWhoSeesAndSetsQuotas(t *testing.T) {
	_, r := memRig(t, nil)
	keeper := engine.Principal{ID: "k", Name: "keeper", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Admin}}}
	for _, p := range []engine.Principal{reader, writer, keeper, other} {
		_, err := r.SetQuota(t.Context(), p, acme, ballast.Quota{})
		wantCode(t, err, ballast.CodeDenied)
		wantCode(t, r.UnsetQuota(t.Context(), p, acme), ballast.CodeDenied)
		_, err = r.Quota(t.Context(), p, ballast.Scope{})
		wantCode(t, err, ballast.CodeDenied)
	}
	_, err := r.Quota(t.Context(), other, acme)
	wantCode(t, err, ballast.CodeNotFound)
	_, err = r.SetQuota(t.Context(), admin, acme, ballast.Quota{Bytes: upTo(-1)})
	wantCode(t, err, ballast.CodeInvalid)
	r.limit(t, ballast.Scope{}, ballast.Quota{Versions: upTo(7)})
	r.limit(t, scope("beta"), ballast.Quota{Uploads: upTo(1)})
	if q := must(r.Quota(t.Context(), reader, acme)); q.Source != ballast.QuotaDefault || *q.Quota.Versions != 7 || q.Usage == nil {
		t.Errorf("a reader sees %+v", q)
	}
	for who, want := range map[*engine.Principal]string{&reader: "acme", &admin: "* beta"} {
		var names []string
		for _, q := range must(r.Quotas(t.Context(), *who, 10, "")).Quotas {
			names = append(names, q.Scope)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s sees %q, want %q", who.Name, got, want)
		}
	}
}

// TestPlantedUsageIsReported: each counter that says something else than what is there is reported, and nothing else is.
func TestPlantedUsageIsReported(t *testing.T) {
	for _, counter := range []string{"bytes", "versions", "uploads", "upload_bytes", "reserved_bytes", "reserved_versions"} {
		t.Run(counter, func(t *testing.T) {
			_, r := memRig(t, nil)
			r.lost = true // it ends damaged
			r.mustPush(t, writer, "m:1", small("a"))
			u, _, err := r.CreateUpload(t.Context(), writer, ballast.CreateUpload{Name: ref("n").Name, Attempt: attempt(), Size: 100})
			if err != nil {
				t.Fatal(err)
			}
			must(r.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: ballast.DigestOf([]byte("x")), Size: 1}}}))
			r.used(t, acme)
			r.Close()
			if found := violations(t, r.opt); len(found) > 0 {
				t.Fatalf("before: %v", found)
			}
			planter{t, r.index, nil}.edit('B', `"`+counter+`":`, `"`+counter+`":1`)
			found := violations(t, r.opt)
			if len(found) != 1 || found[0].Invariant != engine.InvariantBounded || !strings.Contains(found[0].What, "quota") {
				t.Fatalf("reported: %v", found)
			}
		})
	}
}
