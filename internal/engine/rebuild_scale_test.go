package engine_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/internal/engine"
)

// 10,000 versions come back as they were.
func TestRebuildOfManyVersions(t *testing.T) {
	if testing.Short() {
		t.Skip("it publishes 10,000 versions")
	}
	const names, versions = 100, 100
	s := memStore(t)
	r := withSnapshots(t, s)
	for n := range names {
		for v := range versions {
			target := fmt.Sprintf("model-%02d:%d", n, v+1)
			r.mustPush(t, writer, target, folder{"weights.bin": []byte("weights of " + strconv.Itoa(n*versions+v))})
			switch v % 25 {
			case 7:
				r.retire(t, target)
			case 13:
				r.remove(t, target)
			case 19:
				patch(t, r, target, "what it is good for")
			}
		}
	}
	r.Close()
	before := semantics(t, r.opt.Index, true)
	var report engine.Report
	r, report = r.rebuilt(t, nil)
	sameIndex(t, before, semantics(t, r.opt.Index, true))
	if report.Retired != names*versions/25 || report.Deleted != names*versions/25 || report.Ready != names*versions*23/25 {
		t.Errorf("tally is %+v", report.Tally)
	}
	took := time.Duration(report.Elapsed)
	t.Logf("%d versions in %s: %.0f versions/s", names*versions, took.Round(time.Millisecond), names*versions/took.Seconds())
}
