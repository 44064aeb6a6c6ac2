package hostile_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// TestReplayed sends signed requests again when what they were for is over.
func TestReplayed(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		r := serve(t, s, t.TempDir())
		x := newScene(t, r)
		admin := r.as(t, "acme=maintainer")
		for name, test := range map[string]func(t *testing.T){
			"a PUT of what is verified": func(t *testing.T) {
				body := random(500)
				req, upload := x.sign.put(t, body)
				x.want(t, req, body, http.StatusOK)
				check(t, commit(t, x.acme, upload, body))
				x.want(t, req, body, http.StatusPreconditionFailed)
			},
			"a PUT of what was retired and deleted": func(t *testing.T) {
				body := random(500)
				u := open(t, x.acme, "deleted:1")
				req := *ask(t, x.acme, u.ID, ballast.BlobRequest{Digest: ballast.DigestOf(body), Size: 500, Method: ballast.MethodPut}).Request
				x.want(t, req, body, http.StatusOK)
				check(t, commit(t, x.acme, u.ID, body))
				_, err := admin.Delete(t.Context(), ref("deleted:1"), client.DeleteOptions{})
				check(t, err)
				x.want(t, req, body, http.StatusPreconditionFailed, http.StatusOK)
				if _, err := x.acme.Version(t.Context(), ref("deleted:1")); ballast.CodeOf(err) != ballast.CodeNotFound {
					t.Errorf("the version is there again: %v", err)
				}
			},
			"a PUT for an upload that was given up": func(t *testing.T) {
				body := random(500)
				req, upload := x.sign.put(t, body)
				check(t, x.acme.Abort(t.Context(), upload))
				x.want(t, req, body, http.StatusOK) // garbage, which nothing names
				check(t, commitUnasked(t, x.acme, body))
				publish(t, x.acme, "given-up:1", body)
			},
			"a part of what is complete": func(t *testing.T) {
				body := random(500)
				req, upload := x.sign.part(t, body)
				x.want(t, req, body, http.StatusOK)
				check(t, commit(t, x.acme, upload, body))
				x.want(t, req, body, http.StatusNotFound)
				x.want(t, req, random(500), http.StatusNotFound, http.StatusBadRequest, http.StatusForbidden)
			},
			"a part for an upload that was given up": func(t *testing.T) {
				body := random(500)
				req, upload := x.sign.part(t, body)
				check(t, x.acme.Abort(t.Context(), upload))
				u := must[*url.URL](t)(url.Parse(req.URL))
				eventually(t, func() bool { // the last pin is dropped, and then the multipart
					return !isOpen(t, s, strings.TrimPrefix(u.Path, "/"+s.Bucket+"/"), u.Query().Get("uploadId"))
				})
				x.want(t, req, body, http.StatusNotFound)
			},
			"a GET of what was retired": func(t *testing.T) {
				body := random(500)
				publish(t, x.acme, "retired:1", body)
				req := must[ballast.SignedRequest](t)(x.acme.FileRequest(t.Context(), ref("retired:1"), "w.bin"))
				_, _, err := admin.Retire(t.Context(), ref("retired:1"), 0)
				check(t, err)
				x.want(t, req, nil, http.StatusOK) // what was signed lives to its end; nothing is signed any more
				if _, err := x.acme.FileRequest(t.Context(), ref("retired:1"), "w.bin"); ballast.CodeOf(err) != ballast.CodeRetired {
					t.Errorf("a new one: %v", err)
				}
			},
			"a GET with another's token": func(t *testing.T) {
				req := x.sign.get(t)
				l := letterOf(t, req, nil)
				l.header.Set("X-Amz-Security-Token", "another")
				if status, text := l.send(t.Context()); status == http.StatusOK && text != string(x.own) {
					t.Errorf("%d: other bytes", status)
				}
			},
		} {
			t.Run(name, test)
		}
		if got := read(t, s, x.victims); !bytes.Equal(got, x.secret) {
			t.Error("the victim's file is another one")
		}
		r.stop(t)
	})
}

// isOpen reports whether the store knows a multipart upload.
func isOpen(t *testing.T, s *testenv.Store, key, id string) bool {
	t.Helper()
	core := minio.Core{Client: s.Client(t, s.Root)}
	_, err := core.ListObjectParts(t.Context(), s.Bucket, key, id, 0, 1)
	if minio.ToErrorResponse(err).Code == minio.NoSuchUpload {
		return false
	}
	check(t, err)
	return true
}

// want sends a signed request as it is.
func (x *scene) want(t *testing.T, r ballast.SignedRequest, body []byte, statuses ...int) {
	t.Helper()
	status, text := letterOf(t, r, body).send(t.Context())
	for _, want := range statuses {
		if status == want {
			return
		}
	}
	t.Errorf("%d, want %v: %.300s", status, statuses, text)
}

// commitUnasked wants a commit of bytes that were not asked about to be refused: that something lies under a key makes it
// no blob.
func commitUnasked(t *testing.T, c *client.Client, body []byte) error {
	t.Helper()
	u := open(t, c, "unasked:1")
	if err := commit(t, c, u.ID, body); ballast.CodeOf(err) != ballast.CodeMissing {
		t.Errorf("a commit of what was only put: %v", err)
	}
	return c.Abort(t.Context(), u.ID)
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %s", limit)
		}
	}
}

// TestExpired: a request is good until it expires, whatever is added to it.
func TestExpired(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		b := must[*objstore.S3](t)(objstore.Open(t.Context(), s.Config()))
		body := random(100)
		d := ballast.DigestOf(body)
		key := ballast.BlobKey(scope("acme"), d)
		plant(t, s, ballast.BlobKey(scope("acme"), ballast.EmptyDigest), body)
		id := must[string](t)(b.CreateMultipart(t.Context(), key+"-parts"))
		const life = time.Second
		all := map[string]*letter{
			"put":  letterOf(t, must[ballast.SignedRequest](t)(b.SignPut(t.Context(), key, d, 100, life)), body),
			"part": letterOf(t, must[ballast.SignedRequest](t)(b.SignPart(t.Context(), key+"-parts", id, 1, d, 100, life)), body),
			"get":  letterOf(t, must[ballast.SignedRequest](t)(b.SignGet(t.Context(), ballast.BlobKey(scope("acme"), ballast.EmptyDigest), "", life)), nil),
		}
		time.Sleep(life + 1500*time.Millisecond)
		for kind, l := range all {
			query := l.query
			for name, altered := range map[string]string{
				"as it is": query, "a longer life behind": query + "&X-Amz-Expires=604800", "a longer life before": "X-Amz-Expires=604800&" + query,
				"a longer life": replaced(t, query, "X-Amz-Expires", "604800"), "a later date": replaced(t, query, "X-Amz-Date", time.Now().UTC().Format("20060102T150405Z")),
				"a later date before": "X-Amz-Date=" + time.Now().UTC().Format("20060102T150405Z") + "&" + query, "in lower case": strings.ReplaceAll(query, "X-Amz-Expires", "x-amz-expires"),
			} {
				l.query = altered
				if status, text := l.send(t.Context()); status < 400 || status >= 500 {
					t.Errorf("%s, %s: %d %.300s", kind, name, status, text)
				}
			}
		}
		if read(t, s, key) != nil || len(partsOf(t, s, key+"-parts", id)) > 0 {
			t.Error("something was stored")
		}
		if err := b.AbortMultipart(t.Context(), key+"-parts", id); !errors.Is(err, objstore.ErrNoSuchUpload) {
			t.Error(err)
		}
	})
}

func replaced(t *testing.T, query, name, value string) string {
	t.Helper()
	q := must[url.Values](t)(url.ParseQuery(query))
	q.Set(name, value)
	return q.Encode()
}
