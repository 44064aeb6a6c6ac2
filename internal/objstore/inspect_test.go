package objstore_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// inspect returns the checks by name, and fails where something stays behind.
func inspect(t *testing.T, cfg objstore.Config, seen objstore.Report, origins ...string) map[string]objstore.Check {
	t.Helper()
	checks, left := objstore.Inspect(t.Context(), open(t, cfg), seen, objstore.InspectOptions{Client: newClient(t), URLLife: time.Hour, Origins: origins})
	must(t, left)
	found := map[string]objstore.Check{}
	for _, c := range checks {
		t.Logf("%-12s %-20s %s", c.Verdict, c.Name, c.Detail)
		found[c.Name] = c
	}
	return found
}

func wantVerdict(t *testing.T, found map[string]objstore.Check, name string, want objstore.Verdict, words string) {
	t.Helper()
	if c := found[name]; c.Verdict != want || !strings.Contains(c.Detail, words) {
		t.Errorf("%s is %s: %s; want %s with %q", name, c.Verdict, c.Detail, want, words)
	}
}

// TestInspectOfAStoreThatIsFit finds nothing wrong, on both stores, and says of what a store does not tell that it cannot be
// told.
func TestInspectOfAStoreThatIsFit(t *testing.T) {
	testenv.Each(t, func(t *testing.T, store *testenv.Store) {
		seen := probe(t, store.Config(), objstore.ProbeOptions{})
		found := inspect(t, store.Config(), seen, "https://models.example")
		for name, c := range found {
			if lets := store.Server == nil; c.Verdict == objstore.Hole && (name != "cors" || lets) {
				t.Errorf("%s: %s", name, c.Detail)
			}
		}
		if store.Server != nil {
			wantVerdict(t, found, "lifecycle_objects", objstore.Inconclusive, "cannot be told: the store does not have")
			if c := found["lifecycle_objects"]; c.Needed != objstore.Knowledge {
				t.Errorf("what cannot be told is %s", c.Needed)
			}
		}
	})
}

// TestInspectSeesWhoMayTooMuch: a get identity that writes, which is unsafe where zeros are a signature, and a put identity that
// deletes.
func TestInspectSeesWhoMayTooMuch(t *testing.T) {
	store := testenv.MinIO(t)
	cfg := store.Config()
	cfg.Put, cfg.Get = &objstore.Identity{Keys: store.Root}, &objstore.Identity{Keys: store.Root}
	found := inspect(t, cfg, objstore.Report{Checks: []objstore.Check{{Name: "zero_signature", Verdict: objstore.Hole}}})
	wantVerdict(t, found, "get_cannot_put", objstore.Hole, "it wrote")
	wantVerdict(t, found, "put_cannot_delete", objstore.Hole, "it deleted")
	if c := found["get_cannot_put"]; c.Needed != objstore.Required {
		t.Errorf("with a hole in signatures it is %s", c.Needed)
	}
}

// TestServiceThatMayTooLittle: without the right to list, 404 reads as 403, and that is what a start is told, not that the bucket
// is not there; so it is with the other rights, which are named.
func TestServiceThatMayTooLittle(t *testing.T) {
	rights := []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}
	store := testenv.MinIO(t).WithUsers(t)
	for missing, want := range map[string]string{"s3:ListBucket": "list_bucket", "s3:PutObject": "service_rights", "s3:GetObject": "service_rights", "s3:ListMultipartUploadParts": "service_rights"} {
		store.Allow(t, store.Service, slices.DeleteFunc(slices.Clone(rights), func(right string) bool { return right == missing })...)
		r := probe(t, store.Config(), objstore.ProbeOptions{})
		if got := holes(r); len(got) == 0 || got[len(got)-1] != want {
			t.Errorf("without %s: holes %q", missing, got)
		}
		wantWords(t, r.Refusal(true), want+": it should hold", missing, "arn:aws:s3:::"+store.Bucket, "docs/iam/service.json")
	}
	store.Allow(t, store.Service, slices.DeleteFunc(rights, func(right string) bool { return right == "s3:ListBucketMultipartUploads" })...)
	wantVerdict(t, inspectAnyhow(t, store.Config()), "list_bucket", objstore.Hole, "multipart uploads was refused")
}

func inspectAnyhow(t *testing.T, cfg objstore.Config) map[string]objstore.Check {
	t.Helper()
	checks, left := objstore.Inspect(t.Context(), open(t, cfg), objstore.Report{}, objstore.InspectOptions{Client: newClient(t), URLLife: time.Hour})
	if left != nil && !errors.Is(left, objstore.ErrDenied) {
		t.Error(left)
	}
	found := map[string]objstore.Check{}
	for _, c := range checks {
		found[c.Name] = c
	}
	return found
}

// TestInspectTriesThePublicEndpoint: nobody there is worth knowing; somebody who refuses is unsafe.
func TestInspectTriesThePublicEndpoint(t *testing.T) {
	store := testenv.Embedded(t)
	probe(t, store.Config(), objstore.ProbeOptions{})
	cfg := store.Config()
	cfg.PublicEndpoint = "http://127.0.0.1:1"
	found := inspect(t, cfg, objstore.Report{})
	wantVerdict(t, found, "public_reached", objstore.Hole, "127.0.0.1:1")
	wantVerdict(t, found, "public_answers", objstore.Inconclusive, "cannot be told from here")
	other := testenv.NewProxy(t, store.Endpoint)
	other.Add(nil, -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Host = store.Host() // as proxies do that are not told otherwise
		next.ServeHTTP(w, r)
	})
	cfg.PublicEndpoint = other.URL
	found = inspect(t, cfg, objstore.Report{})
	wantVerdict(t, found, "public_reached", objstore.OK, "answers")
	wantVerdict(t, found, "public_answers", objstore.Hole, "SignatureDoesNotMatch")
	if c := found["public_answers"]; c.Needed != objstore.Required || !strings.Contains(c.Remedy, "Host header") {
		t.Errorf("it is %+v", c)
	}
}

// TestInspectSeesCredentialsThatEnd: sessions of MinIO, set by hand or from a program that says when they end.
func TestInspectSeesCredentialsThatEnd(t *testing.T) {
	store := testenv.MinIO(t)
	role, err := credentials.NewSTSAssumeRole(store.Endpoint, credentials.STSAssumeRoleOptions{AccessKey: store.Service.ID, SecretKey: store.Service.Secret, Location: store.Region, DurationSeconds: 3600})
	must(t, err)
	v, err := role.GetWithContext(nil)
	must(t, err)
	cfg := store.Config()
	cfg.Service = objstore.Identity{Keys: objstore.Keys{ID: v.AccessKeyID, Secret: v.SecretAccessKey, Session: v.SessionToken}}
	wantVerdict(t, inspect(t, cfg, objstore.Report{}), "credentials", objstore.Hole, "the service's are a session that was set by hand")

	bareEnvironment(t)
	for life, want := range map[time.Duration]objstore.Verdict{10 * time.Minute: objstore.Hole, 2 * time.Hour: objstore.OK} {
		dir := t.TempDir()
		said, err := json.Marshal(map[string]any{"Version": 1, "AccessKeyId": v.AccessKeyID, "SecretAccessKey": v.SecretAccessKey, "SessionToken": v.SessionToken,
			"Expiration": time.Now().Add(life).UTC().Format(time.RFC3339)})
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "said"), said, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, "config"), []byte("[default]\ncredential_process = cat "+filepath.Join(dir, "said")+"\n"), 0o600))
		t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
		cfg.Service = objstore.Identity{}
		found := inspect(t, cfg, objstore.Report{})
		wantVerdict(t, found, "credentials", want, "the service's end in ")
		if want == objstore.Hole {
			wantVerdict(t, found, "credentials", want, "URLs are to live 1h0m0s; --s3-put-profile's have no end")
		}
	}
}
