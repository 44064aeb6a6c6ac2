package e2e_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// feeders put a folder under a key of a bucket, each with a program of its own.
func feeders() map[string]func(t *testing.T, s *testenv.Store, prefix, dir string) {
	return map[string]func(t *testing.T, s *testenv.Store, prefix, dir string){
		"minio-go": feedByMinIO,
		"boto3": func(t *testing.T, s *testenv.Store, prefix, dir string) {
			need(t, "boto3")
			feedBy(t, s, "python3", "testdata/feed.py", s.Endpoint, s.Bucket, prefix, dir)
		},
		"rclone": func(t *testing.T, s *testenv.Store, prefix, dir string) {
			feedBy(t, s, testenv.NeedTool(t, "rclone"), "--config", "", "copyto", dir, ":s3:"+s.Bucket+"/"+prefix, "--s3-provider", "Other", "--s3-env-auth",
				"--s3-endpoint", s.Endpoint, "--s3-region", s.Region, "--s3-no-check-bucket", "--s3-upload-cutoff", "5M")
		},
		"aws": func(t *testing.T, s *testenv.Store, prefix, dir string) {
			need(t, "aws")
			feedBy(t, s, "aws", "--endpoint-url", s.Endpoint, "s3", "cp", "--recursive", "--only-show-errors", dir, "s3://"+s.Bucket+"/"+prefix)
		},
	}
}

// feedBy runs a program that finds the store's credentials where AWS's programs look for them.
func feedBy(t *testing.T, s *testenv.Store, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environment(t.TempDir(), asAWS(s.Service, s.Region)...)
	if end := finish(cmd); end.code != 0 {
		t.Fatalf("%s: exit code %d: %s%s", cmd, end.code, end.stdout, end.stderr)
	}
}

// feedByMinIO sends large files in parts and notes something of the owner's on each object.
func feedByMinIO(t *testing.T, s *testenv.Store, prefix, dir string) {
	t.Helper()
	c := s.Client(t, s.Service)
	check(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel := must[string](t)(filepath.Rel(dir, path))
		_, err = c.FPutObject(t.Context(), s.Bucket, prefix+filepath.ToSlash(rel), path, minio.PutObjectOptions{
			PartSize: ballast.MinPartSize, UserMetadata: map[string]string{"note": "of somebody"}, ContentType: "text/plain",
		})
		return err
	}))
}

// legacy are files as they lie in buckets: of names that need escapes, empty, and so large that all programs send parts.
func legacy() map[string][]byte {
	return map[string][]byte{
		"config.json": fmt.Appendf(nil, "%q", rand.Text()), "empty": nil, "a b/weights+%é.bin": random(100), "model.safetensors": random(9 << 20),
	}
}

// TestFeeders: whatever program put a folder into the inbox, or into a place that the operator allows, the registry makes
// of it the version that a push of the folder makes, and nothing of what the program added.
func TestFeeders(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		beside := s.Beside(t)
		r := serve(t, s, t.TempDir(), "--import-allow", "acme=s3://"+beside.Bucket+"/acme/")
		token := r.token(t, "acme=writer")
		c, u := r.as(t, "acme=writer"), r.user(t, token)
		files := legacy()
		dir := folder(t, files)
		for name, feed := range feeders() {
			t.Run(name, func(t *testing.T) {
				for place, in := range map[string]*testenv.Store{"s3://" + s.Bucket + "/" + acmePath + "/inbox/" + name + "/": s, "s3://" + beside.Bucket + "/acme/" + name + "/": beside} {
					feed(t, in, strings.TrimPrefix(place, "s3://"+in.Bucket+"/"), dir)
					model := "by-" + name
					out := u.run(t, "import", place, model, "--json").want(t, 0)
					var m ballast.Import
					check(t, json.Unmarshal([]byte(out.stdout), &m))
					if m.Result == nil || m.Result.Key != "acme::"+model+"::1" || m.Source.String() != place { // of the second place it is the same
						t.Errorf("imported %s", out.stdout)
					}
					check(t, pull(t, c, model+":1", files))
					if left := len(objectsBelow(t, in, strings.TrimPrefix(place, "s3://"+in.Bucket+"/"))); left != len(files) {
						t.Errorf("%d objects are left at %s", left, place)
					}
				}
				pushed := must[client.PushResult](t)(c.Push(t.Context(), client.PushOptions{Path: dir, Target: ref("by-" + name), AttemptDir: t.TempDir()}))
				if !pushed.Unchanged || pushed.Sent != 0 {
					t.Errorf("a push of the folder made %s and sent %d bytes", pushed.Version.Key, pushed.Sent)
				}
			})
		}
		for _, o := range objectsBelow(t, s, acmePath+"/blobs/") {
			info := must[minio.ObjectInfo](t)(s.Client(t, s.Root).StatObject(t.Context(), s.Bucket, o.Key, minio.StatObjectOptions{}))
			if len(info.UserMetadata) != 0 || info.Metadata.Get("Cache-Control") != "" {
				t.Errorf("blob %s has %v, %v", o.Key, info.UserMetadata, info.Metadata)
			}
		}
	})
}

// TestKilledImports: the service is killed at each step of an import that moves its sources; the next one goes on, and what
// was dropped is in the inbox or in the version.
func TestKilledImports(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		data := t.TempDir()
		for _, step := range []string{"put-sources:after", "hashed-sources:before", "hashed-sources:after", "copy-object:after", "ready:before", "delete-source:after", "moved-sources:before"} {
			t.Run(step, func(t *testing.T) {
				name, files := strings.ReplaceAll(step, ":", "-"), legacy() // of their own: what is there is not copied
				dir := folder(t, files)
				feedByMinIO(t, s, acmePath+"/inbox/"+name+"/", dir)
				cmd := serveCommand(t, s, data)
				cmd.Path = testenv.FailpointBinary(t)
				cmd.Args[0] = cmd.Path
				cmd.Env = append(cmd.Env, "BALLAST_FAILPOINT="+step+":kill")
				first := start(t, s, data, cmd)
				c := first.as(t, "acme=writer")
				m := must[ballast.Import](t)(c.CreateImport(t.Context(), ballast.CreateImport{
					Source: source(t, "inbox:"+name), Name: ref(name).Name, Version: ref("m:1").Version, Move: true,
				}))
				late := time.AfterFunc(limit, func() { _ = first.cmd.Process.Signal(syscall.SIGTERM) })
				_ = first.cmd.Wait()
				late.Stop()
				if first.cmd.ProcessState.ExitCode() != -1 {
					t.Fatalf("it was not killed: %s\n%s", first.cmd.ProcessState, first.stderr)
				}
				if left := len(objectsBelow(t, s, acmePath+"/inbox/"+name+"/")); left != len(files) && !strings.HasPrefix(step, "delete-source") && !strings.HasPrefix(step, "moved-sources") {
					t.Errorf("%d files are left in the inbox", left)
				}
				second := serve(t, s, data)
				defer second.stop(t)
				c = second.as(t, "acme=writer")
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				done, err := c.FollowImport(ctx, must[ballast.Import](t)(c.Import(ctx, m.ID, 0)), nil)
				if err != nil || done.Result == nil || done.Moved == nil || done.Moved.Files != len(files) || done.Moved.Left != 0 {
					t.Fatalf("after the restart: %+v, moved %+v, %v", done, done.Moved, err)
				}
				check(t, pull(t, c, name+":1", files))
				if left := len(objectsBelow(t, s, acmePath+"/inbox/"+name+"/")); left != 0 {
					t.Errorf("%d files are left in the inbox", left)
				}
			})
		}
	})
}

func source(t *testing.T, s string) ballast.Source {
	t.Helper()
	return must[ballast.Source](t)(ballast.ParseSource(s))
}
