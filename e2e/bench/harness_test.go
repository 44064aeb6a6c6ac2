package bench_test

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ballast-registry/ballast/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv(echoVariable) != "" {
		if err := echo(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(bareVariable) != "" {
		if err := bare(os.Stdin, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testenv.Main(m)
}

// contestant is a program, or several one after the other, that is run once a round.
type contestant struct {
	name    string
	missing string // why it cannot run
	// commands are what it runs for a destination that is not there yet.
	commands func(into string) []*exec.Cmd
}

// sample is one run.
type sample struct{ wall, cpu time.Duration }

func (c contestant) run(b *testing.B, into string) sample {
	b.Helper()
	var s sample
	for _, cmd := range c.commands(into) {
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		began := time.Now()
		err := cmd.Run()
		s.wall += time.Since(began)
		if err != nil {
			b.Fatalf("%s: %v: %v\n%s", c.name, cmd.Args, err, said.Bytes())
		}
		s.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return s
}

// race runs a round for each iteration and logs the table. The first contestant is what the others are compared to; check
// is asked about what it left.
func race(b *testing.B, into string, all []contestant, check func(into string) error) {
	b.Helper()
	samples := make([][]sample, len(all))
	loads := []string{}
	for round := range b.N {
		for i := range all {
			at := (i + round) % len(all) // nobody is always first
			if all[at].missing != "" {
				continue
			}
			dest := filepath.Join(into, "out")
			samples[at] = append(samples[at], all[at].run(b, dest))
			if at == 0 {
				if err := check(dest); err != nil {
					b.Fatal(err)
				}
			}
			if err := os.RemoveAll(dest); err != nil {
				b.Fatal(err)
			}
		}
		loads = append(loads, load())
	}
	b.Log(table(all, samples), "\nload average after each round: ", strings.Join(loads, ", "))
	b.ReportMetric(median(walls(samples[0])).Seconds(), "s/pull")
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

func walls(samples []sample) (all []time.Duration) {
	for _, s := range samples {
		all = append(all, s.wall)
	}
	return all
}

func cpus(samples []sample) (all []time.Duration) {
	for _, s := range samples {
		all = append(all, s.cpu)
	}
	return all
}

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// spread is the median, the least and the most.
func spread(values []float64) [3]float64 {
	return [3]float64{median(values), slices.Min(values), slices.Max(values)}
}

// table has a line for each contestant. The ratio is the median of the rounds' own: ballast's time by that of the other.
func table(all []contestant, samples [][]sample) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\ncontestant\tmedian\tleast\tmost\tballast is\tcpu")
	for i, c := range all {
		if c.missing != "" {
			fmt.Fprintf(w, "%s\tmissing: %s\n", c.name, c.missing)
			continue
		}
		var ratios []float64
		for round, s := range samples[i] {
			ratios = append(ratios, samples[0][round].wall.Seconds()/s.wall.Seconds())
		}
		mine := walls(samples[i])
		fmt.Fprintf(w, "%s\t%.2f s\t%.2f s\t%.2f s\t%.2f ×\t%.2f s\n", c.name, median(mine).Seconds(), slices.Min(mine).Seconds(), slices.Max(mine).Seconds(),
			median(ratios), median(cpus(samples[i])).Seconds())
	}
	_ = w.Flush()
	return out.String()
}

// machine describes where this runs.
func machine() string {
	model := ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(text), "model name\t: ")
		model, _, _ = strings.Cut(rest, "\n")
	}
	return fmt.Sprintf("%s/%s, %d cores %s, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), model, runtime.Version())
}

// size is how many bytes move.
func size(b *testing.B) int64 {
	b.Helper()
	n, err := humanize.ParseBytes(cmp.Or(os.Getenv("BALLAST_BENCH_SIZE"), "2GiB"))
	if err != nil {
		b.Fatal(err)
	}
	return int64(n)
}

// destination is a folder for what moves, gone in the end.
func destination(b *testing.B) string {
	b.Helper()
	parent := os.Getenv("BALLAST_BENCH_DIR")
	if info, err := os.Stat("/dev/shm"); parent == "" && err == nil && info.IsDir() {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "ballast-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// write makes a file of n bytes that nobody has seen.
func write(b *testing.B, path string, n int64) {
	b.Helper()
	var seed [32]byte
	_, _ = rand.Read(seed[:])
	f, err := os.Create(path)
	if err == nil {
		_, err = io.CopyN(f, mathrand.NewChaCha8(seed), n)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		b.Fatal(err)
	}
}

// program finds a pinned tool, or says why there is none.
func program(b *testing.B, name string, find func(string) (string, error)) (path, missing string) {
	b.Helper()
	path, err := find(name)
	if err != nil {
		return "", err.Error()
	}
	return path, ""
}

// versionOf is the module and version that a program of Go's was built from, as the program itself has it: built from a
// module, it does not know what to print.
func versionOf(b *testing.B, path string) string {
	b.Helper()
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return info.Main.Path + " " + info.Main.Version
}

// firstLine is what a command says of its version.
func firstLine(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// moduleVersion is the version of a module that this program was built with.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return path
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Path + " " + m.Version
		}
	}
	return path
}
