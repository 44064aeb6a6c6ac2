//go:build failpoints

package engine_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// row is a moment at which the registry is stopped: the first time that a step is taken after another one was. Every walk
// begins with Migrate, so that behind the zero Step is from the beginning.
type row struct {
	step   failpoint.Step
	moment failpoint.Moment
	behind failpoint.Step
}

// name tells the rows of one moment apart.
func (r row) name() string {
	if r.behind == failpoint.Migrate {
		return r.step.String()
	}
	return r.step.String() + "-behind-" + r.behind.String()
}

func (r row) String() string { return r.name() + "/" + string(r.moment) }

// rows are each step, and once more the steps that end a version or bring it back: from the first of them on it only goes forward.
func rows() (all []row) {
	add := func(s, behind failpoint.Step) {
		all = append(all, row{s, failpoint.Before, behind}, row{s, failpoint.After, behind})
	}
	for _, s := range failpoint.Steps() {
		add(s, failpoint.Migrate)
	}
	for _, end := range []failpoint.Step{failpoint.Retire, failpoint.Delete, failpoint.Undelete} {
		for _, s := range []failpoint.Step{failpoint.PutRecord, failpoint.SyncRecord, failpoint.Recorded} {
			add(s, end)
		}
	}
	return all
}

// once is a hook that acts the first time that the row is met in earnest. Workers look for jobs all the time, and for
// events to drop; their look counts only when there was something.
func (w *walk) once(r row, act func(context.Context) error) (hook failpoint.Hook, struck *atomic.Bool) {
	struck = &atomic.Bool{}
	return func(ctx context.Context, s failpoint.Step, m failpoint.Moment) error {
		if s != r.step || m != r.moment {
			return nil
		}
		if stored, _ := w.times(failpoint.StoredByMultipart); s == failpoint.LeaseVerify && stored == 0 || s == failpoint.DropEvents && !w.drops() {
			return nil
		}
		if before, _ := w.times(r.behind); before == 0 || !struck.CompareAndSwap(false, true) {
			return nil
		}
		return act(ctx)
	}, struck
}

func (w *walk) drops() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropping
}

// TestCrashMatrix stops the registry right before and right after each step, in three ways: the step fails, whoever
// waits for it goes away together with the engine, or the process is killed. Then everything that was ever reported
// ready is there, all invariants hold, and whoever was cut off succeeds by doing the same again.
func TestCrashMatrix(t *testing.T) {
	table := &crashTable{n: map[string]map[string]int{}}
	t.Run("ways", func(t *testing.T) {
		t.Run("killed", func(t *testing.T) {
			t.Parallel()
			killed(t, table)
		})
		t.Run("in process", func(t *testing.T) { // one at a time, since a process has one hook
			t.Parallel()
			inProcess(t, table, "error", stepFails)
			inProcess(t, table, "cancelled", callersLeave)
		})
	})
	table.print(t)
}

// crashTable counts what was done to each step.
type crashTable struct {
	mu sync.Mutex
	n  map[string]map[string]int // way/moment → step → times
}

func (c *crashTable) add(way string, r row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	column := way + "/" + string(r.moment)
	if c.n[column] == nil {
		c.n[column] = map[string]int{}
	}
	c.n[column][r.name()]++
}

// print shows the table. There is no zero in it unless rows were left out: each row fails when its step is not met.
func (c *crashTable) print(t *testing.T) {
	columns := []string{"error/before", "error/after", "cancelled/before", "cancelled/after", "killed/before", "killed/after"}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-27s %s\n", "step", strings.Join(columns, "  "))
	for _, r := range rows() {
		if r.moment == failpoint.After {
			continue
		}
		fmt.Fprintf(&b, "%-27s ", r.name())
		for _, column := range columns {
			fmt.Fprintf(&b, " %*d ", len(column), c.n[column][r.name()])
		}
		b.WriteByte('\n')
	}
	t.Log(b.String())
}

// stepFails lets the step fail once. The engine goes on.
func stepFails(w *walk, r row) func(context.Context) error {
	return func(context.Context) error {
		switch r.step {
		case failpoint.PutOwner, failpoint.PutBlob, failpoint.PutRecord, failpoint.CreateMultipart, failpoint.CompleteMultipart, failpoint.AbortMultipart, failpoint.CopyObject, failpoint.DeleteObject, failpoint.DeleteSource, failpoint.PutSnapshot:
			return fmt.Errorf("%w: at %s", objstore.ErrUnavailable, r)
		}
		return fmt.Errorf("made to fail at %s", r)
	}
}

// callersLeave ends the clients' context, upon which the walk ends and the engine is closed; the step goes on once it has
// heard of it, or if it does not listen.
func callersLeave(w *walk, _ row) func(context.Context) error {
	ctx, cancel := context.WithCancel(w.ctx)
	w.ctx = ctx
	return func(ctx context.Context) error {
		cancel()
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
		return nil
	}
}

func inProcess(t *testing.T, table *crashTable, way string, act func(*walk, row) func(context.Context) error) {
	for _, r := range rows() {
		t.Run(way+"/"+r.String(), func(t *testing.T) {
			dir, s, reported := t.TempDir(), memStore(t), newReports(t)
			w := newWalk(t, t.Context(), dir, s, clockIn(dir))
			w.report = reported.add
			var struck *atomic.Bool
			w.stop, struck = w.once(r, act(w, r))
			failpoint.Set(w.hook)
			err := errors.Join(w.all(), w.close())
			failpoint.Set(nil)
			if w.ctx.Err() == nil && err != nil {
				t.Fatal(err)
			}
			if !struck.Load() {
				t.Fatal("the step was not met")
			}
			table.add(way, r)
			survived(t, dir, s, reported, func() {
				again := newWalk(t, t.Context(), dir, s, clockIn(dir))
				again.report = reported.add
				failpoint.Set(again.hook)
				err := errors.Join(again.all(), again.close())
				failpoint.Set(nil)
				if err != nil {
					t.Fatalf("doing it again: %v", err)
				}
			})
		})
	}
}

// survived holds what a stop left to the invariants, at rest and once more after again has done everything again.
func survived(t *testing.T, dir string, s store, reported *reports, again func()) {
	t.Helper()
	for _, wrong := range broken(t, dir, s, clockIn(dir), reported.all(t)) {
		t.Error(wrong)
	}
	again()
	all := reported.all(t)
	addFates(all)
	for _, wrong := range broken(t, dir, s, clockIn(dir), all) {
		t.Errorf("after doing it again: %s", wrong)
	}
}

// addFates adds those of all versions once all was walked.
func addFates(reported map[string]fate) {
	for target, f := range fates() {
		reported["acme::"+strings.Replace(target, ":", "::", 1)] = f
	}
}

// fates are those of all versions once all was walked.
func fates() map[string]fate {
	all := ended()
	for target, f := range published() {
		all[target] = fate{ballast.StatusReady, f.manifest()}
	}
	return all
}

func clockIn(dir string) *clock { return &clock{file: filepath.Join(dir, "clock")} }

// broken opens what lies there and returns each violation of an invariant, and each version that is not what it was
// reported to be. The checker re-reads every byte of those that are ready.
func broken(t *testing.T, dir string, s store, c *clock, reported map[string]fate) (wrong []string) {
	t.Helper()
	ctx := context.WithValue(t.Context(), aside{}, true)
	x, err := openIndex(ctx, dir, c, true)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if err := mendPlanted(ctx, dir, x, s.Bucket); err != nil {
		t.Error(err)
	}
	found, err := engine.Check(ctx, x, s.Bucket, engine.NewRecordKey(secret))
	if err != nil {
		t.Error(err)
	}
	for _, v := range found {
		wrong = append(wrong, "violated: "+v.String())
	}
	wrong = append(wrong, lostSources(ctx, t, x, s)...)
	for key, f := range reported {
		v, err := x.Version(ctx, must(ballast.ParseKey(key)))
		if is := (fate{v.Status, v.Digest}); err != nil || is != f {
			wrong = append(wrong, fmt.Sprintf("lost: %s was reported %s and is %s: %v", key, f, is, err))
		}
	}
	return wrong
}

// What the matrix looks for shows when it is there.
func TestCrashesWouldShow(t *testing.T) {
	dir, m := t.TempDir(), memStore(t)
	reported := newReports(t)
	w := newWalk(t, t.Context(), dir, m, clockIn(dir))
	w.report = reported.add
	failpoint.Set(w.hook)
	err := errors.Join(w.all(), w.close())
	failpoint.Set(nil)
	if err != nil {
		t.Fatal(err)
	}
	ready := reported.all(t)
	if wrong := broken(t, dir, m, clockIn(dir), ready); len(ready) < len(fates()) || len(wrong) > 0 {
		t.Fatalf("%d versions were reported, and this is wrong: %q", len(ready), wrong)
	}
	weights := ballast.BlobKey(acme, ballast.DigestOf(withWeights("plain")["model.safetensors"]))
	record := "tenants/acme/models/odd/versions/1/00000001.json"
	for name, tc := range map[string]struct {
		plant func()
		want  string
	}{
		"weights that are gone":    {func() { must(0, m.Delete(t.Context(), weights)) }, "violated: kept"},
		"a record that is gone":    {func() { must(0, m.Delete(t.Context(), record)) }, "violated: rebuild"},
		"a version nobody has":     {func() { ready["acme::never::1"] = fate{ballast.StatusReady, ballast.EmptyDigest} }, "lost: acme::never::1"},
		"files that are not these": {func() { ready["acme::lost::1"] = fate{ballast.StatusReady, ballast.EmptyDigest} }, "lost: acme::lost::1"},
		"an end that was undone":   {func() { ready["acme::plain::1"] = fate{ballast.StatusRetired, small("plain").manifest()} }, "lost: acme::plain::1"},
		"sources that nobody has":  {func() { must(m.Put(t.Context(), droppedKey("never"), nil, objstore.Condition{})) }, "lost: a source of never"},
		"an end without a record":  {func() { must(0, m.Delete(t.Context(), "tenants/acme/models/retired/versions/1/00000002.json")) }, "acme::retired::1"},
	} {
		tc.plant()
		if wrong := broken(t, dir, m, clockIn(dir), ready); !strings.Contains(strings.Join(wrong, "\n"), tc.want) {
			t.Errorf("%s: shows as %q, want %q", name, wrong, tc.want)
		}
	}
}

// fate is what was reported of a version.
type fate struct {
	status ballast.Status
	digest digest.Digest
}

func (f fate) String() string { return string(f.status) + " " + f.digest.String() }

// reports is a file of what was reported, the last of each version, which outlives who writes it.
type reports struct{ file string }

func newReports(t *testing.T) *reports { return &reports{filepath.Join(t.TempDir(), "ready")} }

func (r *reports) add(key string, is fate) {
	f := must(os.OpenFile(r.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600))
	defer f.Close()
	must(fmt.Fprintln(f, key, is))
}

func (r *reports) all(t *testing.T) map[string]fate {
	t.Helper()
	all := map[string]fate{}
	f, err := os.Open(r.file)
	if errors.Is(err, os.ErrNotExist) {
		return all
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) == 3 {
			all[words[0]] = fate{ballast.Status(words[1]), digest.Digest(words[2])}
		}
	}
	return all
}
