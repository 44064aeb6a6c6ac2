package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/hash"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// planter damages a registry behind the engine's back.
type planter struct {
	t     *testing.T
	index index.Store
	store *objstoretest.Mem
}

// edit replaces a text in the values of one kind of key; an empty text deletes the items.
func (p planter) edit(kind byte, with, replacement string) {
	p.t.Helper()
	edited := 0
	err := p.index.Update(p.t.Context(), func(tx index.Tx) error {
		edited = 0
		for item, err := range tx.Scan([]byte{kind}, nil, false) {
			if err != nil {
				return err
			}
			value := string(item.Value)
			if !strings.Contains(value, with) {
				continue
			}
			edited++
			if with == "" {
				err = tx.Delete(item.Key)
			} else {
				err = tx.Put(item.Key, []byte(strings.Replace(value, with, replacement, 1)))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || edited == 0 {
		p.t.Fatalf("planting under %q: %d items, %v", kind, edited, err)
	}
}

// object is the key of the first object whose key holds a text.
func (p planter) object(with string) string {
	p.t.Helper()
	for _, k := range p.store.Keys("") {
		if strings.Contains(k, with) {
			return k
		}
	}
	p.t.Fatalf("no object with %q", with)
	return ""
}

func (p planter) remove(key string) {
	if err := p.store.Delete(p.t.Context(), key); err != nil {
		p.t.Fatal(err)
	}
}

var weights = strings.TrimPrefix(ballast.DigestOf([]byte("weights of a")).String(), "sha256:")

// For each invariant a violation is planted, and the checker reports it by its name.
func TestPlantedViolationsAreReported(t *testing.T) {
	for invariant, plant := range map[engine.Invariant]func(planter){
		engine.InvariantOrder:        func(p planter) { p.edit('b', `"state":"verified"`, `"state":"stored"`) },
		engine.InvariantImmutable:    func(p planter) { p.store.Plant(p.object(weights), []byte("other bytes.")) },
		engine.InvariantOneContent:   func(p planter) { p.edit('v', `"files":3`, `"files":4`) },
		engine.InvariantOnePublisher: func(p planter) { p.edit('k', "", "") },
		engine.InvariantScopes:       func(p planter) { p.edit('n', `"had_ready":true`, `"had_ready":false`) },
		engine.InvariantGate:         func(p planter) { p.edit('l', "", "") },
		engine.InvariantScopedDigest: func(p planter) { p.forget("acme") },
		engine.InvariantUnknown:      func(p planter) { p.forget("acme"); p.forget("global") },
		engine.InvariantKept:         func(p planter) { p.remove(p.object(weights)) },
		engine.InvariantRebuild:      func(p planter) { p.remove(p.object("acme/models/m/versions/1/")) },
		engine.InvariantOwner:        func(p planter) { p.store.Plant("index/owner.json", []byte(`{"index_id":"x","epoch":9}`)) },
		engine.InvariantBounded:      func(p planter) { p.edit('b', `"method":"put"`, `"method":"multipart","part_size":1`) },
		engine.InvariantTyped:        func(p planter) { p.edit('u', `"status":"done"`, `"status":"failed"`) },
	} {
		t.Run(invariant.String(), func(t *testing.T) {
			m, r := memRig(t, nil)
			r.lost = true // it ends damaged
			r.mustPush(t, writer, "m:1", small("a"))
			r.mustPush(t, admin, "m:1", small("a"))
			must(r.open(t, writer, "m:2"))
			r.Close()
			if found := violations(t, r.opt); len(found) > 0 {
				t.Fatalf("before: %v", found)
			}
			plant(planter{t, r.index, m})
			found := violations(t, r.opt)
			if !slices.ContainsFunc(found, func(v engine.Violation) bool { return v.Invariant == invariant }) {
				t.Fatalf("reported: %v", found)
			}
		})
	}
}

// What gc would do harm by, or never find, is reported.
func TestPlantedGarbageIsReported(t *testing.T) {
	for name, tc := range map[string]struct {
		plant func(planter)
		want  string
	}{
		"a tombstone on a manifest in use": {func(p planter) {
			p.edit('b', `"assurance":"store"`, `"assurance":"store","tombstone":"2026-11-22T08:00:00.000000Z"`)
		}, "is used and marked as unused"},
		"no tombstone on what nobody uses": {func(p planter) { p.edit('M', "", "") }, "it would stay for good"},
		"a blob in use that is deleted":    {func(p planter) { p.edit('b', `"state":"verified"`, `"state":"deleting"`) }, "is used and being deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			m, r := memRig(t, nil)
			r.lost = true // it ends damaged
			r.mustPush(t, writer, "m:1", small("a"))
			waitFor(t, "the pins of the upload to go", func() bool { return len(must(r.opt.Index.Contents(t.Context())).Pins) == 0 })
			r.Close()
			if found := violations(t, r.opt); len(found) > 0 {
				t.Fatalf("before: %v", found)
			}
			tc.plant(planter{t, r.index, m})
			found := violations(t, r.opt)
			if !slices.ContainsFunc(found, func(v engine.Violation) bool { return strings.Contains(v.What, tc.want) }) {
				t.Fatalf("reported: %v", found)
			}
		})
	}
}

// A chain that is not that of its blob's bytes is reported, and nothing else is.
func TestAPlantedChainIsReported(t *testing.T) {
	_, r := memRig(t, nil)
	r.lost = true
	u := must(r.open(t, writer, "m:1"))
	body := random(2*partSize, 1)
	if err := r.sendBlob(t, writer, u.ID, ballast.DigestOf(body), body, ballast.MethodMultipart); err != nil {
		t.Fatal(err)
	}
	must(r.commit(t, writer, u.ID, folder{"w": body}.files(), ballast.Metadata{}))
	r.Close()
	if found := violations(t, r.opt); len(found) > 0 {
		t.Fatalf("before: %v", found)
	}
	chain := hash.NewChain(partSize)
	_, _ = chain.Write(body)
	state := chain.States()[0]
	planter{t, r.index, nil}.edit('C', string(state[:]), strings.Repeat("x", len(state)))
	found := violations(t, r.opt)
	if len(found) != 1 || found[0].Invariant != engine.InvariantImmutable || !strings.Contains(found[0].What, "chain") {
		t.Fatalf("reported: %v", found)
	}
}

// forget drops a scope's record of the weights.
func (p planter) forget(scope string) {
	err := p.index.Update(p.t.Context(), func(tx index.Tx) error {
		key := []byte("b" + scope + "\x00" + weights + "\x00")
		if _, err := tx.Get(key); err != nil {
			return err
		}
		return tx.Delete(key)
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func violations(t *testing.T, opt engine.Options) []engine.Violation {
	t.Helper()
	found, err := engine.Check(context.WithoutCancel(t.Context()), opt.Index, opt.Bucket, opt.RecordKey)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A store that does not answer is no violation and no clean bill: the check says that it could not be finished.
func TestCheckWithoutTheStore(t *testing.T) {
	m, r := memRig(t, nil)
	r.lost = true
	r.mustPush(t, writer, "m:1", small("a"))
	r.Close()
	m.Fail(objstoretest.OpGet, 0, objstore.ErrUnavailable, false)
	found, err := engine.Check(t.Context(), r.opt.Index, r.opt.Bucket, r.opt.RecordKey)
	if !errors.Is(err, objstore.ErrUnavailable) || len(found) > 0 {
		t.Fatalf("found %v, error %v", found, err)
	}
}
