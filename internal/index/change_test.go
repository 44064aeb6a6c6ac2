package index_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

var ci = index.Change{By: "ci@acme"}

// patch changes fields of a version as JSON, and its stage.
func (w *world) patch(key string, c index.Change, fields string, stage ballast.Stage) (index.Version, error) {
	w.t.Helper()
	var m map[string]json.RawMessage
	if fields != "" {
		w.ok(json.Unmarshal([]byte(fields), &m))
	}
	return w.Patch(w.ctx, vkey(key), c, m, stage)
}

// stage moves a version on the shortest legal way.
func (w *world) stage(key string, to ballast.Stage) index.Version {
	w.t.Helper()
	v, err := w.Version(w.ctx, vkey(key))
	switch w.ok(err); to {
	case ballast.StageNone:
	case ballast.StageProduction:
		v, err = w.Promote(w.ctx, vkey(key), ci, "")
	default:
		v, err = w.patch(key, ci, "", to)
	}
	w.ok(err)
	return v
}

// TestStageMoves crosses every stage with every other.
func TestStageMoves(t *testing.T) {
	const none, validated, staged, production, archived, deprecated = ballast.StageNone, ballast.StageValidated, ballast.StageStaged,
		ballast.StageProduction, ballast.StageArchived, ballast.StageDeprecated
	allowed := map[ballast.Stage][]ballast.Stage{
		none: {validated, staged, archived, deprecated}, validated: {staged, archived, deprecated}, staged: {archived, deprecated},
		production: {archived, deprecated}, archived: {deprecated}, deprecated: {archived},
	}
	onBoth(t, func(t *testing.T, w *world) {
		for i, from := range ballast.Stages() {
			for j, to := range ballast.Stages() {
				n := fmt.Sprintf("m%d%d", i, j)
				k := "acme::" + n + "::1"
				w.publish(k, k)
				before := w.stage(k, from)
				v, err := w.patch(k, ci, "", to)
				switch {
				case from == to:
					if err != nil || v.Revision != before.Revision {
						t.Errorf("%s stays: %+v, %v", from, v, err)
					}
				case slices.Contains(allowed[from], to):
					if err != nil || v.Stage != to || v.Revision != before.Revision+1 {
						t.Errorf("%s to %s: %+v, %v", from, to, v, err)
					}
				default:
					e := w.want(ballast.CodePrecondition, err)
					for _, next := range allowed[from] {
						if !strings.Contains(e.Detail, string(next)) {
							t.Errorf("%s to %s: %q does not name %s", from, to, e.Detail, next)
						}
					}
					if v, err := w.Version(w.ctx, vkey(k)); err != nil || v.Stage != from || v.Revision != before.Revision {
						t.Errorf("%s to %s was refused and left %+v, %v", from, to, v, err)
					}
				}
				want := k
				if v, err := w.Version(w.ctx, vkey(k)); err != nil || v.Stage == archived || v.Stage == deprecated {
					want = "not_found"
				}
				if got := w.resolve(reader, n); got != want {
					t.Errorf("%s to %s: latest is %s, want %s", from, to, got, want)
				}
				if got := w.resolve(reader, n+":1"); got != k {
					t.Errorf("%s to %s: the version itself is %s", from, to, got)
				}
				want = "not_found"
				if v, err := w.Version(w.ctx, vkey(k)); err != nil || v.Stage == production {
					want = k
				}
				if got := w.resolve(reader, n+"@production"); got != want {
					t.Errorf("%s to %s: production is %s, want %s", from, to, got, want)
				}
			}
		}
	})
}

func TestPatchChangesWhatItNames(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		made := w.publish("acme::m::1", "x")
		w.clock = w.clock.Add(1e9)
		v, err := w.patch("acme::M::1.0.0", ci, `{"task":"ner","config":{"lr":1.10},"metrics":{"a":0.1,"b":2}}`, ballast.StageStaged)
		if err != nil || v.Revision != 2 || v.Stage != ballast.StageStaged || v.UpdatedAt != ballast.At(w.clock) || v.CreatedAt != made.CreatedAt {
			t.Errorf("patched: %+v, %v", v, err)
		}
		v, err = w.patch("acme::m::1", ci, `{"metrics":{"b":null,"c":3},"description":"d"}`, "")
		if err != nil || v.Revision != 3 || v.Metadata.Task != "ner" || string(v.Metadata.Config) != `{"lr":1.10}` || fmt.Sprint(v.Metadata.Metrics) != "map[a:0.1 c:3]" {
			t.Errorf("patched: %+v, %v", v, err)
		}
		for _, same := range []string{"", `{}`, `{"task":"ner"}`, `{"metrics":{"a":0.1}}`} {
			if v, err := w.patch("acme::m::1", ci, same, ballast.StageStaged); err != nil || v.Revision != 3 {
				t.Errorf("%s: %+v, %v", same, v, err)
			}
		}
		if v.Status != made.Status || v.Digest != made.Digest || v.CreatedBy != made.CreatedBy || v.Records != made.Records || v.RecordMAC != made.RecordMAC {
			t.Errorf("a patch changed what was published: %+v", v)
		}
		m, err := w.Model(w.ctx, reader.Scopes, name("m"))
		if err != nil || m.Name.Updated != ballast.At(w.clock) {
			t.Errorf("the name: %+v, %v", m, err)
		}
	})
}

func TestPatchRefusals(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.seal("acme::m::3", "s")
		for _, k := range []string{"acme::m::1", "acme::m::3", "m::3"} {
			_, err := w.patch(k, ci, `{"task":"ner"}`, "")
			w.want(ballast.CodeNotFound, err)
		}
		w.publish("acme::m::1", "x")
		revision := int64(1)
		only := index.Change{By: "ci", IfRevision: &revision}
		_, err := w.patch("acme::m::1", only, `{"task":"ner"}`, "")
		w.ok(err)
		_, err = w.patch("acme::m::1", only, `{"task":"other"}`, "")
		w.want(ballast.CodePrecondition, err)
		_, err = w.patch("acme::m::1", ci, `{"base_model":"b::1"}`, "")
		w.want(ballast.CodeInvalid, err)
		_, err = w.patch("acme::m::1", ci, `{"description":"`+strings.Repeat("x", ballast.MaxMetadataBytes)+`","task":"other"}`, ballast.StageStaged)
		w.want(ballast.CodeTooLarge, err)
		_, err = w.patch("acme::m::1", ci, `{"task":"other"}`, ballast.StageProduction)
		w.want(ballast.CodePrecondition, err)
		if v, err := w.Version(w.ctx, vkey("acme::m::1")); err != nil || v.Revision != 2 || v.Metadata.Task != "ner" || v.Stage != ballast.StageNone {
			t.Errorf("a refusal changed it: %+v, %v", v, err)
		}
		w.retire("acme::m::1")
		if v, err := w.patch("acme::m::1", ci, `{"description":"why it was retired"}`, ""); err != nil || v.Status != ballast.StatusRetired {
			t.Errorf("describing what is retired: %+v, %v", v, err)
		}
		_, err = w.patch("acme::m::1", ci, "", ballast.StageArchived)
		w.want(ballast.CodePrecondition, err)
		w.delete("acme::m::1")
		_, err = w.patch("acme::m::1", ci, `{"task":"ner"}`, "")
		w.want(ballast.CodeNotFound, err)
	})
}
