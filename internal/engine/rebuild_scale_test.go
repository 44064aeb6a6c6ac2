package engine_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/internal/engine"
)

// manyVersions is how many are rebuilt: 1,000, or what BALLAST_REBUILD_VERSIONS says, as in `make soak`.
func manyVersions() int {
	n := 1000
	if s := os.Getenv("BALLAST_REBUILD_VERSIONS"); s != "" {
		n = must(strconv.Atoi(s))
	}
	return n
}

// Many versions come back as they were.
func TestRebuildOfManyVersions(t *testing.T) {
	const versions = 25
	names := manyVersions() / versions
	s := memStore(t)
	r := withSnapshots(t, s)
	for n := range names {
		for v := range versions {
			target := fmt.Sprintf("model-%03d:%d", n, v+1)
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
	t.Logf("%d versions in %s: %.0f versions/s", names*versions, took.Round(time.Millisecond), float64(names*versions)/took.Seconds())
}
