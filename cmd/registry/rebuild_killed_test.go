package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// TestKilledRebuild kills a rebuild before and after each step that it takes. What it leaves is not served, and the next one
// makes the same index as if nothing had been.
func TestKilledRebuild(t *testing.T) {
	killed := &killedSteps{at: map[string]bool{}}
	t.Run("stores", func(t *testing.T) {
		for name, store := range map[string]func(*testing.T) *testenv.Store{
			"embedded": func(*testing.T) *testenv.Store { return nil },
			"minio":    func(t *testing.T) *testenv.Store { return testenv.MinIO(t) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				l := madeToLose(t, store(t))
				killed.add(signed(t, l)...)
				killed.add(unsigned(t, l)...)
			})
		}
	})
	t.Run("every step", func(t *testing.T) {
		for step, file := range stepsOfRebuild(t) {
			if !killed.at[step.String()] {
				t.Errorf("no rebuild of this test takes the step %s of %s, so none is killed there", step, file)
			}
		}
	})
}

// signed kills a rebuild that has the record key.
func signed(t *testing.T, l *losing) (steps []string) {
	t.Helper()
	k := &killedRebuild{losing: l, lost: []string{indexFile}}
	want, told := k.whole(t)
	if r := want.Report; r.Ready != 3 || r.Retired != 1 || r.Deleted != 1 || r.Snapshot == "" || r.Filled.Aliases != 1 || r.Filled.Production != 1 {
		t.Fatalf("report is %+v", r)
	}
	steps = distinct(told)
	for _, step := range steps {
		k.killAt(t, want, step, 1)
	}
	k.killAt(t, want, failpoint.CloseIndex.String(), countOf(told, failpoint.CloseIndex.String())) // once it has ended
	k.serves(t)
	return steps
}

// unsigned kills a rebuild that lacks the record key, and finds other bytes in the place of one version's: at the steps that
// it takes beside those of signed, the first time and the last, and when all is signed anew.
func unsigned(t *testing.T, l *losing) (steps []string) {
	t.Helper()
	l.swap(t, 5)
	k := &killedRebuild{losing: l, lost: []string{indexFile, recordKeyFile}, args: []string{"--accept-unsigned"}}
	want, told := k.whole(t)
	if r := want.Report; r.Ready != 2 || r.Tally.Lost != 1 || len(r.Unsigned) != 5 || len(r.LostVersions) != 1 {
		t.Fatalf("report is %+v", r)
	}
	k.lost = []string{indexFile}
	_, known := k.whole(t)
	k.lost = []string{indexFile, recordKeyFile}
	for _, step := range distinct(told) {
		if !slices.Contains(known, step) {
			k.killAt(t, want, step, 1)
			k.killAt(t, want, step, countOf(told, step))
			steps = append(steps, step)
		}
	}
	k.killAt(t, want, failpoint.RebuildReady.String(), 1)
	k.killAt(t, want, failpoint.EndRebuild.String(), 1)
	k.serves(t)
	return steps
}

// killedSteps are those at which a rebuild was killed.
type killedSteps struct {
	mu sync.Mutex
	at map[string]bool
}

func (k *killedSteps) add(steps ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, step := range steps {
		k.at[step] = true
	}
}

func distinct(told []string) []string { return slices.Compact(slices.Sorted(slices.Values(told))) }

func countOf(told []string, step string) (n int) {
	for _, s := range told {
		if s == step {
			n++
		}
	}
	return n
}

// killedRebuild is a registry whose rebuild is killed again and again.
type killedRebuild struct {
	*losing
	lost []string // files that are gone each time
	args []string // of the rebuild
}

// rebuiltIndex is what a rebuild made.
type rebuiltIndex struct {
	Report engine.Report
	Index  index.Contents
	Tokens []string
}

// whole rebuilds without a kill, and tells the steps of that.
func (k *killedRebuild) whole(t *testing.T) (rebuiltIndex, []string) {
	t.Helper()
	k.lose(t, k.lost...)
	file := filepath.Join(t.TempDir(), "steps")
	made := k.next(t, "tell:"+file)
	told, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return made, strings.Fields(string(told))
}

// next rebuilds what is there.
func (k *killedRebuild) next(t *testing.T, order string) (made rebuiltIndex) {
	t.Helper()
	made.Report = k.rebuilt(t, order, k.args...)
	k.read(t, &made)
	return made
}

// killAt kills a rebuild before and after the nth time that it takes a step.
func (k *killedRebuild) killAt(t *testing.T, want rebuiltIndex, step string, n int) {
	t.Helper()
	for _, moment := range []failpoint.Moment{failpoint.Before, failpoint.After} {
		order := fmt.Sprintf("%s:%s:kill:%d", step, moment, n)
		k.lose(t, k.lost...)
		out, err := k.rebuild(t, order, k.args...).CombinedOutput()
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%s: it was to be killed, and ended with %v\n%s", order, err, out)
		}
		got := rebuiltIndex{Report: want.Report}
		switch {
		case step == failpoint.CloseIndex.String() && n > 1, step == failpoint.EndRebuild.String() && moment == failpoint.After: // it has ended
			k.read(t, &got)
		default:
			if step == failpoint.RebuildReady.String() {
				k.refusedToServe(t, order)
			}
			got = k.next(t, "")
		}
		if d := cmp.Diff(want, got, byValue()); d != "" {
			t.Errorf("%s: another index is made (-whole +killed):\n%.4000s", order, d)
		}
		if left, err := filepath.Glob(filepath.Join(k.data, ".snapshot-*")); err != nil || len(left) > 0 {
			t.Errorf("%s: it leaves %v, %v", order, left, err)
		}
	}
}

func (k *killedRebuild) refusedToServe(t *testing.T, order string) {
	t.Helper()
	if out, err := k.serve(t).CombinedOutput(); err == nil || !strings.Contains(string(out), "half-built") {
		t.Errorf("%s: a half-built index is served: %v\n%s", order, err, out)
	}
}

// read reads what the index says, less what each rebuild has of its own: who owns it, the ids of tokens, the number of times
// that a record was signed, and when it found that nobody uses a blob.
func (k *killedRebuild) read(t *testing.T, made *rebuiltIndex) {
	t.Helper()
	bolt, err := index.OpenBolt(filepath.Join(k.data, indexFile), index.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer bolt.Close()
	x, err := index.Open(t.Context(), bolt, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x.Contents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range c.Tokens {
		made.Tokens = append(made.Tokens, fmt.Sprintf("%s of %s, expired: %t", token.Name, token.CreatedBy, token.Expired(time.Now())))
	}
	slices.Sort(made.Tokens)
	for id, v := range c.Versions {
		v.Records, v.RecordMAC = 0, ""
		if len(k.args) > 0 {
			v.Revision = 0 // counts signatures
		}
		c.Versions[id] = v
	}
	for id, b := range c.Blobs {
		if !b.Tombstone.IsZero() {
			b.Tombstone = ballast.At(time.Unix(1, 0))
		}
		c.Blobs[id] = b
	}
	c.Owner, c.Tokens, c.Events, c.Largest = index.Owner{}, nil, nil, 0
	made.Index = c
}

// byValue compares values that have fields of their own.
func byValue() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b ballast.Scope) bool { return a == b }), cmp.Comparer(func(a, b ballast.Name) bool { return a == b }),
		cmp.Comparer(func(a, b ballast.Version) bool { return a == b }), cmp.Comparer(func(a, b ballast.Alias) bool { return a == b }),
		cmp.Comparer(func(a, b ballast.Time) bool { return a.Equal(b.Time) }),
	}
}

// serves holds the last index to the invariants, and starts a service on it.
func (k *killedRebuild) serves(t *testing.T) {
	t.Helper()
	k.withStore(t, func(s *testenv.Store) {
		bucket, err := objstore.Open(t.Context(), s.Config())
		if err == nil {
			err = enginetest.AtRest(t.Context(), k.data, bucket)
		}
		if err != nil {
			t.Error(err)
		}
	})
	startService(t, k.serve(t)).stop(t)
}
