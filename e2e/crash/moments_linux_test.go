package crash_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// beforeCommit is when every file of a push is in the store under its name, which the file system has written down, and
// nothing has been asked to stay: whatever has a name then must be whole.
func beforeCommit(t *testing.T) moment {
	return moment{words: "before a commit", serving: func(p *power) {
		p.onCommit = func() {
			if err := syncNames(p.mount); err != nil {
				t.Error(err)
			}
			p.disk.cutNow()
		}
	}}
}

// afterReady is when the nth version was reported ready.
func afterReady(n int) func(*testing.T) moment {
	return func(*testing.T) moment {
		left := n
		return moment{words: fmt.Sprintf("after answer %d", n), serving: func(p *power) {
			p.onReady = func() {
				if left--; left == 0 {
					p.disk.cutNow()
				}
			}
		}}
	}
}

// TestCutsAtTheWorstMoments cuts where a sync that comes too late, or never, shows.
func TestCutsAtTheWorstMoments(t *testing.T) {
	needPower(t)
	for _, at := range []func(*testing.T) moment{beforeCommit, afterReady(1), afterReady(8)} {
		v := worst(t, at(t))
		v.report(t)
	}
}

// worst cuts the pushes of one publisher at a moment. The first is of the third version of its model, which has a file in
// parts.
func worst(t *testing.T, at moment) verdict {
	t.Helper()
	s := newScenario(t, 3, 1, program{}) // whose disk does nothing by itself
	s.publishers[0].next = 3
	t.Run("first start", func(t *testing.T) { fillIndex(t, s.image) })
	return s.cut(t, at)
}

// fillIndex makes a registry the index of which has room on disk. A commit that needs new blocks flushes the names of all
// files as well, and would cover up for a sync of the store that is missing.
func fillIndex(t *testing.T, image string) {
	t.Helper()
	data := dataIn(mountImage(t, image))
	check(t, os.Mkdir(data, 0o700))
	check(t, must[*service](t)(program{}.launch(t.Context(), t, data)).stop())
	file := filepath.Join(data, "index.db")
	content := append(must[[]byte](t)(os.ReadFile(file)), make([]byte, 16<<20)...)
	f := must[*os.File](t)(os.OpenFile(file, os.O_WRONLY, 0))
	_, err := f.Write(content)
	check(t, errors.Join(err, f.Sync(), f.Close()))
}

// TestForgottenSyncsAreNoticed is the control: the same cuts under a kernel that forgets one kind of sync.
func TestForgottenSyncsAreNoticed(t *testing.T) {
	needPower(t)
	need(t, nil, "strace")
	for _, c := range []struct {
		what, call string
		process    func(*service, *testing.T) int
		at         func(*testing.T) moment
	}{
		{"of the store, before the index relies on it", "syncfs", (*service).pid, afterReady(1)},
		{"of the index, before the answer", "fdatasync", (*service).pid, afterReady(1)},
		{"of an object's bytes, before its name", "fsync", (*service).storePID, beforeCommit},
	} {
		t.Run(c.call, func(t *testing.T) {
			for range triesOfControl {
				v := worst(t, forgetting(t, c.call, c.process, c.at(t)))
				t.Logf("lost: %v; wrong: %v", v.lost, v.wrong)
				if len(v.lost)+len(v.wrong) > 0 {
					return
				}
			}
			t.Errorf("without a sync %s nothing is lost", c.what)
		})
	}
}

// triesOfControl bounds how often a control may try to lose something. The first try should do.
const triesOfControl = 3

// forgetting is a moment before which, from the start of the load on, a system call of a process succeeds and does nothing.
func forgetting(t *testing.T, call string, process func(*service, *testing.T) int, at moment) moment {
	serving := at.serving
	at.serving = func(p *power) {
		cmd := exec.Command("strace", "-f", "-o", os.DevNull, "-e", "trace="+call, "-e", "inject="+call+":retval=0", "-p", fmt.Sprint(process(p.service, t)))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		stderr := must[io.ReadCloser](t)(cmd.StderrPipe())
		check(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		defer time.AfterFunc(limit, func() { _ = cmd.Process.Kill() }).Stop()
		said, err := bufio.NewReader(stderr).ReadString('\n')
		if err != nil || !strings.Contains(said, "attached") {
			t.Fatalf("strace does not attach: %q, %v", said, err)
		}
		go io.Copy(io.Discard, stderr)
		serving(p)
	}
	return at
}
