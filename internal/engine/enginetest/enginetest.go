// Package enginetest holds a registry to its invariants at the end of a test.
package enginetest

import (
	"cmp"
	"context"
	"testing"

	"github.com/ballast-registry/ballast/internal/engine"
)

// Check fails t for every invariant that does not hold over the engine's index and bucket. Call it once the engine is
// closed, while its index is still open.
func Check(t testing.TB, opt engine.Options) {
	t.Helper()
	found, err := engine.Check(context.WithoutCancel(t.Context()), opt.Index, opt.Bucket, opt.RecordKey)
	if err != nil {
		t.Errorf("checking the invariants: %v", err)
	}
	for _, v := range found {
		t.Errorf("violated: %s", v)
	}
}

// Open opens an engine that is closed and checked when the test ends. Unless opt has it run by the clock, gc runs when it is
// asked to.
func Open(t testing.TB, opt engine.Options) *engine.Engine {
	t.Helper()
	opt.Limits.GCInterval = cmp.Or(opt.Limits.GCInterval, -1)
	e, err := engine.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("closing the engine: %v", err)
		}
		Check(t, opt)
	})
	return e
}
