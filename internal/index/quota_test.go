package index_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

func bound(n int64) *int64 { return &n }

func (w *world) limit(scope ballast.Scope, q ballast.Quota) {
	w.t.Helper()
	w.ok(w.SetQuota(w.ctx, scope, q, "root@global"))
}

// used is what is counted of a scope, which must be what a new count says.
func (w *world) used(scope ballast.Scope) ballast.Usage {
	w.t.Helper()
	q, err := w.Quota(w.ctx, scope)
	w.ok(err)
	counted, err := w.Recount(w.ctx, scope)
	w.ok(err)
	if q.Usage != counted {
		w.t.Fatalf("counted is %+v of %+v", q.Usage, counted)
	}
	return q.Usage
}

func (w *world) wantUsed(scope ballast.Scope, want ballast.Usage) {
	w.t.Helper()
	if u := w.used(scope); u != want {
		w.t.Fatalf("%s uses %+v, want %+v", scope, u, want)
	}
}

// sized is an upload that says how large it is.
func (w *world) sized(target string, size int64) (index.Upload, error) {
	u := w.upload(target)
	u.Size = size
	u, _, err := w.CreateUpload(w.ctx, u, lease)
	return u, err
}

// TestUsageOfAVersion follows what a version counts for from its upload to its deletion.
func TestUsageOfAVersion(t *testing.T) {
	onBoth(t, func(_ *testing.T, w *world) {
		u, err := w.sized("acme::m:1", 7)
		w.ok(err)
		w.wantUsed(acme, ballast.Usage{Uploads: 1, ReservedBytes: 7, ReservedVersions: 1})
		w.ask(u, putWant("content"))
		w.wantUsed(acme, ballast.Usage{Uploads: 1, Bytes: 7, UploadBytes: 7, ReservedVersions: 1})
		w.ask(u, putWant("content")) // asked again it counts no more
		w.wantUsed(acme, ballast.Usage{Uploads: 1, Bytes: 7, UploadBytes: 7, ReservedVersions: 1})
		u = w.accept(u, "content", ballast.Metadata{}) // its manifest is pinned as a file by this test, and so counts
		manifest := int64(len("manifest of content"))
		w.wantUsed(acme, ballast.Usage{Uploads: 1, Bytes: 7 + manifest, ReservedVersions: 1})
		v, err := w.Seal(w.ctx, u.ID, record)
		w.ok(err)
		w.wantUsed(acme, ballast.Usage{Uploads: 1, Bytes: 7 + manifest, Versions: 1})
		_, err = w.Ready(w.ctx, v.Key())
		w.ok(err)
		w.wantUsed(acme, ballast.Usage{Bytes: 7 + manifest, Versions: 1})
		w.release(u)
		w.wantUsed(acme, ballast.Usage{Bytes: 7, Versions: 1})
		again := w.open("acme::m:2") // the same bytes count once
		w.ask(again, putWant("content"))
		w.wantUsed(acme, ballast.Usage{Bytes: 7, Versions: 1, Uploads: 1, ReservedVersions: 1})
		w.abort(again)
		w.release(again)
		_, err = w.Retire(w.ctx, v.Key(), index.Change{By: "x"}, record)
		w.ok(err)
		w.wantUsed(acme, ballast.Usage{Bytes: 7, Versions: 1})
		_, err = w.Recorded(w.ctx, v.Key(), 2)
		w.ok(err)
		_, err = w.Delete(w.ctx, v.Key(), index.Change{By: "x"}, record)
		w.ok(err)
		w.wantUsed(acme, ballast.Usage{Bytes: 7})
		w.wantUsed(ballast.Global, ballast.Usage{})
	})
}

// TestQuotaRefusals: what would pass a bound is refused in words, and leaves nothing behind.
func TestQuotaRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		quota ballast.Quota
		do    func(w *world, u index.Upload) error
		words string
	}{
		"bytes": {ballast.Quota{Bytes: bound(10)}, func(w *world, u index.Upload) error {
			_, err := w.Ask(w.ctx, u.ID, []index.Want{putWant("123456"), putWant("1234")}, w.clock.Add(time.Hour), lease)
			return err
		}, "scope acme may hold 10 bytes of files: it holds 7, with those that open uploads will send, and this needs 10 more"},
		"versions": {ballast.Quota{Versions: bound(1)}, func(w *world, u index.Upload) error {
			w.ask(u, putWant("1"))
			_, err := w.Ask(w.ctx, w.open("acme::other").ID, []index.Want{putWant("2")}, w.clock.Add(time.Hour), lease)
			return err
		}, "scope acme may have 1 versions: it has 1, with those that open uploads will make, and this needs 1 more"},
		"versions by label": {ballast.Quota{Versions: bound(1)}, func(w *world, u index.Upload) error {
			w.ask(u, putWant("1"))
			_, _, err := w.CreateUpload(w.ctx, w.upload("acme::other:1"), lease)
			return err
		}, "this needs 1 more"},
		"uploads": {ballast.Quota{Uploads: bound(2)}, func(w *world, _ index.Upload) error {
			_, _, err := w.CreateUpload(w.ctx, w.upload("acme::other"), lease)
			return err
		}, "scope acme may have 2 open uploads: it has 2, and this needs 1 more"},
		"upload bytes": {ballast.Quota{UploadBytes: bound(8)}, func(w *world, u index.Upload) error {
			_, err := w.Ask(w.ctx, u.ID, []index.Want{putWant("12")}, w.clock.Add(time.Hour), lease)
			return err
		}, "open uploads of scope acme may have 8 bytes on their way: they have 7, and this needs 2 more"},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, w *world) {
				holder := w.open("acme::held")
				w.limit(acme, ballast.Quota{})
				w.ask(holder, putWant("content"))
				u := w.open("acme::m")
				if strings.HasPrefix(name, "versions") { // only what is new counts
					w.abort(holder)
					w.release(holder)
				}
				w.limit(acme, tc.quota)
				e := w.want(ballast.CodeQuotaExceeded, tc.do(w, u))
				if !strings.Contains(e.Detail, tc.words) || !strings.Contains(e.Detail, "ballast quota set") {
					t.Errorf("refused with %q", e.Detail)
				}
				w.used(acme)
			})
		})
	}
}

// TestAQuotaBelowWhatIsUsed removes nothing and lets nothing new in; what needs nothing goes on.
func TestAQuotaBelowWhatIsUsed(t *testing.T) {
	onBoth(t, func(_ *testing.T, w *world) {
		v := w.publish("acme::m:1", "content")
		w.release(w.get(v.Upload))
		late := w.accept(w.open("acme::late"), "brought before", ballast.Metadata{})
		accepted := w.open("acme::accepted")
		file, manifest := w.sent(accepted, "accepted before"), w.sent(accepted, "its manifest")
		_, err := w.Accept(w.ctx, accepted.ID, index.Accepted{Manifest: manifest, Files: 1, Size: 15})
		w.ok(err)
		w.limit(acme, ballast.Quota{Bytes: bound(1), Versions: bound(5)})
		w.want(ballast.CodeQuotaExceeded, second(w.Seal(w.ctx, late.ID, record)))
		w.want(ballast.CodeQuotaExceeded, w.Reference(w.ctx, accepted.ID, []digest.Digest{file}, true))
		for _, u := range []index.Upload{late, accepted} {
			_, err := w.Settle(w.ctx, u.ID, ballast.UploadFailed, ballast.Errorf(ballast.CodeQuotaExceeded, "x"))
			w.ok(err)
			w.release(u)
		}
		same := w.open("acme::other")
		w.ask(same, putWant("content")) // is there, and needs no byte
		_, err = w.Ask(w.ctx, same.ID, []index.Want{putWant("more")}, w.clock.Add(time.Hour), lease)
		w.want(ballast.CodeQuotaExceeded, err)
		if got := w.used(acme); got.Bytes != 7+int64(len("brought before")) || got.Versions != 1 { // what was referenced is so until gc
			w.t.Errorf("it uses %+v", got)
		}
		w.ok(w.UnsetQuota(w.ctx, acme, "root@global"))
		w.ask(same, putWant("more"))
	})
}

func second[T any](_ T, err error) error { return err }

// TestWhoseQuotaHolds: a scope's own, else for tenants that of all.
func TestWhoseQuotaHolds(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		holds := func(scope ballast.Scope, source ballast.QuotaSource, versions int64) {
			t.Helper()
			q, err := w.Quota(w.ctx, scope)
			w.ok(err)
			if q.Source != source || (q.Limits.Versions != nil) != (versions >= 0) || versions >= 0 && *q.Limits.Versions != versions {
				t.Errorf("%s has %s %v, want %s %d", scope, q.Source, q.Limits.Versions, source, versions)
			}
		}
		holds(acme, ballast.QuotaNone, -1)
		w.limit(ballast.Scope{}, ballast.Quota{Versions: bound(3)})
		holds(acme, ballast.QuotaDefault, 3)
		holds(ballast.Global, ballast.QuotaNone, -1)
		w.limit(acme, ballast.Quota{Bytes: bound(1)}) // whole: nothing of the other is taken over
		holds(acme, ballast.QuotaOwn, -1)
		w.limit(acme, ballast.Quota{Bytes: bound(1)}) // says nothing new
		w.ok(w.UnsetQuota(w.ctx, acme, "root@global"))
		w.ok(w.UnsetQuota(w.ctx, acme, "root@global"))
		holds(acme, ballast.QuotaDefault, 3)
		events, _, err := w.Events(w.ctx, index.EventCursor{}, 10, func(e index.Event) bool { return e.Kind == ballast.EventQuota })
		w.ok(err)
		var heard []string
		for _, e := range events {
			heard = append(heard, e.Scope.String()+" "+strings.Join(e.Fields, ","))
		}
		if want := []string{"global every_tenant,versions", "acme bytes", "acme bytes"}; !slices.Equal(heard, want) {
			t.Errorf("heard %q, want %q", heard, want)
		}
		w.open("beta::m")
		for limit := 1; limit < 5; limit++ {
			var names []string
			for after, more := "", true; more; more = after != "" {
				page, next, err := w.Quotas(w.ctx, after, limit)
				w.ok(err)
				for _, q := range page {
					names = append(names, q.Scope.String())
				}
				after = next
			}
			if want := []string{ballast.Scope{}.String(), "beta"}; !slices.Equal(names, want) {
				t.Errorf("by %d: %q, want %q", limit, names, want)
			}
		}
	})
}

// TestReservedIsNotTaken: an upload that was promised its bytes gets them, whoever asks meanwhile.
func TestReservedIsNotTaken(t *testing.T) {
	onBoth(t, func(_ *testing.T, w *world) {
		w.limit(acme, ballast.Quota{Bytes: bound(10), Versions: bound(10)})
		first, err := w.sized("acme::a", 7)
		w.ok(err)
		late, err := w.sized("acme::b", 7) // is open, and promised nothing
		w.ok(err)
		w.wantUsed(acme, ballast.Usage{Uploads: 2, ReservedBytes: 7, ReservedVersions: 1})
		_, err = w.Ask(w.ctx, late.ID, []index.Want{putWant("another")}, w.clock.Add(time.Hour), lease)
		w.want(ballast.CodeQuotaExceeded, err)
		w.ask(first, putWant("con"))
		w.ask(first, putWant("tent"))
		w.abort(first)
		w.wantUsed(acme, ballast.Usage{Uploads: 1, Bytes: 7, UploadBytes: 7})
		w.release(first)
		w.ask(late, putWant("another"))
		w.wantUsed(acme, ballast.Usage{Uploads: 1, Bytes: 7, UploadBytes: 7, ReservedVersions: 1})
	})
}

// TestUsageIsMadeOnce: an index that was written before usage was counted is counted when it is opened, and another time
// says the same.
func TestUsageIsMadeOnce(t *testing.T) {
	s := index.NewMem()
	w := newWorld(t, s)
	w.publish("acme::m:1", "content")
	w.ask(w.open("beta::m"), putWant("half"))
	want := map[string]ballast.Usage{"acme": w.used(acme), "beta": w.used(vkey("beta::m::1").Scope)}
	ledger := must(w.Migrations(t.Context()))
	w.ok(w.ForgetUsage(w.ctx))
	w.ok(w.SetMigrations(t.Context(), ledger[:1]...))
	again := newWorld(t, s)
	for name, u := range want {
		if got := again.used(must(ballast.ParseScope(name))); got != u {
			t.Errorf("%s: %+v, want %+v", name, got, u)
		}
	}
	if got := must(again.Migrations(t.Context())); !slices.Equal(got, ledger) {
		t.Errorf("ledger %q", got)
	}
}

// TestDamagedUsageIsCountedAnew when the index is opened; until then it fails what would change it.
func TestDamagedUsageIsCountedAnew(t *testing.T) {
	s := index.NewMem()
	w := newWorld(t, s)
	w.publish("acme::m:1", "content")
	want := w.used(acme)
	w.ok(w.Rewrite(t.Context(), index.UsageKey(acme), `{"schema"`, `"schema"`))
	if _, _, err := w.CreateUpload(w.ctx, w.upload("acme::n"), lease); !errors.Is(err, index.ErrCorrupt) {
		t.Errorf("an upload was opened: %v", err)
	}
	again := newWorld(t, s)
	again.wantUsed(acme, want)
	if len(again.damaged) != 1 {
		t.Errorf("%q were reported", again.damaged)
	}
}

// TestUsageIsWhatIsThere walks at random through everything that changes what is counted. After each step the counters are
// what a new count says, and nothing is over a quota that nobody lowered.
func TestUsageIsWhatIsThere(t *testing.T) {
	for seed := range uint64(30) {
		w := newWorld(t, index.NewMem())
		r := rand.New(rand.NewPCG(seed, 1))
		w.limit(acme, ballast.Quota{Bytes: bound(60), Versions: bound(5), Uploads: bound(4), UploadBytes: bound(50)})
		q, err := w.Quota(w.ctx, acme)
		w.ok(err)
		d := usageWalk{w, r, nil, nil}
		for range 200 {
			d.step()
			for _, b := range q.Limits.Bounds(w.used(acme)) {
				if b.Used > b.Most() || b.Used < 0 {
					t.Fatalf("seed %d: %s: %d of %d", seed, b.Name, b.Used, b.Most())
				}
			}
		}
	}
}

// usageWalk draws steps. Refusals are as good as any other outcome.
type usageWalk struct {
	*world
	r        *rand.Rand
	uploads  []index.Upload
	versions []ballast.Key
}

func (d *usageWalk) content() string { return strings.Repeat("x", 1+d.r.IntN(12)) }

func (d *usageWalk) any() (u index.Upload) {
	if len(d.uploads) == 0 {
		return u
	}
	return d.uploads[d.r.IntN(len(d.uploads))]
}

func (d *usageWalk) step() {
	u, c := d.any(), d.content()
	id := index.BlobID{Scope: acme, Digest: sum(c)}
	switch d.r.IntN(13) {
	case 0:
		if u, err := d.sized("acme::m", int64(d.r.IntN(30))); err == nil {
			d.uploads = append(d.uploads, u)
		}
	case 1, 2:
		want := putWant(c)
		if d.r.IntN(3) == 0 {
			want.Method, want.PartSize = ballast.MethodMultipart, ballast.MinPartSize
		}
		want.Own = d.r.IntN(4) == 0
		_, _ = d.Ask(d.ctx, u.ID, []index.Want{want, putWant(d.content() + "y")}, d.clock, lease)
	case 3:
		d.ok(d.StoredByPut(d.ctx, acme, []index.Found{{Digest: sum(c), Size: int64(len(c)), ETag: "e"}}))
	case 4:
		d.ok(d.StoredByMultipart(d.ctx, id, index.Found{Digest: sum(c), Size: int64(len(c)), ETag: "e"}, u.ID))
	case 5:
		if id, _, ok, err := d.LeaseVerify(d.ctx, "w", time.Minute); err == nil && ok {
			if d.r.IntN(2) == 0 {
				d.ok(d.Verified(d.ctx, id, "w", 0, nil))
			} else {
				d.ok(d.Lied(d.ctx, id, "w", ""))
			}
		}
	case 6:
		d.ok(d.Tainted(d.ctx, id))
	case 7:
		ids, err := d.Reclaiming(d.ctx, index.BlobID{}, 10)
		d.ok(err)
		for _, id := range ids {
			d.ok(d.Reclaimed(d.ctx, id))
		}
	case 8, 9:
		d.publishAny(u, c)
	case 10:
		_, _ = d.Settle(d.ctx, u.ID, ballast.UploadAborted, nil)
	case 11:
		if u.ID != "" {
			_, _ = d.Release(d.ctx, u.ID, 2)
		}
	case 12:
		if len(d.versions) > 0 {
			_, _ = d.Delete(d.ctx, d.versions[d.r.IntN(len(d.versions))], index.Change{By: "x"}, record)
		}
	}
}

// publishAny takes an upload as far as it gets, and sometimes not to the end.
func (d *usageWalk) publishAny(u index.Upload, c string) {
	manifest := "manifest of " + c
	want := index.Want{Digest: sum(manifest), Size: int64(len(manifest)), Method: ballast.MethodPut, Own: true}
	if _, err := d.Ask(d.ctx, u.ID, []index.Want{putWant(c), want}, d.clock, lease); err != nil {
		return
	}
	d.ok(d.StoredByPut(d.ctx, acme, []index.Found{{Digest: sum(c), Size: int64(len(c))}, {Digest: sum(manifest), Size: int64(len(manifest))}}))
	if _, err := d.Accept(d.ctx, u.ID, index.Accepted{Manifest: sum(manifest), Files: 1, Size: int64(len(c))}); err != nil {
		return
	}
	if err := d.Reference(d.ctx, u.ID, []digest.Digest{sum(c)}, true); err != nil {
		_ = d.Reopen(d.ctx, u.ID, lease)
		return
	}
	v, err := d.Seal(d.ctx, u.ID, record)
	if err != nil {
		_, _ = d.Settle(d.ctx, u.ID, ballast.UploadFailed, ballast.Errorf(ballast.CodeQuotaExceeded, "x"))
		return
	}
	if d.r.IntN(4) > 0 {
		if _, err := d.Ready(d.ctx, v.Key()); err != nil {
			panic(fmt.Sprint(err))
		}
		d.versions = append(d.versions, v.Key())
	}
}
