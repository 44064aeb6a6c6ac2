//go:build failpoints

package engine_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// walkOrder is a CrashWalk in this test binary.
type walkOrder struct{ enginetest.CrashWalk }

func newWalkOrder(t *testing.T, s *testenv.Store, r row) walkOrder {
	return walkOrder{enginetest.CrashWalk{
		Dir: t.TempDir(), Aside: t.TempDir(), Endpoint: s.Endpoint, Region: s.Region, Bucket: s.Bucket, OneIdentity: s.OneIdentity,
		Keys: [3][2]string{{s.Service.ID, s.Service.Secret}, {s.Put.ID, s.Put.Secret}, {s.Get.ID, s.Get.Secret}},
		Step: r.step.String(), Behind: r.behind.String(), Moment: r.moment,
	}}
}

func (o walkOrder) store(t *testing.T) *testenv.Store {
	if o.Endpoint == "" {
		return testenv.EmbeddedIn(t, o.Dir)
	}
	keys := func(i int) objstore.Keys { return objstore.Keys{ID: o.Keys[i][0], Secret: o.Keys[i][1]} }
	return &testenv.Store{Endpoint: o.Endpoint, Region: o.Region, Bucket: o.Bucket, OneIdentity: o.OneIdentity, Service: keys(0), Put: keys(1), Get: keys(2)}
}

func (o walkOrder) reports() *reports { return &reports{filepath.Join(o.Aside, "ready")} }

// TestCrashWalk is the body of the processes that walk.
func TestCrashWalk(t *testing.T) {
	told, ok, err := enginetest.CrashWalkOf()
	switch {
	case err != nil:
		t.Fatal(err)
	case !ok:
		t.Skip("it is run by tests of crashes")
	}
	order := walkOrder{told}
	s := order.store(t)
	if order.Check {
		failpoint.Set(nil)
		ready := order.reports().all(t)
		if order.Walked {
			addFates(ready)
		}
		for _, wrong := range broken(t, order.Dir, realStore(t, s), clockIn(order.Aside), ready) {
			t.Error(wrong)
		}
		return
	}
	w := newWalk(t, t.Context(), order.Dir, realStore(t, s), clockIn(order.Aside))
	if s.Server != nil {
		w.sync = s.Server.Sync
	}
	var reporting sync.Mutex
	w.report = func(key string, f fate) {
		reporting.Lock()
		defer reporting.Unlock()
		order.reports().add(key, f)
	}
	if order.Step != "" {
		at := row{step: must(failpoint.ParseStep(order.Step)), moment: order.Moment}
		if order.Behind != "" {
			at.behind = must(failpoint.ParseStep(order.Behind))
		}
		w.stop, _ = w.once(at, func(context.Context) error {
			if order.Held == "" {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			reporting.Lock() // for good: nothing is ready after the crash
			if err := os.WriteFile(order.Held, []byte("held\n"), 0o600); err != nil {
				panic(err)
			}
			select {}
		})
	}
	failpoint.Set(w.hook)
	if err := errors.Join(w.all(), w.close()); err != nil {
		t.Fatal(err)
	}
}

func killed(t *testing.T, table *crashTable) {
	for _, r := range rows() {
		t.Run(r.String(), func(t *testing.T) {
			t.Parallel()
			s := testenv.Embedded(t)
			order := newWalkOrder(t, s, r)
			out, err := order.run(t)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("it was to be killed, and ended with %v:\n%s", err, out)
			}
			table.add("killed", r)
			order.Step = ""
			for _, next := range []struct {
				what          string
				check, walked bool
			}{{"at rest", true, false}, {"doing it again", false, false}, {"at rest after doing it again", true, true}} {
				order.Check, order.Walked = next.check, next.walked
				if out, err := order.run(t); err != nil {
					t.Fatalf("%s: %v\n%s", next.what, err, out)
				}
			}
		})
	}
}

// run has a process of its own do it.
func (o walkOrder) run(t *testing.T) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashWalk$", "-test.timeout=5m")
	cmd.Env = must(o.Environ())
	return cmd.CombinedOutput()
}
