package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/lifecycle"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// setUp is how a store is set up before doctor looks at it.
type setUp struct {
	store *testenv.Store
	env   []string
	args  []string
}

// verdictOf is how a store is set up and what doctor says of it: the check, how it ends, words of what was seen, of its cost and
// of what to do, and the exit code.
type verdictOf struct {
	set                func(t *testing.T, s *setUp)
	check              string
	state              state
	seen, cost, remedy string
	code               int
}

// setUps are ways in which MinIO, or what lies before it, can be set up, most of them wrong.
func setUps() map[string]verdictOf {
	return map[string]verdictOf{
		"a rule that removes": {func(t *testing.T, s *setUp) {
			setLifecycle(t, s.store, lifecycle.Rule{ID: "old", Status: "Enabled", RuleFilter: lifecycle.Filter{Prefix: "tenants/"}, Expiration: lifecycle.Expiration{Days: 90}})
		}, "lifecycle_objects", stateUnsafe, `rule "old" removes after 90 days what begins with "tenants/"`, "vanish", "remove the rule", exitFailed},
		"a rule for staging": {func(t *testing.T, s *setUp) {
			setLifecycle(t, s.store, lifecycle.Rule{ID: "old", Status: "Enabled", RuleFilter: lifecycle.Filter{Prefix: "global/staging/"}, Expiration: lifecycle.Expiration{Days: 1}})
		}, "lifecycle_objects", stateOK, "of 1 rules none does", "", "", exitDone},
		"versions": {func(t *testing.T, s *setUp) { s.store = testenv.MinIOVersioned(t) },
			"versions_freed", stateWarning, "versioning is Enabled", "the bytes stay", "NoncurrentVersionExpiration", exitDone},
		"versions that a rule frees": {func(t *testing.T, s *setUp) {
			s.store = testenv.MinIOVersioned(t)
			setLifecycle(t, s.store, lifecycle.Rule{ID: "freed", Status: "Enabled", NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{NoncurrentDays: 7}})
		}, "versions_freed", stateOK, `rule "freed"`, "", "", exitDone},
		"locked objects": {lockObjects, "object_lock", stateWarning, "GOVERNANCE", "is kept until its retention ends", "mc retention clear --default", exitDone},
		"no listing": {func(t *testing.T, s *setUp) {
			s.store = s.store.WithUsers(t)
			s.store.Allow(t, s.store.Service, "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload")
		}, "list_bucket", stateUnsafe, "403 AccessDenied", "answers 403 for what is not there", "s3:ListBucket", exitFailed},
		"no writing": {func(t *testing.T, s *setUp) {
			s.store = s.store.WithUsers(t)
			s.store.Allow(t, s.store.Service, "s3:GetObject", "s3:ListBucket")
		}, "service_rights", stateUnsafe, "AccessDenied", "cannot keep anything", "s3:PutObject", exitFailed},
		"a session set by hand": {func(t *testing.T, s *setUp) {
			s.env = []string{"AWS_SHARED_CREDENTIALS_FILE=" + sessionFile(t, s.store)}
		},
			"credentials", stateWarning, "was set by hand", "in the middle of transfers", "a source that renews itself", exitDone},
		"credentials that end before URLs": {func(t *testing.T, s *setUp) {
			s.env = append(s.env, "AWS_CONFIG_FILE="+sessionProgram(t, s.store, 90*time.Minute), "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
			s.args = append(s.args, "--url-life", "2h")
		}, "credentials", stateWarning, "URLs are to live 2h0m0s", "in the middle of transfers", "sessions last longer", exitDone},
		"credentials that outlive URLs": {func(t *testing.T, s *setUp) {
			s.env = append(s.env, "AWS_CONFIG_FILE="+sessionProgram(t, s.store, 90*time.Minute), "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
		}, "credentials", stateOK, "and are renewed", "", "", exitDone},
		"another clock": {func(t *testing.T, s *setUp) {
			proxy := testenv.NewProxy(t, s.store.Endpoint)
			proxy.Add(nil, -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				next.ServeHTTP(&lateClock{w}, r)
			})
			s.store = s.store.Through(proxy)
		}, "clock", stateUnsafe, "off by -", "refuse signatures from another time", "NTP", exitFailed},
		"a public endpoint that is not there": {func(_ *testing.T, s *setUp) { s.args = append(s.args, "--s3-public-endpoint", "http://127.0.0.1:1") },
			"public_reached", stateWarning, "127.0.0.1:1", "cannot be told from here", "curl -I http://127.0.0.1:1", exitDone},
		"a public endpoint that changes Host": {func(t *testing.T, s *setUp) {
			proxy, host := testenv.NewProxy(t, s.store.Endpoint), s.store.Host()
			proxy.Add(nil, -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				r.Host = host
				next.ServeHTTP(w, r)
			})
			s.args = append(s.args, "--s3-public-endpoint", proxy.URL)
		}, "public_answers", stateUnsafe, "SignatureDoesNotMatch", "nobody can pull", "Host header", exitFailed},
		"one host for both": {func(_ *testing.T, s *setUp) { s.args = append(s.args, "--public-url", "http://127.0.0.1:8080") },
			"host_rule", stateUnsafe, "the registry at 127.0.0.1 and the store at 127.0.0.1", "token", "--s3-public-endpoint", exitFailed},
		"a store below the registry": {func(_ *testing.T, s *setUp) {
			s.args = append(s.args, "--public-url", "https://registry.invalid", "--s3-public-endpoint", "https://s3.registry.invalid")
		}, "host_rule", stateUnsafe, "s3.registry.invalid", "token", "--public-url", exitFailed},
		"pages": {func(_ *testing.T, s *setUp) { s.args = append(s.args, "--cors-origin", "https://models.example") },
			"cors", stateOK, "pages of https://models.example may read", "", "", exitDone},
		"no bucket": {func(_ *testing.T, s *setUp) { s.args = append(s.args, "--s3-bucket", "t-that-is-not-there") },
			"bucket", stateUnsafe, "no such bucket", "nowhere to keep anything", "make the bucket", exitFailed},
		"a wrong secret": {func(t *testing.T, s *setUp) {
			other := *s.store
			other.Service.Secret += "x"
			s.env = []string{"AWS_SHARED_CREDENTIALS_FILE=" + other.Credentials(t)}
		}, "bucket", stateUnsafe, "SignatureDoesNotMatch", "nowhere to keep anything", "AWS settings", exitFailed},
		"no credentials": {func(_ *testing.T, s *setUp) { s.env = []string{"AWS_SHARED_CREDENTIALS_FILE=/dev/null"} },
			"store", stateUnsafe, "there is no profile", "does not start", "", exitFailed},
		"nobody there": {func(_ *testing.T, s *setUp) { s.args = append(s.args, "--s3-endpoint", "http://127.0.0.1:1") },
			"store", stateUnknown, "no answer from the store at http://127.0.0.1:1", "does not start", "", exitUnavailable},
		"nobody there, and no session to ask for": {func(_ *testing.T, s *setUp) {
			s.args = append(s.args, "--s3-endpoint", "http://127.0.0.1:1", "--s3-put-narrow", "off")
		}, "clock", stateUnknown, "no answer from http://127.0.0.1:1", "refuse signatures", "see that the store answers", exitUnavailable},
	}
}

// TestDoctorOfStores: each state of a real store ends with the exit code that it deserves, and says what it costs and what to do.
func TestDoctorOfStores(t *testing.T) {
	for name, c := range setUps() {
		t.Run(name, func(t *testing.T) {
			s := &setUp{store: testenv.MinIO(t)}
			c.set(t, s)
			if s.env == nil {
				s.env = []string{"AWS_SHARED_CREDENTIALS_FILE=" + s.store.Credentials(t)}
			}
			checks, d, code := doctor(t, s.env, append(append([]string{"--data", t.TempDir()}, s.store.ServeFlags()...), s.args...)...)
			f, there := checks[c.check]
			if code != c.code || d.Safe != (code == exitDone) || !there || f.State != c.state {
				t.Errorf("exit %d, safe %t: %+v", code, d.Safe, d.Checks)
			}
			if !strings.Contains(f.Seen, c.seen) || !strings.Contains(f.Cost, c.cost) || !strings.Contains(f.Remedy, c.remedy) || f.Claim == "" {
				t.Errorf("%+v", f)
			}
			for _, other := range d.Checks {
				if other.State != stateOK && (other.Claim == "" || other.Cost == "") {
					t.Errorf("nothing is said of what it costs: %+v", other)
				}
				if other.State == stateUnsafe && other.Remedy == "" && other.Name != "store" { // whose error says what to do
					t.Errorf("nothing is said of what to do: %+v", other)
				}
			}
		})
	}
}

// lateClock answers with a Date of an hour ago.
type lateClock struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (l *lateClock) WriteHeader(status int) {
	l.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
	l.ResponseWriter.WriteHeader(status)
}

func setLifecycle(t *testing.T, s *testenv.Store, rule lifecycle.Rule) {
	t.Helper()
	rules := lifecycle.NewConfiguration()
	rules.Rules = []lifecycle.Rule{rule}
	if err := s.Client(t, s.Root).SetBucketLifecycle(t.Context(), s.Bucket, rules); err != nil {
		t.Fatal(err)
	}
}

// lockObjects makes a bucket whose new objects are locked for a day.
func lockObjects(t *testing.T, s *setUp) {
	t.Helper()
	locked := *s.store
	locked.Bucket += "-l"
	root := locked.Client(t, locked.Root)
	if err := root.MakeBucket(t.Context(), locked.Bucket, minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		t.Fatal(err)
	}
	mode, days, unit := minio.Governance, uint(1), minio.Days
	if err := root.SetObjectLockConfig(t.Context(), locked.Bucket, &mode, &days, &unit); err != nil {
		t.Fatal(err)
	}
	s.store = &locked
}

// sessionOf has MinIO make a session of the service.
func sessionOf(t *testing.T, s *testenv.Store) objstore.Keys {
	t.Helper()
	role, err := credentials.NewSTSAssumeRole(s.Endpoint, credentials.STSAssumeRoleOptions{AccessKey: s.Service.ID, SecretKey: s.Service.Secret, Location: s.Region, DurationSeconds: 7200})
	if err != nil {
		t.Fatal(err)
	}
	v, err := role.GetWithContext(nil)
	if err != nil {
		t.Fatal(err)
	}
	return objstore.Keys{ID: v.AccessKeyID, Secret: v.SecretAccessKey, Session: v.SessionToken}
}

// sessionFile is a credentials file with a session in it, as people paste them.
func sessionFile(t *testing.T, s *testenv.Store) string {
	t.Helper()
	with := *s
	with.Service = sessionOf(t, s)
	file := with.Credentials(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line := "aws_secret_access_key = " + with.Service.Secret + "\n"
	text = []byte(strings.Replace(string(text), line, line+"aws_session_token = "+with.Service.Session+"\n", 1))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// sessionProgram is an AWS config in which a program tells a session of the service that ends after life, and the two other identities.
func sessionProgram(t *testing.T, s *testenv.Store, life time.Duration) string {
	t.Helper()
	dir, k := t.TempDir(), sessionOf(t, s)
	said, err := json.Marshal(map[string]any{"Version": 1, "AccessKeyId": k.ID, "SecretAccessKey": k.Secret, "SessionToken": k.Session, "Expiration": time.Now().Add(life).UTC().Format(time.RFC3339)})
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "said.json")
	text := "[default]\ncredential_process = cat " + program + "\n"
	for profile, k := range map[string]objstore.Keys{"put": s.Put, "get": s.Get} {
		text += fmt.Sprintf("[profile %s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", profile, k.ID, k.Secret)
	}
	for file, content := range map[string]string{program: string(said), filepath.Join(dir, "config"): text} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "config")
}

// TestDoctorTakesTheWaiver of serve: the hole of MinIO's signatures is a warning only where serve would take it.
func TestDoctorTakesTheWaiver(t *testing.T) {
	store := testenv.MinIO(t)
	env := []string{"AWS_SHARED_CREDENTIALS_FILE=" + store.Credentials(t)}
	flags := append([]string{"--data", t.TempDir()}, store.ServeFlags()...)
	checks, d, code := doctor(t, env, flags...)
	if code != exitDone || checks["zero_signature"].State != stateWarning {
		t.Errorf("exit %d, %+v", code, d.Checks)
	}
	if checks, _, code := doctor(t, env, flags[:len(flags)-1]...); code != exitFailed || checks["zero_signature"].State != stateUnsafe {
		t.Errorf("without the waiver: exit %d, %+v", code, checks["zero_signature"])
	}
}

// TestDoctorOnItsPolicies: the identities of docs/iam are enough to tell all that MinIO can tell, and nothing of them is too much.
func TestDoctorOnItsPolicies(t *testing.T) {
	store := testenv.MinIO(t)
	for name, keys := range map[string]*objstore.Keys{"service": &store.Service, "put": &store.Put, "get": &store.Get} {
		text, err := os.ReadFile("../../docs/iam/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		*keys = store.User(t, []byte(strings.NewReplacer("BUCKET", store.Bucket, "PREFIX/", "registry/").Replace(string(text))))
	}
	_, d, code := doctor(t, []string{"AWS_SHARED_CREDENTIALS_FILE=" + store.Credentials(t)}, append([]string{"--data", t.TempDir(), "--s3-prefix", "registry", "--cors-origin", "https://models.example"}, store.ServeFlags()...)...)
	if code != exitDone {
		t.Errorf("exit %d", code)
	}
	for _, f := range d.Checks {
		if ofTheMachine := f.Name == "filesystem" || f.Name == "fsync" || f.Name == "clock_synchronised"; f.State != stateOK && f.Name != "zero_signature" && !ofTheMachine {
			t.Errorf("%+v", f)
		}
	}
}

// TestDoctorOfTheEmbeddedStore: no page may read from it by itself, and it has no lifecycle rules, which is not told as if it had one.
func TestDoctorOfTheEmbeddedStore(t *testing.T) {
	checks, _, code := doctor(t, nil, "--data", filepath.Join(t.TempDir(), "data"), "--cors-origin", "https://models.example")
	if f := checks["lifecycle_objects"]; f.State != stateUnknown || !strings.HasPrefix(f.Remedy, "find out whether it holds, and if not: remove the rule") {
		t.Errorf("what cannot be told: %+v", f)
	}
	if f := checks["cors"]; code != exitDone || f.State != stateWarning || !strings.Contains(f.Cost, "browsers only") || !strings.Contains(f.Remedy, "put-bucket-cors") {
		t.Errorf("exit %d: %+v", code, f)
	}
}

// TestDoctorOfTheMachine: places that cannot hold an index, and settings with which serve does not start.
func TestDoctorOfTheMachine(t *testing.T) {
	for data, check := range map[string]string{"/dev/null/data": "data_folder", "/proc/nothing/data": "data_folder"} {
		checks, _, code := doctor(t, nil, "--data", data)
		if f := checks[check]; code != exitFailed || f.State != stateUnsafe || !strings.HasPrefix(f.Seen, data+" cannot be used: ") || !strings.Contains(f.Remedy, "--data") {
			t.Errorf("%s: exit %d, %+v", data, code, f)
		}
	}
	checks, _, code := doctor(t, nil, "--data", t.TempDir(), "--min-free", "1PiB")
	if f := checks["disk_free"]; code != exitFailed || f.State != stateUnsafe || !strings.Contains(f.Remedy, "make room") {
		t.Errorf("a full disk: exit %d, %+v", code, f)
	}
	for _, args := range []string{"--gc-grace 1h", "--url-life 30h", "--snapshot-keep 0", "--gc-grace -1h", "--drain-timeout 1ms", "--s3-prefix x"} {
		said, code := doctorSays(t, nil, append([]string{"--data", t.TempDir()}, strings.Fields(args)...)...)
		if code != exitUsage || !strings.Contains(said, strings.Fields(args)[0]) {
			t.Errorf("%s: exit %d, %s", args, code, said)
		}
	}
}

// TestDoctorInWords: what a person reads.
func TestDoctorInWords(t *testing.T) {
	said, code := doctorSays(t, nil, "--data", t.TempDir(), "--public-url", "http://127.0.0.1:8080")
	for _, words := range []string{
		"\nunsafe   host_rule             clients would reach the registry at 127.0.0.1", "\n         should: the store's host is neither", "\n         costs:  clients send",
		"\n         to do:  give the store a host name of its own", "\nballast: not safe: do what is said under each unsafe check",
	} {
		if !strings.Contains(said, words) {
			t.Errorf("no %q in %s", words, said)
		}
	}
	if code != exitFailed || strings.Contains(said, "\nsafe: ") {
		t.Errorf("exit %d: %s", code, said)
	}
	said, code = doctorSays(t, nil, "--data", t.TempDir())
	if code != exitDone || !strings.Contains(said, "\nsafe: ") || strings.Contains(said, "\nunsafe") {
		t.Errorf("exit %d: %s", code, said)
	}
}

// doctorSays runs the command without --json and returns what it prints.
func doctorSays(t *testing.T, env []string, args ...string) (said string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testenv.Binary(t), append([]string{"doctor"}, args...)...)
	cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true"}, env...)
	out, _ := cmd.CombinedOutput() // its code is looked at
	return "\n" + string(out), cmd.ProcessState.ExitCode()
}
