package crash_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFilesOfTheFirstStart cuts as soon as a file of the data folder has a name that is on disk. The registry must start on
// what is left: nothing was lost yet.
func TestFilesOfTheFirstStart(t *testing.T) {
	needPower(t)
	need(t, nil, "strace")
	for _, file := range []string{"record.key", "index.db", "s3.credentials", "admin.token"} {
		t.Run(file, func(t *testing.T) {
			v := firstStart(t, file, "")
			v.report(t)
		})
	}
	// The control: files that get their names without having been flushed.
	if v := firstStart(t, "record.key", ":retval=0"); len(v.wrong) == 0 {
		t.Error("a record.key that was not flushed is missed by nobody")
	} else {
		t.Logf("wrong: %v", v.wrong)
	}
}

// firstStart cuts a start where a file has just got its name. Each sync of the start waits 50 ms, so that there is time
// between the two; inject says what else becomes of it.
func firstStart(t *testing.T, file, inject string) verdict {
	t.Helper()
	s := newScenario(t, 3, 1, program{wrapper: []string{"strace", "-f", "--seccomp-bpf", "-qq", "-o", os.DevNull,
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=50000" + inject, "--"}})
	return s.cut(t, moment{words: "at the name of " + file, starting: func(p *power) {
		go func() {
			for !p.disk.isCut() {
				if _, err := os.Lstat(filepath.Join(dataIn(p.mount), file)); err == nil {
					if err := syncNames(p.mount); err != nil {
						t.Error(err)
					}
					p.disk.cutNow()
				}
				time.Sleep(time.Millisecond)
			}
		}()
	}})
}
