package objstore_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// wantWords fails unless err has each of the words.
func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error %v does not say %q", err, word)
		}
	}
}

// TestProbeSaysWhichCredentialsAreWrong, where they are from, and leaves nothing behind.
func TestProbeSaysWhichCredentialsAreWrong(t *testing.T) {
	testenv.Each(t, func(t *testing.T, store *testenv.Store) {
		right := store.Config()
		if right.Put == nil {
			right.Put, right.Get = &right.Service, &right.Service
		}
		secret := func(id objstore.Identity) objstore.Identity { id.Keys.Secret += "x"; return id }
		unknown := func(id objstore.Identity) objstore.Identity { id.Keys.ID = "NOBODYKNOWSTHISONE01"; return id }
		put, get := secret(*right.Put), unknown(*right.Get)
		for name, c := range map[string]struct {
			cfg   objstore.Config
			words []string
		}{
			"service": {func() objstore.Config { c := right; c.Service = secret(c.Service); return c }(),
				[]string{"of the service", right.Service.Keys.ID, "SignatureDoesNotMatch"}},
			"unknown service": {func() objstore.Config { c := right; c.Service = unknown(c.Service); return c }(),
				[]string{"of the service", "NOBODYKNOWSTHISONE01", "does not know that key id"}},
			"put": {func() objstore.Config { c := right; c.Put = &put; return c }(), []string{"--s3-put-profile", "SignatureDoesNotMatch"}},
			"get": {func() objstore.Config { c := right; c.Get = &get; return c }(), []string{"--s3-get-profile", "does not know that key id"}},
		} {
			t.Run(name, func(t *testing.T) {
				r, err := objstore.Probe(t.Context(), open(t, c.cfg), objstore.ProbeOptions{Client: newClient(t)})
				wantWords(t, err, append(c.words, "the store at "+store.Endpoint)...)
				if !errors.Is(err, objstore.ErrDenied) || r.Leftover != nil {
					t.Errorf("error %v, left %v", err, r.Leftover)
				}
			})
		}
	})
}

func bareEnvironment(t *testing.T) (credentials string) {
	t.Helper()
	credentials = filepath.Join(t.TempDir(), "credentials")
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", credentials)
	t.Setenv("AWS_CONFIG_FILE", credentials+".config")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return credentials
}

func TestMissingCredentialsAreNamed(t *testing.T) {
	file := bareEnvironment(t)
	cfg := fakeConfig("http://store.invalid")
	cfg.Service = objstore.Identity{}
	r, err := objstore.Probe(t.Context(), open(t, cfg), objstore.ProbeOptions{Client: answering(func(http.ResponseWriter, *http.Request) {
		t.Error("the store was asked without credentials")
	})})
	wantWords(t, err, "no AWS credentials found", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", file)
	if r.Leftover != nil {
		t.Errorf("left %v", r.Leftover)
	}
	cfg.Put = &objstore.Identity{Profile: "ballast-put"}
	_, err = objstore.Open(t.Context(), cfg)
	wantWords(t, err, `there is no profile "ballast-put" in `+file+" or "+file+".config", "  [ballast-put]\n  aws_access_key_id = …\n  aws_secret_access_key = …")
	cfg.Put = &objstore.Identity{Profile: "ballast-put", File: file + ".other"}
	_, err = objstore.Open(t.Context(), cfg)
	wantWords(t, err, "in "+file+".other; write to "+file+".other:")
}

// TestProbeTellsWhatItLeaves: no error of its own, and said only where something may have been written.
func TestProbeTellsWhatItLeaves(t *testing.T) {
	store := testenv.Embedded(t)
	cfg := store.Config()
	cfg.HTTPClient = newClient(t)
	next := cfg.HTTPClient.Transport
	cfg.HTTPClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodDelete {
			return answering(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }).Transport.RoundTrip(r)
		}
		return next.RoundTrip(r)
	})
	r := probe(t, cfg, objstore.ProbeOptions{})
	must(t, r.Refusal(false))
	wantWords(t, r.Leftover, "stay behind", "staging/probe-")
	cfg.Bucket += "-none"
	if r := probe(t, cfg, objstore.ProbeOptions{}); r.Leftover != nil {
		t.Errorf("left %v where there is no bucket", r.Leftover)
	}
}
