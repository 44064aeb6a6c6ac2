package objstore_test

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

func TestWhereSignedRequestsGo(t *testing.T) {
	keys := objstore.Identity{Keys: objstore.Keys{ID: "AKID", Secret: "secret", Session: "token/+="}}
	for want, cfg := range map[string]objstore.Config{
		"http://store:9000/buck/pre/a%20b%2Bc%3F":                  {Endpoint: "http://store:9000", PathStyle: true},
		"https://files.example/buck/pre/a%20b%2Bc%3F":              {Endpoint: "http://store:9000", PublicEndpoint: "https://files.example", PathStyle: true},
		"https://buck.files.example/pre/a%20b%2Bc%3F":              {Endpoint: "http://store:9000", PublicEndpoint: "https://files.example/"},
		"https://buck.s3.eu-west-1.amazonaws.com/pre/a%20b%2Bc%3F": {Region: "eu-west-1"},
		"https://s3.eu-west-1.amazonaws.com/buck/pre/a%20b%2Bc%3F": {Region: "eu-west-1", PathStyle: true},
	} {
		cfg.Bucket, cfg.Prefix, cfg.Service = "buck", "/pre/", keys
		opened := open(t, cfg)
		s := objstoretest.CheckSigner(t, opened)
		req, err := s.SignGet(t.Context(), "a b+c?", "", time.Hour)
		must(t, err)
		if got, _, _ := strings.Cut(req.URL, "?"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		said := ballast.StoreInfo{
			Endpoint: strings.TrimSuffix(cmp.Or(cfg.PublicEndpoint, cfg.Endpoint), "/"), Region: cmp.Or(cfg.Region, "us-east-1"),
			Bucket: "buck", Prefix: "pre/", PathStyle: cfg.PathStyle,
		}
		if got := opened.Where(); got != said {
			t.Errorf("clients are told %+v, want %+v", got, said)
		}
		u, err := url.Parse(req.URL)
		must(t, err)
		if q := u.Query(); q.Get("X-Amz-Security-Token") != "token/+=" || q.Get("X-Amz-Expires") != "3600" || !strings.HasPrefix(q.Get("X-Amz-Credential"), "AKID/") {
			t.Errorf("query %v", q)
		}
	}
}

func TestSignersHaveTheirOwnKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	must(t, os.WriteFile(file, []byte("[default]\naws_access_key_id = SERVICE\naws_secret_access_key = x\n[putter]\naws_access_key_id = PUT\naws_secret_access_key = y\n"), 0o600))
	t.Setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "z")
	s := open(t, objstore.Config{
		Endpoint: "http://store", Bucket: "b", Service: objstore.Identity{File: file},
		Put: &objstore.Identity{File: file, Profile: "putter"}, Get: &objstore.Identity{},
	})
	check := objstoretest.CheckSigner(t, s)
	put, err := check.SignPut(t.Context(), "k", ballast.EmptyDigest, 0, time.Minute)
	must(t, err)
	part, err := check.SignPart(t.Context(), "k", "u", 1, ballast.DigestOf([]byte("x")), 1, time.Minute)
	must(t, err)
	get, err := check.SignGet(t.Context(), "k", "", time.Minute)
	must(t, err)
	for id, req := range map[string]ballast.SignedRequest{"PUT": put, "ENVIRONMENT": get} {
		if !strings.Contains(req.URL, "X-Amz-Credential="+id+"%2F") {
			t.Errorf("%s is not signed by %s", req.URL, id)
		}
	}
	if !strings.Contains(part.URL, "X-Amz-Credential=PUT%2F") {
		t.Errorf("part %s is not signed by PUT", part.URL)
	}
	if _, err := objstore.Open(t.Context(), objstore.Config{Endpoint: "http://store", Bucket: "b", Put: &objstore.Identity{File: file, Profile: "none"}}); err == nil {
		t.Error("a profile that is not there was taken")
	}
}

// One setting may stand for both identities: by the same pointer it is the same as by two.
func TestOneIdentityForPutAndGet(t *testing.T) {
	both := &objstore.Identity{Keys: objstore.Keys{ID: "BOTH", Secret: "s"}}
	s := open(t, objstore.Config{
		Endpoint: "http://store", Bucket: "b", Service: objstore.Identity{Keys: objstore.Keys{ID: "SERVICE", Secret: "s"}}, Put: both, Get: both,
	})
	check := objstoretest.CheckSigner(t, s)
	put, err := check.SignPut(t.Context(), "k", ballast.EmptyDigest, 0, time.Minute)
	must(t, err)
	get, err := check.SignGet(t.Context(), "k", "", time.Minute)
	must(t, err)
	for _, req := range []ballast.SignedRequest{put, get} {
		if !strings.Contains(req.URL, "X-Amz-Credential=BOTH%2F") {
			t.Errorf("%s %s is not signed by BOTH", req.Method, req.URL)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_REGION", "")
	for name, cfg := range map[string]objstore.Config{
		"no bucket":   {Endpoint: "http://store"},
		"bad prefix":  {Endpoint: "http://store", Bucket: "b", Prefix: "a/../b"},
		"no scheme":   {Endpoint: "store:9000", Bucket: "b"},
		"bad public":  {Endpoint: "http://store", PublicEndpoint: "store", Bucket: "b"},
		"no region":   {Bucket: "b"},
		"another one": {Endpoint: "ftp://store", Bucket: "b"},
	} {
		if _, err := objstore.Open(t.Context(), cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestSignerLimits(t *testing.T) {
	s := open(t, fakeConfig("http://store"))
	if _, err := s.SignPut(t.Context(), "k", ballast.EmptyDigest, ballast.MaxPutSize+1, time.Minute); err == nil {
		t.Error("a PUT over 5 GiB was signed")
	}
	if _, err := s.SignPart(t.Context(), "k", "u", ballast.MaxParts+1, ballast.EmptyDigest, 1, time.Minute); err == nil {
		t.Error("part 10001 was signed")
	}
	if _, err := s.SignGet(t.Context(), "k", "", 0); err == nil {
		t.Error("a request without a life was signed")
	}
	req, err := s.SignGet(t.Context(), "k", "", 30*24*time.Hour)
	must(t, err)
	if life := time.Until(req.ExpiresAt.Time); life > 7*24*time.Hour || !strings.Contains(req.URL, "X-Amz-Expires=604800") {
		t.Errorf("a life of %v", life)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	keys := objstore.Keys{ID: "AKID", Secret: "s3cret", Session: "t0ken"}
	cfg := objstore.Config{Service: objstore.Identity{Keys: keys}, Put: &objstore.Identity{Keys: keys}, Bucket: "b"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "keys", keys, "cfg", cfg, "identity", cfg.Service)
	for _, text := range []string{
		fmt.Sprint(keys), fmt.Sprintf("%+v %#v", keys, keys), fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg), fmt.Sprintf("%v %+v %#v", cfg.Service, cfg.Put, *cfg.Put), log.String(),
	} {
		if strings.Contains(text, "s3cret") || strings.Contains(text, "t0ken") {
			t.Errorf("a secret in %s", text)
		}
	}
}

// Control: signatures under which a client could send other bytes must not leave the process.
func TestSignatureThatBindsNothingIsRefused(t *testing.T) {
	d := ballast.DigestOf([]byte("x"))
	for _, header := range []string{"x-amz-checksum-sha256", "content-length", "if-none-match"} {
		for _, hoist := range []bool{false, true} {
			s := open(t, fakeConfig("http://store"))
			if _, err := s.SignPut(t.Context(), "k", d, 1, time.Minute); err != nil {
				t.Fatal(err)
			}
			objstore.Unsign(s, header, hoist)
			if req, err := s.SignPut(t.Context(), "k", d, 1, time.Minute); err == nil {
				t.Errorf("without %s a put was signed as %s", header, req.URL)
			}
			_, err := s.SignPart(t.Context(), "k", "u", 1, d, 1, time.Minute)
			if bound := header == "if-none-match"; (err == nil) != bound {
				t.Errorf("without %s signing a part gave %v", header, err)
			}
		}
	}
}
