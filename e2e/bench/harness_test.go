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
		loop := bare
		if os.Getenv(bareVariable) == bareUploads {
			loop = barePush
		}
		if err := loop(os.Stdin, os.Args[1:]); err != nil {
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
	// mark finds the line of its stderr, the last one, until which time is taken too; nil: there is none.
	mark func(line []byte) bool
}

// sample is one run. marked is the time until the mark.
type sample struct{ wall, cpu, marked time.Duration }

func (c contestant) run(b *testing.B, into string) sample {
	b.Helper()
	var s sample
	for _, cmd := range c.commands(into) {
		said := &watched{mark: c.mark}
		cmd.Stdout, cmd.Stderr = said, said
		began := time.Now()
		err := cmd.Run()
		s.wall += time.Since(began)
		if err != nil {
			b.Fatalf("%s: %v: %v\n%s", c.name, cmd.Args, err, said.said.Bytes())
		}
		if !said.at.IsZero() {
			s.marked = said.at.Sub(began)
		}
		s.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return s
}

// watched keeps what a program says, and when it last said the line that mark looks for.
type watched struct {
	said bytes.Buffer // a field of its own: io.Copy would read into an embedded one past Write
	mark func(line []byte) bool
	line []byte // what has come of the next one
	last []byte // the one that was found; the same one again is no news
	at   time.Time
}

// Write implements io.Writer.
func (w *watched) Write(p []byte) (int, error) {
	if w.mark != nil {
		w.line = append(w.line, p...)
		for {
			line, rest, whole := bytes.Cut(w.line, []byte("\n"))
			if !whole {
				break
			}
			if !bytes.Equal(line, w.last) && w.mark(line) {
				w.at, w.last = time.Now(), bytes.Clone(line)
			}
			w.line = rest
		}
	}
	return w.said.Write(p)
}

// course is where contestants go.
type course struct {
	metric string
	bytes  int64 // that move in a run
	link   int64 // bits a second that the way carries; 0: as many as the cores do
	// fresh names a destination that is not there.
	fresh func() string
	// clear removes it after a run, and looks at what the run left there.
	clear func(into string) error
	// check looks at what the first contestant left.
	check func(into string) error
}

// race runs a round for each iteration and logs the table. The first contestant is what the others are compared to.
func (c course) race(b *testing.B, all []contestant) {
	b.Helper()
	samples := make([][]sample, len(all))
	loads := []string{}
	for round := range b.N {
		for i := range all {
			at := (i + round) % len(all) // nobody is always first
			if all[at].missing != "" {
				continue
			}
			dest := c.fresh()
			samples[at] = append(samples[at], all[at].run(b, dest))
			if at == 0 {
				if err := c.check(dest); err != nil {
					b.Fatal(err)
				}
			}
			if err := c.clear(dest); err != nil {
				b.Fatalf("%s: %v", all[at].name, err)
			}
		}
		loads = append(loads, load())
	}
	if c.link > 0 {
		b.Logf("of the link: %s", c.shares(all, samples))
	}
	b.Log(table(all, samples), "\nload average after each round: ", strings.Join(loads, ", "))
	b.ReportMetric(median(walls(samples[0])).Seconds(), c.metric)
}

// shares are how much of the link each has filled, by its median.
func (c course) shares(all []contestant, samples [][]sample) string {
	var said []string
	for i, who := range all {
		if who.missing == "" {
			said = append(said, fmt.Sprintf("%s %.1f %%", who.name, 100*8*float64(c.bytes)/median(walls(samples[i])).Seconds()/float64(c.link)))
		}
	}
	return strings.Join(said, ", ")
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

func marks(samples []sample) (all []time.Duration) {
	for _, s := range samples {
		all = append(all, s.marked)
	}
	return all
}

// table has a line for each contestant. A ratio is the median of the rounds' own: ballast's time by that of the other; when
// ballast's time was taken until a mark too, there is a line and a ratio for that.
func table(all []contestant, samples [][]sample) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	marked := all[0].mark != nil
	title := "\ncontestant\tmedian\tleast\tmost\tcpu\tballast is"
	if marked {
		title += "\tuntil uploaded"
	}
	fmt.Fprintln(w, title)
	row := func(name string, times []time.Duration, of []sample) {
		fmt.Fprintf(w, "%s\t%.2f s\t%.2f s\t%.2f s\t%.2f s", name, median(times).Seconds(), slices.Min(times).Seconds(), slices.Max(times).Seconds(), median(cpus(of)).Seconds())
		fmt.Fprintf(w, "\t%.2f ×", ratio(walls(samples[0]), times))
		if marked {
			fmt.Fprintf(w, "\t%.2f ×", ratio(marks(samples[0]), times))
		}
		fmt.Fprintln(w)
	}
	for i, c := range all {
		if c.missing != "" {
			fmt.Fprintf(w, "%s\tmissing: %s\n", c.name, c.missing)
			continue
		}
		if c.mark != nil {
			row(c.name+", until uploaded", marks(samples[i]), samples[i])
			c.name += ", until ready"
		}
		row(c.name, walls(samples[i]), samples[i])
	}
	_ = w.Flush()
	return out.String()
}

// ratio is the median of what each round's time is by the other's of the same round.
func ratio(times, by []time.Duration) float64 {
	all := make([]float64, len(by))
	for round := range by {
		all[round] = times[round].Seconds() / by[round].Seconds()
	}
	return median(all)
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

// fast is the folder for all that moves.
func fast() string {
	dir := os.Getenv("BALLAST_BENCH_DIR")
	if info, err := os.Stat("/dev/shm"); dir == "" && err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return cmp.Or(dir, os.TempDir())
}

// destination is a folder for what moves, gone in the end.
func destination(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp(fast(), "ballast-bench-")
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
	main := info.Main
	if strings.HasPrefix(main.Path, "github.com/ballast-registry/") { // a main function around somebody else's module
		for _, d := range info.Deps {
			if strings.HasPrefix(info.Path, main.Path) && strings.HasSuffix(d.Path, "/"+path[strings.LastIndexByte(path, '/')+1:]) {
				main = *d
			}
		}
	}
	return main.Path + " " + main.Version
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
