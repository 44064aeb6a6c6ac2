package faults_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// TestRights: MinIO takes rights from the service's identities while it runs, and gives them back.
func TestRights(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(t *testing.T, s *testenv.Store){
		"read-only bucket": func(t *testing.T, s *testenv.Store) {
			s.Allow(t, s.Service, "s3:GetObject", "s3:ListBucket", "s3:ListMultipartUploadParts", "s3:ListBucketMultipartUploads")
			s.Allow(t, s.Put, "s3:GetBucketLocation")
		},
		"no listing, so 403 in place of 404": func(t *testing.T, s *testenv.Store) {
			s.Allow(t, s.Service, "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload")
		},
		"nothing at all": func(t *testing.T, s *testenv.Store) {
			for _, k := range []objstore.Keys{s.Service, s.Put, s.Get} {
				s.Allow(t, k, "s3:GetBucketLocation")
			}
		},
		"users disabled": func(t *testing.T, s *testenv.Store) {
			for _, k := range []objstore.Keys{s.Service, s.Put, s.Get} {
				s.Enable(t, k, false)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testenv.MinIO(t).WithUsers(t)
			w := newWorld(t, s)
			take(t, s)
			if err := w.during(ballast.CodeUnavailable); err != nil {
				t.Error(err)
			}
			for _, k := range []objstore.Keys{s.Service, s.Put, s.Get} {
				s.Allow(t, k)
				s.Enable(t, k, true)
			}
			w.after()
		})
	}
}

// sessionLife is what the service is told of how long its sessions live. MinIO makes none shorter than 15 minutes, so
// a session's end is that of its user, and its announced end is earlier than MinIO's.
const sessionLife = time.Minute

// sessions are role credentials of the three identities, which the service gets from a program that an AWS profile names.
type sessions struct {
	t   *testing.T
	dir string
}

// environment is what makes the service use them.
func (s sessions) environment() []string {
	config := filepath.Join(s.dir, "config")
	var text string
	for _, profile := range []string{"default", "put", "get"} {
		name := "profile " + profile
		if profile == "default" {
			name = profile
		}
		text += fmt.Sprintf("[%s]\ncredential_process = cat %s\n", name, s.file(profile))
	}
	check(s.t, os.WriteFile(config, []byte(text), 0o600))
	return []string{"AWS_CONFIG_FILE=" + config, "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(s.dir, "none")}
}

func (s sessions) file(profile string) string { return filepath.Join(s.dir, profile+".json") }

// begin has MinIO make sessions for the users of a store.
func (s sessions) begin(store *testenv.Store, life time.Duration) (ends time.Time) {
	s.t.Helper()
	ends = time.Now().Add(life).Truncate(time.Second)
	for profile, k := range map[string]objstore.Keys{"default": store.Service, "put": store.Put, "get": store.Get} {
		v := must[credentials.Value](s.t)(assume(store, k, 900))
		b := must[[]byte](s.t)(json.Marshal(map[string]any{
			"Version": 1, "AccessKeyId": v.AccessKeyID, "SecretAccessKey": v.SecretAccessKey, "SessionToken": v.SessionToken,
			"Expiration": ends.UTC().Format(time.RFC3339),
		}))
		fresh := s.file(profile) + ".new"
		check(s.t, os.WriteFile(fresh, b, 0o600))
		check(s.t, os.Rename(fresh, s.file(profile)))
	}
	return ends
}

func assume(store *testenv.Store, k objstore.Keys, seconds int) (credentials.Value, error) {
	role, err := credentials.NewSTSAssumeRole(store.Endpoint, credentials.STSAssumeRoleOptions{AccessKey: k.ID, SecretKey: k.Secret, Location: store.Region, DurationSeconds: seconds})
	if err != nil {
		return credentials.Value{}, err
	}
	return role.GetWithContext(nil)
}

// TestSessionsEnd: the role credentials that a service runs on end in the midst of a push. It says so, nothing is lost,
// and with the next ones it goes on by itself.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	first := testenv.MinIO(t).WithUsers(t)
	second := first.WithUsers(t)
	if _, err := assume(first, first.Service, 600); err == nil {
		t.Error("MinIO makes sessions of less than 15 minutes now: use them here")
	}
	s := sessions{t, t.TempDir()}
	testenv.Binary(t) // built before the sessions begin, which do not wait
	ends := s.begin(first, sessionLife)

	front := testenv.NewProxy(t, first.Endpoint)
	data := t.TempDir()
	w := newWorldOf(t, start(t, data, serveCommand(t, first.Through(front), data, s.environment()...)))
	w.store, w.front = first, front
	w.filled()
	body := random(10)
	a := must[ballast.BlobsResponse](t)(w.c.Blobs(t.Context(), w.half.id, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: ballast.DigestOf(body), Size: 10, Method: ballast.MethodPut}}})).Blobs[0]
	if a.Request.ExpiresAt.After(ends) {
		t.Errorf("a signed request lives until %s, its session until %s", a.Request.ExpiresAt, ends)
	}

	for _, k := range []objstore.Keys{first.Service, first.Put, first.Get} {
		first.Enable(t, k, false)
	}
	if err := w.during(ballast.CodeUnavailable); err != nil {
		t.Error(err)
	}
	if time.Now().After(ends) {
		t.Log("the sessions were over before all was tried")
	}
	s.begin(second, time.Hour)
	w.store = second // who looks at the bucket
	w.after()
}
