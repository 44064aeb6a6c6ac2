package engine_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
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

// checked is a check of index and bucket as they lie.
func checked(t *testing.T, opt engine.Options, want ballast.StartFsck) (run ballast.Fsck, found []ballast.Finding) {
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
	return run, found
}

func findings(t *testing.T, opt engine.Options, want ballast.StartFsck) []ballast.Finding {
	t.Helper()
	_, found := checked(t, opt, want)
	return found
}

func kindsOf(found []ballast.Finding) (kinds []ballast.FindingKind) {
	for _, f := range found {
		kinds = append(kinds, f.Kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

func kinds(k ...ballast.FindingKind) []ballast.FindingKind { slices.Sort(k); return k }

// Each kind of damage is planted and found by its name, on every store where it can be done; a repair leaves what it says that
// it leaves and no object less, and nothing is found before.
func TestEachKindOfDamageIsNamed(t *testing.T) {
	for _, table := range []map[string]damage{bytesDamaged(), strangersThings(), recordsDamaged(), partsLeft(), indexDamaged()} {
		for what, d := range table {
			t.Run(what, func(t *testing.T) {
				eachStore(t, func(t *testing.T, s store) {
					if why := d.unless[path.Base(t.Name())]; why != "" {
						t.Log("not here:", why)
						return
					}
					d.try(t, s)
				})
			})
		}
	}
}

func (d damage) try(t *testing.T, s store) {
	r := newRig(t, s)
	r.lost = true // it ends damaged
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, admin, "g:1", small("g"))
	if _, err := r.SetAlias(t.Context(), writer, acme, ref("m").Name, must(ballast.ParseAlias("champion")), must(ballast.ParseVersion("1")), nil); err != nil {
		t.Fatal(err)
	}
	if d.before != nil {
		d.before(t, r)
	}
	r.Close()
	r.opt.Limits.PutURLLife, r.opt.Limits.ClockSlack = time.Nanosecond, time.Nanosecond // so that no multipart is young
	for _, deep := range []bool{false, true} {
		if found := findings(t, r.opt, ballast.StartFsck{Deep: deep}); len(found) > 0 {
			t.Fatalf("before, deep %t: %+v", deep, found)
		}
	}
	somebody := s.vandal(t)
	d.plant(damaged{somebody, t, planter{t, r.index, nil}})
	found := findings(t, r.opt, ballast.StartFsck{Deep: d.deep})
	if got := kindsOf(found); !slices.Equal(got, d.want) {
		t.Fatalf("found %v, want %v: %+v", got, d.want, found)
	}
	objects := somebody.keys()
	findings(t, r.opt, ballast.StartFsck{Deep: d.deep, Repair: true})
	left := findings(t, r.opt, ballast.StartFsck{Deep: d.deep})
	if got := kindsOf(left); !slices.Equal(got, d.left) {
		t.Errorf("after the repair %v, want %v: %+v", got, d.left, left)
	}
	if now := somebody.keys(); !slices.Equal(now, objects) {
		t.Errorf("the repair made %q of %q", now, objects)
	}
	status := cmp.Or(d.status, ballast.StatusReady)
	if v, err := r.opt.Index.Version(t.Context(), must(ballast.ParseKey("acme::m::1"))); err != nil || v.Status != status {
		t.Errorf("acme::m::1 is %s, %v", v.Status, err)
	}
	if status == ballast.StatusLost {
		d.heal(t, start(t, s, r.index, options(t, s, r.index)))
	}
}

// heal pushes the files of a version that is lost until it is ready. Whatever its store says of what lies there, nothing is served that
// is not what was pushed.
func (d damage) heal(t *testing.T, r *rig) {
	r.lost = true // only acme::m::1 is pushed again
	var u ballast.Upload
	for try, code := 1, ballast.CodeIntegrity; code != ""; try++ {
		var err error
		if code != ballast.CodeMissing && code != ballast.CodeBusy { // then the same upload goes on, as the client has it
			u, err = r.open(t, writer, "m:1")
		}
		if err == nil {
			err = r.sendAll(t, writer, u.ID, small("a"))
		}
		if err == nil {
			_, err = r.commit(t, writer, u.ID, small("a").files(), ballast.Metadata{})
		}
		switch code = ballast.CodeOf(err); code {
		case "", ballast.CodeIntegrity, ballast.CodeMissing:
		case ballast.CodeBusy:
			time.Sleep(10 * time.Millisecond)
		default:
			t.Fatal(err)
		}
		if code != "" && try == 100 {
			t.Fatalf("push %d: %v", try, err)
		}
	}
	for path, body := range r.pull(t, reader, "m:1") {
		if !bytes.Equal(body, small("a")[path]) {
			t.Errorf("%s was served as %q", path, body)
		}
	}
}

// TestAPartSentMeanwhileVouchesForNothing: parts that go with an aborted upload leave what lies under the key as doubtful as it was.
func TestAPartSentMeanwhileVouchesForNothing(t *testing.T) {
	m, r := memRig(t, nil)
	r.lost = true
	r.mustPush(t, writer, "m:1", small("a"))
	r.Close()
	memVandal{t, m}.rot(weightsKey(), "weights of z")
	findings(t, r.opt, ballast.StartFsck{Deep: true, Repair: true})
	r = start(t, r.store, r.index, options(t, r.store, r.index))
	u, err := r.open(t, writer, "n:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.sendBlob(t, writer, u.ID, digest.Digest("sha256:"+weights), []byte("weights of a"), ballast.MethodMultipart); err != nil {
		t.Fatal(err)
	}
	if err := r.AbortUpload(t.Context(), writer, u.ID); err != nil {
		t.Fatal(err)
	}
	id := index.BlobID{Scope: acme, Digest: digest.Digest("sha256:" + weights)}
	waitFor(t, "the parts are gone", func() bool { return must(r.opt.Index.Blob(t.Context(), id)).State == index.BlobAbsent })
	damage{}.heal(t, r)
}

// put writes an empty item.
func (p planter) put(key []byte) {
	p.t.Helper()
	if err := p.index.Update(p.t.Context(), func(tx index.Tx) error { return tx.Put(key, nil) }); err != nil {
		p.t.Fatal(err)
	}
}

// A blob that is missing names the versions that use it, its scope, its object and both digests where they are known.
func TestFindingsNameWhatTheyAreAbout(t *testing.T) {
	m, r := memRig(t, nil)
	r.lost = true
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, writer, "twin:3", small("a"))
	r.Close()
	memVandal{t, m}.rot(weightsKey(), "weights of z")
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

// Bytes that the store does not give are named, and so is everything else that is wrong; nothing is lost by them. A store that
// does not answer at all ends the check.
func TestBytesThatDoNotCome(t *testing.T) {
	b := &refusing{}
	m, r := memRig(t, func(o *engine.Options) { b.Bucket, o.Bucket = o.Bucket, b })
	r.lost = true
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, writer, "m:2", small("b"))
	r.Close()
	memVandal{t, m}.rot(keyOf("weights of b"), "weights of z")
	b.refuse(weightsKey(), objstoretest.OpGet)
	for _, want := range [][]ballast.FindingKind{
		kinds(ballast.FindingBrokenBytes, ballast.FindingWrongBytes, ballast.FindingLost), kinds(ballast.FindingBrokenBytes, ballast.FindingLost),
	} {
		found := findings(t, r.opt, ballast.StartFsck{Deep: true, Repair: true})
		at := slices.IndexFunc(found, func(f ballast.Finding) bool { return f.Kind == ballast.FindingBrokenBytes })
		if at < 0 || found[at].Object != weightsKey() || found[at].Repaired || !slices.Equal(found[at].Versions, []string{"acme::m::1"}) || !slices.Equal(kindsOf(found), want) {
			t.Errorf("found %+v", found)
		}
	}
	if v := must(r.opt.Index.Version(t.Context(), must(ballast.ParseKey("acme::m::1")))); v.Status != ballast.StatusReady {
		t.Errorf("acme::m::1 is %s", v.Status)
	}
	b.refuse(record, objstoretest.OpGet)
	found := findings(t, r.opt, ballast.StartFsck{})
	at := slices.IndexFunc(found, func(f ballast.Finding) bool { return f.Kind == ballast.FindingBrokenBytes })
	if at < 0 || !slices.Equal(found[at].Versions, []string{"acme::m::1"}) || !slices.Equal(kindsOf(found), kinds(ballast.FindingBrokenBytes, ballast.FindingLost)) {
		t.Errorf("of a record found %+v", found)
	}
	b.refuse(weightsKey(), objstoretest.OpGet)
	m.Before(func(_ context.Context, op objstoretest.Op, _ string) {
		if op == objstoretest.OpHead {
			m.Fail(op, 1, objstore.ErrUnavailable, false)
		}
	})
	run, err := engine.FsckOffline(t.Context(), r.opt.Index, r.opt.Bucket, r.opt.RecordKey, r.opt.Limits, ballast.StartFsck{Deep: true}, func(ballast.Finding) {})
	if err == nil || run.State != ballast.FsckFailed || run.Error == nil {
		t.Errorf("of a store that does not answer: %+v, %v", run, err)
	}
}

// docs/fsck.md has a line for each kind of finding, and docs/openapi.yaml names it.
func TestEveryFindingIsExplained(t *testing.T) {
	page, api := string(must(os.ReadFile("../../docs/fsck.md"))), string(must(os.ReadFile("../../docs/openapi.yaml")))
	_, enum, _ := strings.Cut(api, "\n    FindingKind: {enum: [")
	enum, _, _ = strings.Cut(enum, "]")
	named := strings.Split(enum, ", ")
	for _, kind := range ballast.FindingKinds() {
		if !strings.Contains(page, "\n| `"+string(kind)+"` | ") || !slices.Contains(named, string(kind)) {
			t.Errorf("%s is not explained", kind)
		}
	}
	if len(named) != len(ballast.FindingKinds()) {
		t.Errorf("docs/openapi.yaml names %v", named)
	}
}
