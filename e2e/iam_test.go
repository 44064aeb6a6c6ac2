package e2e_test

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// policy is one of docs/iam, filled in as docs/direct-s3.md says. prefix is empty or ends in a slash.
func policy(t *testing.T, name string, s *testenv.Store, prefix, tenant string) []byte {
	t.Helper()
	text := string(must[[]byte](t)(os.ReadFile("../docs/iam/" + name + ".json")))
	return []byte(strings.NewReplacer("BUCKET", s.Bucket, "PREFIX/", prefix, "TENANT", tenant).Replace(text))
}

// TestRegistryOnItsPolicies: the three identities of docs/iam are enough for all that the registry and its clients do, and put's
// for sessions that end at a scope.
func TestRegistryOnItsPolicies(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "some/prefix/"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			t.Parallel()
			s := testenv.MinIO(t)
			for name, keys := range map[string]*objstore.Keys{"service": &s.Service, "put": &s.Put, "get": &s.Get} {
				*keys = s.User(t, policy(t, name, s, prefix, ""))
			}
			var more []string
			if prefix != "" {
				more = []string{"--s3-prefix", prefix}
			}
			r := serve(t, s, t.TempDir(), more...)
			c := r.as(t, "acme=maintainer", "global=maintainer")
			files := map[string][]byte{"small": random(100), "empty": nil, "large": random(2*ballast.MinPartSize + 1)}
			must[client.PushResult](t)(c.Push(t.Context(), client.PushOptions{
				Path: folder(t, files), Target: ref("m:1"), AttemptDir: t.TempDir(), PartSize: ballast.MinPartSize,
			}))
			check(t, pull(t, c, "m:1", files))
			copied := must[ballast.Upload](t)(c.CopyVersion(t.Context(), ref("m:1"), ballast.CopyVersion{Scope: ballast.Global, Name: ref("copy").Name}))
			eventually(t, "the copy", func() bool {
				return copied.Status == ballast.UploadDone || must[ballast.Upload](t)(c.Upload(t.Context(), copied.ID, 0)).Status == ballast.UploadDone
			})
			check(t, pull(t, c, "global::copy", files))
			check(t, c.Abort(t.Context(), open(t, c, "given-up").ID))
			r.stop(t)
			if !strings.Contains(r.stderr.String(), "a session that may write in its scope alone") {
				t.Errorf("put.json makes no sessions: %s", r.stderr)
			}
		})
	}
}

// places are keys below the prefix models/, but for the last, and what lies there. Whoever may read or write one of them
// may do so with all of its kind.
var places = map[string]string{
	"own blob":      "models/tenants/acme/blobs/sha256/ab/ab",
	"global blob":   "models/global/blobs/sha256/ab/ab",
	"other's blob":  "models/tenants/them/blobs/sha256/ab/ab",
	"staging":       "models/tenants/acme/staging/u/1",
	"inbox":         "models/tenants/acme/inbox/a/file",
	"other's inbox": "models/tenants/them/inbox/a/file",
	"record":        "models/tenants/acme/models/m/versions/1/00000001.json",
	"index":         "models/index/owner.json",
	"elsewhere":     "other/file",
}

// below makes the rights to do each of verbs in each of the places; without places, in all below the prefix.
func below(verbs string, in ...string) []string {
	if len(in) == 0 {
		in = slices.DeleteFunc(slices.Sorted(maps.Keys(places)), func(place string) bool { return place == "elsewhere" })
	}
	var rights []string
	for verb := range strings.FieldsSeq(verbs) {
		for _, place := range in {
			rights = append(rights, verb+" "+place)
		}
	}
	return rights
}

// rights are all that each identity of docs/iam may do, of what rightsOf tries.
func rights() map[string][]string {
	blobs := []string{"own blob", "global blob", "other's blob"}
	return map[string][]string{
		"service": append(below("read write remove copy list"), "list elsewhere"),
		"put":     below("write", append(blobs, "staging")...),
		"get":     below("read", blobs...),
		"reader":  below("read list", "own blob", "global blob"),
		"inbox":   below("write list", "inbox"),
	}
}

// TestPolicies: each policy of docs/iam, as MinIO's own client applies it, allows what it is for and nothing else: put
// cannot read, get cannot list or write, and a tenant's two reach neither another tenant nor what the registry keeps.
func TestPolicies(t *testing.T) {
	t.Parallel()
	for name, want := range rights() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testenv.MinIO(t)
			got := rightsOf(t, s, s.User(t, policy(t, name, s, "models/", "acme")))
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("docs/iam/%s.json wants (-) and allows (+):\n%s", name, diff)
			}
		})
	}
}

// TestWidenedPolicies: a policy of docs/iam that allowed more would be noticed.
func TestWidenedPolicies(t *testing.T) {
	t.Parallel()
	for name, wider := range map[string]struct{ policy, old, new string }{
		"put reads":                    {"put", `"s3:PutObject"`, `"s3:PutObject", "s3:GetObject"`},
		"put writes anywhere":          {"put", `tenants/*/staging/*`, `*`},
		"get writes":                   {"get", `"s3:GetObject",`, `"s3:GetObject", "s3:PutObject",`},
		"get reads records":            {"get", `tenants/*/blobs/*`, `tenants/*`},
		"reader of all tenants":        {"reader", `acme/blobs/*"` + "\n      ]\n    }", `*"` + "\n      ]\n    }"},
		"reader lists the bucket":      {"reader", `"models/global/blobs/*", `, `"*", `},
		"inbox writer reads":           {"inbox", `"s3:PutObject"`, `"s3:PutObject", "s3:GetObject"`},
		"inbox writer writes anywhere": {"inbox", `acme/inbox/*"]`, `acme/*"]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testenv.MinIO(t)
			narrow := policy(t, wider.policy, s, "models/", "acme")
			wide := bytes.Replace(narrow, []byte(wider.old), []byte(wider.new), 1)
			if bytes.Equal(narrow, wide) {
				t.Fatalf("%s is not in %s", wider.old, narrow)
			}
			got, want := rightsOf(t, s, s.User(t, wide)), rights()[wider.policy]
			slices.Sort(want)
			if slices.Equal(got, want) {
				t.Error("nothing was noticed")
			}
		})
	}
}

// rightsOf tries every verb in every place and returns, sorted, what was allowed. Anything but success and AccessDenied
// fails the test.
func rightsOf(t *testing.T, s *testenv.Store, k objstore.Keys) (allowed []string) {
	t.Helper()
	root, c := s.Client(t, s.Root), s.Client(t, k)
	ctx, b := t.Context(), s.Bucket
	put := func(c *minio.Client, key string) error {
		_, err := c.PutObject(ctx, b, key, strings.NewReader("x"), 1, minio.PutObjectOptions{})
		return err
	}
	for place, key := range places {
		for verb, try := range map[string]func() error{
			"read": func() error {
				o, err := c.GetObject(ctx, b, key, minio.GetObjectOptions{})
				if err == nil {
					_, err = o.Stat()
				}
				return err
			},
			"write":  func() error { return put(c, key+"-new") },
			"remove": func() error { return c.RemoveObject(ctx, b, key, minio.RemoveObjectOptions{}) },
			"copy": func() error {
				_, err := c.CopyObject(ctx, minio.CopyDestOptions{Bucket: b, Object: key + "-copy"}, minio.CopySrcOptions{Bucket: b, Object: key})
				return err
			},
			"list": func() (err error) {
				for o := range c.ListObjects(ctx, b, minio.ListObjectsOptions{Prefix: key[:strings.LastIndexByte(key, '/')+1]}) {
					err = o.Err
				}
				return err
			},
		} {
			check(t, put(root, key))
			err := try()
			switch code := minio.ToErrorResponse(err).Code; {
			case err == nil:
				allowed = append(allowed, verb+" "+place)
			case code != minio.AccessDenied:
				t.Errorf("%s %s: %v", verb, place, err)
			}
		}
	}
	slices.Sort(allowed)
	return allowed
}
