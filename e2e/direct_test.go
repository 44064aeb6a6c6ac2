package e2e_test

import (
	"cmp"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// directTours are those of docs/direct-s3.md that fetch a version into the folder tiny: what each takes of the operating
// system and of the pinned programs.
var directTours = map[string]struct{ programs, tools []string }{
	"s5cmd":  {[]string{"bash"}, []string{"s5cmd"}},
	"rclone": {[]string{"bash"}, []string{"rclone"}},
	"curl":   {[]string{"bash", "curl"}, nil},
	"aws":    {[]string{"bash", "aws"}, nil},
	"boto3":  {[]string{"bash", "boto3"}, nil},
}

// hostile are names with all that means something to a shell, or to a program that fetches.
var hostile = []string{"-rf it's \"q\" $HOME `id` w[0]*?{a,b} a:b,c=d &; ", " #模型/~ünï/␁‛／control␡", "#hash"}

// TestDirect types what docs/direct-s3.md says to type, with the rights that it says are enough, and compares every byte.
func TestDirect(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		p := publish(t, s, hostile...)
		for name, needs := range directTours {
			t.Run(name, func(t *testing.T) {
				need(t, needs.programs...)
				dir := t.TempDir()
				check(t, p.tour(t, name, dir, p.reader, needs.tools...))
				p.wantFolder(t, filepath.Join(dir, "tiny"))
			})
		}
		t.Run("serving", func(t *testing.T) {
			need(t, "bash")
			p.copyWithin(t)
		})
		t.Run("controls", func(t *testing.T) {
			need(t, "bash")
			p.wantFailures(t)
		})
	})
}

// wantFailures wants what is typed to fail without the rights, and where an object is not what was published.
func (p published) wantFailures(t *testing.T) {
	others := objstore.Keys{ID: "NOBODY", Secret: "nothing-to-be-known"}
	if p.store.Server == nil {
		others = p.store.User(t, policy(t, "reader", p.store, "", "them"))
	}
	for name, needs := range directTours {
		if len(needs.tools) > 0 && p.tour(t, name, t.TempDir(), others, needs.tools...) == nil {
			t.Errorf("%s fetches with the rights of others", name)
		}
	}
	sum := p.want["config.json"]
	key := acmePath + "/blobs/sha256/" + sum[:2] + "/" + sum
	must[minio.UploadInfo](t)(p.store.Client(t, p.store.Root).PutObject(t.Context(), p.store.Bucket, key, strings.NewReader("[]"), 2, minio.PutObjectOptions{}))
	for name, needs := range directTours {
		if len(needs.tools) > 0 && p.tour(t, name, t.TempDir(), p.reader, needs.tools...) == nil {
			t.Errorf("%s does not notice other bytes", name)
		}
	}
}

// tour types a tour of docs/direct-s3.md in dir, as somebody with keys for the store and a token to read. What it writes
// is logged.
func (p published) tour(t *testing.T, name, dir string, k objstore.Keys, tools ...string) error {
	t.Helper()
	all := must[[]stop](t)(stops(string(must[[]byte](t)(os.ReadFile("../docs/direct-s3.md")))))
	i := slices.IndexFunc(all, func(s stop) bool { return s.tour == name })
	if i < 0 {
		t.Fatalf("docs/direct-s3.md has no tour:%s", name)
	}
	paths := []string{filepath.Dir(testenv.Binary(t))}
	for _, tool := range tools {
		paths = append(paths, filepath.Dir(testenv.NeedTool(t, tool)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*limit)
	defer cancel()
	script := strings.ReplaceAll(all[i].script("", p.store.Host()), "s3://serving/", "s3://"+p.store.Bucket+"/serving/")
	cmd := exec.CommandContext(ctx, "bash", "-c", "set -euo pipefail\n"+script)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	cmd.Env = append(environment(t.TempDir(), asAWS(k, p.store.Region)...),
		"PATH="+strings.Join(append(paths, os.Getenv("PATH")), string(os.PathListSeparator)),
		"BALLAST_URL="+p.registry.url, "BALLAST_TOKEN="+string(p.registry.token(t, "acme=reader")))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	return cmp.Or(ctx.Err(), err)
}

// wantFolder wants a folder to hold the version's files and nothing else.
func (p published) wantFolder(t *testing.T, dir string) {
	t.Helper()
	got := map[string]string{}
	check(t, filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(at)
		rel, _ := filepath.Rel(dir, at)
		got[filepath.ToSlash(rel)] = ballast.DigestOf(content).Encoded()
		return err
	}))
	p.wantSums(t, got)
}

// copyWithin has the store copy the files to their names, by two programs, for loaders that look for names.
func (p published) copyWithin(t *testing.T) {
	c := p.store.Client(t, p.store.Root)
	wantCopies := func(below string) {
		t.Helper()
		got := map[string]string{}
		for o := range c.ListObjects(t.Context(), p.store.Bucket, minio.ListObjectsOptions{Prefix: below, Recursive: true}) {
			check(t, o.Err)
			got[strings.TrimPrefix(o.Key, below)] = ballast.DigestOf(read(t, p.store, o.Key)).Encoded()
		}
		p.wantSums(t, got)
	}
	check(t, p.tour(t, "serving", t.TempDir(), p.store.Root, "s5cmd"))
	wantCopies("serving/llama/tiny/")

	u := p.registry.user(t, p.registry.token(t, "acme=reader"))
	script := u.run(t, "resolve", "llama/tiny:1.0.0", "--format", "rclone", "--dir", "s3://"+p.store.Bucket+"/again").want(t, 0).stdout
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Env = append(environment(t.TempDir(), asAWS(p.store.Root, p.store.Region)...), "PATH="+filepath.Dir(testenv.NeedTool(t, "rclone"))+":"+os.Getenv("PATH"))
	finish(cmd).want(t, 0)
	wantCopies("again/")
}
