package engine_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// importsAtRest is a registry that was closed with an import in each state: one hashes, one has its blobs copied, one
// removes its sources, one has done so, one failed.
func importsAtRest(t *testing.T) (planter, *rig) {
	mem, r := memRig(t, nil)
	r.lost = true // it ends damaged
	for _, folder := range []string{"hashing", "copying", "moving", "moved", "failed"} {
		drop(t, mem, inboxOf(folder), small(folder))
	}
	if m, err := r.imports(t, writer, "inbox:moved", "moved:1", moving); err != nil || m.Moved == nil {
		t.Fatal(err)
	}
	r.mustPush(t, writer, "failed:1", small("other"))
	if _, err := r.imports(t, writer, "inbox:failed", "failed:1"); ballast.CodeOf(err) != ballast.CodeAlreadyExists {
		t.Fatal(err)
	}
	mem.Before(func(ctx context.Context, op objstoretest.Op, key string) {
		held := op == objstoretest.OpGet && key == inboxOf("hashing")+"config.json" || op == objstoretest.OpDelete ||
			op == objstoretest.OpCopy && key == ballast.BlobKey(acme, ballast.DigestOf(small("copying")["config.json"]))
		if held {
			<-ctx.Done()
		}
	})
	for _, name := range []string{"hashing", "copying", "moving"} {
		m, err := r.askImport(t, writer, "inbox:"+name, name+":1", func(req *ballast.CreateImport) { req.Move = name == "moving" })
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, name, func() bool {
			m = must(r.Import(t.Context(), writer, m.ID, 0))
			return name == "hashing" && m.Progress != nil || name == "copying" && m.Status == ballast.UploadVerifying || m.Moved != nil
		})
	}
	waitFor(t, "nothing is left to release", func() bool {
		c := must(r.opt.Index.Contents(t.Context()))
		return len(c.Releasing) == 0 && len(c.Sources) == 3
	})
	r.Close()
	if found := violations(t, r.opt); len(found) > 0 {
		t.Fatalf("before: %v", found)
	}
	return planter{t, r.index, mem}, r
}

func inboxOf(folder string) string { return "tenants/acme/inbox/" + folder + "/" }

// For each thing that is known of an import a violation is planted, and the checker reports it in words.
func TestPlantedViolationsOfImports(t *testing.T) {
	for name, tc := range map[string]struct {
		plant func(planter)
		want  engine.Invariant
		says  string
	}{
		"importing what is no import":      {func(p planter) { p.edit('u', `"import":{`, `"import_":{`) }, engine.InvariantOrder, "is importing and no import"},
		"not found among imports":          {func(p planter) { p.edit('i', "", "") }, engine.InvariantKept, "found as an import false"},
		"not found among open ones":        {func(p planter) { p.edit('j', "", "") }, engine.InvariantKept, "as an open one false"},
		"nobody finishes it":               {func(p planter) { p.edit('f', "", "") }, engine.InvariantOrder, "listed to be finished: false"},
		"nobody removes its sources":       {func(p planter) { p.edit('u', `"moving":true`, `"moving":false`) }, engine.InvariantOrder, "listed to be finished: true"},
		"a list of what is over":           {func(p planter) { p.edit('u', `"moving":true`, `"moving":false`) }, engine.InvariantKept, "is over and lists 3 files"},
		"nothing left to remove":           {func(p planter) { p.edit('u', `"moved":3`, `"moved":3,"moving":true`) }, engine.InvariantKept, "removes sources of which none is left"},
		"a file more than was listed":      {func(p planter) { p.edit('u', `"files":3,`, `"files":4,`) }, engine.InvariantOneContent, "counts 4 files"},
		"a file of the list is gone":       {func(p planter) { p.drop('I') }, engine.InvariantOneContent, "its list has 2"},
		"bytes that do not add up":         {func(p planter) { p.edit('I', `"size":`, `"size":1`) }, engine.InvariantOneContent, "its list has 3 of 246"},
		"hashed more than it counts":       {func(p planter) { p.edit('u', `"hashed":3,`, `"hashed":2,`) }, engine.InvariantOneContent, "2 of them with"},
		"accepted before it was listed":    {func(p planter) { p.edit('u', `"listed":true,`, ``) }, engine.InvariantOrder, "before its files were listed"},
		"to publish what it never hashed":  {func(p planter) { p.edit('I', `"path":"model.safetensors"`, `"path":"model.onnx"`) }, engine.InvariantOneContent, "which is not what it hashed"},
		"a source that vanished":           {func(p planter) { p.edit('u', `"moved":3`, `"moved":2`) }, engine.InvariantKept, "was to remove 3 sources: 2 are gone"},
		"sources of what is not published": {func(p planter) { p.edit('u', `"move":true,"listed"`, `"listed"`) }, engine.InvariantKept, "is done and removes its sources"},
		"files of nobody":                  {func(p planter) { p.edit('u', "", "") }, engine.InvariantKept, "files are listed for"},
		"too much is told": {func(p planter) {
			p.edit('u', `"listed":true,`, `"listed":true,"skipped":["`+strings.Repeat(`a","`, ballast.MaxSkipped)+`a"],`)
		}, engine.InvariantBounded, "tells of 11 that it skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			p, r := importsAtRest(t)
			tc.plant(p)
			found := violations(t, r.opt)
			if !slices.ContainsFunc(found, func(v engine.Violation) bool { return v.Invariant == tc.want && strings.Contains(v.What, tc.says) }) {
				t.Fatalf("reported: %v\nwant %s: %s", found, tc.want, tc.says)
			}
		})
	}
}
