//go:build failpoints

package crash_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCutsAtFailpoints cuts before and after the effect of every step, with the service held there.
func TestCutsAtFailpoints(t *testing.T) {
	needPower(t)
	binary := failpointBinary(t)
	for _, step := range failpointSteps() {
		for _, when := range []string{"before", "after"} {
			t.Run(step+" "+when, func(t *testing.T) {
				v := cutAtFailpoint(t, binary, step, when)
				v.report(t)
			})
		}
	}
}

// failpointSteps names the steps that the load of these tests goes through.
func failpointSteps() []string { return nil }

// cutAtFailpoint cuts at a step, once two versions are ready. A step that is never reached fails the test.
func cutAtFailpoint(t *testing.T, binary, step, when string) verdict {
	t.Helper()
	s := newScenario(t, 0, 1, program{binary: binary})
	v := s.cut(t, afterReady(2)(t))
	v.report(t)
	return s.cut(t, held(t, step+":"+when))
}

// held is when the service stands at a failpoint.
func held(t *testing.T, failpoint string) moment {
	t.Helper()
	fifo := filepath.Join(t.TempDir(), "held")
	check(t, unix.Mkfifo(fifo, 0o600))
	return moment{
		words: "held at " + failpoint,
		env:   []string{"BALLAST_FAILPOINT=" + failpoint + ":hold", "BALLAST_FAILPOINT_HELD=" + fifo},
		starting: func(p *power) {
			f := must[*os.File](t)(os.OpenFile(fifo, os.O_RDWR, 0)) // never at its end, whoever writes
			t.Cleanup(func() { f.Close() })
			go func() {
				if line, err := bufio.NewReader(f).ReadString('\n'); err == nil {
					fmt.Fprintf(t.Output(), "held: %s", line)
					p.disk.cutNow()
				}
			}()
		},
	}
}

// failpointBinary builds the program with failpoints.
func failpointBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ballast")
	cmd := exec.Command("go", "build", "-tags", "failpoints", "-o", path, "github.com/ballast-registry/ballast/cmd/registry")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// TestHeldIsNoticed: who says that it is held is cut at once. A shell says it in the service's place.
func TestHeldIsNoticed(t *testing.T) {
	needPower(t)
	s := newScenario(t, 0, 1, program{wrapper: []string{"sh", "-c", `(sleep 2; echo "$BALLAST_FAILPOINT" >"$BALLAST_FAILPOINT_HELD") & exec "$@"`, "sh"}})
	began := time.Now()
	v := s.cut(t, held(t, "seal:before"))
	v.report(t)
	if took := time.Since(began); took > limit {
		t.Errorf("the cut came after %s", took)
	}
}
