package e2e_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// published is a version as programs of others look for it.
type published struct {
	store    *testenv.Store
	registry *registry
	reader   objstore.Keys // whoever reads the tenant's blobs without the registry
	ballast.VersionInfo
	want map[string]string // SHA-256 of each file by its path
}

const acmePath = "tenants/acme"

// publish publishes a version, which may have more files under names given.
func publish(t *testing.T, s *testenv.Store, names ...string) published {
	t.Helper()
	r := serve(t, s, t.TempDir())
	c := r.as(t, "acme=writer")
	files := map[string][]byte{"config.json": []byte("{}"), "empty": nil, "a b/weights+%.bin": random(100), "model.safetensors": random(2*ballast.MinPartSize + 1)}
	for i, name := range names {
		files[name] = []byte{byte(i)}
	}
	p := published{store: s, registry: r, reader: s.User(t, policy(t, "reader", s, "", "acme")), want: map[string]string{}}
	for name, content := range files {
		p.want[name] = ballast.DigestOf(content).Encoded()
	}
	result := must[client.PushResult](t)(c.Push(t.Context(), client.PushOptions{
		Path: folder(t, files), Target: ref("llama/tiny:1.0.0"), AttemptDir: t.TempDir(), PartSize: ballast.MinPartSize,
	}))
	p.VersionInfo = result.Version
	return p
}

// wantFiles compares what a program read with what was pushed, and wants all of it, and the manifest, to be listed.
func (p published) wantFiles(t *testing.T, listed []string, files map[string]string) {
	t.Helper()
	p.wantSums(t, files)
	for _, sum := range append(slices.Collect(maps.Values(p.want)), p.Digest.Encoded()) {
		if key := acmePath + "/blobs/sha256/" + sum[:2] + "/" + sum; !slices.Contains(listed, key) {
			t.Errorf("%s is not listed in %q", key, listed)
		}
	}
}

// wantSums compares the SHA-256 of files, by path, with what was pushed.
func (p published) wantSums(t *testing.T, files map[string]string) {
	t.Helper()
	if diff := cmp.Diff(p.want, files); diff != "" {
		t.Errorf("pushed (-) and read (+):\n%s", diff)
	}
}

// sums reads the manifest and every file of the version with get, and returns the SHA-256 of each file.
func (p published) sums(t *testing.T, get func(key string) []byte) map[string]string {
	t.Helper()
	var m ocispec.Manifest
	check(t, json.Unmarshal(get(p.ObjectKey), &m))
	files := map[string]string{}
	for _, layer := range m.Layers {
		hexes := layer.Digest.Encoded()
		sum := sha256.Sum256(get(path.Join(acmePath, "blobs/sha256", hexes[:2], hexes)))
		files[layer.Annotations["org.cncf.model.filepath"]] = hex.EncodeToString(sum[:])
	}
	return files
}

// TestReaders: programs of others list and read what the registry wrote, by the layout alone.
func TestReaders(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		p := publish(t, s)
		t.Run("minio-go", p.byMinIO)
		t.Run("boto3", p.byBoto3)
		t.Run("aws", p.byAWS)
	})
}

func (p published) byMinIO(t *testing.T) {
	var listed []string
	c := p.store.Client(t, p.reader)
	for o := range c.ListObjects(t.Context(), p.store.Bucket, minio.ListObjectsOptions{Prefix: acmePath + "/blobs/", Recursive: true}) {
		check(t, o.Err)
		listed = append(listed, o.Key)
	}
	p.wantFiles(t, listed, p.sums(t, func(key string) []byte { return readAs(t, p.store, p.reader, key) }))
}

func (p published) byBoto3(t *testing.T) {
	need(t, "boto3")
	out := p.output(t, "python3", "testdata/read.py", p.store.Endpoint, p.store.Bucket, acmePath, p.ObjectKey)
	var seen struct {
		Listed []string
		Files  map[string]string
	}
	check(t, json.Unmarshal(out, &seen))
	p.wantFiles(t, seen.Listed, seen.Files)
}

func (p published) byAWS(t *testing.T) {
	need(t, "aws")
	aws := func(args ...string) []byte {
		return p.output(t, "aws", append([]string{"--endpoint-url", p.store.Endpoint, "s3"}, args...)...)
	}
	bucket := "s3://" + p.store.Bucket + "/"
	var listed []string
	for line := range strings.Lines(string(aws("ls", "--recursive", bucket+acmePath+"/blobs/"))) {
		fields := strings.Fields(line) // date, time, size, key
		listed = append(listed, fields[len(fields)-1])
	}
	p.wantFiles(t, listed, p.sums(t, func(key string) []byte { return aws("cp", bucket+key, "-") }))
}

// output runs a program that finds the store's credentials where AWS's programs look for them.
func (p published) output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environment(t.TempDir(), asAWS(p.reader, p.store.Region)...)
	end := finish(cmd)
	if end.code != 0 {
		t.Fatalf("%s: exit code %d: %s%s", cmd, end.code, end.stdout, end.stderr)
	}
	return []byte(end.stdout)
}
