package objstore_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/cors"
	"github.com/minio/minio-go/v7/pkg/lifecycle"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// setRules sets a bucket's lifecycle rules as an operator would, with another program.
func setRules(t *testing.T, store *testenv.Store, rules ...lifecycle.Rule) {
	t.Helper()
	c := lifecycle.NewConfiguration()
	c.Rules = rules
	must(t, store.Client(t, store.Root).SetBucketLifecycle(t.Context(), store.Bucket, c))
}

// removes is a rule that removes what begins with prefix.
func removes(id, prefix string, after lifecycle.Expiration) lifecycle.Rule {
	return lifecycle.Rule{ID: id, Status: "Enabled", RuleFilter: lifecycle.Filter{Prefix: prefix}, Expiration: after}
}

// TestInspectReadsLifecycleRules of a bucket that has them.
func TestInspectReadsLifecycleRules(t *testing.T) {
	store := testenv.MinIO(t)
	cfg := store.Config()
	cfg.Prefix = "models"
	wantVerdict(t, inspect(t, cfg, objstore.Report{}), "lifecycle_objects", objstore.OK, "of 0 rules")
	month := lifecycle.Expiration{Days: 30}
	for prefix, rule := range map[string]lifecycle.Rule{
		"":                            removes("old", "", month),
		"models/global/blobs/":        removes("old", "models/global/blobs/", month),
		"models/tenants/acme/blo":     removes("old", "models/tenants/acme/blo", month),
		"models/tenants/acme/models/": removes("old", "models/tenants/acme/models/", month),
		"models/index/":               removes("old", "models/index/", month),
		"on a date":                   removes("old", "models/", lifecycle.Expiration{Date: lifecycle.ExpirationDate{Time: time.Now().AddDate(1, 0, 0).UTC().Truncate(24 * time.Hour)}}),
		"large ones":                  {ID: "old", Status: "Enabled", RuleFilter: lifecycle.Filter{And: lifecycle.And{Prefix: "models/", ObjectSizeGreaterThan: 1 << 30}}, Expiration: month},
	} {
		setRules(t, store, rule)
		words := map[bool]string{true: "removes on a date", false: "removes after 30 days"}[prefix == "on a date"]
		found := inspect(t, cfg, objstore.Report{})
		wantVerdict(t, found, "lifecycle_objects", objstore.Hole, `rule "old" `+words)
		if c := found["lifecycle_objects"]; c.Needed != objstore.Required || !strings.Contains(c.Remedy, store.Bucket+"/models/global/staging/") || !strings.Contains(c.Cost, "vanish") {
			t.Errorf("%s: %+v", prefix, c)
		}
	}
	off := removes("off", "models/", month)
	off.Status = "Disabled"
	tagged := lifecycle.Rule{ID: "tagged", Status: "Enabled", RuleFilter: lifecycle.Filter{Tag: lifecycle.Tag{Key: "a", Value: "b"}}, Expiration: month}
	setRules(t, store, off, tagged, removes("staging", "models/global/staging/", month), removes("inbox", "models/tenants/acme/inbox/", month), removes("others", "other/", month))
	wantVerdict(t, inspect(t, cfg, objstore.Report{}), "lifecycle_objects", objstore.OK, "of 4 rules none does")
}

// TestInspectReadsRulesOfAWS: what MinIO does not have in its rules, S3 tells in an answer like this. All else is MinIO's.
func TestInspectReadsRulesOfAWS(t *testing.T) {
	store := testenv.MinIO(t)
	for name, c := range map[string]struct {
		rule, check string
		want        objstore.Verdict
		words       string
	}{
		"an archive": {`<Filter><Prefix></Prefix></Filter><Transition><Days>90</Days><StorageClass>GLACIER</StorageClass></Transition><Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>`,
			"lifecycle_objects", objstore.Hole, "moves to GLACIER"},
		"the deepest one": {`<Prefix>tenants/</Prefix><Transition><Days>90</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>`, "lifecycle_objects", objstore.Hole, "moves to DEEP_ARCHIVE what begins with \"tenants/\""},
		"one that is read at once": {`<Filter><Prefix></Prefix></Filter><Transition><Days>90</Days><StorageClass>GLACIER_IR</StorageClass></Transition>`,
			"lifecycle_objects", objstore.OK, ""},
		"multiparts after a day": {`<Filter><Prefix></Prefix></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>`,
			"lifecycle_multiparts", objstore.Hole, `rule "r" ends those below "" after 1 days`},
		"multiparts of a tenant": {`<Filter><Prefix>tenants/acme/</Prefix></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>6</DaysAfterInitiation></AbortIncompleteMultipartUpload>`,
			"lifecycle_multiparts", objstore.Hole, "after 6 days"},
		"multiparts after a week": {`<Filter><Prefix></Prefix></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>`,
			"lifecycle_multiparts", objstore.OK, ""},
		"multiparts elsewhere": {`<Filter><Prefix>logs/</Prefix></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>`,
			"lifecycle_multiparts", objstore.OK, ""},
	} {
		proxy := testenv.NewProxy(t, store.Endpoint)
		proxy.Add(asksLifecycle, -1, testenv.AnswerWith(http.StatusOK, "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status>"+c.rule+"</Rule></LifecycleConfiguration>"))
		t.Log(name)
		wantVerdict(t, inspect(t, store.Through(proxy).Config(), objstore.Report{}), c.check, c.want, c.words)
	}
}

func asksLifecycle(r *http.Request) bool { return r.URL.Query().Has("lifecycle") }

// TestInspectWithoutAnAnswer: a store that may not tell is unknown, and one that did not answer leaves open what is needed.
func TestInspectWithoutAnAnswer(t *testing.T) {
	store := testenv.MinIO(t).WithUsers(t)
	for status, want := range map[int]objstore.Need{http.StatusForbidden: objstore.Knowledge, http.StatusNotImplemented: objstore.Knowledge, http.StatusServiceUnavailable: objstore.Required} {
		cfg := store.Config()
		cfg.HTTPClient = newClient(t)
		next := cfg.HTTPClient.Transport
		cfg.HTTPClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if asksLifecycle(r) {
				return answering(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }).Transport.RoundTrip(r)
			}
			return next.RoundTrip(r)
		})
		found := inspect(t, cfg, objstore.Report{})
		wantVerdict(t, found, "lifecycle_objects", objstore.Inconclusive, "")
		if c := found["lifecycle_objects"]; c.Needed != want {
			t.Errorf("%d: it is %s: %s", status, c.Needed, c.Detail)
		}
	}
	store.Allow(t, store.Service, "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
	found := inspect(t, store.Config(), objstore.Report{})
	for name, right := range map[string]string{"lifecycle_objects": "s3:GetLifecycleConfiguration", "versions_freed": "s3:GetBucketVersioning", "object_lock": "s3:GetBucketObjectLockConfiguration"} {
		wantVerdict(t, found, name, objstore.Inconclusive, "allow it "+right)
	}
}

// TestInspectSeesVersionsThatStay: a rule frees what the registry deletes only if it leaves nothing out.
func TestInspectSeesVersionsThatStay(t *testing.T) {
	store := testenv.MinIOVersioned(t)
	cfg := store.Config()
	cfg.Prefix = "models"
	wantVerdict(t, inspect(t, cfg, objstore.Report{}), "versions_freed", objstore.Hole, "versioning is Enabled, and no lifecycle rule")
	after := lifecycle.NoncurrentVersionExpiration{NoncurrentDays: 3}
	for name, c := range map[string]struct {
		filter lifecycle.Filter
		after  lifecycle.NoncurrentVersionExpiration
		want   objstore.Verdict
	}{
		"of all":         {lifecycle.Filter{}, after, objstore.OK},
		"of the prefix":  {lifecycle.Filter{Prefix: "models/"}, after, objstore.OK},
		"of one tenant":  {lifecycle.Filter{Prefix: "models/tenants/acme/"}, after, objstore.Hole},
		"of large ones":  {lifecycle.Filter{And: lifecycle.And{Prefix: "models/", ObjectSizeGreaterThan: 1 << 20}}, after, objstore.Hole},
		"but the newest": {lifecycle.Filter{}, lifecycle.NoncurrentVersionExpiration{NoncurrentDays: 3, NewerNoncurrentVersions: 1}, objstore.Hole},
	} {
		t.Log(name)
		setRules(t, store, lifecycle.Rule{ID: "freed", Status: "Enabled", RuleFilter: c.filter, NoncurrentVersionExpiration: c.after})
		found := inspect(t, cfg, objstore.Report{})
		wantVerdict(t, found, "versions_freed", c.want, "")
		wantVerdict(t, found, "lifecycle_objects", objstore.OK, "of 1 rules none does")
	}
	setRules(t, store, removes("other", "other/", lifecycle.Expiration{Days: 1}))
	must(t, store.Client(t, store.Root).SuspendVersioning(t.Context(), store.Bucket))
	wantVerdict(t, inspect(t, cfg, objstore.Report{}), "versions_freed", objstore.Hole, "versioning is Suspended")
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
	wantVerdict(t, inspect(t, cfg, objstore.Report{}), "object_lock", objstore.OK, "object lock is on, without a default retention")
	mode, days, unit := minio.Governance, uint(1), minio.Days
	must(t, root.SetObjectLockConfig(t.Context(), cfg.Bucket, &mode, &days, &unit))
	found := inspect(t, cfg, objstore.Report{})
	wantVerdict(t, found, "object_lock", objstore.Hole, "locks new objects (GOVERNANCE)")
	if c := found["object_lock"]; c.Needed != objstore.Knowledge || !strings.Contains(c.Remedy, "mc retention clear --default") {
		t.Errorf("it is %+v", c)
	}
}

// TestInspectTriesAsPages: the store decides which pages may read, whether its bucket has rules or not.
func TestInspectTriesAsPages(t *testing.T) {
	const origin = "https://models.example"
	store := testenv.Embedded(t)
	root := store.Client(t, store.Root)
	set := func(rules ...cors.Rule) {
		t.Helper()
		must(t, root.SetBucketCors(t.Context(), store.Bucket, cors.NewConfig(rules)))
	}
	probe(t, store.Config(), objstore.ProbeOptions{})
	found := inspect(t, store.Config(), objstore.Report{}, origin)
	wantVerdict(t, found, "cors", objstore.Hole, "no page of "+origin+" read")
	if c := found["cors"]; c.Needed != objstore.Knowledge {
		t.Errorf("it is %+v", c)
	}
	set(cors.Rule{AllowedOrigin: []string{origin}, AllowedMethod: []string{"GET", "HEAD"}, AllowedHeader: []string{"*"}})
	wantVerdict(t, inspect(t, store.Config(), objstore.Report{}, origin), "cors", objstore.Hole, "their origin as null")
	wantVerdict(t, inspect(t, store.Config(), objstore.Report{}, origin, "https://b.example"), "cors", objstore.Hole, "no page of https://b.example read")
	set(cors.Rule{AllowedOrigin: []string{"*"}, AllowedMethod: []string{"GET", "HEAD"}})
	wantVerdict(t, inspect(t, store.Config(), objstore.Report{}, origin), "cors", objstore.Hole, "no page of "+origin) // no ranges
	set(said(t, found["cors"].Remedy))
	wantVerdict(t, inspect(t, store.Config(), objstore.Report{}, origin), "cors", objstore.OK, "pages of "+origin+" may read")
	away := store.Config()
	away.PublicEndpoint = "http://127.0.0.1:1"
	wantVerdict(t, inspect(t, away, objstore.Report{}, origin), "cors", objstore.Inconclusive, "public_reached")
}

// said are the rules that a remedy says to set.
func said(t *testing.T, remedy string) cors.Rule {
	t.Helper()
	_, text, _ := strings.Cut(remedy, "--cors-configuration '")
	text, _, _ = strings.Cut(text, "'")
	var c struct {
		CORSRules []struct {
			AllowedOrigins, AllowedMethods, AllowedHeaders, ExposeHeaders []string
			MaxAgeSeconds                                                 int
		}
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil || len(c.CORSRules) != 1 {
		t.Fatalf("%v: %q", err, remedy)
	}
	r := c.CORSRules[0]
	return cors.Rule{AllowedOrigin: r.AllowedOrigins, AllowedMethod: r.AllowedMethods, AllowedHeader: r.AllowedHeaders, ExposeHeader: r.ExposeHeaders, MaxAgeSeconds: r.MaxAgeSeconds}
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
