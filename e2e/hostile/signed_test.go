package hostile_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// letter is a signed request on its way, which may be altered.
type letter struct {
	method, host, path, query string // path and query as they go out
	header                    http.Header
	body                      []byte
}

func letterOf(t *testing.T, r ballast.SignedRequest, body []byte) *letter {
	t.Helper()
	u := must[*url.URL](t)(url.Parse(r.URL))
	l := &letter{r.Method, u.Host, u.EscapedPath(), u.RawQuery, http.Header{}, body}
	for name, value := range r.Headers {
		l.header.Set(name, value)
	}
	return l
}

// send returns the status and the beginning of the answer; 0 when the store broke the connection or the request cannot be
// sent.
func (l *letter) send(ctx context.Context) (status int, text string) {
	req, err := http.NewRequestWithContext(ctx, l.method, "http://"+l.host, bytes.NewReader(l.body))
	if err != nil {
		return 0, err.Error()
	}
	req.URL.Opaque, req.URL.RawQuery = l.path, l.query
	req.Header = l.header
	req.Header.Del("Content-Length") // which comes from the body
	one := &http.Transport{DisableKeepAlives: true, DisableCompression: true, ResponseHeaderTimeout: time.Minute}
	res, err := one.RoundTrip(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	got, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return res.StatusCode, string(got)
}

// issuer is who signs requests for the attacker.
type issuer interface {
	// put signs a request that sends a body as a blob of the attacker's, for an upload.
	put(t *testing.T, body []byte) (r ballast.SignedRequest, upload string)
	// part does so for the one part of a blob.
	part(t *testing.T, body []byte) (r ballast.SignedRequest, upload string)
	// get signs a request for a file of the attacker's.
	get(t *testing.T) ballast.SignedRequest
}

// scene is a registry with a victim and an attacker, and who signs.
type scene struct {
	store   *testenv.Store
	sign    issuer
	acme    *client.Client
	own     []byte                  // the attacker's file
	secret  []byte                  // the victim's
	victims string                  // key of secret
	tokens  map[string]client.Token // of each tenant's admin
	lies    map[string]string       // what lies in the bucket, as it was seen last; nil: something else was done since
}

// newScene fills a registry.
func newScene(t *testing.T, r *registry) *scene {
	t.Helper()
	x := &scene{store: r.store, acme: r.as(t, "acme=writer"), own: random(3000), secret: random(2000)}
	publish(t, r.as(t, "victim-co=writer"), "subject:1", x.secret)
	publish(t, x.acme, "subject:1", x.own)
	x.victims = ballast.BlobKey(scope("victim-co"), ballast.DigestOf(x.secret))
	x.sign = throughRegistry{x.acme}
	x.tokens = map[string]client.Token{"acme": r.mint(t, "acme=admin"), "victim-co": r.mint(t, "victim-co=admin")}
	return x
}

// of is a client of a tenant's admin, of a registry that may not take a new token any more.
func (x *scene) of(t *testing.T, r *registry, tenant string) *client.Client {
	t.Helper()
	return must[*client.Client](t)(client.New(client.Options{URL: r.url, Token: x.tokens[tenant], Tries: 1}))
}

func publish(t *testing.T, c *client.Client, target string, body []byte) {
	t.Helper()
	u := open(t, c, target)
	if r := ask(t, c, u.ID, ballast.BlobRequest{Digest: ballast.DigestOf(body), Size: int64(len(body)), Method: ballast.MethodPut}).Request; r != nil {
		if status, text := letterOf(t, *r, body).send(t.Context()); status != http.StatusOK && status != http.StatusPreconditionFailed {
			t.Fatalf("PUT: %d %s", status, text)
		}
	}
	check(t, commit(t, c, u.ID, body))
}

func open(t *testing.T, c *client.Client, target string) ballast.Upload {
	t.Helper()
	w := ref(target)
	return must[ballast.Upload](t)(c.CreateUpload(t.Context(), ballast.CreateUpload{Name: w.Name, Version: w.Version, Attempt: rand.Text()}))
}

func ask(t *testing.T, c *client.Client, upload string, b ballast.BlobRequest) ballast.BlobAnswer {
	t.Helper()
	return must[ballast.BlobsResponse](t)(c.Blobs(t.Context(), upload, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{b}})).Blobs[0]
}

// commit publishes one file and waits until that is done or has failed.
func commit(t *testing.T, c *client.Client, upload string, body []byte) error {
	t.Helper()
	u, err := c.Commit(t.Context(), upload, ballast.CommitRequest{Files: []ballast.File{{Path: "w.bin", Size: int64(len(body)), Digest: ballast.DigestOf(body)}}})
	for err == nil && u.Status == ballast.UploadVerifying {
		u, err = c.Upload(t.Context(), upload, 10*time.Second)
	}
	if err == nil && u.Error != nil {
		err = u.Error
	}
	return err
}

// throughRegistry is the way of every writer.
type throughRegistry struct{ c *client.Client }

func (r throughRegistry) put(t *testing.T, body []byte) (ballast.SignedRequest, string) {
	u := open(t, r.c, "attack")
	return *ask(t, r.c, u.ID, ballast.BlobRequest{Digest: ballast.DigestOf(body), Size: int64(len(body)), Method: ballast.MethodPut}).Request, u.ID
}

func (r throughRegistry) part(t *testing.T, body []byte) (ballast.SignedRequest, string) {
	u, d := open(t, r.c, "attack"), ballast.DigestOf(body)
	a := ask(t, r.c, u.ID, ballast.BlobRequest{
		Digest: d, Size: int64(len(body)), Method: ballast.MethodMultipart, PartSize: ballast.MinPartSize, Parts: []ballast.PartDigest{{Number: 1, SHA256: d.Encoded()}},
	})
	if len(a.Parts) != 1 {
		t.Fatalf("no part to send: %+v", a)
	}
	return a.Parts[0].Request, u.ID
}

func (r throughRegistry) get(t *testing.T) ballast.SignedRequest {
	return must[ballast.SignedRequest](t)(r.c.FileRequest(t.Context(), ref("subject:1"), "w.bin"))
}

// try alters one signed request of a kind, sends it, and reports what it achieved.
func (x *scene) try(t *testing.T, kind string, a alteration, report func(string, ...any)) {
	t.Helper()
	body, upload := random(1000), ""
	var r ballast.SignedRequest
	switch kind {
	case "put":
		r, upload = x.sign.put(t, body)
	case "part":
		r, upload = x.sign.part(t, body)
	case "get":
		r, body = x.sign.get(t), nil
	}
	l := letterOf(t, r, body)
	signedKey := strings.TrimPrefix(must[*url.URL](t)(url.Parse(r.URL)).Path, "/"+x.store.Bucket+"/")
	uploadID := must[*url.URL](t)(url.Parse(r.URL)).Query().Get("uploadId")
	if x.lies == nil {
		x.lies = objects(t, x.store)
	}
	a.change(l, x)
	status, text := l.send(t.Context())
	say := func(format string, args ...any) {
		report("%s, %s: %d: %s\n%.400q", kind, a.name, status, fmt.Sprintf(format, args...), text)
	}

	taken := status >= 200 && status < 300
	switch {
	case a.want == accepted && !taken:
		say("is not what was signed any more")
	case a.want == refused && taken:
		say("is taken")
	case status >= 500 && status != http.StatusNotImplemented:
		say("the store fails")
	}
	if kind != "get" || a.want != accepted { // then it may be the attacker's own
		if strings.Contains(text, string(x.secret)) || a.want == refused && strings.Contains(text, string(x.own)) {
			say("gives bytes away")
		}
	} else if text != string(x.own) {
		say("gives other bytes than the file's")
	}
	x.changed(t, signedKey, a, say)
	if uploadID != "" && a.want == refused && len(partsOf(t, x.store, signedKey, uploadID)) > 0 {
		say("a part was stored")
	}
	switch {
	case upload != "" && taken:
		x.publishes(t, upload, signedKey, body, say)
		x.lies = nil
	case upload != "":
		check(t, x.acme.Abort(t.Context(), upload))
	}
}

// changed reports what lies elsewhere, or differently, than it may.
func (x *scene) changed(t *testing.T, signedKey string, a alteration, say func(string, ...any)) {
	t.Helper()
	before, after := x.lies, objects(t, x.store)
	x.lies = after
	for key, tag := range after {
		if before[key] != tag && (key != signedKey || a.want == refused) {
			say("%s was written", key)
		}
	}
	own := ballast.BlobKey(scope("acme"), ballast.DigestOf(x.own))
	for key := range before { // what an earlier request brought, and was a lie, the registry removes in its own time
		if _, ok := after[key]; !ok && (key == own || !strings.HasPrefix(key, "tenants/acme/blobs/")) {
			say("%s is gone", key)
		}
	}
	if after[signedKey] != before[signedKey] && bytes.Equal(read(t, x.store, signedKey), x.secret) {
		say("the victim's bytes are the attacker's")
	}
}

// publishes commits what was taken: what becomes ready has the bytes of its digest and nothing beside.
func (x *scene) publishes(t *testing.T, upload, key string, body []byte, say func(string, ...any)) {
	t.Helper()
	if commit(t, x.acme, upload, body) != nil {
		check(t, x.acme.Abort(t.Context(), upload))
		return
	}
	o := must[minio.ObjectInfo](t)(x.store.Client(t, x.store.Root).StatObject(t.Context(), x.store.Bucket, key, minio.StatObjectOptions{}))
	odd := o.Metadata.Get("Content-Encoding") + o.Metadata.Get("X-Amz-Website-Redirect-Location")
	if odd != "" || len(o.UserMetadata) > 0 || !bytes.Equal(read(t, x.store, key), body) {
		say("was published as it is: %+v", o)
	}
}

func partsOf(t *testing.T, s *testenv.Store, key, id string) []minio.ObjectPart {
	t.Helper()
	core := minio.Core{Client: s.Client(t, s.Root)}
	list, err := core.ListObjectParts(t.Context(), s.Bucket, key, id, 0, 10)
	if minio.ToErrorResponse(err).Code == minio.NoSuchUpload {
		return nil
	}
	check(t, err)
	return list.ObjectParts
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// TestSigned alters every kind of request that the registry signs in every way of the table.
func TestSigned(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		r := serve(t, s, t.TempDir())
		x := newScene(t, r)
		for _, kind := range kinds {
			for _, a := range alterations() {
				if a.of(kind) {
					t.Run(kind+"/"+a.group+"/"+a.name, func(t *testing.T) { x.try(t, kind, a.on(s), t.Errorf) })
				}
			}
		}
		if !bytes.Equal(read(t, s, x.victims), x.secret) {
			t.Error("the victim's file is another one")
		}
		r.stop(t)
	})
}
