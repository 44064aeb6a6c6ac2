package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// rebuildOf makes the index of a bucket anew.
func rebuildOf(t *testing.T, s store, x *index.Index, change func(*engine.RebuildOptions)) (engine.Report, error) {
	t.Helper()
	opt := engine.RebuildOptions{
		Index: x, Bucket: s.Bucket, RecordKey: engine.NewRecordKey(secret), Dir: t.TempDir(), Wait: time.Millisecond,
		SaveAdmin: func(string) error { return nil },
	}
	if change != nil {
		change(&opt)
	}
	return engine.Rebuild(t.Context(), opt)
}

// rebuilt closes a registry, loses its index, and opens one that is rebuilt of its bucket.
func (r *rig) rebuilt(t *testing.T, change func(*engine.RebuildOptions)) (*rig, engine.Report) {
	t.Helper()
	r.Close()
	r.lost = true
	db := index.NewMem()
	opt := options(t, r.store, db)
	report, err := rebuildOf(t, r.store, opt.Index, func(o *engine.RebuildOptions) {
		if change != nil {
			change(o)
		}
		opt.RecordKey = o.RecordKey
	})
	if err != nil {
		t.Fatalf("rebuild: %v", err)
	}
	enginetest.Check(t, opt)
	return start(t, r.store, db, opt), report
}

func (r *rig) retire(t *testing.T, target string) {
	t.Helper()
	if _, recorded, err := r.Retire(t.Context(), keeper, own(target)); err != nil || !recorded {
		t.Fatalf("retire %s: recorded %t, %v", target, recorded, err)
	}
}

func (r *rig) remove(t *testing.T, target string) {
	t.Helper()
	if _, recorded, err := r.Delete(t.Context(), keeper, own(target)); err != nil || !recorded {
		t.Fatalf("delete %s: recorded %t, %v", target, recorded, err)
	}
}

func (r *rig) resolveErr(t *testing.T, target string) error {
	t.Helper()
	_, err := r.Version(t.Context(), reader, ref(target))
	return err
}

func TestRebuildWithoutASnapshot(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		r.mustPush(t, writer, "m:1", small("a"))
		r.mustPush(t, writer, "m:2", small("b"))
		r.mustPush(t, writer, "m:3", small("c"))
		r.mustPush(t, writer, "m:4", small("d"))
		r.retire(t, "m:2")
		r.remove(t, "m:3")
		r.retire(t, "m:4")
		r.remove(t, "m:4")
		r, report := r.rebuilt(t, nil)
		if want := (index.Tally{Ready: 1, Retired: 1, Deleted: 2}); report.Tally != want {
			t.Errorf("tally is %+v, want %+v", report.Tally, want)
		}
		if got := r.pull(t, reader, "m:1"); !cmp.Equal(got, small("a")) {
			t.Errorf("what is pulled differs: %s", cmp.Diff(small("a"), got))
		}
		wantCode(t, r.resolveErr(t, "m:2"), ballast.CodeRetired)
		wantCode(t, r.resolveErr(t, "m:3"), ballast.CodeNotFound)
		wantCode(t, r.resolveErr(t, "m:4"), ballast.CodeNotFound)
		for target, code := range map[string]ballast.Code{"m:2": ballast.CodeRetired, "m:3": ballast.CodeAlreadyExists, "m:4": ballast.CodeAlreadyExists} {
			_, err := r.open(t, writer, target)
			wantCode(t, err, code)
		}
		if v := r.mustPush(t, writer, "m", small("e")); v.Version.String() != "5" {
			t.Errorf("the next number is %s, want 5", v.Version)
		}
		if _, err := r.push(t, writer, "m:6", small("b")); ballast.CodeOf(err) != ballast.CodeRetired {
			t.Errorf("files of a retired version under another label: %v", err)
		}
	})
}

func TestRebuildRefusesWhatIsNotBlank(t *testing.T) {
	s := memStore(t)
	r := newRig(t, s)
	r.mustPush(t, writer, "m:1", small("a"))
	if _, err := rebuildOf(t, s, r.opt.Index, nil); !errors.Is(err, index.ErrNotBlank) {
		t.Fatalf("rebuild into an index that is in use: %v", err)
	}
	if _, err := rebuildOf(t, memStore(t), options(t, s, index.NewMem()).Index, nil); err == nil || !strings.Contains(err.Error(), "nothing to rebuild") {
		t.Fatalf("rebuild of an empty bucket: %v", err)
	}
}

func TestHalfBuiltIndexIsNotServed(t *testing.T) {
	s := memStore(t)
	r := newRig(t, s)
	r.mustPush(t, writer, "m:1", small("a"))
	r.Close()
	r.lost = true
	db := index.NewMem()
	opt := options(t, s, db)
	broken := errors.New("the disk is gone")
	if _, err := rebuildOf(t, s, opt.Index, func(o *engine.RebuildOptions) { o.SaveAdmin = func(string) error { return broken } }); !errors.Is(err, broken) {
		t.Fatalf("rebuild: %v", err)
	}
	opt.TakeOver = true
	if _, err := engine.Open(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "half-built") {
		t.Fatalf("a half-built index is served: %v", err)
	}
	opt.TakeOver = false
	if _, err := rebuildOf(t, s, opt.Index, nil); err != nil {
		t.Fatal(err)
	}
	r = start(t, s, db, opt)
	if err := r.resolveErr(t, "m:1"); err != nil {
		t.Fatal(err)
	}
}

// A version with missing bytes, or an object of another size, is lost until the same files are pushed again.
func TestLostIsHealedByAPush(t *testing.T) {
	for what, damage := range map[string]func(m *objstoretest.Mem, key string){
		"missing":    func(m *objstoretest.Mem, key string) { _ = m.Delete(context.Background(), key) },
		"wrong size": func(m *objstoretest.Mem, key string) { m.Plant(key, []byte("other")) },
	} {
		t.Run(what, func(t *testing.T) {
			s := memStore(t)
			m := s.Bucket.(*objstoretest.Mem)
			r := newRig(t, s)
			r.mustPush(t, writer, "m:1", small("a"))
			r.mustPush(t, writer, "m:2", small("b"))
			r.mustPush(t, writer, "r:1", small("c"))
			r.retire(t, "r:1")
			damage(m, ballast.BlobKey(acme, ballast.DigestOf(small("a")["model.safetensors"])))
			_ = m.Delete(t.Context(), ballast.BlobKey(acme, small("c").manifest()))
			r, report := r.rebuilt(t, nil)
			if !slices.Equal(report.LostVersions, []string{"acme::m::1"}) || report.Retired != 1 {
				t.Fatalf("report is %+v", report)
			}
			wantCode(t, r.resolveErr(t, "m:1"), ballast.CodeIntegrity)
			wantCode(t, r.resolveErr(t, "r:1"), ballast.CodeRetired)
			if err := r.resolveErr(t, "m"); err != nil {
				t.Fatalf("latest, which is there: %v", err)
			}
			_, err := r.push(t, writer, "m:1", small("other"))
			wantCode(t, err, ballast.CodeAlreadyExists)
			if what == "wrong size" { // the store refuses to replace what is there; an operator removes it
				_ = m.Delete(t.Context(), ballast.BlobKey(acme, ballast.DigestOf(small("a")["model.safetensors"])))
			}
			if v := r.mustPush(t, writer, "m:1", small("a")); v.Status != ballast.StatusReady {
				t.Fatalf("it is %s", v.Status)
			}
			if got := r.pull(t, reader, "m:1"); !cmp.Equal(got, small("a")) {
				t.Errorf("what is pulled differs: %s", cmp.Diff(small("a"), got))
			}
		})
	}
}

// What is forged or damaged is refused by name, and its label stays used.
func TestForgedRecordsAreRefused(t *testing.T) {
	s := memStore(t)
	m := s.Bucket.(*objstoretest.Mem)
	r := newRig(t, s)
	for _, target := range []string{"forged:1", "gap:1", "cut:1", "moved:1", "whole:1"} {
		r.mustPush(t, writer, target, small(target))
	}
	r.mustPush(t, engine.Principal{ID: "g", Name: "g", Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Admin}}}, "moved:2", small("global"))
	r.retire(t, "gap:1")
	path := func(name string, n int) string {
		return fmt.Sprintf("tenants/acme/models/%s/versions/1/%08d.json", name, n)
	}
	forged := bytes.Replace(stored(t, m, path("forged", 1)), []byte(`"files":3`), []byte(`"files":2`), 1)
	m.Plant(path("forged", 1), forged)
	_ = m.Delete(t.Context(), path("gap", 1))
	m.Plant(path("cut", 2), stored(t, m, path("cut", 1)))
	stolen := "tenants/other/models/moved/versions/1/00000001.json"
	m.Plant(stolen, stored(t, m, path("moved", 1)))
	r, report := r.rebuilt(t, nil)
	var refused []string
	for _, f := range report.RefusedThings {
		refused = append(refused, f.What)
		t.Log(f.What, f.Why)
	}
	want := []string{path("cut", 2), path("forged", 1), path("gap", 2), stolen}
	if !slices.Equal(refused, want) {
		t.Errorf("refused are %v, want %v", refused, want)
	}
	for _, target := range []string{"forged:1", "gap:1", "cut:1"} {
		wantCode(t, r.resolveErr(t, target), ballast.CodeIntegrity)
		_, err := r.open(t, writer, target)
		wantCode(t, err, ballast.CodeAlreadyExists)
		_, _, err = r.Delete(t.Context(), keeper, own(target))
		wantCode(t, err, ballast.CodeIntegrity)
	}
	for _, target := range []string{"whole:1", "moved:1"} {
		if err := r.resolveErr(t, target); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
	if report.Ready != 3 || report.Refused != 4 {
		t.Errorf("tally is %+v", report.Tally)
	}
	r.mustPush(t, writer, "new:1", small("new")) // what was refused stops nobody
}

// A base of which nothing is believed may have been retired, so what was made from it is not served.
func TestChildrenOfARefusedBase(t *testing.T) {
	for _, how := range []string{"forged", "gone"} {
		t.Run(how, func(t *testing.T) {
			s := memStore(t)
			m := s.Bucket.(*objstoretest.Mem)
			r := newRig(t, s)
			r.mustPush(t, writer, "base:1", small("base"))
			u := must(r.open(t, writer, "child:1"))
			if err := r.sendAll(t, writer, u.ID, small("child")); err != nil {
				t.Fatal(err)
			}
			if _, err := r.commit(t, writer, u.ID, small("child").files(), ballast.Metadata{BaseModel: "base:1"}); err != nil {
				t.Fatal(err)
			}
			path := "tenants/acme/models/base/versions/1/00000001.json"
			if how == "forged" {
				m.Plant(path, []byte("{}"))
			} else {
				_ = m.Delete(t.Context(), path)
			}
			r, report := r.rebuilt(t, nil)
			wantCode(t, r.resolveErr(t, "base:1"), ballast.CodeIntegrity)
			if _, err := r.Files(t.Context(), reader, ref("child:1"), engine.ListFiles{URLs: true, Limit: 10}); ballast.CodeOf(err) != ballast.CodeIntegrity {
				t.Errorf("the child: %v; %+v", err, report)
			}
		})
	}
}

func TestLostRecordKey(t *testing.T) {
	s := memStore(t)
	r := newRig(t, s)
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, writer, "m:2", small("b"))
	r.mustPush(t, writer, "m:3", small("c"))
	r.retire(t, "m:2")
	r.Close()
	r.lost = true
	m := s.Bucket.(*objstoretest.Mem)
	m.Plant(ballast.BlobKey(acme, ballast.DigestOf(small("c")["model.safetensors"])), []byte("WEIGHTS OF c")) // the same size
	fresh := engine.NewRecordKey(bytes.Repeat([]byte{9}, 32))
	other := func(o *engine.RebuildOptions) { o.RecordKey = fresh }
	_, err := rebuildOf(t, s, options(t, s, index.NewMem()).Index, other)
	if !errors.Is(err, engine.ErrUnknownKey) || !strings.Contains(err.Error(), "--accept-unsigned") || !strings.Contains(err.Error(), "hashes") {
		t.Fatalf("rebuild with another key: %v", err)
	}
	r, report := r.rebuilt(t, func(o *engine.RebuildOptions) { o.RecordKey, o.AcceptUnsigned = fresh, true })
	if want := []string{"acme::m::1", "acme::m::2", "acme::m::3"}; !slices.Equal(report.Unsigned, want) || !slices.Equal(report.LostVersions, want[2:]) {
		t.Errorf("report is %+v", report)
	}
	wantCode(t, r.resolveErr(t, "m:2"), ballast.CodeRetired)
	if _, err := r.push(t, writer, "m:3", small("c")); ballast.CodeOf(err) != ballast.CodeIntegrity { // what lies there is found out, and removed
		t.Fatal(err)
	}
	r.mustPush(t, writer, "m:3", small("c"))
	r.remove(t, "m:1") // chains go on under the new key
	r, report = r.rebuilt(t, other)
	if want := (index.Tally{Retired: 1, Deleted: 1, Ready: 1}); report.Tally != want || len(report.Unsigned) > 0 {
		t.Errorf("with the new key alone: %+v", report)
	}
	_, report = r.rebuilt(t, func(o *engine.RebuildOptions) { o.RecordKey = fresh.Replacing(engine.NewRecordKey(secret)) })
	if report.Deleted != 1 || report.Refused != 0 {
		t.Errorf("with both keys: %+v", report)
	}
}

// Several keys verify, and one signs.
func TestReplacedRecordKey(t *testing.T) {
	s := memStore(t)
	r := newRig(t, s)
	r.mustPush(t, writer, "m:1", small("a"))
	r.Close()
	r.lost = true
	old := engine.NewRecordKey(secret)
	r.opt.RecordKey = engine.NewRecordKey(bytes.Repeat([]byte{8}, 32)).Replacing(old)
	r = start(t, s, r.index, r.opt)
	r.retire(t, "m:1")
	r.mustPush(t, writer, "m:2", small("b"))
	key := r.opt.RecordKey
	_, report := r.rebuilt(t, func(o *engine.RebuildOptions) { o.RecordKey = key })
	if want := (index.Tally{Ready: 1, Retired: 1}); report.Tally != want || len(report.RefusedThings) > 0 {
		t.Fatalf("report is %+v", report)
	}
}

func patch(t *testing.T, r *rig, target, description string) {
	t.Helper()
	text := must(json.Marshal(description))
	if _, err := r.Patch(t.Context(), keeper, own(target), ballast.PatchVersion{Metadata: map[string]json.RawMessage{"description": text}}); err != nil {
		t.Fatal(err)
	}
}

// stored is the body of an object.
func stored(t *testing.T, b objstore.Bucket, key string) []byte {
	t.Helper()
	r, _, err := b.Get(t.Context(), key, objstore.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return must(io.ReadAll(r))
}

// said makes in a registry everything that no record holds.
func said(t *testing.T, r *rig) {
	t.Helper()
	for _, target := range []string{"m:1", "m:2", "m:3", "m:4", "old:1"} {
		r.mustPush(t, writer, target, small(target))
	}
	patch(t, r, "m:1", "what m:1 is good for")
	for _, target := range []string{"m:1", "m:2"} {
		if _, err := r.Promote(t.Context(), keeper, own(target), "it is better"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Patch(t.Context(), keeper, own("m:3"), ballast.PatchVersion{Stage: "archived"}); err != nil {
		t.Fatal(err)
	}
	setAlias(t, r, "m", "champion", "1")
	setAlias(t, r, "m", "challenger", "4")
	bytes := int64(1 << 30)
	must(r.SetQuota(t.Context(), admin, acme, ballast.Quota{Bytes: &bytes}))
	must(r.AddTask(t.Context(), admin, "tea-making"))
	must(r.CreateToken(t.Context(), admin, ballast.CreateToken{Name: "old", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Reader}}}))
	r.retire(t, "old:1")
}

func setAlias(t *testing.T, r *rig, name, alias, to string) {
	t.Helper()
	if _, err := r.SetAlias(t.Context(), writer, acme, ref(name).Name, must(ballast.ParseAlias(alias)), must(ballast.ParseVersion(to)), nil); err != nil {
		t.Fatal(err)
	}
}

// semantics are what an index says, less what a rebuild makes anew: who owns it, its events, what is under way, and when
// the records' versions became visible.
func semantics(t *testing.T, x *index.Index, withTimes bool) index.Contents {
	t.Helper()
	c := must(x.Contents(t.Context()))
	kept := index.Contents{
		Names: c.Names, Versions: c.Versions, Candidates: c.Candidates, ByDigest: c.ByDigest, ByManifest: c.ByManifest, ByTime: c.ByTime,
		Production: c.Production, History: c.History, Children: c.Children, Aliases: c.Aliases, AliasOf: c.AliasOf, Blobs: c.Blobs,
		References: c.References, Usage: c.Usage, Unreadable: c.Unreadable,
	}
	for id, v := range kept.Versions {
		v.Upload = ""
		if !withTimes {
			v.UpdatedAt = ballast.Time{}
		}
		kept.Versions[id] = v
	}
	for id, n := range kept.Names {
		if !withTimes {
			n.Updated = ballast.Time{}
			kept.Names[id] = n
		}
	}
	for id, b := range kept.Blobs {
		// What a rebuild does not bring back: how the bytes came, and that a deletion could be taken back.
		b.SignedUntil, b.Method, b.LinkSize, b.PartSize, b.Completing, b.KeptSince = ballast.Time{}, "", 0, 0, "", ballast.Time{}
		if !b.Tombstone.IsZero() {
			b.Tombstone = ballast.At(time.Unix(1, 0))
		}
		if len(kept.References[id]) == 0 && b.Assurance == "" {
			delete(kept.Blobs, id)
			continue
		}
		kept.Blobs[id] = b
	}
	return kept
}

func sameIndex(t *testing.T, want, got index.Contents) {
	t.Helper()
	equal := cmp.Options{
		cmp.Comparer(func(a, b ballast.Scope) bool { return a == b }), cmp.Comparer(func(a, b ballast.Name) bool { return a == b }),
		cmp.Comparer(func(a, b ballast.Version) bool { return a == b }), cmp.Comparer(func(a, b ballast.Alias) bool { return a == b }),
		cmp.Comparer(func(a, b ballast.Time) bool { return a.Equal(b.Time) }),
	}
	if d := cmp.Diff(want, got, equal); d != "" {
		t.Errorf("the index differs (-before +after):\n%.4000s", d)
	}
}

// withSnapshots lets a rig's engine take them.
func withSnapshots(t *testing.T, s store) *rig {
	db := index.NewMem()
	opt := options(t, s, db)
	opt.Snapshots = t.TempDir()
	return start(t, s, db, opt)
}

func TestRebuildWithASnapshot(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := withSnapshots(t, s)
		said(t, r)
		r.Close()
		before := semantics(t, r.opt.Index, true)
		r, report := r.rebuilt(t, nil)
		if report.Snapshot == "" || len(report.LeftOut) > 0 || len(report.RefusedThings) > 0 {
			t.Fatalf("report is %+v", report)
		}
		if want := (index.Filled{Versions: 5, Aliases: 2, Production: 1, Quotas: 1, Tasks: 1, Tokens: 1}); report.Filled != want {
			t.Errorf("filled is %+v, want %+v", report.Filled, want)
		}
		sameIndex(t, before, semantics(t, r.opt.Index, true))
		for _, token := range must(r.opt.Index.Contents(t.Context())).Tokens {
			if disabled := token.Expired(time.Now()); disabled != (token.Name == "old") {
				t.Errorf("token %s is disabled: %t", token.Name, disabled)
			}
		}
	})
}

// What a snapshot says is refused by name when nothing vouches for it.
func TestPlantedSnapshotsAreRefused(t *testing.T) {
	s := memStore(t)
	m := s.Bucket.(*objstoretest.Mem)
	r := withSnapshots(t, s)
	said(t, r)
	r.Close()
	keys := m.Keys("index/snapshots/")
	whole := stored(t, m, keys[len(keys)-1])
	planted := map[string][]byte{
		"index/snapshots/20991231T000000.000000Z.db": whole, // signed for another name
		"index/snapshots/20991231T000001.000000Z.db": []byte("no index"),
		"index/snapshots/20991231T000002.000000Z.db": flipped(whole),
		"index/snapshots/20991231T000003.000000Z.db": whole[:len(whole)/2],
	}
	for key, body := range planted {
		m.Plant(key, body)
	}
	_, report := r.rebuilt(t, nil)
	if report.Snapshot != keys[len(keys)-1] {
		t.Errorf("the snapshot that was taken is %s", report.Snapshot)
	}
	for _, f := range report.RefusedThings {
		t.Log(f.What, f.Why)
		delete(planted, f.What)
	}
	if len(planted) > 0 {
		t.Errorf("not refused: %d", len(planted))
	}
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[bytes.Index(b, []byte("champion"))] ^= 1
	return b
}

// A snapshot never makes a version ready nor takes a retirement back. Where it knows more than the records, the version is
// refused.
func TestOldSnapshotTakesNothingBack(t *testing.T) {
	s := memStore(t)
	m := s.Bucket.(*objstoretest.Mem)
	r := withSnapshots(t, s)
	said(t, r)
	r.Close()
	r.lost = true
	r.opt.Snapshots = ""
	r = start(t, s, r.index, r.opt)
	r.retire(t, "m:2") // in production
	r.remove(t, "m:3")
	_ = m.Delete(t.Context(), "tenants/acme/models/old/versions/1/00000002.json") // its retirement
	_ = m.Delete(t.Context(), "tenants/acme/models/m/versions/4/00000001.json")
	r, report := r.rebuilt(t, nil)
	wantCode(t, r.resolveErr(t, "m:2"), ballast.CodeRetired)
	wantCode(t, r.resolveErr(t, "m:3"), ballast.CodeNotFound)
	wantCode(t, r.resolveErr(t, "old:1"), ballast.CodeIntegrity)
	wantCode(t, r.resolveErr(t, "m:4"), ballast.CodeIntegrity)
	wantCode(t, r.resolveErr(t, "m@production"), ballast.CodeNotFound)
	t.Log(report.LeftOut)
	if want := (index.Tally{Ready: 1, Retired: 1, Deleted: 1, Refused: 2}); report.Tally != want {
		t.Errorf("tally is %+v, want %+v", report.Tally, want)
	}
}

// What can be lost is what was said after the last snapshot, and nothing else.
func TestWhatARebuildLoses(t *testing.T) {
	s := memStore(t)
	r := withSnapshots(t, s)
	said(t, r)
	r.Close()
	r.lost = true
	r.opt.Snapshots = ""
	r = start(t, s, r.index, r.opt)
	patch(t, r, "m:1", "said after the snapshot")
	setAlias(t, r, "m", "late", "1")
	setAlias(t, r, "m", "champion", "4")
	patch(t, r, "m:4", "said, and then it was retired")
	r.retire(t, "m:4")
	r.mustPush(t, writer, "m:5", small("late"))
	r, _ = r.rebuilt(t, nil)
	c := must(r.opt.Index.Contents(t.Context()))
	describe := func(label string) string {
		return c.Versions[index.VersionID(acme, ref("m").Name, must(ballast.ParseVersion(label)))].Metadata.Description
	}
	if describe("1") != "what m:1 is good for" || describe("4") != "said, and then it was retired" {
		t.Errorf("descriptions are %q and %q", describe("1"), describe("4"))
	}
	wantCode(t, r.resolveErr(t, "m@late"), ballast.CodeNotFound)
	wantCode(t, r.resolveErr(t, "m:4"), ballast.CodeRetired)
	for target, label := range map[string]string{"m@champion": "1", "m": "5", "m@production": "2"} {
		v, err := r.Version(t.Context(), reader, ref(target))
		if err != nil || v.Version.String() != label {
			t.Errorf("%s is %s, %v; want %s", target, v.Version, err, label)
		}
	}
}

func TestSnapshotsAreKeptByNumber(t *testing.T) {
	s := memStore(t)
	m := s.Bucket.(*objstoretest.Mem)
	db := index.NewMem()
	opt := options(t, s, db)
	opt.Snapshots, opt.Limits.SnapshotInterval, opt.Limits.SnapshotKeep = t.TempDir(), time.Hour, 2
	m.Plant("index/snapshots/mine.txt", []byte("not the registry's"))
	count := func() int { return len(m.Keys("index/snapshots/")) - 1 }
	run := func(change func(*rig)) {
		t.Helper()
		r := start(t, s, db, opt)
		r.lost = true
		change(r)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		run(func(r *rig) { r.mustPush(t, writer, fmt.Sprintf("m:%d", i+1), small(fmt.Sprint(i))) })
	}
	if count() != 2 {
		t.Fatalf("%d snapshots are kept, want 2", count())
	}
	before := m.Keys("index/snapshots/")
	run(func(*rig) {})
	for range 5 { // what the last push had left to do is done by one of these
		if slices.Equal(m.Keys("index/snapshots/"), before) {
			break
		}
		before = m.Keys("index/snapshots/")
		run(func(*rig) {})
	}
	if now := m.Keys("index/snapshots/"); !slices.Equal(now, before) {
		t.Errorf("nothing changed, and the snapshots went from %v to %v", before, now)
	}
	if key := before[0]; bytes.Contains(stored(t, m, key), []byte(must(opt.Index.Owner(t.Context())).IndexID)) {
		t.Errorf("%s has the id of its index", key)
	}
}

// Markers of folders, as consoles of stores leave them, hide nobody from whoever goes through the bucket.
func TestMarkersOfFoldersHideNoTenant(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		r.mustPush(t, writer, "m:1", small("a"))
		for _, folder := range []string{"tenants/", "tenants/acme/"} {
			s.vandal(t).overwrite(folder, "")
		}
		again, report := r.rebuilt(t, nil)
		if err := again.resolveErr(t, "m:1"); err != nil || report.Ready != 1 {
			t.Errorf("rebuilt %+v, %v", report, err)
		}
	})
}
