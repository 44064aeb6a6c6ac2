package objstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/lifecycle"

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
			if c.Verdict == objstore.Hole && name != "cors" {
				t.Errorf("%s: %s", name, c.Detail)
			}
		}
		if store.Server != nil {
			wantVerdict(t, found, "lifecycle_objects", objstore.Inconclusive, "cannot be told: the store does not have")
			if c := found["lifecycle_objects"]; c.Needed != objstore.Knowledge {
				t.Errorf("what cannot be told is %s", c.Needed)
			}
		}
		if c := found["cors"]; c.Verdict == objstore.OK {
			t.Errorf("pages may read: %s", c.Detail)
		}
	})
}

// TestInspectReadsLifecycleRules that an operator set with another program.
func TestInspectReadsLifecycleRules(t *testing.T) {
	store := testenv.MinIOVersioned(t)
	root := store.Client(t, store.Root)
	cfg := store.Config()
	cfg.Prefix = "models"
	set := func(rules ...lifecycle.Rule) {
		t.Helper()
		c := lifecycle.NewConfiguration()
		c.Rules = rules
		must(t, root.SetBucketLifecycle(t.Context(), store.Bucket, c))
	}
	found := inspect(t, cfg, objstore.Report{})
	wantVerdict(t, found, "versions_freed", objstore.Hole, "no lifecycle rule")
	wantVerdict(t, found, "lifecycle_objects", objstore.OK, "of 0 rules")

	set(lifecycle.Rule{ID: "old", Status: "Enabled", RuleFilter: lifecycle.Filter{Prefix: "models/tenants/acme/blo"}, Expiration: lifecycle.Expiration{Days: 30}},
		lifecycle.Rule{ID: "freed", Status: "Enabled", NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{NoncurrentDays: 3}})
	found = inspect(t, cfg, objstore.Report{})
	wantVerdict(t, found, "lifecycle_objects", objstore.Hole, `rule "old" removes after 30 days`)
	wantVerdict(t, found, "versions_freed", objstore.OK, "after 3 days")
	if c := found["lifecycle_objects"]; c.Needed != objstore.Required {
		t.Errorf("it is %s", c.Needed)
	}

	set(lifecycle.Rule{ID: "staging", Status: "Enabled", RuleFilter: lifecycle.Filter{Prefix: "models/global/staging/"}, Expiration: lifecycle.Expiration{Days: 1}},
		lifecycle.Rule{ID: "off", Status: "Disabled", RuleFilter: lifecycle.Filter{Prefix: "models/"}, Expiration: lifecycle.Expiration{Days: 1}})
	wantVerdict(t, inspect(t, cfg, objstore.Report{}), "lifecycle_objects", objstore.OK, "")
}

// TestInspectSeesALock of new objects.
func TestInspectSeesALock(t *testing.T) {
	store := testenv.MinIO(t)
	root := store.Client(t, store.Root)
	cfg := store.Config()
	cfg.Bucket = store.Bucket + "-l"
	must(t, root.MakeBucket(t.Context(), cfg.Bucket, minio.MakeBucketOptions{ObjectLocking: true}))
	t.Cleanup(func() {
		_ = root.RemoveBucketWithOptions(t.Context(), cfg.Bucket, minio.RemoveBucketOptions{ForceDelete: true})
	})
	s := open(t, cfg)
	if lock := s.Setup(t.Context()).Lock; lock.Unknown != nil || !lock.Value.Enabled || lock.Value.Mode != "" {
		t.Errorf("without a retention it is %+v", lock)
	}
	mode, days, unit := minio.Governance, uint(1), minio.Days
	must(t, root.SetObjectLockConfig(t.Context(), cfg.Bucket, &mode, &days, &unit))
	if lock := s.Setup(t.Context()).Lock; lock.Value.Mode != "GOVERNANCE" {
		t.Errorf("with one it is %+v", lock)
	}
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

// TestInspectMissesListing: without the right to list, 404 reads as 403.
func TestInspectMissesListing(t *testing.T) {
	store := testenv.MinIO(t)
	cfg := store.Config()
	cfg.Service = objstore.Identity{Keys: store.Get}
	wantVerdict(t, inspectAnyhow(t, cfg), "list_bucket", objstore.Hole, "refused")
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
	cfg = store.Config()
	cfg.Service.Keys.Session = "set by hand"
	wantVerdict(t, inspectAnyhow(t, cfg), "credentials", objstore.Hole, "set by hand")
}

// TestLifecyclePrefixes: which prefixes of rules meet what the registry keeps.
func TestLifecyclePrefixes(t *testing.T) {
	for prefix, want := range map[string]bool{
		"": true, "mod": true, "models/": true, "models/glob": true, "models/global/": true, "models/global/blobs/sha256/ab/": true,
		"models/global/models/": true, "models/tenants/": true, "models/tenants/ac": true, "models/tenants/acme/": true,
		"models/tenants/acme/models/x/": true, "models/index/snapshots/": true, "models/global/b": true,
		"models/global/staging/": false, "models/tenants/acme/staging/": false, "models/tenants/acme/inbox/": false,
		"other/": false, "models2/": false, "models/global/inbox/": false, "models/tenantsx": false,
	} {
		if got := objstore.Touches(prefix, "models/"); got != want {
			t.Errorf("%q: %t", prefix, got)
		}
	}
}
