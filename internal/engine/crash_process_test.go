//go:build failpoints

package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// walkVariable makes a run of this test binary a process that walks, or looks at what a walk has left: a walkOrder as JSON.
// The tests that cut the power use it too.
const walkVariable = "BALLAST_TEST_CRASH_WALK"

type walkOrder struct {
	Dir   string // of the index
	Aside string // folder of what no crash takes away: what was reported ready, the clock
	// The store. Without an endpoint the process brings its own, on Dir, and syncs index and store.
	Endpoint, Region, Bucket string
	Keys                     [3][2]string // id and secret of service, put and get: objstore.Keys hide theirs
	OneIdentity              bool
	// Where to stop, and how: at no step, by a kill -9, or, with Held, by saying so in that file and standing still.
	Step   string
	Behind string // the first time after this step; empty: from the beginning
	Moment failpoint.Moment
	Held   string
	// Check looks at what is there instead of walking. After a whole walk everything must be published.
	Check, Walked bool
}

func newWalkOrder(t *testing.T, s *testenv.Store, r row) walkOrder {
	return walkOrder{
		Dir: t.TempDir(), Aside: t.TempDir(), Endpoint: s.Endpoint, Region: s.Region, Bucket: s.Bucket, OneIdentity: s.OneIdentity,
		Keys: [3][2]string{{s.Service.ID, s.Service.Secret}, {s.Put.ID, s.Put.Secret}, {s.Get.ID, s.Get.Secret}},
		Step: r.step.String(), Behind: r.behind.String(), Moment: r.moment,
	}
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
	text := os.Getenv(walkVariable)
	if text == "" {
		t.Skip("it is run by tests of crashes")
	}
	var order walkOrder
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		t.Fatal(err)
	}
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
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashWalk$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s", walkVariable, text))
	return cmd.CombinedOutput()
}
