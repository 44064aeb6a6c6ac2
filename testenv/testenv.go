// Package testenv gives tests real servers: the embedded store and a MinIO with the three users that the product asks
// for, each started once per test binary on a free loopback port with a temporary folder, and a new bucket per call. It
// also builds the real binary, and puts a proxy with faults before any server.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
// MinIO and its client are pinned programs (see package tool). Without them a test that needs one is skipped, and fails
// when BALLAST_REQUIRE_TOOLS is 1, as `make test` sets it. Servers end with the test binary, however it ends.
package testenv

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/ballast-registry/ballast/internal/s3dev"
	"github.com/ballast-registry/ballast/testenv/canary"
	"github.com/ballast-registry/ballast/testenv/tool"
)

const (
	// RequireVariable set to 1 turns the skip for a missing tool into a failure.
	RequireVariable = "BALLAST_REQUIRE_TOOLS"
	// childVariable makes the test binary the embedded store's process; its value is the folder to remove at the end.
	childVariable = "BALLAST_TESTENV_S3DEV"
)

// process is what the test binary shares between its tests. The testing package hands a test nothing but its *testing.T,
// so this one is a package variable; Run empties it.
var process struct {
	running    bool // inside Run
	minio      shared[*minioServer]
	embedded   shared[*s3dev.Server]
	binary     shared[string]
	failpoints shared[string] // the binary with that tag

	mu    sync.Mutex
	atEnd []func() // run last first
}

// Main is the body of TestMain: it runs the tests, stops the servers and exits.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a TestMain that does more: it returns the exit code. Call it before anything else, since it does not
// return in the processes that the embedded store starts.
func Run(m interface{ Run() int }) int {
	if folder := os.Getenv(childVariable); folder != "" {
		code := s3dev.Child()
		_ = os.RemoveAll(folder) // the test binary may have been killed
		os.Exit(code)
	}
	process.running = true
	defer cleanUp()
	code := m.Run()
	for _, leak := range canary.Late() {
		fmt.Fprintln(os.Stderr, "after its test was over", leak)
		code = max(code, 1)
	}
	return code
}

func cleanUp() {
	process.mu.Lock()
	defer process.mu.Unlock()
	for _, end := range process.atEnd {
		defer end()
	}
	process.atEnd = nil
}

// atEnd runs f when the test binary's tests are over.
func atEnd(f func()) {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.atEnd = append(process.atEnd, f)
}

// shared makes a value once per test binary, for the first test that wants it. All get the same error.
type shared[T any] struct {
	once  sync.Once
	value T
	err   error
}

func (s *shared[T]) get(t testing.TB, make func() (T, error)) T {
	t.Helper()
	if !process.running {
		t.Fatal("testenv: TestMain must call testenv.Main")
	}
	s.once.Do(func() { s.value, s.err = make() })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.value
}

// NeedTool returns the path of a pinned program, or skips the test: see RequireVariable.
func NeedTool(t testing.TB, name string) string {
	t.Helper()
	path, err := tool.Find(name)
	switch {
	case err == nil:
	case os.Getenv(RequireVariable) == "1":
		t.Fatalf("%v (%s=1 forbids to skip)", err, RequireVariable)
	default:
		t.Skip(err)
	}
	return path
}

// Each runs test as the subtests "embedded" and "minio", each with a store and bucket of its own.
func Each(t *testing.T, test func(t *testing.T, s *Store)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, Embedded(t)) })
	t.Run("minio", func(t *testing.T) { test(t, MinIO(t)) })
}
