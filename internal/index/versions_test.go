package index_test

import (
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

func TestAllocation(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		want := func(label, content string) {
			t.Helper()
			if v := w.publish("acme::m", content); v.Version.String() != label {
				t.Errorf("allocated %s, want %s", v.Version, label)
			}
		}
		want("1", "a")
		want("2", "b")
		w.publish("acme::m::5.1.0-rc.1", "c")
		want("6", "d")
		holder := w.open("acme::M::9.0.0-rc.1")
		want("10", "e")
		w.abort(holder)
		w.ok(w.SetStatus(w.ctx, vkey("acme::m::10"), ballast.StatusDeleted))
		want("11", "f")
		if v := w.publish("other::m", "f"); v.Version.String() != "1" {
			t.Errorf("another scope's first is %s", v.Version)
		}
		w.publish("acme::m::9223372036854775807", "g")
		_, err := w.Seal(w.ctx, w.accept(w.open("acme::m"), "h", ballast.Metadata{}).ID, record)
		w.want(ballast.CodePrecondition, err)
	})
}

func TestSealAndReady(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.accept(w.open("acme::Org/M::1.0.0-RC"), "x", ballast.Metadata{Task: "ner"})
		k := vkey("acme::org/m::1.0.0-rc")
		if _, ok, err := w.PendingRecord(w.ctx, k); ok || err != nil {
			t.Errorf("a record before the seal: %v", err)
		}
		v, err := w.Seal(w.ctx, u.ID, record)
		w.ok(err)
		if v.Status != ballast.StatusSealed || v.Digest != u.Accepted.Manifest || v.Upload != u.ID || v.RecordMAC != "mac" || v.Revision != 1 ||
			v.Assurance != ballast.AssuranceStore || v.Metadata.Task != "ner" || v.Size != 1 || v.Files != 1 || v.Stage != ballast.StageNone {
			t.Errorf("sealed: %+v", v)
		}
		again, err := w.Seal(w.ctx, u.ID, func(index.Version) ([]byte, string, error) {
			t.Error("a second record was made")
			return nil, "", nil
		})
		if err != nil || again.CreatedAt != v.CreatedAt || again.RecordMAC != v.RecordMAC {
			t.Errorf("sealed again: %+v, %v", again, err)
		}
		p, ok, err := w.PendingRecord(w.ctx, k)
		if err != nil || !ok || p.Number != 1 || string(p.Record) != "record of acme::Org/M::1.0.0-RC" || p.Version.Status != ballast.StatusSealed {
			t.Errorf("pending: %+v, %t, %v", p, ok, err)
		}
		if got := w.get(u.ID); got.Status != ballast.UploadVerifying || !got.Sealed {
			t.Errorf("the upload: %+v", got)
		}
		for range 2 {
			w.clock = w.clock.Add(1e9)
			r, err := w.Ready(w.ctx, k)
			if err != nil || r.Status != ballast.StatusReady || r.Records != 1 || r.CreatedAt != v.CreatedAt || r.UpdatedAt != ballast.At(v.CreatedAt.Add(1e9)) {
				t.Errorf("ready: %+v, %v", r, err)
			}
		}
		if got := w.get(u.ID); got.Status != ballast.UploadDone || got.Version != v.Version {
			t.Errorf("the upload: %+v", got)
		}
		m, err := w.Model(w.ctx, []ballast.Scope{acme}, name("ORG/m"))
		if err != nil || m.Name.Ready != 1 || m.Name.Name.String() != "Org/M" || m.Latest != v.Version {
			t.Errorf("the name: %+v, %v", m, err)
		}
		if _, ok, err := w.PendingRecord(w.ctx, k); ok || err != nil {
			t.Errorf("a record after it: %v", err)
		}
		for _, kind := range []byte{index.KindRecord, index.KindHold, index.KindAttempt} {
			w.wantKeys(kind, 0)
		}
		if again, err := w.Seal(w.ctx, u.ID, record); err != nil || again.Status != ballast.StatusReady {
			t.Errorf("sealed when ready: %+v, %v", again, err)
		}
	})
}

func TestNamesKeepTheirFirstSpelling(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.publish("acme::Model", "x")
		if v := w.publish("acme::mODEL", "y"); v.Key().String() != "acme::Model::2" {
			t.Errorf("the second is %s", v.Key())
		}
	})
}

func TestARefusedRecordSealsNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.accept(w.open("acme::m::1"), "x", ballast.Metadata{})
		refused := errors.New("no key")
		if _, err := w.Seal(w.ctx, u.ID, func(index.Version) ([]byte, string, error) { return nil, "", refused }); !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		if _, err := w.Version(w.ctx, vkey("acme::m::1")); !errors.Is(err, index.ErrNotFound) {
			t.Errorf("there is a version, %v", err)
		}
		if got := w.get(u.ID); got.Sealed {
			t.Error("the upload is sealed")
		}
	})
}

// TestWhatIsInsideIsNotedOnce: what the record is made of does not change between two runs of a finisher.
func TestWhatIsInsideIsNotedOnce(t *testing.T) {
	first, second := &ballast.Weights{Format: "gguf", Tensors: 1, DTypes: map[string]int64{"F32": 4}}, &ballast.Weights{Format: "gguf", Tensors: 2}
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m::1")
		w.want(ballast.CodeLeaseLost, w.Inspected(w.ctx, u.ID, first))
		u = w.accept(u, "x", ballast.Metadata{})
		w.ok(w.Inspected(w.ctx, u.ID, first))
		w.ok(w.Inspected(w.ctx, u.ID, second))
		v, err := w.Seal(w.ctx, u.ID, record)
		if err != nil || v.Weights == nil || v.Weights.Tensors != 1 || v.Weights.DTypes["F32"] != 4 {
			t.Errorf("sealed %+v, %v", v.Weights, err)
		}
		w.ok(w.Inspected(w.ctx, u.ID, second))
		if got := w.get(u.ID); got.Accepted.Weights.Tensors != 1 {
			t.Errorf("noted %+v after the seal", got.Accepted.Weights)
		}

		unknown := w.accept(w.open("acme::m::2"), "y", ballast.Metadata{})
		w.ok(w.Inspected(w.ctx, unknown.ID, nil))
		w.ok(w.Inspected(w.ctx, unknown.ID, second))
		if got := w.get(unknown.ID); !got.Accepted.Inspected || got.Accepted.Weights != nil {
			t.Errorf("noted %+v", got.Accepted)
		}

		again := w.accept(w.open("acme::m::3"), "z", ballast.Metadata{})
		w.ok(w.Inspected(w.ctx, again.ID, first))
		w.ok(w.Reopen(w.ctx, again.ID, lease))
		if got := w.get(again.ID); got.Accepted != nil {
			t.Errorf("taken back, it still has %+v", got.Accepted)
		}
		w.want(ballast.CodeNotFound, w.Inspected(w.ctx, "none", first))
	})
}

func TestReferencesNeedVerifiedBlobs(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		id := w.stored(u, "x")
		manifest := w.sent(u, "manifest")
		_, err := w.Accept(w.ctx, u.ID, index.Accepted{Manifest: manifest})
		w.ok(err)
		blobs := []digest.Digest{manifest, id.Digest}
		if err := w.Reference(w.ctx, u.ID, blobs, true); !errors.Is(err, index.ErrUnverified) {
			t.Errorf("got %v", err)
		}
		_, err = w.Seal(w.ctx, u.ID, record)
		w.want(ballast.CodeLeaseLost, err)
		w.leased("a", id)
		w.ok(w.Verified(w.ctx, id, "a", 0, nil))
		w.ok(w.Reference(w.ctx, u.ID, blobs[:1], false))
		_, err = w.Seal(w.ctx, u.ID, record)
		w.want(ballast.CodeLeaseLost, err)
		w.ok(w.Reference(w.ctx, u.ID, blobs[1:], true))
		if v, err := w.Seal(w.ctx, u.ID, record); err != nil || v.Assurance != ballast.AssuranceReread {
			t.Errorf("got %+v, %v", v, err)
		}
	})
}

// TestUnchangedPush publishes nothing when an upload without a label has the files of latest.
func TestUnchangedPush(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		first := w.publish("acme::m", "x")
		u := w.accept(w.open("acme::M"), "x", ballast.Metadata{Task: "ner"})
		for range 2 {
			v, err := w.Seal(w.ctx, u.ID, func(index.Version) ([]byte, string, error) {
				t.Error("a record was made")
				return nil, "", nil
			})
			if err != nil || v.Key() != first.Key() || v.Revision != 1 || v.Metadata.Task != "" {
				t.Errorf("got %+v, %v", v, err)
			}
		}
		if got := w.get(u.ID); got.Status != ballast.UploadDone || got.Version != first.Version || got.Sealed {
			t.Errorf("the upload: %+v", got)
		}
		if v := w.publish("acme::m::1.5.0", "x"); v.Version.String() != "1.5.0" {
			t.Errorf("with a label: %s", v.Version)
		}
		w.publish("acme::m", "y")
		if v := w.publish("acme::m", "x"); v.Version.String() != "3" {
			t.Errorf("files of an older version: %s", v.Version)
		}
		if v := w.publish("other::m", "x"); v.Version.String() != "1" {
			t.Errorf("another scope: %s", v.Version)
		}
	})
}

func TestRetiredFilesAreNotPublishedAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		v := w.publish("acme::m", "x")
		w.ok(w.SetStatus(w.ctx, v.Key(), ballast.StatusRetired))
		for _, target := range []string{"acme::m", "acme::m::7"} {
			_, err := w.Seal(w.ctx, w.accept(w.open(target), "x", ballast.Metadata{}).ID, record)
			w.want(ballast.CodeRetired, err)
		}
		w.publish("acme::other", "x")
		w.publish("other::m", "x")
		w.publish("acme::m", "y")
	})
}

func TestATwinThatIsServedMayBePublished(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		one := w.publish("acme::m::1", "x")
		w.publish("acme::m::2", "x")
		w.ok(w.SetStatus(w.ctx, one.Key(), ballast.StatusRetired))
		w.publish("acme::m::3", "x")
	})
}

func TestTheBaseMustBeReady(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		sealed := w.seal("base::1", "b")
		refuse := func(base string) {
			t.Helper()
			u := w.accept(w.open("acme::m"), "x", ballast.Metadata{BaseModel: base})
			_, err := w.Seal(w.ctx, u.ID, record)
			w.want(ballast.CodePrecondition, err)
			w.abort(u)
		}
		refuse("base::1")
		refuse("none::1")
		refuse("acme::base::1")
		_, err := w.Ready(w.ctx, sealed.Key())
		w.ok(err)
		w.publishOn("base::1", "acme::m", "x")
		w.ok(w.SetStatus(w.ctx, sealed.Key(), ballast.StatusRetired))
		u := w.accept(w.open("acme::m"), "z", ballast.Metadata{BaseModel: "base::1"})
		_, err = w.Seal(w.ctx, u.ID, record)
		w.want(ballast.CodePrecondition, err)
	})
}

// TestTheManifestMustBeThere: the index refuses to seal what nobody could read.
func TestTheManifestMustBeThere(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		file := w.sent(u, "x")
		_, err := w.Accept(w.ctx, u.ID, index.Accepted{Manifest: sum("never sent")})
		w.ok(err)
		w.ok(w.Reference(w.ctx, u.ID, []digest.Digest{file}, true))
		if _, err := w.Seal(w.ctx, u.ID, record); !errors.Is(err, index.ErrUnverified) {
			t.Errorf("got %v", err)
		}
	})
}
