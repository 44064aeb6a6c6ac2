package hostile_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// doctored signs for the attacker in another way than the registry does, in the place of what that signed.
type doctored struct {
	issuer
	change func(t *testing.T, kind string, r ballast.SignedRequest) ballast.SignedRequest
}

func (d doctored) put(t *testing.T, body []byte) (ballast.SignedRequest, string) {
	r, upload := d.issuer.put(t, body)
	return d.change(t, "put", r), upload
}

func (d doctored) part(t *testing.T, body []byte) (ballast.SignedRequest, string) {
	r, upload := d.issuer.part(t, body)
	return d.change(t, "part", r), upload
}

func (d doctored) get(t *testing.T) ballast.SignedRequest {
	return d.change(t, "get", d.issuer.get(t))
}

// TestSignedNotices is the control: for each group of alterations who signs less, or a store that checks less, and fails
// there.
func TestSignedNotices(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		minio  bool
		doctor func(t *testing.T, x *scene) func(*testing.T, string, ballast.SignedRequest) ballast.SignedRequest
		kind   string
		groups []string
		want   string
	}{
		"one identity that may do everything": {true, asService, "put", []string{"a header more"}, "the victim's bytes are the attacker's"},
		"nothing but the host is signed":      {false, hostOnly, "put", []string{"another body"}, "is taken"},
		"no condition is signed":              {false, hostOnly, "put", []string{"a header less"}, "is taken"},
		"a header can be replaced":            {true, hostOnly, "put", []string{"another header"}, "is taken"},
		"a key that is the victim's":          {false, forVictims, "get", []string{"nothing"}, "gives other bytes"},
		"a store that looks at no key":        {false, unchecked, "get", []string{"another key"}, "gives bytes away"},
		"a store that looks at no method":     {false, unchecked, "get", []string{"another method"}, "is taken"},
		"a store that looks at no query":      {false, unchecked, "get", []string{"another query"}, "is taken"},
		"a store that looks at no signature":  {false, unchecked, "put", []string{"zero signature"}, "is taken"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testenv.Embedded(t)
			if c.minio {
				s = testenv.MinIO(t)
			}
			x := newScene(t, serve(t, s, t.TempDir()))
			x.sign = doctored{x.sign, c.doctor(t, x)}
			var found strings.Builder
			for _, a := range alterations() {
				if slices.Contains(c.groups, a.group) && a.of(c.kind) && !strings.Contains(found.String(), c.want) {
					x.try(t, c.kind, a, func(format string, args ...any) { fmt.Fprintf(&found, format+"\n", args...) })
				}
			}
			if !strings.Contains(found.String(), c.want) {
				t.Errorf("reported %.500q, want %q", found.String(), c.want)
			}
		})
	}
}

// keyOf is the key that a request was signed for.
func keyOf(t *testing.T, x *scene, r ballast.SignedRequest) string {
	t.Helper()
	return strings.TrimPrefix(must[*url.URL](t)(url.Parse(r.URL)).Path, "/"+x.store.Bucket+"/")
}

// asService signs with the service's identity, as a registry would that had no other.
func asService(t *testing.T, x *scene) func(*testing.T, string, ballast.SignedRequest) ballast.SignedRequest {
	cfg := x.store.Config()
	cfg.Put, cfg.Get = nil, nil
	b := must[*objstore.S3](t)(objstore.Open(t.Context(), cfg))
	return func(t *testing.T, _ string, r ballast.SignedRequest) ballast.SignedRequest {
		key := keyOf(t, x, r)
		d, err := ballast.ParseDigest("sha256:" + key[strings.LastIndexByte(key, '/')+1:])
		check(t, err)
		return must[ballast.SignedRequest](t)(b.SignPut(t.Context(), key, d, 1000, time.Minute))
	}
}

// hostOnly signs as most programs do.
func hostOnly(_ *testing.T, x *scene) func(*testing.T, string, ballast.SignedRequest) ballast.SignedRequest {
	return func(t *testing.T, _ string, r ballast.SignedRequest) ballast.SignedRequest {
		u := must[*url.URL](t)(x.store.Client(t, x.store.Root).PresignedPutObject(t.Context(), x.store.Bucket, keyOf(t, x, r), time.Minute))
		r.URL, r.Headers = u.String(), nil
		return r
	}
}

// forVictims signs for another key than it is asked for.
func forVictims(_ *testing.T, x *scene) func(*testing.T, string, ballast.SignedRequest) ballast.SignedRequest {
	return func(t *testing.T, _ string, r ballast.SignedRequest) ballast.SignedRequest {
		u := must[*url.URL](t)(x.store.Client(t, x.store.Root).PresignedGetObject(t.Context(), x.store.Bucket, x.victims, time.Minute, nil))
		r.URL = u.String()
		return r
	}
}

// unchecked sends to a front of the store that signs whatever it is asked, as its root, and takes the aws-chunked encoding
// for what it holds.
func unchecked(t *testing.T, x *scene) func(*testing.T, string, ballast.SignedRequest) ballast.SignedRequest {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		status := serveUnchecked(r.Context(), x, r, body, w)
		if status != 0 {
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(front.Close)
	return func(t *testing.T, _ string, r ballast.SignedRequest) ballast.SignedRequest {
		u := must[*url.URL](t)(url.Parse(r.URL))
		u.Host = strings.TrimPrefix(front.URL, "http://")
		r.URL = u.String()
		return r
	}
}

func serveUnchecked(ctx context.Context, x *scene, r *http.Request, body []byte, w http.ResponseWriter) (status int) {
	key := strings.TrimPrefix(r.URL.Path, "/"+x.store.Bucket+"/")
	req, err := http.NewRequestWithContext(ctx, r.Method, x.store.Endpoint+"/"+x.store.Bucket+"/"+key, strings.NewReader(string(body)))
	if err != nil {
		return http.StatusBadRequest
	}
	res, err := http.DefaultClient.Do(signer.PreSignV4(*req, x.store.Root.ID, x.store.Root.Secret, "", x.store.Region, 60))
	if err != nil {
		return http.StatusBadRequest
	}
	defer res.Body.Close()
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body)
	return 0
}
