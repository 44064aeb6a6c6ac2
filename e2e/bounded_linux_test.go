package e2e_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

const (
	// memoryBound is what the service may have of anonymous memory at any moment, whatever is pushed and pulled.
	memoryBound = 150 << 20
	// boundedVariable is how many bytes TestBounded pushes to each store, as in 10GiB; boundedSize when left out.
	boundedVariable = "BALLAST_BOUNDED_SIZE"
	boundedSize     = "1GiB"
	// enoughSamples is how many looks at the memory a verdict takes.
	enoughSamples = 20
)

// TestBounded pushes random bytes as one file of six tenths of the size and four of one tenth, until they are ready, and
// then 10,000 files of 1 KiB, which are listed in pages and pulled. The embedded store is a process of its own and not
// counted.
func TestBounded(t *testing.T) {
	size, err := humanize.ParseBytes(cmp.Or(os.Getenv(boundedVariable), boundedSize))
	check(t, err)
	if size <= 1<<30 {
		t.Parallel()
	}
	// One store after the other: together they would take the disk and each other's time.
	t.Run("embedded", func(t *testing.T) { staysSmall(t, serveHere(t, t.TempDir()), int64(size)) })
	t.Run("minio", func(t *testing.T) { staysSmall(t, serve(t, testenv.MinIO(t), t.TempDir()), int64(size)) })
}

func staysSmall(t *testing.T, r *registry, size int64) {
	c := r.as(t, "acme=writer")
	large, tenth := t.TempDir(), size/10
	for name, n := range map[string]int64{"0": size - 4*tenth, "1": tenth, "2": tenth, "3": tenth, "4": tenth} {
		writeRandom(t, filepath.Join(large, name), n)
	}
	m := watch(t, r.cmd.Process.Pid)
	sent := pushReady(t, c, large, "large:1")
	if sent != size {
		t.Errorf("%d bytes were sent of %d", sent, size)
	}
	check(t, os.RemoveAll(large))
	m.phase(t, humanize.IBytes(uint64(size))+" pushed until ready")

	many := t.TempDir()
	sums := map[string]string{}
	for i := range ballast.MaxFiles {
		name := fmt.Sprintf("%02d/%04d", i%100, i)
		sums[name] = writeRandom(t, filepath.Join(many, name), 1<<10)
	}
	pushReady(t, c, many, "many:1")
	m.phase(t, "10,000 files pushed until ready")
	wantListed(t, c, sums)
	m.phase(t, "10,000 files listed")
	wantPulled(t, c, sums)
	m.phase(t, "10,000 files pulled")
	check(t, m.stop(t).verdict())
}

// writeRandom writes n bytes that nobody has seen, and returns their SHA-256.
func writeRandom(t *testing.T, path string, n int64) string {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f := must[*os.File](t)(os.Create(path))
	sum := sha256.New()
	must[int64](t)(io.CopyN(io.MultiWriter(f, sum), rand.NewChaCha8([32]byte(random(32))), n))
	check(t, f.Close())
	return hex.EncodeToString(sum.Sum(nil))
}

// pushReady pushes a folder until it is ready and returns how many bytes it sent.
func pushReady(t *testing.T, c *client.Client, dir, target string) int64 {
	t.Helper()
	result := must[client.PushResult](t)(c.Push(t.Context(), client.PushOptions{Path: dir, Target: ref(target), AttemptDir: t.TempDir()}))
	if result.Version.Status != ballast.StatusReady {
		t.Fatalf("%s is %s", target, result.Version.Status)
	}
	return result.Sent
}

// wantListed lists the files with all that a list can hold, in pages of each size, and compares them.
func wantListed(t *testing.T, c *client.Client, sums map[string]string) {
	t.Helper()
	for _, limit := range []int{1000, 333} {
		seen, o := map[string]string{}, client.ListFiles{URLs: true, Parts: true, Limit: limit}
		for pages := 1; ; pages++ {
			page := must[ballast.FilesPage](t)(c.FilesPage(t.Context(), ref("many:1"), o))
			if len(page.Files) > limit {
				t.Fatalf("a page of %d files, %d at most", len(page.Files), limit)
			}
			for _, f := range page.Files {
				seen[f.Path] = f.SHA256
			}
			if o.Cursor = page.Cursor; o.Cursor == "" {
				t.Logf("%d files on %d pages", len(seen), pages)
				break
			}
		}
		wantSums(t, "listed", seen, sums)
	}
}

func wantPulled(t *testing.T, c *client.Client, sums map[string]string) {
	t.Helper()
	dir := t.TempDir()
	must[client.PullResult](t)(c.Pull(t.Context(), client.PullOptions{Ref: ref("many:1"), Dir: dir}))
	seen := map[string]string{}
	for name := range sums {
		seen[name] = ballast.DigestOf(must[[]byte](t)(os.ReadFile(filepath.Join(dir, name)))).Encoded()
	}
	wantSums(t, "pulled", seen, sums)
}

func wantSums(t *testing.T, what string, seen, want map[string]string) {
	t.Helper()
	if len(seen) != len(want) {
		t.Errorf("%d files were %s of %d", len(seen), what, len(want))
	}
	for name, sum := range want {
		if seen[name] != sum {
			t.Fatalf("%s was %s with SHA-256 %q, pushed with %s", name, what, seen[name], sum)
		}
	}
}

// samples are sizes of a process's anonymous memory, in bytes.
type samples []int64

// verdict holds the samples to the bound.
func (s samples) verdict() error {
	switch {
	case len(s) < enoughSamples:
		return fmt.Errorf("%d samples of the memory are too few to tell", len(s))
	case slices.Max(s) > memoryBound:
		return fmt.Errorf("anonymous memory grew to %s, at most %s is allowed", mebibytes(slices.Max(s)), mebibytes(memoryBound))
	}
	return nil
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// meter samples a process's anonymous memory every 100 ms.
type meter struct {
	end, ended chan struct{}

	mu     sync.Mutex
	all    samples
	err    error
	phased int       // samples of earlier phases
	since  time.Time // when this phase began
}

func watch(t *testing.T, pid int) *meter {
	t.Helper()
	m := &meter{end: make(chan struct{}), ended: make(chan struct{}), since: time.Now()}
	go func() {
		defer close(m.ended)
		for tick := time.NewTicker(100 * time.Millisecond); m.sample(pid); {
			select {
			case <-tick.C:
			case <-m.end:
				return
			}
		}
	}()
	return m
}

func (m *meter) sample(pid int) bool {
	n, err := testenv.AnonymousMemory(pid)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err = err; err == nil {
		m.all = append(m.all, n)
	}
	return err == nil
}

func (m *meter) taken() samples {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all
}

// phase tells of the samples since the last one.
func (m *meter) phase(t *testing.T, what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.all[m.phased:]; len(s) > 0 {
		t.Logf("%s: %s at most, %d samples, %s", what, mebibytes(slices.Max(s)), len(s), time.Since(m.since).Round(time.Second))
	}
	m.phased, m.since = len(m.all), time.Now()
}

// stop ends the sampling. The process must still run.
func (m *meter) stop(t *testing.T) samples {
	t.Helper()
	close(m.end)
	<-m.ended
	check(t, m.err)
	return m.all
}

// TestBoundedNoticesGrowth is the control: the same look at a process that takes 200 MiB refuses it, and it is the growth
// that is refused, not the process.
func TestBoundedNoticesGrowth(t *testing.T) {
	t.Parallel()
	for size, want := range map[string]bool{"1MiB": true, "200MiB": false} {
		cmd := exec.CommandContext(t.Context(), must[string](t)(os.Executable()))
		cmd.Env = environment(t.TempDir(), growVariable+"="+size)
		pipe := must[io.WriteCloser](t)(cmd.StdinPipe())
		grown := must[io.ReadCloser](t)(cmd.StdoutPipe())
		check(t, cmd.Start())
		t.Cleanup(func() { _ = pipe.Close(); _ = cmd.Wait() })
		m := watch(t, cmd.Process.Pid)
		must[[]byte](t)(io.ReadAll(grown))
		eventually(t, "enough samples", func() bool { return len(m.taken()) > 2*enoughSamples })
		if err := m.stop(t).verdict(); (err == nil) != want {
			t.Errorf("a process that took %s: %v", size, err)
		}
	}
	if err := (samples{1}).verdict(); err == nil {
		t.Error("one sample was enough")
	}
	gone := exec.CommandContext(t.Context(), "true")
	check(t, gone.Run())
	if _, err := testenv.AnonymousMemory(gone.Process.Pid); err == nil {
		t.Error("a process that has ended has memory")
	}
}
