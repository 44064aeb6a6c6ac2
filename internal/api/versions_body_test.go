package api

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
)

// TestVersionBodies changes a version in each place that something else could be remembered by, and asks for it again: what
// is answered is what is encoded anew.
func TestVersionBodies(t *testing.T) {
	kept := newVersionBodies()
	v := sampleVersion
	for i, change := range []func(){
		func() {},
		func() {
			v.Aliases = append(v.Aliases[:len(v.Aliases):len(v.Aliases)], must(ballast.ParseAlias("other")))
		},
		func() { v.Metadata.Description += "x" },
		func() { v.Metadata.Tags = append([]string{"new"}, v.Metadata.Tags...) },
		func() { v.Metadata.Metrics = map[string]float64{"loss": 1} },
		func() { v.Metadata.Metrics = map[string]float64{"loss": 2} },
		func() { v.Metadata.Extra = json.RawMessage(`{"deep":1}`) },
		func() { v.Metadata.Extra = json.RawMessage(`{"deep":2}`) },
		func() { v.Status = ballast.StatusRetired },
		func() { v.Revision++ },
	} {
		change()
		want, err := newBody(v)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got, err := kept.of(v)
			if err != nil || got.tag != want.tag || !bytes.Equal(got.text, want.text) {
				t.Errorf("change %d: %v\n%s", i, err, cmp.Diff(string(want.text), string(got.text)))
			}
		}
	}
	again, _ := kept.of(v)
	once, _ := kept.of(v)
	if &again.text[0] != &once.text[0] {
		t.Error("the same version was encoded twice")
	}
}

// BenchmarkVersionBody compares a version that is answered again with one that is encoded.
func BenchmarkVersionBody(b *testing.B) {
	kept := newVersionBodies()
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = kept.of(sampleVersion)
		}
	})
	b.Run("anew", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = newBody(sampleVersion)
		}
	})
}
