package bench_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// BenchmarkPush pushes to MinIO over loopback, beside a bare loop and programs that copy and prove nothing. A push is done
// when the version is ready, which the registry has verified; until uploaded is the time to the last byte's acknowledgement.
func BenchmarkPush(b *testing.B) {
	b.Log(machine(), "; ballast push DIR SCOPE::m; ", bareConnections, " connections and parts of 64 MiB for the bare loop")
	for _, shape := range shapes(size(b)) {
		b.Run(shape.name, func(b *testing.B) { benchPush(b, serve(b, store(b), here), shape) })
	}
}

func benchPush(b *testing.B, r *registry, of shape) {
	b.StopTimer()
	p := &pusher{registry: r, dir: destination(b), bytes: int64(of.files) * of.bytes, sums: map[string]string{}}
	for i := range of.files {
		name := fmt.Sprintf("shard-%05d.bin", i)
		write(b, filepath.Join(p.dir, name), of.bytes)
		sum, err := sumOf(filepath.Join(p.dir, name))
		if err != nil {
			b.Fatal(err)
		}
		p.sums[name] = sum
	}
	all := []contestant{p.ballast(b), p.bare(), p.s5cmd(b), p.mc(b), p.rclone(b), p.aws(b)}
	b.StartTimer()
	course{metric: "s/push", bytes: p.bytes, link: r.link, fresh: p.fresh, clear: func(into string) error { return p.clear(b, into) }, check: func(into string) error { return p.check(b, into) }}.race(b, all)
}

// pusher is a folder that is pushed again and again, each time into a scope or to a prefix of its own.
type pusher struct {
	*registry
	dir   string
	bytes int64
	sums  map[string]string // SHA-256 by path
	runs  int
	token client.Token // of the last scope
}

func (p *pusher) fresh() string { p.runs++; return "run-" + strconv.Itoa(p.runs) }

// in is the version that a push to a scope makes.
func in(b *testing.B, scope string) ballast.Ref {
	b.Helper()
	ref, err := ballast.ParseRef(scope + "::m::1")
	if err != nil {
		b.Fatal(err)
	}
	return ref
}

// pushInto is `ballast push` with a token of the scope's own.
func (p *pusher) pushInto(b *testing.B, scope string, home string) *exec.Cmd {
	b.Helper()
	grant, err := ballast.ParseGrant(scope + "=writer")
	if err != nil {
		b.Fatal(err)
	}
	token, err := p.api.CreateToken(b.Context(), ballast.CreateToken{Name: scope, Grants: []ballast.Grant{grant}})
	if err != nil {
		b.Fatal(err)
	}
	p.token = client.Token(token.Token)
	cmd := p.command("push", p.dir, scope+"::m", "--progress", "json")
	// A home of its own: nothing is remembered of what an earlier push hashed.
	cmd.Env = append(cmd.Env, "BALLAST_TOKEN_FILE=", "BALLAST_TOKEN="+token.Token.Reveal(), "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, "cache"))
	return cmd
}

func (p *pusher) ballast(b *testing.B) contestant {
	return contestant{name: "ballast push", mark: uploaded, commands: func(into string) []*exec.Cmd {
		return []*exec.Cmd{p.pushInto(b, into, b.TempDir())}
	}}
}

// uploaded finds where --progress=json says that every file is uploaded.
func uploaded(line []byte) bool {
	var tally struct {
		Phase     client.Phase `json:"phase"`
		Files     int          `json:"files"`
		FilesDone int          `json:"files_done"`
	}
	return json.Unmarshal(line, &tally) == nil && tally.Phase == client.PhaseUpload && tally.FilesDone == tally.Files
}

// check holds a version to what was pushed.
func (p *pusher) check(b *testing.B, into string) error {
	c, err := client.New(client.Options{URL: p.api.URL(), Token: p.token})
	if err != nil {
		return err
	}
	n := 0
	for f, err := range c.Files(b.Context(), in(b, into), client.ListFiles{Limit: 1000}) {
		if err != nil {
			return err
		}
		if n++; p.sums[f.Path] != f.SHA256 {
			return fmt.Errorf("%s has the digest %s", f.Path, f.SHA256)
		}
	}
	if n != len(p.sums) {
		return fmt.Errorf("%d files of %d", n, len(p.sums))
	}
	return nil
}

// clear removes what a run put into the store, which is no less than what it was to put there. The registry's versions
// are left without bytes; nobody asks for them again.
func (p *pusher) clear(b *testing.B, into string) error {
	c := p.store.Client(b, p.store.Root)
	var bytes int64
	for _, prefix := range []string{into + "/", "tenants/" + into + "/"} {
		var all []minio.ObjectInfo
		for o := range c.ListObjects(b.Context(), p.store.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			if o.Err != nil {
				return o.Err
			}
			all, bytes = append(all, o), bytes+o.Size
		}
		gone := make(chan minio.ObjectInfo, len(all))
		for _, o := range all {
			gone <- o
		}
		close(gone)
		for e := range c.RemoveObjects(b.Context(), p.store.Bucket, gone, minio.RemoveObjectsOptions{}) {
			return e.Err
		}
	}
	if err := p.store.EmptyTrash(); err != nil {
		return err
	}
	if bytes < p.bytes {
		return fmt.Errorf("%d bytes arrived of %d", bytes, p.bytes)
	}
	return nil
}

func (p *pusher) bare() contestant {
	return contestant{name: "bare loop of presigned parts, SHA-256 signed", commands: func(into string) []*exec.Cmd {
		cmd := exec.Command(os.Args[0], p.dir, into)
		cmd.Env = append(os.Environ(), bareVariable+"="+bareUploads)
		cmd.Stdin = strings.NewReader(strings.Join([]string{p.store.Endpoint, p.store.Region, p.store.Bucket, p.store.Root.ID, p.store.Root.Secret}, "\n"))
		return []*exec.Cmd{cmd}
	}}
}

// tool is a pinned program as a contestant; said is how its command line looks.
func (p *pusher) tool(b *testing.B, name, said string, command func(exe, into string) *exec.Cmd) contestant {
	b.Helper()
	exe, missing := program(b, name, tool.Find)
	if missing != "" {
		return contestant{name: name, missing: missing}
	}
	b.Log(versionOf(b, exe), ": ", said)
	return contestant{name: name, commands: func(into string) []*exec.Cmd { return []*exec.Cmd{command(exe, into)} }}
}

func (p *pusher) s5cmd(b *testing.B) contestant {
	b.Helper()
	return p.tool(b, "s5cmd", "s5cmd cp --concurrency 8 --part-size 64 DIR/ s3://…/", func(exe, into string) *exec.Cmd {
		cmd := exec.Command(exe, "--endpoint-url", p.store.Endpoint, "cp", "--concurrency", "8", "--part-size", "64", p.dir+"/", "s3://"+p.store.Bucket+"/"+into+"/")
		cmd.Env = append(p.env, p.asAWS()...)
		return cmd
	})
}

func (p *pusher) asAWS() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + p.store.Root.ID, "AWS_SECRET_ACCESS_KEY=" + p.store.Root.Secret, "AWS_REGION=" + p.store.Region, "AWS_DEFAULT_REGION=" + p.store.Region,
	}
}

func (p *pusher) mc(b *testing.B) contestant {
	b.Helper()
	return p.tool(b, "mc", "mc cp --recursive DIR/ ALIAS/…/", func(exe, into string) *exec.Cmd {
		cmd := exec.Command(exe, "--quiet", "cp", "--recursive", p.dir+"/", "bench/"+p.store.Bucket+"/"+into+"/")
		cmd.Env = append(p.env, "MC_HOST_bench="+mcHost(b, p.store))
		return cmd
	})
}

func (p *pusher) rclone(b *testing.B) contestant {
	b.Helper()
	flags := []string{"--transfers", "8", "--checkers", "16", "--s3-upload-concurrency", "8", "--s3-chunk-size", "64Mi", "--s3-disable-checksum", "--s3-no-check-bucket"}
	return p.tool(b, "rclone", "rclone copyto "+strings.Join(flags, " ")+" DIR :s3:…", func(exe, into string) *exec.Cmd {
		at := ":s3,provider=Minio,env_auth=true,endpoint='" + p.store.Endpoint + "':" + p.store.Bucket + "/" + into
		cmd := exec.Command(exe, append([]string{"copyto", "--config", os.DevNull, p.dir, at}, flags...)...)
		cmd.Env = append(p.env, p.asAWS()...)
		return cmd
	})
}

// awsConfig is what the manual of `aws s3` says of speed, as its users set it.
const awsConfig = "[default]\ns3 =\n  max_concurrent_requests = 20\n  multipart_threshold = 64MB\n  multipart_chunksize = 64MB\n  payload_signing_enabled = false\n"

func (p *pusher) aws(b *testing.B) contestant {
	b.Helper()
	if _, err := exec.LookPath("aws"); err != nil {
		return contestant{name: "aws s3 cp", missing: err.Error()}
	}
	config := filepath.Join(b.TempDir(), "config")
	if err := os.WriteFile(config, []byte(awsConfig), 0o600); err != nil {
		b.Fatal(err)
	}
	b.Log(firstLine("aws", "--version"), ": aws s3 cp --recursive --only-show-errors DIR s3://…/ with ", strings.Join(strings.Fields(awsConfig), " "))
	return contestant{name: "aws s3 cp", commands: func(into string) []*exec.Cmd {
		cmd := exec.Command("aws", "--endpoint-url", p.store.Endpoint, "s3", "cp", "--recursive", "--only-show-errors", p.dir, "s3://"+p.store.Bucket+"/"+into+"/")
		// The last is what e2e says of botocore and servers written in Go.
		cmd.Env = append(append(os.Environ(), p.asAWS()...), "AWS_CONFIG_FILE="+config, "BOTO_EXPERIMENTAL__NO_EMPTY_CONTINUE=true")
		return []*exec.Cmd{cmd}
	}}
}

// BenchmarkPushAgain pushes a folder of 8 shards, pushes it again unchanged, and again with one shard changed.
func BenchmarkPushAgain(b *testing.B) {
	b.StopTimer()
	b.Log(machine())
	of := shapes(size(b))[0]
	p := &pusher{registry: serve(b, store(b), here), dir: destination(b), bytes: int64(of.files) * of.bytes}
	for i := range of.files {
		write(b, filepath.Join(p.dir, fmt.Sprintf("shard-%05d.bin", i)), of.bytes)
	}
	time.Sleep(3 * time.Second) // what was written just now is not taken as known
	all := []contestant{{name: "again, 1 shard of 8 changed"}, {name: "again, unchanged"}, {name: "first push"}}
	samples := make([][]sample, len(all))
	b.StartTimer()
	for range b.N {
		scope, home := p.fresh(), b.TempDir()
		for i := len(all) - 1; i >= 0; i-- {
			if i == 0 {
				write(b, filepath.Join(p.dir, "shard-00003.bin"), of.bytes)
			}
			all[i].commands = func(string) []*exec.Cmd { return []*exec.Cmd{p.pushInto(b, scope, home)} }
			samples[i] = append(samples[i], all[i].run(b, scope))
		}
		if err := p.clear(b, scope); err != nil {
			b.Fatal(err)
		}
		time.Sleep(3 * time.Second)
	}
	all[0], all[2], samples[0], samples[2] = all[2], all[0], samples[2], samples[0]
	b.Log(shares(all, samples), "\nload average: ", load())
}

// shares are the medians of what each takes of the first's time in the same round.
func shares(all []contestant, samples [][]sample) string {
	var out strings.Builder
	for i, c := range all {
		mine := walls(samples[i])
		fmt.Fprintf(&out, "\n%-28s %6.2f s, %.3f × the first", c.name, median(mine).Seconds(), ratio(mine, walls(samples[0])))
	}
	return out.String()
}

// store is a MinIO whose objects lie where destination does: a disk that is slower than the network would measure itself.
func store(b *testing.B) *testenv.Store {
	b.Helper()
	return inFast(b, func() *testenv.Store { return testenv.MinIO(b) })
}

// inFast starts a store whose folder is made there.
func inFast(b *testing.B, start func() *testenv.Store) *testenv.Store {
	b.Helper()
	const variable = "TMPDIR"
	before, was := os.LookupEnv(variable)
	err := os.Setenv(variable, fast())
	s := start()
	if was {
		err = errors.Join(err, os.Setenv(variable, before))
	} else {
		err = errors.Join(err, os.Unsetenv(variable))
	}
	if err != nil {
		b.Fatal(err)
	}
	return s
}
