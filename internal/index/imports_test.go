package index_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

const openImports = 3

var inbox = must(ballast.ParseSource("s3://models/tenants/acme/inbox/m/"))

// importing describes a new import.
func (w *world) importing(target string) index.Upload {
	u := w.upload(target)
	u.Import = &index.Import{Source: inbox, Metadata: ballast.Metadata{Task: "ner"}}
	return u
}

func (w *world) openImport(target string, move bool) index.Upload {
	w.t.Helper()
	u := w.importing(target)
	u.Import.Move = move
	u, created, err := w.CreateImport(w.ctx, u, openImports)
	w.ok(err)
	if !created || u.Status != ballast.UploadImporting {
		w.t.Fatalf("%s is %s, created %t", u.ID, u.Status, created)
	}
	return u
}

func sourceFiles(contents ...string) (files []index.SourceFile) {
	for i, c := range contents {
		files = append(files, index.SourceFile{Path: c, Size: int64(len(c)), ETag: "e", Number: i})
	}
	return files
}

// listed puts the list of an import's files in, each of which is named as its content.
func (w *world) listed(u index.Upload, contents ...string) {
	w.t.Helper()
	bytes := 0
	for _, c := range contents {
		bytes += len(c)
	}
	w.ok(w.PutSources(w.ctx, u.ID, sourceFiles(contents...)))
	w.ok(w.Listed(w.ctx, u.ID, len(contents), int64(bytes), []string{".git"}))
}

func TestImportLifeCycle(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.openImport("acme::m::1", true)
		w.wantDue() // no lease runs out
		w.listed(u, "a", "bb", "ccc")
		w.ok(w.HashedSources(w.ctx, u.ID, map[int]digest.Digest{0: sum("a"), 2: sum("ccc")}))
		w.ok(w.HashedSources(w.ctx, u.ID, map[int]digest.Digest{0: sum("other"), 1: sum("bb")})) // what is known stays
		if m := w.get(u.ID).Import; m.Files != 3 || m.Bytes != 6 || m.Hashed != 3 || m.HashedBytes != 6 || m.Metadata.Task != "ner" {
			t.Errorf("the import is %+v", m)
		}
		files, err := w.Sources(w.ctx, u.ID)
		w.ok(err)
		for i, f := range files {
			if f.Number != i || f.Digest != sum(f.Path) {
				t.Errorf("file %d is %+v", i, f)
			}
		}
		a := w.accept(u, "a", ballast.Metadata{Task: "ner"})
		if a.Status != ballast.UploadVerifying || w.get(u.ID).Import.Metadata.Task != "" {
			t.Errorf("accepted it is %s, and says twice what is said of it: %+v", a.Status, a.Import)
		}
		w.want(ballast.CodeLeaseLost, w.Listed(w.ctx, u.ID, 1, 1, nil))
		v, err := w.Seal(w.ctx, u.ID, record)
		w.ok(err)
		_, err = w.Ready(w.ctx, v.Key())
		w.ok(err)
		done := w.get(u.ID)
		if done.Status != ballast.UploadDone || !done.Import.Moving || !done.Unattended() {
			t.Errorf("done it is %s, %+v", done.Status, done.Import)
		}
		if ids, err := w.Verifying(w.ctx); err != nil || len(ids) != 1 {
			t.Errorf("to be finished is %q, %v", ids, err)
		}
		events, _, err := w.Events(w.ctx, index.EventCursor{}, 10, func(index.Event) bool { return true })
		if err != nil || len(events) != 1 || events[0].Source != inbox {
			t.Errorf("the events are %+v, %v", events, err)
		}
		w.release(done)
		w.wantKeys(index.KindSource, 3) // still to be removed
		w.clock = w.clock.Add(2 * index.SettledLife)
		w.ok(w.Forget(w.ctx, u.ID))
		w.get(u.ID)
		w.ok(w.MovedSources(w.ctx, u.ID, []int{0}, map[int]ballast.Kept{2: {Path: "ccc", Why: "it was replaced"}}))
		w.ok(w.MovedSources(w.ctx, u.ID, []int{0, 1}, nil)) // a crash came in between
		if m := w.get(u.ID).Import; m.Moving || m.Moved != 2 || m.Left != 1 || len(m.Kept) != 1 {
			t.Errorf("moved it is %+v", m)
		}
		if ids, err := w.Verifying(w.ctx); err != nil || len(ids) != 0 {
			t.Errorf("to be finished is %q, %v", ids, err)
		}
		w.ok(w.Forget(w.ctx, u.ID))
		for _, kind := range []byte{index.KindSource, index.KindImport, index.KindImporting, index.KindUpload} {
			w.wantKeys(kind, 0)
		}
	})
}

// TestImportsEnd: whatever an import ends with, its label is free, its list goes in pieces, and nothing is moved.
func TestImportsEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for i, status := range []ballast.UploadStatus{ballast.UploadAborted, ballast.UploadFailed} {
			u := w.openImport("acme::m::1", true)
			many := make([]string, index.MaxSources+7)
			for n := range many {
				many[n] = fmt.Sprintf("%d-%d", i, n)
			}
			w.ok(w.PutSources(w.ctx, u.ID, sourceFiles(many...)[:index.MaxSources]))
			w.ok(w.PutSources(w.ctx, u.ID, sourceFiles(many...)[index.MaxSources:]))
			_, err := w.Settle(w.ctx, u.ID, status, ballast.Errorf(ballast.CodePrecondition, "x"))
			w.ok(err)
			if m := w.get(u.ID).Import; m.Moving {
				t.Errorf("%s, it moves its sources", status)
			}
			w.want(ballast.CodeLeaseLost, w.PutSources(w.ctx, u.ID, sourceFiles("late")))
			w.want(ballast.CodeLeaseLost, w.MovedSources(w.ctx, u.ID, []int{0}, nil))
			w.release(u)
			w.wantKeys(index.KindSource, 0)
			w.wantKeys(index.KindHold, 0)
			w.wantKeys(index.KindImporting, 0)
		}
	})
}

// TestListCutOff: what a list left that was not whole is dropped, however long it was.
func TestListCutOff(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.openImport("acme::m::1", false)
		for from := 0; from < 2*index.MaxSources; from += index.MaxSources {
			files := make([]index.SourceFile, index.MaxSources)
			for i := range files {
				files[i] = index.SourceFile{Path: strings.Repeat("<", ballast.MaxPathBytes), ETag: strings.Repeat("e", 256), Number: from + i} // as long as it gets
			}
			w.ok(w.PutSources(w.ctx, u.ID, files))
		}
		calls := 0
		for more := true; more; calls++ {
			var err error
			more, err = w.DropSources(w.ctx, u.ID)
			w.ok(err)
		}
		if w.wantKeys(index.KindSource, 0); calls != 3 {
			t.Errorf("dropped in %d transactions", calls)
		}
		w.listed(u, "a")
	})
}

// TestImportIsBounded: at its longest it fits one value.
func TestImportIsBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		long, escaped := ballast.Metadata{Description: strings.Repeat("x", ballast.MaxMetadataBytes-100)}, strings.Repeat("<", 120)
		u := w.importing("acme::m::1")
		u.Import.Source = must(ballast.ParseSource("s3://" + strings.Repeat("b", 63) + "/" + strings.Repeat("<", 1024)))
		u.Import.Metadata, u.Import.Move = long, true
		u, _, err := w.CreateImport(w.ctx, u, openImports)
		w.ok(err)
		var skipped []string
		for range ballast.MaxSkipped {
			skipped = append(skipped, escaped)
		}
		names := make([]string, 2*ballast.MaxKept)
		for i := range names {
			names[i] = fmt.Sprint(i)
		}
		w.ok(w.PutSources(w.ctx, u.ID, sourceFiles(names...)))
		w.ok(w.Listed(w.ctx, u.ID, len(names), 30, skipped))
		v, err := w.Seal(w.ctx, w.accept(u, "a", long).ID, record)
		w.ok(err)
		_, err = w.Ready(w.ctx, v.Key())
		w.ok(err)
		kept := map[int]ballast.Kept{}
		for i := range names {
			kept[i] = ballast.Kept{Path: escaped, Why: "the object store does not let the registry remove it"}
		}
		w.ok(w.MovedSources(w.ctx, u.ID, nil, kept))
		if m := w.get(u.ID).Import; m.Left != len(names) || len(m.Kept) != ballast.MaxKept {
			t.Errorf("it tells of %d of %d", len(m.Kept), m.Left)
		}
	})
}

func TestImportLabelsAndAttempts(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.openImport("acme::m::1", false)
		again := w.importing("acme::m::1")
		again.Attempt = u.Attempt
		if got, created, err := w.CreateImport(w.ctx, again, openImports); err != nil || created || got.ID != u.ID {
			t.Errorf("the same again is %s, created %t, %v", got.ID, created, err)
		}
		_, _, err := w.CreateImport(w.ctx, w.importing("acme::m::1"), openImports)
		if e := w.want(ballast.CodeConflict, err); e.Holder == nil || e.Holder.Upload != u.ID {
			t.Errorf("held by %+v", e.Holder)
		}
		_, _, err = w.CreateUpload(w.ctx, w.upload("acme::m::1"), lease)
		w.want(ballast.CodeConflict, err)
		pushed := w.open("acme::p")
		again.Attempt = pushed.Attempt
		_, _, err = w.CreateImport(w.ctx, again, openImports)
		w.want(ballast.CodeInvalid, err)

		w.openImport("acme::a", false)
		w.openImport("acme::b", false)
		_, _, err = w.CreateImport(w.ctx, w.importing("acme::c"), openImports)
		w.want(ballast.CodeRateLimited, err)
		w.openImport("other::c", false) // bounds are a scope's own
		w.abort(u)
		w.openImport("acme::c", false)

		page, next, err := w.Imports(w.ctx, index.Part{Scope: acme}, "", 3)
		w.ok(err)
		rest, end, err := w.Imports(w.ctx, index.Part{Scope: acme}, next, 3)
		w.ok(err)
		if len(page) != 3 || page[0].Name != name("c") || len(rest) != 1 || rest[0].ID != u.ID || end != "" {
			t.Errorf("listed %d and %d, then %q", len(page), len(rest), end)
		}
	})
}

// TestImportToALabelThatIsTaken: it holds nothing, and ends by what its files turn out to be.
func TestImportToALabelThatIsTaken(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		v := w.seal("acme::m::1", "x")
		for range 2 {
			w.openImport("acme::m::1", false)
		}
		w.wantKeys(index.KindHold, 1) // of the one that seals
		u := w.openImport("acme::m::1", true)
		if u.Import.Expect != v.Digest {
			t.Errorf("it expects %q", u.Import.Expect)
		}
		w.listed(u, "x")
		if settled, err := w.Unchanged(w.ctx, u.ID, v.Digest); err != nil || settled {
			t.Errorf("while it is sealed: %t, %v", settled, err)
		}
		_, err := w.Unchanged(w.ctx, u.ID, sum("other"))
		if e := w.want(ballast.CodeAlreadyExists, err); e.Expected != v.Digest || e.Actual != sum("other") {
			t.Errorf("refused with %+v", e)
		}
		_, err = w.Ready(w.ctx, v.Key())
		w.ok(err)
		if settled, err := w.Unchanged(w.ctx, u.ID, v.Digest); err != nil || !settled {
			t.Errorf("once it is ready: %t, %v", settled, err)
		}
		if done := w.get(u.ID); done.Status != ballast.UploadDone || !done.Import.Moving {
			t.Errorf("it is %s, %+v", done.Status, done.Import)
		}
		w.ok(w.SetStatus(w.ctx, v.Key(), ballast.StatusRetired))
		_, _, err = w.CreateImport(w.ctx, w.importing("acme::m::1"), 99)
		w.want(ballast.CodeRetired, err)
		w.ok(w.SetStatus(w.ctx, v.Key(), ballast.StatusDeleted))
		_, _, err = w.CreateImport(w.ctx, w.importing("acme::m::1"), 99)
		w.want(ballast.CodeAlreadyExists, err)
	})
}

// TestImportTakesNoBlobsOfClients, and a push is no import.
func TestImportTakesNoBlobsOfClients(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m::1")
		for what, err := range map[string]error{
			"put": w.PutSources(w.ctx, u.ID, sourceFiles("a")), "listed": w.Listed(w.ctx, u.ID, 1, 1, nil),
			"hashed": w.HashedSources(w.ctx, u.ID, map[int]digest.Digest{0: sum("a")}), "moved": w.MovedSources(w.ctx, u.ID, []int{0}, nil),
		} {
			if ballast.CodeOf(err) != ballast.CodeLeaseLost {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := w.DropSources(w.ctx, u.ID)
		w.want(ballast.CodeLeaseLost, err)
		m := w.openImport("acme::n::1", false)
		w.listed(m, "a")
		if err := w.HashedSources(w.ctx, m.ID, map[int]digest.Digest{9: sum("a")}); !errors.Is(err, index.ErrNotFound) {
			t.Errorf("a digest of no file: %v", err)
		}
	})
}
