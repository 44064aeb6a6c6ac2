package bench_test

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
	"github.com/ballast-registry/ballast/testenv/tool"
)

// BenchmarkPull pulls from MinIO over loopback, beside a bare loop and the fastest tools followed by a program that proves
// what they fetched, one process a core.
func BenchmarkPull(b *testing.B) {
	b.Log(machine(), "; ballast pull MODEL DIR; ", bareConnections, " connections and ranges of 64 MiB for the bare loop")
	total := size(b)
	for _, shape := range shapes(total) {
		b.Run(shape.name, func(b *testing.B) { benchPull(b, serve(b, store(b), here), shape) })
	}
}

// shape is how bytes are spread over files.
type shape struct {
	name  string
	files int
	bytes int64 // of each
}

func shapes(total int64) []shape {
	return []shape{{"8 shards", 8, total / 8}, {"many files of 1 MiB", int(total >> 20), 1 << 20}, {"1 file", 1, total}}
}

// plain is where the same files lie under their names, as the tools want them.
const plain = "bench"

func benchPull(b *testing.B, r *registry, of shape) {
	b.StopTimer()
	s := r.store
	dir := b.TempDir()
	for i := range of.files {
		write(b, filepath.Join(dir, fmt.Sprintf("shard-%05d.bin", i)), of.bytes)
	}
	r.push(b, dir)
	upload(b, s, dir)
	if err := os.RemoveAll(dir); err != nil {
		b.Fatal(err)
	}
	all, sums := r.contestants(b)
	b.StartTimer()
	into := filepath.Join(destination(b), "out")
	course{
		metric: "s/pull", bytes: int64(of.files) * of.bytes, link: r.link, fresh: func() string { return into }, clear: os.RemoveAll,
		check: func(into string) error {
			for path, want := range sums {
				got, err := sumOf(filepath.Join(into, path))
				if err != nil || got != want {
					return fmt.Errorf("%s is %s, %w", path, got, err)
				}
			}
			return nil
		},
	}.race(b, all)
}

// upload puts the files under their names, in parts as tools do.
func upload(b *testing.B, s *testenv.Store, dir string) {
	b.Helper()
	c := s.Client(b, s.Root)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if err == nil {
			_, err = c.FPutObject(b.Context(), s.Bucket, plain+"/"+e.Name(), filepath.Join(dir, e.Name()), minio.PutObjectOptions{PartSize: 64 << 20})
		}
	}
	if err != nil {
		b.Fatal(err)
	}
}

// registry is a running `ballast serve`, and who pulls from it.
type registry struct {
	store *testenv.Store
	exe   string
	env   []string
	api   *client.Client

	process   process
	tokenFile string
	link      int64 // bits a second between it and who asks; 0: no less than the cores do
}

// benchRate is a limit on what one token may ask that is never met, and counted all the same.
const benchRate = "1000000"

// here is this machine's loopback.
var here = testenv.Place{Address: "localhost:0"}

// serve runs the registry until the benchmark ends, and then says how much memory it took.
func serve(b *testing.B, s *testenv.Store, at testenv.Place) *registry {
	b.Helper()
	r := &registry{store: s, exe: testenv.Binary(b)}
	data, home := b.TempDir(), b.TempDir()
	args := slices.Concat(at.Within, []string{r.exe, "serve", "--data", data, "--listen", at.Address, "--metrics-listen", "off", "--rate-limit", benchRate}, s.ServeFlags())
	cmd := exec.CommandContext(context.WithoutCancel(b.Context()), args[0], args[1:]...)
	r.env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true"}
	cmd.Env = append(r.env, "AWS_SHARED_CREDENTIALS_FILE="+s.Credentials(b))
	logs, err := os.Create(filepath.Join(data, "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer logs.Close()
	cmd.Stderr = logs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	watchMemory(b, cmd.Process.Pid)
	var on string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, url, ok := strings.Cut(lines.Text(), "export BALLAST_URL="); ok {
			on = url
		}
		if strings.Contains(lines.Text(), "export BALLAST_TOKEN=") {
			break
		}
	}
	r.tokenFile, r.process = filepath.Join(data, "admin.token"), process{strings.TrimPrefix(on, "http://"), cmd.Process.Pid}
	r.env = append(r.env, "BALLAST_URL="+on, "BALLAST_TOKEN_FILE="+r.tokenFile)
	r.api, err = client.New(client.Options{URL: on, TokenSource: client.TokenFile(r.tokenFile)})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// memoryTick is how often the service's memory is looked at.
const memoryTick = 50 * time.Millisecond

// watchMemory logs the most anonymous memory that a process ever had when it was looked at.
func watchMemory(b *testing.B, pid int) {
	b.Helper()
	var most int64
	var looks int
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(memoryTick)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-end:
				return
			}
			if n, err := testenv.AnonymousMemory(pid); err == nil {
				most, looks = max(most, n), looks+1
			}
		}
	}()
	b.Cleanup(func() {
		close(end)
		<-ended
		b.Logf("service: at most %d MiB of anonymous memory, in %d looks", most>>20, looks)
	})
}

const model = "global::m::1"

func (r *registry) command(args ...string) *exec.Cmd {
	cmd := exec.Command(r.exe, args...)
	cmd.Env = r.env
	return cmd
}

func (r *registry) push(b *testing.B, dir string) {
	b.Helper()
	if out, err := r.command("push", dir, model).CombinedOutput(); err != nil {
		b.Fatalf("push: %v\n%s", err, out)
	}
}

// contestants are all who pull, and what they have to get: SHA-256 by path.
func (r *registry) contestants(b *testing.B) (all []contestant, sums map[string]string) {
	b.Helper()
	ref, err := ballast.ParseRef(model)
	if err != nil {
		b.Fatal(err)
	}
	sums = map[string]string{}
	var files []bareFile
	for f, err := range r.api.Files(b.Context(), ref, client.ListFiles{URLs: true, Limit: 1000}) {
		if err != nil {
			b.Fatal(err)
		}
		files, sums[f.Path] = append(files, bareFile{f.Request.URL, f.Path, f.Size}), f.SHA256
	}
	all = []contestant{{name: "ballast pull", commands: func(into string) []*exec.Cmd { return []*exec.Cmd{r.command("pull", model, into)} }}}
	for mode, name := range map[string]string{"hashed": "bare loop, every range hashed", "unhashed": "bare loop, nothing hashed"} {
		all = append(all, contestant{name: name, commands: func(into string) []*exec.Cmd {
			cmd := exec.Command(os.Args[0], into)
			cmd.Env, cmd.Stdin = append(os.Environ(), bareVariable+"="+mode), bareInput(files)
			return []*exec.Cmd{cmd}
		}})
	}
	proving := provers(b, len(files))
	for _, copier := range []contestant{r.s5cmd(b), r.mc(b)} {
		all = append(all, copier)
		for _, p := range proving {
			both := contestant{name: copier.name + "; " + p.name, missing: copier.missing + p.missing}
			both.commands = func(into string) []*exec.Cmd { return append(copier.commands(into), p.commands(into)...) }
			all = append(all, both)
		}
	}
	return all, sums
}

// provers are programs that take the SHA-256 of what a tool fetched.
func provers(b *testing.B, files int) (all []contestant) {
	b.Helper()
	cores := runtime.NumCPU()
	b.Log(firstLine("sha256sum", "--version"), "; ", firstLine("openssl", "version"), ": find … | xargs -P ", cores, " each with an equal share of the files")
	for _, p := range [][]string{{"sha256sum"}, {"openssl", "dgst", "-sha256"}} {
		if _, err := exec.LookPath(p[0]); err != nil {
			all = append(all, contestant{name: p[0], missing: err.Error()})
			continue
		}
		all = append(all, contestant{name: p[0], commands: func(into string) []*exec.Cmd {
			each := strconv.Itoa((files + cores - 1) / cores)
			return []*exec.Cmd{exec.Command("sh", "-c", `find "$0" -type f -print0 | xargs -0 -P "$1" -n "$2" `+strings.Join(p, " ")+` >/dev/null`, into, strconv.Itoa(cores), each)}
		}})
	}
	return all
}

func (r *registry) s5cmd(b *testing.B) contestant {
	b.Helper()
	exe, missing := program(b, "s5cmd", tool.Find)
	if missing != "" {
		return contestant{name: "s5cmd", missing: missing}
	}
	b.Log(versionOf(b, exe), ": s5cmd cp --concurrency 8 --part-size 64 s3://…/* DIR/")
	return contestant{name: "s5cmd", commands: func(into string) []*exec.Cmd {
		cmd := exec.Command(exe, "--endpoint-url", r.store.Endpoint, "cp", "--concurrency", "8", "--part-size", "64", "s3://"+r.store.Bucket+"/"+plain+"/*", into+"/")
		cmd.Env = append(r.env, "AWS_ACCESS_KEY_ID="+r.store.Root.ID, "AWS_SECRET_ACCESS_KEY="+r.store.Root.Secret, "AWS_REGION="+r.store.Region)
		return []*exec.Cmd{cmd}
	}}
}

func (r *registry) mc(b *testing.B) contestant {
	b.Helper()
	exe, missing := program(b, "mc", tool.Find)
	if missing != "" {
		return contestant{name: "mc", missing: missing}
	}
	b.Log(versionOf(b, exe), ": mc cp --recursive ALIAS/… DIR/")
	return contestant{name: "mc", commands: func(into string) []*exec.Cmd {
		cmd := exec.Command(exe, "--quiet", "cp", "--recursive", "bench/"+r.store.Bucket+"/"+plain+"/", into+"/")
		cmd.Env = append(r.env, "MC_HOST_bench="+mcHost(b, r.store))
		return []*exec.Cmd{cmd}
	}}
}

// mcHost is a store as mc wants to be told of it.
func mcHost(b *testing.B, s *testenv.Store) string {
	b.Helper()
	at, err := url.Parse(s.Endpoint)
	if err != nil {
		b.Fatal(err)
	}
	at.User = url.UserPassword(s.Root.ID, s.Root.Secret)
	return at.String()
}
