package enginetest

import (
	"encoding/json"
	"os"

	"github.com/ballast-registry/ballast/internal/failpoint"
)

// crashWalkVariable makes a run of the engine's test binary a process that walks: its value is a CrashWalk as JSON.
const crashWalkVariable = "BALLAST_TEST_CRASH_WALK"

// CrashWalk is what a process is to do with the walk that takes every step: TestCrashWalk of the engine, built with the tag
// failpoints.
type CrashWalk struct {
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

// Environ is what the process finds its CrashWalk by.
func (c CrashWalk) Environ() ([]string, error) {
	text, err := json.Marshal(c)
	return append(os.Environ(), crashWalkVariable+"="+string(text)), err
}

// CrashWalkOf is the CrashWalk of this process; ok is false when it has none.
func CrashWalkOf() (c CrashWalk, ok bool, err error) {
	text, ok := os.LookupEnv(crashWalkVariable)
	if !ok {
		return c, false, nil
	}
	return c, true, json.Unmarshal([]byte(text), &c)
}
