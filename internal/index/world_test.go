package index_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

const lease = 15 * time.Minute

// failer is what *testing.T and *rapid.T share.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// world is an index with a clock that stands still until it is moved.
type world struct {
	*index.Index
	t       failer
	ctx     context.Context
	clock   time.Time
	tick    time.Duration // by which the clock goes on each time that it is looked at
	uploads int
	damaged []string // keys that were reported
}

func newWorld(t failer, s index.Store) *world {
	w := &world{t: t, ctx: context.Background(), clock: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
	x, err := index.Open(w.ctx, s, w.now, index.OnDamage(func(_ context.Context, key []byte, err error) {
		if !errors.Is(err, index.ErrCorrupt) && !errors.Is(err, index.ErrNewer) {
			t.Errorf("%q is reported for %v", key, err)
		}
		w.damaged = append(w.damaged, string(key))
	}))
	if err != nil {
		t.Fatalf("%v", err)
	}
	w.Index = x
	return w
}

func (w *world) now() time.Time {
	if w.tick != 0 {
		w.clock = w.clock.Add(w.tick)
	}
	return w.clock
}

// onBoth runs a test on both stores.
func onBoth(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("mem", func(t *testing.T) { test(t, newWorld(t, index.NewMem())) })
	t.Run("bolt", func(t *testing.T) {
		s := openBolt(t, boltPath(t), index.BoltOptions{NoSync: true})
		t.Cleanup(func() { s.Close() })
		test(t, newWorld(t, s))
	})
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v", err)
	}
}

// want checks the code of a refusal and returns it.
func (w *world) want(code ballast.Code, err error) *ballast.Error {
	w.t.Helper()
	if ballast.CodeOf(err) != code {
		w.t.Fatalf("got %v, want %s", err, code)
	}
	return ballast.AsError(err)
}

// must returns v; the parsers' errors are the test's own mistakes.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func name(s string) ballast.Name       { return must(ballast.ParseName(s)) }
func version(s string) ballast.Version { return must(ballast.ParseVersion(s)) }
func vkey(s string) ballast.Key        { return must(ballast.ParseKey(s)) }
func sum(s string) digest.Digest       { return ballast.DigestOf([]byte(s)) }

var acme = must(ballast.ParseScope("acme"))

func blobID(content string) index.BlobID { return index.BlobID{Scope: acme, Digest: sum(content)} }

// upload describes a new upload of "scope::name" or a key, with an attempt of its own.
func (w *world) upload(target string) index.Upload {
	w.uploads++
	u := index.Upload{ID: fmt.Sprintf("upload-%04d", w.uploads), Attempt: fmt.Sprintf("attempt-%d", w.uploads), Principal: "p", CreatedBy: "ci@acme"}
	ref := must(ballast.ParseRef(target))
	u.Scope, u.Name, u.Version = ref.Scope, ref.Name, ref.Version
	return u
}

// open creates an upload.
func (w *world) open(target string) index.Upload {
	w.t.Helper()
	u, created, err := w.CreateUpload(w.ctx, w.upload(target), lease)
	w.ok(err)
	if !created {
		w.t.Fatalf("%s is not new", u.ID)
	}
	return u
}

// putWant is a Want of a single PUT.
func putWant(content string) index.Want {
	return index.Want{Digest: sum(content), Size: int64(len(content)), Method: ballast.MethodPut}
}

func (w *world) ask(u index.Upload, wants ...index.Want) []index.Asked {
	w.t.Helper()
	asked, err := w.Ask(w.ctx, u.ID, wants, w.clock.Add(time.Hour), lease)
	w.ok(err)
	return asked
}

// sent makes a blob verified by a single PUT of an upload.
func (w *world) sent(u index.Upload, content string) digest.Digest {
	w.t.Helper()
	w.ask(u, putWant(content))
	w.ok(w.StoredByPut(w.ctx, u.Scope, []index.Found{{Digest: sum(content), Size: int64(len(content)), ETag: "e"}}))
	return sum(content)
}

// accept takes an upload to just before its seal. Content is that of its one file, and decides the manifest's.
func (w *world) accept(u index.Upload, content string, m ballast.Metadata) index.Upload {
	w.t.Helper()
	file, manifest := w.sent(u, content), w.sent(u, "manifest of "+content)
	u, err := w.Accept(w.ctx, u.ID, index.Accepted{Manifest: manifest, ManifestSize: 7, Files: 1, Size: int64(len(content)), Metadata: m})
	w.ok(err)
	w.ok(w.Reference(w.ctx, u.ID, []digest.Digest{file}, true))
	return u
}

func record(v index.Version) ([]byte, string, error) {
	return []byte("record of " + v.Key().String()), "mac", nil
}

// seal seals an upload that publishes content.
func (w *world) seal(target, content string) index.Version {
	w.t.Helper()
	v, err := w.Seal(w.ctx, w.accept(w.open(target), content, ballast.Metadata{}).ID, record)
	w.ok(err)
	return v
}

// publish makes a version ready.
func (w *world) publish(target, content string) index.Version {
	w.t.Helper()
	v, err := w.Ready(w.ctx, w.seal(target, content).Key())
	w.ok(err)
	return v
}

// publishOn makes a version ready that has a base.
func (w *world) publishOn(base, target, content string) index.Version {
	w.t.Helper()
	v, err := w.Seal(w.ctx, w.accept(w.open(target), content, ballast.Metadata{BaseModel: base}).ID, record)
	w.ok(err)
	v, err = w.Ready(w.ctx, v.Key())
	w.ok(err)
	return v
}

// ready is what lists show unasked.
func ready(v index.Version) bool { return v.Status == ballast.StatusReady }

func (w *world) get(id string) index.Upload {
	w.t.Helper()
	u, err := w.Upload(w.ctx, id)
	w.ok(err)
	return u
}

func (w *world) blob(id index.BlobID) index.Blob {
	w.t.Helper()
	b, err := w.Blob(w.ctx, id)
	w.ok(err)
	return b
}

func (w *world) wantState(id index.BlobID, state index.BlobState) index.Blob {
	w.t.Helper()
	b := w.blob(id)
	if b.State != state {
		w.t.Fatalf("the blob is %q, want %q", b.State, state)
	}
	return b
}

// release lets go of all pins of an upload.
func (w *world) release(u index.Upload) {
	w.t.Helper()
	for more := true; more; {
		var err error
		more, err = w.Release(w.ctx, u.ID, 2)
		w.ok(err)
	}
}

func (w *world) abort(u index.Upload) {
	w.t.Helper()
	_, err := w.Settle(w.ctx, u.ID, ballast.UploadAborted, nil)
	w.ok(err)
}

func (w *world) wantKeys(kind byte, want int) {
	w.t.Helper()
	n, err := w.Keys(w.ctx, kind)
	w.ok(err)
	if n != want {
		w.t.Errorf("%d keys of kind %q, want %d", n, kind, want)
	}
}

// wantDue lists what the reaper finds.
func (w *world) wantDue(want ...string) {
	w.t.Helper()
	due, _, err := w.Due(w.ctx, "", 100)
	w.ok(err)
	var got []string
	for _, u := range due {
		got = append(got, u.ID)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		w.t.Errorf("due are %v, want %v", got, want)
	}
}
