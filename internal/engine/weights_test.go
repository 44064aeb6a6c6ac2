package engine_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/weights/weightstest"
)

var tensor = weightstest.Tensor

// sharded is a model of two shards, and what is to be said of it.
func sharded(seed string) (folder, *ballast.Weights) {
	return folder{
			"config.json":                  []byte(`{"seed":"` + seed + `"}`),
			"model.safetensors.index.json": weightstest.Index("a-1.safetensors", "a-2.safetensors"),
			"a-1.safetensors":              weightstest.Safetensors(tensor("layer.0", "BF16", 16, 2, 4), tensor("norm."+seed, "F32", 8, 2)),
			"a-2.safetensors":              weightstest.Safetensors(tensor("layer.1", "BF16", 16, 2, 4)),
			"consolidated.safetensors":     weightstest.Safetensors(tensor("everything", "BF16", 32, 16)),
		}, &ballast.Weights{
			Format: ballast.FormatSafetensors, Files: 2, Tensors: 3, Parameters: 18, DTypes: map[string]int64{"BF16": 16, "F32": 2},
		}
}

func wantWeights(t *testing.T, got, want *ballast.Weights) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("weights: want (-), got (+):\n%s", diff)
	}
}

// TestAVersionSaysWhatIsInside, whoever says otherwise, and lists it for whoever may read it.
func TestAVersionSaysWhatIsInside(t *testing.T) {
	eachStore(t, func(t *testing.T, s store) {
		r := newRig(t, s)
		f, want := sharded("a")
		u := must(r.open(t, writer, "m:1"))
		if err := r.sendAll(t, writer, u.ID, f); err != nil {
			t.Fatal(err)
		}
		lie := int64(70_000_000_000)
		v, err := r.commit(t, writer, u.ID, f.files(), ballast.Metadata{NumParameters: &lie})
		if err != nil {
			t.Fatal(err)
		}
		wantWeights(t, v.Weights, want)
		wantWeights(t, must(r.Versions(t.Context(), reader, acme, ref("m").Name, engine.ListVersions{Limit: 10})).Versions[0].Weights, want)

		in := folder{"in-parts.gguf": weightstest.GGUF(tensor("blk.0", "Q8_0", 68, 64), tensor("blk.1", "F32", 4, 1))}
		big := must(r.open(t, writer, "gguf:1"))
		if err := r.sendBlob(t, writer, big.ID, ballast.DigestOf(in["in-parts.gguf"]), in["in-parts.gguf"], ballast.MethodMultipart); err != nil {
			t.Fatal(err)
		}
		v = must(r.commit(t, writer, big.ID, in.files(), ballast.Metadata{}))
		wantWeights(t, v.Weights, &ballast.Weights{Format: ballast.FormatGGUF, Files: 1, Tensors: 2, Parameters: 65, DTypes: map[string]int64{"Q8_0": 64, "F32": 1}})

		r.mustPush(t, admin, "g:1", f)
		for _, at := range []string{"m:1", "acme::m", "g", "global::g:1"} {
			page, err := r.Tensors(t.Context(), reader, ref(at), engine.ListTensors{Path: "a-1.safetensors", Limit: 1})
			if err != nil || page.Total != 2 || len(page.Tensors) != 1 || page.Tensors[0].Name != "layer.0" || page.Cursor == "" {
				t.Fatalf("%s: %+v, %v", at, page, err)
			}
			page, err = r.Tensors(t.Context(), reader, ref(at), engine.ListTensors{Path: "a-1.safetensors", Limit: 1, Cursor: page.Cursor})
			if err != nil || len(page.Tensors) != 1 || page.Tensors[0].Name != "norm.a" || page.Cursor != "" {
				t.Fatalf("%s, the second page: %+v, %v", at, page, err)
			}
		}
		for _, at := range []string{"m:1", "acme::m"} {
			_, theirs := r.Tensors(t.Context(), other, ref(at), engine.ListTensors{Path: "a-1.safetensors", Limit: 1})
			_, absent := r.Tensors(t.Context(), other, ref(strings.Replace(at, "m", "x", 1)), engine.ListTensors{Path: "a-1.safetensors", Limit: 1})
			wantCode(t, theirs, ballast.CodeNotFound)
			wantCode(t, absent, ballast.CodeNotFound)
		}
	})
}

// TestTensorsOfWhatHasNone: each refusal says why.
func TestTensorsOfWhatHasNone(t *testing.T) {
	r := newRig(t, memStore(t))
	f, _ := sharded("a")
	f["broken.gguf"] = []byte("GGUF")
	f["broken.safetensors"] = []byte("no header at all")
	r.mustPush(t, writer, "m:1", f)
	list := func(path, cursor string) error {
		_, err := r.Tensors(t.Context(), reader, ref("m"), engine.ListTensors{Path: path, Limit: 1, Cursor: cursor})
		return err
	}
	for path, says := range map[string]string{"config.json": "are listed of", "broken.gguf": "cut short", "broken.safetensors": "no safetensors file"} {
		if e := wantCode(t, list(path, ""), ballast.CodePrecondition); !strings.Contains(e.Detail, says) || !strings.Contains(e.Detail, path) {
			t.Errorf("%s: %s", path, e.Detail)
		}
	}
	wantCode(t, list("nothing.safetensors", ""), ballast.CodeNotFound)
	page := must(r.Tensors(t.Context(), reader, ref("m"), engine.ListTensors{Path: "a-1.safetensors", Limit: 1}))
	for _, cursor := range []string{"!", "YQ", page.Cursor[:len(page.Cursor)-2]} {
		wantCode(t, list("a-1.safetensors", cursor), ballast.CodeInvalid)
	}
	f["config.json"] = []byte("{}")
	r.mustPush(t, writer, "m:2", f)
	wantCode(t, list("a-1.safetensors", page.Cursor), ballast.CodeGone)
}

// TestWhatCannotBeReadIsContent: it is published, and nothing is said of what is inside.
func TestWhatCannotBeReadIsContent(t *testing.T) {
	r := newRig(t, memStore(t))
	for i, change := range []func(folder){
		func(f folder) { f["a-2.safetensors"] = f["a-2.safetensors"][:20] },
		func(f folder) { delete(f, "a-2.safetensors") },
		func(f folder) { f["a-1.safetensors"] = nil },
		func(f folder) { f["model.safetensors.index.json"] = []byte(`{"weight_map":[`) },
		func(f folder) {
			f["a-1.safetensors"] = weightstest.SafetensorsOf(`{"__metadata__":{"a":"`+strings.Repeat("x", 33<<20)+`"}}`, nil)
		},
	} {
		f, _ := sharded("a")
		change(f)
		if v := r.mustPush(t, writer, fmt.Sprintf("m:%d", i+1), f); v.Weights != nil {
			t.Errorf("folder %d: weights %+v", i, v.Weights)
		}
	}
	f, want := sharded("a") // the control
	wantWeights(t, r.mustPush(t, writer, "m:100", f).Weights, want)
}

// meddler comes between the registry and its reads of headers: ranges of the objects of one kind.
type meddler struct {
	objstore.Bucket
	key   string // of the object
	reads atomic.Int32
	read  func(n int32) error // the n-th, from 1
}

func (m *meddler) Get(ctx context.Context, key string, opt objstore.ReadOptions) (io.ReadCloser, objstore.Object, error) {
	if key == m.key && opt.Length > 0 {
		if err := m.read(m.reads.Add(1)); err != nil {
			return nil, objstore.Object{}, err
		}
	}
	return m.Bucket.Get(ctx, key, opt)
}

// TestAStoreThatDoesNotAnswerIsAskedAgain: what it would have said is not taken for nothing.
func TestAStoreThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	f, want := sharded("a")
	key := ballast.BlobKey(acme, ballast.DigestOf(f["a-2.safetensors"]))
	for name, test := range map[string]struct {
		err  error
		want *ballast.Weights
		lost bool
	}{
		"unavailable": {objstore.ErrUnavailable, want, false},
		"denied":      {objstore.ErrDenied, want, false},
		"cut off":     {io.ErrUnexpectedEOF, want, false},
		// Somebody with credentials of their own took it away: that is fsck's to find, and no reason to try for ever.
		"gone":    {objstore.ErrNotFound, nil, true},
		"another": {objstore.ErrPrecondition, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, r := memRig(t, func(opt *engine.Options) {
				opt.Bucket = &meddler{Bucket: opt.Bucket, key: key, read: func(n int32) error {
					if n == 1 {
						return test.err
					}
					return nil
				}}
			})
			wantWeights(t, r.mustPush(t, writer, "m:1", f).Weights, test.want)
			if reads := r.opt.Bucket.(*meddler).reads.Load(); reads < 2 != test.lost {
				t.Errorf("the header was read %d times", reads)
			}
		})
	}
}

// TestOtherWeightsAreReported: a version that says of itself what its files do not is found, in index and record.
func TestOtherWeightsAreReported(t *testing.T) {
	m, r := memRig(t, nil)
	r.lost = true
	f, _ := sharded("a")
	r.mustPush(t, writer, "m:1", f)
	r.Close()
	if found := violations(t, r.opt); len(found) > 0 {
		t.Fatalf("before: %v", found)
	}
	planter{t, r.index, m}.edit('v', `"parameters":18`, `"parameters":19`)
	found := violations(t, r.opt)
	for _, i := range []engine.Invariant{engine.InvariantOneContent, engine.InvariantRebuild} {
		if !slices.ContainsFunc(found, func(v engine.Violation) bool { return v.Invariant == i }) {
			t.Errorf("%s is not reported: %v", i, found)
		}
	}
}
