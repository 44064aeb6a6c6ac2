package objstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv"
)

// narrowed is a store whose uploads are signed by sessions.
func narrowed(t *testing.T, store *testenv.Store) (objstore.Config, *objstore.S3) {
	cfg := store.Config()
	cfg.Prefix, cfg.PutNarrow = "models", true
	return cfg, open(t, cfg)
}

func blobOf(t *testing.T, scope string, content []byte) (string, digest.Digest) {
	t.Helper()
	s, err := ballast.ParseScope(scope)
	must(t, err)
	d := ballast.DigestOf(content)
	return ballast.BlobKey(s, d), d
}

// deliver sends what was signed and returns the status.
func deliver(t *testing.T, req ballast.SignedRequest, content []byte, more http.Header) int {
	t.Helper()
	resp, err := objstoretest.Send(t.Context(), newClient(t), req, content, more)
	must(t, err)
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// TestSessionsSignUploads: single PUTs of any scope, and parts of multiparts that the service itself opened and completes.
func TestSessionsSignUploads(t *testing.T) {
	_, s := narrowed(t, testenv.MinIO(t))
	check := objstoretest.CheckSigner(t, s)
	for _, scope := range []string{"global", "acme"} {
		content := []byte("whole, of " + scope)
		key, d := blobOf(t, scope, content)
		req, err := check.SignPut(t.Context(), key, d, int64(len(content)), time.Hour)
		must(t, err)
		if life := time.Until(req.ExpiresAt.Time); life < 59*time.Minute {
			t.Errorf("%s: lives %s", scope, life)
		}
		if status := deliver(t, req, content, nil); status != http.StatusOK {
			t.Fatalf("%s: a PUT got %d", scope, status)
		}
		if o, err := s.Head(t.Context(), key); err != nil || o.SHA256 != d {
			t.Errorf("%s: %+v, %v", scope, o, err)
		}

		parts := [][]byte{bytes.Repeat([]byte("p"), ballast.MinPartSize), []byte("the last, of " + scope)}
		key, _ = blobOf(t, scope, bytes.Join(parts, nil))
		id, err := s.CreateMultipart(t.Context(), key)
		must(t, err)
		for i, part := range parts {
			req, err := check.SignPart(t.Context(), key, id, i+1, ballast.DigestOf(part), int64(len(part)), time.Hour)
			must(t, err)
			if status := deliver(t, req, part, nil); status != http.StatusOK {
				t.Fatalf("%s: a part got %d", scope, status)
			}
		}
		var list []objstore.Part
		for p, err := range s.ListParts(t.Context(), key, id, 0) {
			must(t, err)
			list = append(list, p)
		}
		if o, err := s.CompleteMultipart(t.Context(), key, id, list); err != nil || len(list) != 2 {
			t.Errorf("%s: %+v of %d parts, %v", scope, o, len(list), err)
		}
	}
}

// TestSessionEndsAtItsScope: with the very keys of a scope's session nothing can be done but write that scope's blobs and
// staging. The put identity itself, which is the control, writes everywhere.
func TestSessionEndsAtItsScope(t *testing.T) {
	store := testenv.MinIO(t)
	_, s := narrowed(t, store)
	keys, err := objstore.SessionKeys(t.Context(), s, "tenants/acme")
	must(t, err)
	for who, k := range map[string]struct {
		keys objstore.Keys
		want []string
	}{
		"session":  {keys, []string{"write models/tenants/acme/blobs/k", "write models/tenants/acme/staging/k"}},
		"identity": {store.Put, []string{"write models/global/blobs/k", "write models/tenants/acme/blobs/k", "write models/tenants/acme/staging/k", "write models/tenants/globex/blobs/k", "write models/tenants/globex/staging/k"}},
	} {
		got := allowed(t, store, k.keys, "models/tenants/acme/blobs/k", "models/tenants/acme/staging/k", "models/tenants/acme/inbox/k", "models/tenants/acme/models/k",
			"models/tenants/globex/blobs/k", "models/tenants/globex/staging/k", "models/tenants/acmes/inbox/k", "models/global/blobs/k", "models/index/owner.json", "tenants/acme/blobs/k")
		if who == "identity" { // its policy is that of any prefix
			got = slices.DeleteFunc(got, func(right string) bool { return strings.HasPrefix(right, "write tenants/") })
		}
		if !slices.Equal(got, k.want) {
			t.Errorf("%s may %q, want %q", who, got, k.want)
		}
	}
}

// TestASessionEndsWithItsUser: whoever shuts the put user out ends its sessions, and what they signed.
func TestASessionEndsWithItsUser(t *testing.T) {
	store := testenv.MinIO(t).WithUsers(t)
	_, s := narrowed(t, store)
	late := []byte("too late")
	key, d := blobOf(t, "acme", late)
	req, err := s.SignPut(t.Context(), key, d, int64(len(late)), time.Hour)
	must(t, err)
	store.Enable(t, store.Put, false)
	if status := deliver(t, req, late, nil); status != http.StatusForbidden {
		t.Errorf("a PUT that was signed before got %d", status)
	}
	if _, err := s.SignPut(t.Context(), "tenants/globex/blobs/k", d, 1, time.Hour); !errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("another session: %v", err)
	}
}

// allowed tries everything with keys, on objects that are there.
func allowed(t *testing.T, store *testenv.Store, keys objstore.Keys, places ...string) (rights []string) {
	t.Helper()
	u, err := url.Parse(store.Endpoint)
	must(t, err)
	transport := newClient(t).Transport
	c, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(keys.ID, keys.Secret, keys.Session), Region: store.Region, BucketLookup: minio.BucketLookupPath, Transport: transport})
	must(t, err)
	root, ctx, b := store.Client(t, store.Root), t.Context(), store.Bucket
	for _, key := range places {
		_, err := root.PutObject(ctx, b, key, strings.NewReader("x"), 1, minio.PutObjectOptions{})
		must(t, err)
		_, write := c.PutObject(ctx, b, key, strings.NewReader("x"), 1, minio.PutObjectOptions{})
		_, read := c.StatObject(ctx, b, key, minio.StatObjectOptions{})
		_, copied := c.CopyObject(ctx, minio.CopyDestOptions{Bucket: b, Object: key + "-copy"}, minio.CopySrcOptions{Bucket: b, Object: key})
		var list error
		for o := range c.ListObjects(ctx, b, minio.ListObjectsOptions{Prefix: key, Recursive: true}) {
			list = o.Err
		}
		remove := c.RemoveObject(ctx, b, key, minio.RemoveObjectOptions{})
		for verb, err := range map[string]error{"write": write, "read": read, "copy": copied, "list": list, "remove": remove} {
			switch said := minio.ToErrorResponse(err).Code; {
			case err == nil:
				rights = append(rights, verb+" "+key)
			case said != minio.AccessDenied:
				t.Errorf("%s %s: %v", verb, key, err)
			}
		}
	}
	slices.Sort(rights)
	return rights
}

// TestSessionAgainstTheStoresFlaws: on MinIO a signed PUT with one header more is a copy by the signer, and a signature of
// zeros passes for that of any key id that a URL shows. Both end at the session's scope; with one identity for all scopes, the
// control, they end at its rights, here those of a put identity that can read as well.
func TestSessionAgainstTheStoresFlaws(t *testing.T) {
	store := testenv.MinIO(t)
	cfg, narrow := narrowed(t, store)
	at := "arn:aws:s3:::" + store.Bucket + "/*"
	reads := store.User(t, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject","s3:GetObject"],"Resource":["`+at+`"]}]}`))
	cfg.Put = &objstore.Identity{Keys: reads}
	narrowOfReader := open(t, cfg)
	cfg.PutNarrow = false
	wide := open(t, cfg)
	for name, c := range map[string]struct {
		s      *objstore.S3
		steals bool
	}{"session": {narrow, false}, "session of one that reads": {narrowOfReader, false}, "one identity": {wide, true}} {
		t.Run(name, func(t *testing.T) {
			secret, victim, bait := []byte("globex's, "+name), []byte("another of globex, "+name), []byte("acme's, "+name)
			from, _ := blobOf(t, "globex", secret)
			over, _ := blobOf(t, "globex", victim)
			for key, content := range map[string][]byte{from: secret, over: victim} {
				_, err := c.s.Put(t.Context(), key, content, objstore.Condition{})
				must(t, err)
			}
			to, d := blobOf(t, "acme", bait)
			req, err := c.s.SignPut(t.Context(), to, d, int64(len(bait)), time.Hour)
			must(t, err)

			status := deliver(t, req, bait, http.Header{"X-Amz-Copy-Source": {"/" + store.Bucket + "/models/" + from}})
			if got := content(t, c.s, to); bytes.Equal(got, secret) != c.steals {
				t.Errorf("a copy got %d and left %q", status, got)
			}
			forged := zeroSigned(t, req, "/"+store.Bucket+"/models/"+over)
			body, header := objstore.Chunked([]byte("owned"))
			status = deliver(t, forged, body, header)
			if got := content(t, c.s, over); bytes.Equal(got, []byte("owned")) != c.steals {
				t.Errorf("a signature of zeros got %d and left %q", status, got)
			}
			// What the store's flaw still allows: the scope itself.
			status = deliver(t, zeroSigned(t, req, "/"+store.Bucket+"/models/"+to), body, header)
			if got := content(t, c.s, to); string(got) != "owned" {
				t.Errorf("in its own scope a signature of zeros got %d and left %q: is MinIO mended? Then say so in docs/security.md", status, got)
			}
		})
	}
}

// content is what lies under a key, nil for nothing.
func content(t *testing.T, s *objstore.S3, key string) []byte {
	t.Helper()
	r, _, err := s.Get(t.Context(), key, objstore.ReadOptions{})
	if err != nil {
		return nil
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	must(t, err)
	return b
}

// zeroSigned makes a PUT to a path that only looks signed, with all that a signed one shows of its credentials.
func zeroSigned(t *testing.T, signed ballast.SignedRequest, path string) ballast.SignedRequest {
	t.Helper()
	u, err := url.Parse(signed.URL)
	must(t, err)
	query := url.Values{"X-Amz-SignedHeaders": {"host"}, "X-Amz-Signature": {strings.Repeat("0", 64)}, "X-Amz-Expires": {"600"}}
	for _, same := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Security-Token"} {
		if value := u.Query().Get(same); value != "" {
			query.Set(same, value)
		}
	}
	u.Path, u.RawPath, u.RawQuery = path, "", query.Encode()
	return ballast.SignedRequest{Method: http.MethodPut, URL: u.String()}
}

// counting counts the requests that are STS's.
type counting struct {
	next http.RoundTripper
	sts  atomic.Int64
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && strings.Trim(r.URL.Path, "/") == "" {
		c.sts.Add(1)
	}
	return c.next.RoundTrip(r)
}

// TestOneCallOfMinIOForAScope: what the sessions cost.
func TestOneCallOfMinIOForAScope(t *testing.T) {
	cfg, _ := narrowed(t, testenv.MinIO(t))
	client := newClient(t)
	seen := &counting{next: client.Transport}
	client.Transport = seen
	cfg.HTTPClient = client
	s := open(t, cfg)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			key, d := blobOf(t, "acme", fmt.Append(nil, i))
			if _, err := s.SignPut(t.Context(), key, d, 1, time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := seen.sts.Load(); n != 1 {
		t.Errorf("%d calls for 64 signatures of one scope", n)
	}
}

func TestProbeOfSessions(t *testing.T) {
	store := testenv.MinIO(t)
	cfg, s := narrowed(t, store)
	if refusal, err := s.TrySessions(t.Context()); refusal != "" || err != nil {
		t.Fatalf("no sessions: %s, %v", refusal, err)
	}
	r := probe(t, cfg, objstore.ProbeOptions{})
	wantHoles(t, r, "zero_signature")
	for _, name := range []string{"put_session", "put_other_scope"} {
		if !slices.ContainsFunc(r.Checks, func(c objstore.Check) bool { return c.Name == name && c.Verdict == objstore.OK }) {
			t.Errorf("no %s", name)
		}
	}

	t.Run("a store that does not hold them to their policy", func(t *testing.T) {
		global, err := objstore.SessionKeys(t.Context(), s, "global")
		must(t, err)
		client := newClient(t)
		client.Transport = &lax{client.Transport, store.Client(t, store.Root), func(r *http.Request) bool {
			token := r.URL.Query().Get("X-Amz-Security-Token")
			return token != "" && token != global.Session && !strings.Contains(r.URL.RawQuery, strings.Repeat("0", 64)) && len(r.Header.Get("X-Amz-Copy-Source")) == 0
		}}
		r, err := objstore.Probe(t.Context(), s, objstore.ProbeOptions{Client: client})
		must(t, err)
		if err := r.Refusal(true); err == nil || !strings.Contains(err.Error(), "put_other_scope") || !strings.Contains(err.Error(), "--s3-put-narrow off") {
			t.Errorf("refusal: %v", err)
		}
	})
	t.Run("one identity for all", func(t *testing.T) {
		cfg := cfg
		cfg.Put, cfg.Get = nil, nil
		wantHoles(t, probe(t, cfg, objstore.ProbeOptions{}), "copy_source", "zero_signature")
	})
	t.Run("keys that are of a session", func(t *testing.T) {
		keys, err := objstore.SessionKeys(t.Context(), s, "global")
		must(t, err)
		cfg := cfg
		cfg.Put = &objstore.Identity{Keys: keys}
		r := probe(t, cfg, objstore.ProbeOptions{})
		wantHoles(t, r, "put_session")
		if err := r.Refusal(true); err == nil || !strings.Contains(err.Error(), "AccessDenied") || !strings.Contains(err.Error(), "sts:AssumeRole") {
			t.Errorf("refusal: %v", err)
		}
		if _, err := open(t, cfg).SignPut(t.Context(), "global/blobs/k", ballast.EmptyDigest, 0, time.Hour); err == nil {
			t.Error("without a session something was signed")
		}
	})
}

// TestNoSessionsOfTheEmbeddedStore: it says so, and a network that breaks says nothing.
func TestNoSessionsOfTheEmbeddedStore(t *testing.T) {
	cfg, s := narrowed(t, testenv.Embedded(t))
	refusal, err := s.TrySessions(t.Context())
	if refusal == "" || err != nil {
		t.Errorf("%q, %v", refusal, err)
	}
	t.Logf("it answers %s", refusal)
	wantHoles(t, probe(t, cfg, objstore.ProbeOptions{}), "put_session")
	cfg.Endpoint = "http://127.0.0.1:1"
	if refusal, err := open(t, cfg).TrySessions(t.Context()); refusal != "" || err == nil {
		t.Errorf("nobody there: %q, %v", refusal, err)
	}
}
