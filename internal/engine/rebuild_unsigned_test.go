package engine_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// freshKey is one that has signed nothing yet.
func freshKey() engine.RecordKey { return engine.NewRecordKey(bytes.Repeat([]byte{9}, 32)) }

// A rebuild that took versions without a signature and was cut off once it had signed them anew: the next one still hashes
// them, and lists them.
func TestAcceptUnsignedCutOff(t *testing.T) {
	s := memStore(t)
	r := newRig(t, s)
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, writer, "m:2", small("b"))
	r.Close()
	r.lost = true
	m := s.Bucket.(*objstoretest.Mem)
	m.Plant(ballast.BlobKey(acme, ballast.DigestOf(small("b")["model.safetensors"])), []byte("WEIGHTS OF b")) // the same size
	opt := options(t, s, index.NewMem())
	opt.RecordKey = freshKey()
	accept := func(o *engine.RebuildOptions) { o.RecordKey, o.AcceptUnsigned = opt.RecordKey, true }
	broken := errors.New("the disk is gone")
	if _, err := rebuildOf(t, s, opt.Index, func(o *engine.RebuildOptions) {
		accept(o)
		o.SaveAdmin = func(string) error { return broken }
	}); !errors.Is(err, broken) {
		t.Fatalf("rebuild: %v", err)
	}
	report, err := rebuildOf(t, s, opt.Index, accept)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"acme::m::1", "acme::m::2"}; !slices.Equal(report.Unsigned, want) || !slices.Equal(report.LostVersions, want[1:]) || report.Ready != 1 || len(report.RefusedThings) > 0 {
		t.Errorf("report is %+v", report)
	}
	if records := m.Keys("tenants/acme/models/m/versions/1/"); len(records) != 2 {
		t.Errorf("the head was signed anew more than once: %v", records)
	}
	enginetest.Check(t, opt)
}

// A version that was restored stays so when the last record of its chain is signed anew.
func TestRestoredVersionIsSignedAnew(t *testing.T) {
	s := memStore(t)
	r := newRig(t, s)
	r.mustPush(t, writer, "m:1", small("a"))
	r.remove(t, "m:1")
	if _, recorded, err := r.Restore(t.Context(), keeper, own("m:1")); err != nil || !recorded {
		t.Fatalf("restore: recorded %t, %v", recorded, err)
	}
	r, report := r.rebuilt(t, func(o *engine.RebuildOptions) { o.RecordKey, o.AcceptUnsigned = freshKey(), true })
	if report.Ready != 1 || len(report.Unsigned) != 1 {
		t.Fatalf("report is %+v", report)
	}
	r, report = r.rebuilt(t, func(o *engine.RebuildOptions) { o.RecordKey = freshKey() })
	if want := (index.Tally{Ready: 1}); report.Tally != want || len(report.RefusedThings) > 0 {
		t.Fatalf("with the new key alone: %+v", report)
	}
	if got := r.pull(t, reader, "m:1"); !cmp.Equal(got, small("a")) {
		t.Errorf("what is pulled differs: %s", cmp.Diff(small("a"), got))
	}
}
