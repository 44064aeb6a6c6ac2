package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// TestImportsAreBounded: what they hold in memory is bounded, however many there are. More than may be open are refused, and
// told to wait.
func TestImportsAreBounded(t *testing.T) {
	const rangeSize, memory = 1000, 4000
	mem := objstoretest.NewMem()
	s := storeOn(t, mem)
	r := newImportRig(t, s, func(o *engine.Options) {
		o.Limits.Imports, o.Limits.ImportsOfScope, o.Limits.OpenImports = 3, 2, 4
		o.Limits.VerifyRange, o.Limits.SourceMemory = rangeSize, memory
	})
	body := random(20*rangeSize, 1)
	for i := range 6 {
		drop(t, mem, fmt.Sprintf("tenants/acme/inbox/%d/", i), folder{"a": append(bytes.Clone(body), byte(i)), "b": append(bytes.Clone(body), byte(i), 1)})
		drop(t, mem, fmt.Sprintf("tenants/other/inbox/%d/", i), folder{"a": append(bytes.Clone(body), byte(i))})
	}
	var flying, most atomic.Int64
	open := make(chan struct{})
	mem.Before(func(ctx context.Context, op objstoretest.Op, key string) {
		if op != objstoretest.OpGet || !strings.Contains(key, "/inbox/") {
			return
		}
		n := flying.Add(1)
		defer flying.Add(-1)
		for {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		select {
		case <-open:
		case <-ctx.Done():
		}
	})
	var ids []string
	for i := range 4 {
		ids = append(ids, r.mustAskImport(t, i))
	}
	_, err := r.askImport(t, writer, "inbox:4", "m4:1")
	if e := wantCode(t, err, ballast.CodeRateLimited); e.RetryAfter == 0 {
		t.Errorf("it says no time: %+v", e)
	}
	if again, err := r.askImport(t, writer, "inbox:0", "m0:1"); err != nil || again.ID != ids[0] {
		t.Errorf("the same import again is %s, %v", again.ID, err)
	}
	waitFor(t, "as many read as may", func() bool { return flying.Load() == memory/rangeSize })
	close(open)
	for _, id := range ids {
		if m := r.awaitImport(t, writer, id); m.Status != ballast.UploadDone {
			t.Errorf("%s is %s, %v", m.Source, m.Status, m.Error)
		}
	}
	if halves := int64(2 * memory / rangeSize); most.Load() > halves {
		t.Errorf("%d ranges were in flight, and memory is for %d, half as long as they are where it is taken", most.Load(), halves)
	}
}

// mustAskImport begins the import of a numbered folder of the inbox, and returns its id.
func (r *rig) mustAskImport(t *testing.T, i int) string {
	t.Helper()
	m, err := r.askImport(t, writer, fmt.Sprintf("inbox:%d", i), fmt.Sprintf("m%d:1", i))
	if err != nil {
		t.Fatal(err)
	}
	return m.ID
}

// TestImportsTakeTurns: so many of one scope hash at once, in the order in which they came, and keep no other scope waiting.
func TestImportsTakeTurns(t *testing.T) {
	mem := objstoretest.NewMem()
	r := newImportRig(t, storeOn(t, mem), func(o *engine.Options) { o.Limits.Imports, o.Limits.ImportsOfScope = 3, 2 })
	for i := range 4 {
		drop(t, mem, fmt.Sprintf("tenants/acme/inbox/%d/", i), folder{"a": {byte(i)}})
	}
	drop(t, mem, "tenants/other/inbox/m/", small("m"))
	open := make(chan struct{})
	reading := make(chan string, 10)
	mem.Before(func(ctx context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpGet && strings.HasPrefix(key, "tenants/acme/inbox/") {
			reading <- key
			select {
			case <-open:
			case <-ctx.Done():
			}
		}
	})
	var ids []string
	for i := range 4 {
		if ids = append(ids, r.mustAskImport(t, i)); i < 2 {
			if key := <-reading; !strings.HasPrefix(key, fmt.Sprintf("tenants/acme/inbox/%d/", i)) {
				t.Errorf("%s is read instead of %d", key, i)
			}
		}
	}
	r.mustImport(t, other, "inbox:m", "m:1")
	if m, err := r.Import(t.Context(), writer, ids[2], 0); err != nil || len(reading) != 0 || m.Status != ballast.UploadImporting || m.Progress != nil {
		t.Errorf("a third is %s with %+v, %d more read", m.Status, m.Progress, len(reading))
	}
	if err := r.CancelImport(t.Context(), writer, ids[2]); err != nil { // while it waits
		t.Fatal(err)
	}
	close(open)
	for i, id := range ids {
		want := ballast.UploadDone
		if i == 2 {
			want = ballast.UploadAborted
		}
		if m := r.awaitImport(t, writer, id); m.Status != want {
			t.Errorf("%s is %s, %v", m.Source, m.Status, m.Error)
		}
	}
}

// TestTwentyImportsAtOnce of one source under one label: one version.
func TestTwentyImportsAtOnce(t *testing.T) {
	r := newImportRig(t, memStore(t), nil)
	drop(t, r.store, "tenants/acme/inbox/m/", small("m"))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if m, err := r.imports(t, writer, "inbox:m", "m:1"); err != nil || m.Key != "acme::m::1" {
				t.Errorf("%s, %v", m.Key, err)
			}
		})
	}
	all.Wait()
}
