package objstore

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ballast-registry/ballast"
)

// heldRig signs GETs with a clock and credentials that a test moves.
type heldRig struct {
	*S3
	t     *testing.T
	clock time.Time
	creds aws.Credentials
}

func newHeldRig(t *testing.T) *heldRig {
	r := &heldRig{t: t, clock: time.Date(2026, 3, 1, 23, 30, 0, 0, time.UTC), creds: aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "s", SessionToken: "one"}}
	s, err := Open(t.Context(), Config{
		Endpoint: "http://store:9000", Bucket: "b", Service: Identity{Keys: Keys{ID: "SERVICE", Secret: "x"}}, Now: func() time.Time { return r.clock },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.get = newIdentity("get", aws.Config{Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return r.creds, nil })})
	r.S3 = s
	return r
}

func (r *heldRig) rotate(c aws.Credentials) {
	r.creds = c
	r.get.cache.Invalidate()
}

func (r *heldRig) sign(key, version string, ttl time.Duration) ballast.SignedRequest {
	r.t.Helper()
	req, err := r.SignGet(r.t.Context(), key, version, ttl)
	if err != nil {
		r.t.Fatal(err)
	}
	return req
}

// TestSignedGetIsHeldForHalfItsLife: until then the same URL, with the expiry that it has; from then on a new one.
func TestSignedGetIsHeldForHalfItsLife(t *testing.T) {
	r := newHeldRig(t)
	first := r.sign("k", "", time.Hour)
	for after, held := range map[time.Duration]bool{0: true, time.Minute: true, 30*time.Minute - time.Nanosecond: true, 30 * time.Minute: false, 59 * time.Minute: false, 2 * time.Hour: false, -time.Second: false, -time.Hour: false} {
		r := newHeldRig(t)
		if got := r.sign("k", "", time.Hour); got.URL != first.URL {
			t.Fatal("two of the same moment differ")
		}
		r.clock = r.clock.Add(after)
		got := r.sign("k", "", time.Hour)
		if (got.URL == first.URL) != held {
			t.Errorf("after %s: held is %v, want %v", after, got.URL == first.URL, held)
		}
		if left := got.ExpiresAt.Sub(r.clock); left <= 30*time.Minute-time.Second || left > time.Hour {
			t.Errorf("after %s a URL has %s to live", after, left)
		}
		u, err := url.Parse(got.URL)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := time.Parse("20060102T150405Z", u.Query().Get("X-Amz-Date"))
		if err != nil || !signed.Add(time.Hour).Equal(got.ExpiresAt.Time) {
			t.Errorf("after %s: signed at %s, %v, said to end at %s", after, signed, err, got.ExpiresAt)
		}
	}
}

// TestSignedGetIsHeldForWhatItIs: another key, version, life or set of credentials has another URL.
func TestSignedGetIsHeldForWhatItIs(t *testing.T) {
	r := newHeldRig(t)
	urls := map[string]string{}
	see := func(what string, req ballast.SignedRequest) {
		t.Helper()
		if was, ok := urls[req.URL]; ok {
			t.Errorf("%s got the URL of %s", what, was)
		}
		urls[req.URL] = what
	}
	see("a blob", r.sign("tenants/a/blobs/k", "", time.Hour))
	see("the same in another scope", r.sign("tenants/b/blobs/k", "", time.Hour))
	see("another version of it", r.sign("tenants/a/blobs/k", "v1", time.Hour))
	see("a shorter life", r.sign("tenants/a/blobs/k", "", time.Minute))
	for what, c := range map[string]aws.Credentials{
		"another session": {AccessKeyID: "AKID", SecretAccessKey: "s", SessionToken: "two"},
		"no session":      {AccessKeyID: "AKID", SecretAccessKey: "s"},
		"another secret":  {AccessKeyID: "AKID", SecretAccessKey: "t", SessionToken: "one"},
		"another id":      {AccessKeyID: "OTHER", SecretAccessKey: "s", SessionToken: "one"},
	} {
		r.rotate(c)
		see(what, r.sign("tenants/a/blobs/k", "", time.Hour))
		if req := r.sign("tenants/a/blobs/k", "", time.Hour); urls[req.URL] != what {
			t.Errorf("%s is not held", what)
		}
		if !strings.Contains(r.sign("tenants/a/blobs/k", "", time.Hour).URL, "Credential="+c.AccessKeyID+"%2F") {
			t.Errorf("%s: signed by somebody else", what)
		}
	}
	r.rotate(aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "s", SessionToken: "one", CanExpire: true, Expires: time.Now().Add(24 * time.Hour)})
	if req := r.sign("tenants/a/blobs/k", "", time.Hour); urls[req.URL] != "a blob" {
		t.Error("control: the first credentials again, and another URL")
	}
}

// TestSignedGetsAreBounded: more blobs than there is room for leave no more than the room.
func TestSignedGetsAreBounded(t *testing.T) {
	r := newHeldRig(t)
	r.rotate(aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "s", SessionToken: strings.Repeat("t", 2000)})
	first := r.sign("k0", "", time.Hour)
	for i := range 2 * maxGetBytes / 3000 {
		r.sign(fmt.Sprint("k", i), "", time.Hour)
	}
	if cost := r.gets.Cost(); cost > maxGetBytes || cost < maxGetBytes/2 {
		t.Errorf("%d bytes are held, the bound is %d", cost, maxGetBytes)
	}
	r.clock = r.clock.Add(time.Second)
	if r.sign("k0", "", time.Hour).URL == first.URL {
		t.Error("the one used longest ago is still held")
	}
}

// TestHeldHeadersAreNobodys: what a caller does to the headers of an answer does not show in the next.
func TestHeldHeadersAreNobodys(t *testing.T) {
	r := newHeldRig(t)
	for range 3 {
		req := r.sign("k", "", time.Hour)
		if len(req.Headers) != 0 {
			t.Fatalf("headers %v", req.Headers)
		}
		req.Headers["x"] = "y"
	}
}
