package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// What a rebuild refused may have any bytes of its scope: none is removed as an orphan, and putting its record right brings
// the version back. Orphans of other scopes go.
func TestOrphansOfARefusedVersionStay(t *testing.T) {
	s := memStore(t)
	m := s.Bucket.(*objstoretest.Mem)
	m.SetClock(func() time.Time { return time.Now().Add(-graceOver) })
	r := newRig(t, s)
	r.mustPush(t, writer, "m:1", small("a"))
	stray := ballast.BlobKey(scope("zeta"), ballast.DigestOf([]byte("x")))
	m.Plant(stray, []byte("x"))
	m.SetClock(time.Now)
	path := "tenants/acme/models/m/versions/1/00000001.json"
	record := stored(t, m, path)
	m.Plant(path, []byte("{}"))
	r, _ = r.rebuilt(t, nil)
	r.mustPush(t, writer, "n:1", small("n")) // which waits until the bucket was looked through
	var found []ballast.Finding
	for _, f := range finished(t, r, ballast.StartFsck{RemoveOrphans: true}).Findings {
		switch f.Kind {
		case ballast.FindingOrphan:
			if f.Repaired != (f.Object == stray) || !f.Repaired && !strings.Contains(f.Do, "acme::m::1") {
				t.Errorf("an orphan: %+v", f)
			}
			found = append(found, f)
		case ballast.FindingLost:
			if !strings.Contains(f.What, "refused") || !strings.Contains(f.Do, "ballast rebuild") {
				t.Errorf("the version: %+v", f)
			}
		}
	}
	if len(found) != 4 { // two files that are not empty, their manifest, and the stray one
		t.Errorf("%d orphans: %+v", len(found), found)
	}
	m.Plant(path, record)
	r, _ = r.rebuilt(t, nil)
	if got := r.pull(t, reader, "m:1"); len(got) != len(small("a")) {
		t.Errorf("pulled %d files", len(got))
	}
}

// Of a version whose manifest is gone nobody knows the files either: they stay, and a push of them sends no bytes.
func TestOrphansOfALostVersionStay(t *testing.T) {
	s := memStore(t)
	m := s.Bucket.(*objstoretest.Mem)
	m.SetClock(func() time.Time { return time.Now().Add(-graceOver) })
	r := newRig(t, s)
	r.mustPush(t, writer, "m:1", small("a"))
	m.SetClock(time.Now)
	memVandal{t, m}.remove(ballast.BlobKey(acme, small("a").manifest()))
	r, report := r.rebuilt(t, nil)
	if report.Lost != 1 {
		t.Fatalf("rebuilt %+v", report)
	}
	r.mustPush(t, writer, "n:1", small("n")) // which waits until the bucket was looked through
	orphans := 0
	for _, f := range finished(t, r, ballast.StartFsck{RemoveOrphans: true}).Findings {
		if f.Kind == ballast.FindingOrphan {
			orphans++
			if f.Repaired || !strings.Contains(f.Do, "acme::m::1") {
				t.Errorf("an orphan: %+v", f)
			}
		}
	}
	if orphans != 2 {
		t.Errorf("%d orphans", orphans)
	}
	r.mustPush(t, writer, "m:1", small("a"))
	r.pull(t, reader, "m:1")
}

// An index that may be an old copy calls what was published since an orphan: nothing is removed before the bucket was
// looked through.
func TestOrphansStayBeforeTheSurvey(t *testing.T) {
	m, r := memRig(t, nil)
	r.mustPush(t, writer, "m:1", small("a"))
	r.Close()
	goOn := make(chan struct{})
	m.Before(func(ctx context.Context, op objstoretest.Op, _ string) {
		if op == objstoretest.OpList {
			select {
			case <-goOn:
			case <-ctx.Done():
			}
		}
	})
	r = start(t, r.store, r.index, options(t, r.store, r.index))
	_, err := r.StartFsck(t.Context(), admin, ballast.StartFsck{RemoveOrphans: true})
	if wantCode(t, err, ballast.CodeUnavailable); !strings.Contains(err.Error(), "records were listed") {
		t.Errorf("before the survey: %v", err)
	}
	close(goOn)
	waitFor(t, "objects may be removed", func() bool {
		_, err := r.StartFsck(t.Context(), admin, ballast.StartFsck{RemoveOrphans: true})
		return err == nil
	})
	finished(t, r, ballast.StartFsck{RemoveOrphans: true})
}
