package faults_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/testenv"
)

// TestMain has more tests at once than there are processors: nearly all of their time is waiting for a fault to last.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "24"); err != nil {
		panic(err)
	}
	testenv.Main(m)
}

// limit bounds each wait for something that must happen, on a machine that does much else.
const limit = 2 * time.Minute

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eachStore runs a test on both stores, side by side with the other tests.
func eachStore(t *testing.T, test func(t *testing.T, s *testenv.Store)) {
	t.Parallel()
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		t.Parallel()
		test(t, s)
	})
}

// eventually waits until done returns nil.
func eventually(t *testing.T, what string, done func() error) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		err := done()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %s: %v", what, limit, err)
		}
	}
}

// model is the files of a version.
type model map[string][]byte

// newModel has a file that goes in parts, one that goes by a PUT, and an empty one.
func newModel() model {
	return model{"model.safetensors": random(ballast.MinPartSize + 100), "config.json": random(100), "empty": nil}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func (m model) files() (files []ballast.File) {
	for path, body := range m {
		files = append(files, ballast.File{Path: path, Size: int64(len(body)), Digest: ballast.DigestOf(body)})
	}
	return files
}

// write puts the files into a new folder.
func (m model) write(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range m {
		check(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	return dir
}

// equals compares a folder with the model.
func (m model) equals(dir string) (err error) {
	for name, want := range m {
		got, e := os.ReadFile(filepath.Join(dir, name))
		if e == nil && !bytes.Equal(got, want) {
			e = fmt.Errorf("%s differs", name)
		}
		err = errors.Join(err, e)
	}
	return err
}

func ref(s string) ballast.Ref {
	r, err := ballast.ParseRef(s)
	if err != nil {
		panic(err)
	}
	return r
}

// wantWords checks that an error, or what a program said, names what it should.
func wantWords(t *testing.T, said string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("%q is not in %s", w, said)
		}
	}
}
