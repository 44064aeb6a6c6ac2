package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// findings checks index and bucket as they lie.
func findings(t *testing.T, opt engine.Options, want ballast.StartFsck) (found []ballast.Finding) {
	t.Helper()
	run, err := engine.FsckOffline(context.WithoutCancel(t.Context()), opt.Index, opt.Bucket, opt.RecordKey, opt.Limits, want, func(f ballast.Finding) { found = append(found, f) })
	if err != nil {
		t.Fatal(err)
	}
	if clean := !slices.ContainsFunc(found, func(f ballast.Finding) bool { return !f.Repaired }); run.Clean() != clean {
		t.Errorf("clean %t: %+v", run.Clean(), run.Counts)
	}
	for _, f := range found {
		if f.What == "" || f.Do == "" || !slices.Contains(ballast.FindingKinds(), f.Kind) || strings.Contains(f.What+f.Do, "%!") {
			t.Errorf("a finding says %+v", f)
		}
	}
	return found
}

func kindsOf(found []ballast.Finding) (kinds []ballast.FindingKind) {
	for _, f := range found {
		kinds = append(kinds, f.Kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// damaged is a registry with one version of acme and one of global, closed, and the means to damage it.
type damaged = planter

func weightsKey() string { return ballast.BlobKey(acme, digest.Digest("sha256:"+weights)) }

// Each kind of damage is planted and found by its name; a repair leaves what it says that it leaves, and nothing is found
// before.
func TestEachKindOfDamageIsNamed(t *testing.T) {
	for what, tc := range map[string]struct {
		plant  func(damaged)
		deep   bool
		want   []ballast.FindingKind
		left   []ballast.FindingKind // after a repair
		status ballast.Status        // of acme::m::1 after it; empty: ready
	}{
		"an object is gone":            {plant: func(d damaged) { d.remove(weightsKey()) }, want: kinds(ballast.FindingMissingBytes), left: kinds(ballast.FindingLost), status: ballast.StatusLost},
		"an object was cut":            {plant: func(d damaged) { d.store.Plant(weightsKey(), []byte("cut")) }, want: kinds(ballast.FindingWrongChecksum), left: kinds(ballast.FindingLost), status: ballast.StatusLost},
		"an object has another size":   {plant: func(d damaged) { d.alter(weightsKey(), "cut", true) }, want: kinds(ballast.FindingWrongSize), left: kinds(ballast.FindingLost), status: ballast.StatusLost},
		"other bytes of the same size": {plant: func(d damaged) { d.alter(weightsKey(), "weights of z", true) }, want: kinds(ballast.FindingWrongETag), left: kinds(ballast.FindingLost), status: ballast.StatusLost},
		"other bytes, deep":            {plant: func(d damaged) { d.alter(weightsKey(), "weights of z", false) }, deep: true, want: kinds(ballast.FindingWrongBytes), left: kinds(ballast.FindingLost), status: ballast.StatusLost},
		"the same bytes again":         {plant: func(d damaged) { d.alter(weightsKey(), "weights of a", true) }, want: kinds(ballast.FindingWrongETag)},
		"the manifest is gone":         {plant: func(d damaged) { d.remove(ballast.BlobKey(acme, small("a").manifest())) }, want: kinds(ballast.FindingMissingBytes), left: kinds(ballast.FindingLost), status: ballast.StatusLost},
		"an object that nobody sent":   {plant: func(d damaged) { d.store.Plant(ballast.BlobKey(acme, ballast.DigestOf([]byte("x"))), []byte("x")) }, want: kinds(ballast.FindingOrphan), left: kinds(ballast.FindingOrphan)},
		"an object in another scope": {plant: func(d damaged) {
			d.store.Plant(ballast.BlobKey(scope("zeta"), ballast.DigestOf([]byte("x"))), []byte("x"))
		}, want: kinds(ballast.FindingOrphan), left: kinds(ballast.FindingOrphan)},
		"a key of no blob": {plant: func(d damaged) { d.store.Plant("tenants/acme/blobs/sha256/zz/readme", []byte("x")) }, want: kinds(ballast.FindingForeign), left: kinds(ballast.FindingForeign)},
		"a key of no place": {plant: func(d damaged) {
			d.store.Plant("tenants/acme/tmp/x", []byte("x"))
			d.store.Plant("backup.tar", []byte("x"))
		}, want: kinds(ballast.FindingForeign), left: kinds(ballast.FindingForeign)},
		"a record that is gone": {plant: func(d damaged) { d.remove(d.object("acme/models/m/versions/1/")) }, want: kinds(ballast.FindingRecordMissing), left: kinds(ballast.FindingRecordMissing)},
		"a record that was changed": {plant: func(d damaged) {
			key := d.object("acme/models/m/versions/1/")
			body, _ := d.store.Peek(key)
			d.store.Plant(key, []byte(strings.Replace(string(body), `"files":3`, `"files":4`, 1)))
		}, want: kinds(ballast.FindingRecordForged), left: kinds(ballast.FindingRecordForged)},
		"a record of nobody's":       {plant: func(d damaged) { d.store.Plant("tenants/acme/models/m/versions/9/00000001.json", []byte("{}")) }, want: kinds(ballast.FindingRecordUnknown), left: kinds(ballast.FindingRecordUnknown)},
		"an index behind its bucket": {plant: func(d damaged) { d.edit('v', `"files":3`, `"files":4`) }, want: kinds(ballast.FindingRecordDiffers), left: kinds(ballast.FindingRecordDiffers)},
		"a damaged item":             {plant: func(d damaged) { d.edit('a', `"schema":1`, `"schema":"`) }, want: kinds(ballast.FindingUnreadable), left: kinds(ballast.FindingUnreadable)},
		"latest knows nothing":       {plant: func(d damaged) { d.edit('l', "", "") }, want: kinds(ballast.FindingUnlisted)},
		"a key of no version": {plant: func(d damaged) {
			d.put(append([]byte("lacme\x00m\x00\x02"), must(ballast.ParseVersion("9")).Order()...))
		}, want: kinds(ballast.FindingDangling)},
		"a version without its alias": {plant: func(d damaged) { d.edit('A', "", "") }, want: kinds(ballast.FindingUnlisted)},
		"a counter":                   {plant: func(d damaged) { d.edit('B', `"versions":1`, `"versions":5`) }, want: kinds(ballast.FindingCounter)},
	} {
		t.Run(what, func(t *testing.T) {
			m, r := memRig(t, nil)
			r.lost = true // it ends damaged
			r.mustPush(t, writer, "m:1", small("a"))
			r.mustPush(t, admin, "g:1", small("g"))
			if _, err := r.SetAlias(t.Context(), writer, acme, ref("m").Name, must(ballast.ParseAlias("champion")), must(ballast.ParseVersion("1")), nil); err != nil {
				t.Fatal(err)
			}
			r.Close()
			for _, deep := range []bool{false, true} {
				if found := findings(t, r.opt, ballast.StartFsck{Deep: deep}); len(found) > 0 {
					t.Fatalf("before, deep %t: %+v", deep, found)
				}
			}
			tc.plant(planter{t, r.index, m})
			found := findings(t, r.opt, ballast.StartFsck{Deep: tc.deep})
			if got := kindsOf(found); !slices.Equal(got, tc.want) {
				t.Fatalf("found %v, want %v: %+v", got, tc.want, found)
			}
			objects := len(m.Keys(""))
			findings(t, r.opt, ballast.StartFsck{Deep: tc.deep, Repair: true})
			left := findings(t, r.opt, ballast.StartFsck{Deep: tc.deep})
			if got := kindsOf(left); !slices.Equal(got, tc.left) {
				t.Errorf("after the repair %v, want %v: %+v", got, tc.left, left)
			}
			if now := len(m.Keys("")); now != objects {
				t.Errorf("the repair made %d objects of %d", now, objects)
			}
			if v, err := r.opt.Index.Version(t.Context(), must(ballast.ParseKey("acme::m::1"))); tc.status != "" && (err != nil || v.Status != tc.status) {
				t.Errorf("acme::m::1 is %s, %v", v.Status, err)
			}
		})
	}
}

// put writes an empty item.
func (p planter) put(key []byte) {
	p.t.Helper()
	if err := p.index.Update(p.t.Context(), func(tx index.Tx) error { return tx.Put(key, nil) }); err != nil {
		p.t.Fatal(err)
	}
}

func kinds(k ...ballast.FindingKind) []ballast.FindingKind { slices.Sort(k); return k }

// alter replaces the bytes of an object as somebody does who sends no checksum; a new ETag comes with that, or not.
func (p planter) alter(key, body string, newTag bool) {
	p.t.Helper()
	ok := p.store.Alter(key, func(o *objstore.Object, _ []byte) []byte {
		o.SHA256, o.Size = "", int64(len(body))
		if newTag {
			o.ETag = `"another"`
		}
		return []byte(body)
	})
	if !ok {
		p.t.Fatalf("no object %q", key)
	}
}

// A blob that is missing names the versions that use it, its scope, its object and both digests where they are known.
func TestFindingsNameWhatTheyAreAbout(t *testing.T) {
	m, r := memRig(t, nil)
	r.lost = true
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, writer, "twin:3", small("a"))
	r.Close()
	planter{t, r.index, m}.alter(weightsKey(), "weights of z", false)
	found := findings(t, r.opt, ballast.StartFsck{Deep: true})
	if len(found) != 1 {
		t.Fatalf("found %+v", found)
	}
	f := found[0]
	if f.Scope != "acme" || f.Object != weightsKey() || f.Digest.Encoded() != weights || f.Actual != ballast.DigestOf([]byte("weights of z")) ||
		!slices.Equal(f.Versions, []string{"acme::m::1", "acme::twin::3"}) || f.Repair == "" {
		t.Errorf("found %+v", f)
	}
}

// What is pushed, retired, deleted and aborted beside a check is none of its findings, on no store.
func TestNothingUnderWayIsFound(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var pushing sync.WaitGroup
		for n := range 2 {
			pushing.Go(func() {
				for i := 0; ctx.Err() == nil && i < 200; i++ {
					target := fmt.Sprintf("m%d:%d", n, i+1)
					if _, err := r.push(t, writer, target, small(fmt.Sprint(n, i))); err != nil {
						t.Errorf("push %s: %v", target, err)
						return
					}
					lead := engine.Principal{ID: "l", Name: "lead", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Maintainer}}}
					if i%3 == 1 {
						if _, _, err := r.Retire(t.Context(), lead, own(target)); err != nil {
							t.Errorf("retire %s: %v", target, err)
						}
					}
					if u, err := r.open(t, writer, "open:"+fmt.Sprint(i+1)); err == nil && i%2 == 0 {
						_ = r.sendAll(t, writer, u.ID, folder{"w": []byte(fmt.Sprint("open", n, i))})
					}
				}
			})
		}
		for n, saw := 0, false; n < 5 || !saw; n++ { // what was pushed stays, so one of them sees it
			run := finished(t, r, ballast.StartFsck{Deep: true})
			if run.State != ballast.FsckDone || len(run.Findings) > 0 {
				t.Fatalf("run %+v", run)
			}
			saw = saw || run.Objects > 0 && run.Versions > 0 && run.Bytes > 0
		}
		stop()
		pushing.Wait()
	})
}

// finished starts a check beside the service and waits for its end.
func finished(t *testing.T, r *rig, want ballast.StartFsck) ballast.Fsck {
	t.Helper()
	run, err := r.StartFsck(t.Context(), admin, want)
	for err == nil && run.State == ballast.FsckRunning {
		run, err = r.Fsck(t.Context(), admin, 1000, "", time.Minute)
	}
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// One check runs at a time, admins of global start and see it, and its findings come in pages.
func TestFsckBesideTheService(t *testing.T) {
	m, r := memRig(t, nil)
	if run, err := r.Fsck(t.Context(), admin, 10, "", 0); err != nil || run.State != ballast.FsckNone || run.Clean() {
		t.Errorf("before the first: %+v, %v", run, err)
	}
	for _, p := range []engine.Principal{reader, writer, other} {
		_, err := r.StartFsck(t.Context(), p, ballast.StartFsck{})
		wantCode(t, err, ballast.CodeDenied)
		_, err = r.Fsck(t.Context(), p, 10, "", 0)
		wantCode(t, err, ballast.CodeDenied)
	}
	for i := range 25 {
		m.Plant(fmt.Sprintf("tenants/acme/tmp/%02d", i), []byte("x"))
	}
	run := finished(t, r, ballast.StartFsck{})
	if run.State != ballast.FsckDone || run.Clean() {
		t.Fatalf("run %+v", run)
	}
	seen := map[string]bool{}
	for cursor := ""; ; {
		page := must(r.Fsck(t.Context(), admin, 10, cursor, 0))
		for _, f := range page.Findings {
			seen[f.Object] = true
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	if len(seen) != 25 {
		t.Errorf("pages hold %d findings", len(seen))
	}
	for _, bad := range []string{"10", "10-other", "-1-" + run.ID, "x"} {
		_, err := r.Fsck(t.Context(), admin, 10, bad, 0)
		wantCode(t, err, ballast.CodeInvalid)
	}
}

// Objects that nobody recorded go only when that is asked for, only once they are older than the grace, and nothing else does.
func TestOrphansAreRemovedOnRequest(t *testing.T) {
	m, r := memRig(t, nil)
	r.mustPush(t, writer, "m:1", small("a"))
	m.SetClock(func() time.Time { return time.Now().Add(-25 * time.Hour) })
	old := ballast.BlobKey(acme, ballast.DigestOf([]byte("old")))
	m.Plant(old, []byte("old"))
	m.Plant("tenants/acme/inbox/mine", []byte("x"))
	m.Plant("tenants/acme/staging/u/1", []byte("x"))
	m.SetClock(time.Now)
	young := ballast.BlobKey(acme, ballast.DigestOf([]byte("young")))
	m.Plant(young, []byte("young"))
	if run := finished(t, r, ballast.StartFsck{Repair: true}); len(run.Findings) != 3 {
		t.Fatalf("found %+v", run.Findings)
	}
	before := m.Keys("")
	run := finished(t, r, ballast.StartFsck{RemoveOrphans: true})
	var gone []string
	for _, key := range before {
		if _, ok := m.Peek(key); !ok {
			gone = append(gone, key)
		}
	}
	if want := []string{old, "tenants/acme/staging/u/1"}; !slices.Equal(gone, want) {
		t.Errorf("gone are %v, want %v: %+v", gone, want, run.Findings)
	}
	m.Delete(t.Context(), young)
}

// A multipart that no upload waits for is found once it is older than what could still wait for it.
func TestStaleMultipartIsFound(t *testing.T) {
	clock := time.Now()
	m, r := memRig(t, func(o *engine.Options) { o.Now = func() time.Time { return clock } })
	u := must(r.open(t, writer, "m:1"))
	body := random(2*partSize, 1)
	d := ballast.DigestOf(body)
	must(r.Blobs(t.Context(), writer, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: d, Size: int64(len(body)), Method: ballast.MethodMultipart, PartSize: partSize, Parts: partDigests(body)}}}))
	key := ballast.BlobKey(acme, d)
	m.SetClock(func() time.Time { return time.Now().Add(-2 * time.Hour) })
	must(m.CreateMultipart(t.Context(), key))
	found := finished(t, r, ballast.StartFsck{}).Findings
	if len(found) != 1 || found[0].Kind != ballast.FindingStaleMultipart || found[0].Object != key {
		t.Errorf("found %+v", found)
	}
	if err := r.AbortUpload(t.Context(), writer, u.ID); err != nil {
		t.Fatal(err)
	}
}

// Work that the store refuses to have done is found to be half done.
func TestHalfDoneWorkIsFound(t *testing.T) {
	m, r := memRig(t, func(o *engine.Options) { o.Limits.ReclaimRetry = time.Millisecond })
	r.lost = true
	r.mustPush(t, writer, "m:1", small("a"))
	lead := engine.Principal{ID: "l", Name: "lead", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Maintainer}}}
	for range 1000 {
		m.Fail(objstoretest.OpPut, 0, objstore.ErrUnavailable, false)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, _, _ = r.Retire(ctx, lead, own("m:1"))
	found := finished(t, r, ballast.StartFsck{}).Findings
	if !slices.ContainsFunc(found, func(f ballast.Finding) bool { return f.Kind == ballast.FindingHalfDone }) {
		t.Errorf("found %+v", found)
	}
}
