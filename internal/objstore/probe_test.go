package objstore_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

func probe(t *testing.T, cfg objstore.Config, opt objstore.ProbeOptions) objstore.Report {
	t.Helper()
	if opt.Client == nil {
		opt.Client = newClient(t)
	}
	r, err := objstore.Probe(t.Context(), open(t, cfg), opt)
	must(t, err)
	for _, c := range r.Checks {
		t.Logf("%-12s %-12s %-20s %s", c.Verdict, c.Needed, c.Name, c.Detail)
	}
	return r
}

func holes(r objstore.Report) (names []string) {
	for _, c := range r.Checks {
		if c.Verdict == objstore.Hole {
			names = append(names, c.Name)
		}
	}
	return names
}

func wantHoles(t *testing.T, r objstore.Report, want ...string) {
	t.Helper()
	if got := holes(r); !slices.Equal(got, want) {
		t.Errorf("holes %q, want %q", got, want)
	}
}

func TestProbeOfAStoreThatIsFit(t *testing.T) {
	testenv.Each(t, func(t *testing.T, store *testenv.Store) {
		cfg := store.Config()
		cfg.Prefix = "models"
		r := probe(t, cfg, objstore.ProbeOptions{RegistryURL: "http://localhost:8080"})
		if err := r.Refusal(true); err != nil {
			t.Error(err)
		}
		if store.Unsafe {
			wantHoles(t, r, "zero_signature")
			refused := r.Refusal(false)
			if refused == nil || !strings.Contains(refused.Error(), "--allow-unsafe-store") {
				t.Errorf("refusal: %v", refused)
			}
		} else {
			wantHoles(t, r)
			must(t, r.Refusal(false))
		}
		if r.ClockOffset.Abs() > time.Minute || r.Versioned {
			t.Errorf("clock off by %v, versioned %t", r.ClockOffset, r.Versioned)
		}
		leftovers := []string{}
		for o := range store.Client(t, store.Root).ListObjects(t.Context(), store.Bucket, minio.ListObjectsOptions{Recursive: true}) {
			leftovers = append(leftovers, o.Key)
		}
		empty := "models/global/blobs/sha256/e3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		if !slices.Equal(leftovers, []string{empty}) {
			t.Errorf("the probe left %q", leftovers)
		}
	})
}

// TestProbeOneIdentity: with the hole that makes it unsafe, one identity for all is refused, and nothing waives that.
func TestProbeOneIdentity(t *testing.T) {
	testenv.Each(t, func(t *testing.T, store *testenv.Store) {
		cfg := store.Config()
		cfg.Put, cfg.Get = nil, nil
		r := probe(t, cfg, objstore.ProbeOptions{})
		if store.OneIdentity {
			must(t, r.Refusal(false))
			return
		}
		wantHoles(t, r, "copy_source", "zero_signature")
		refused := r.Refusal(true)
		if refused == nil {
			t.Fatal("not refused")
		}
		for _, word := range []string{"--s3-put-profile", "--s3-get-profile", "s3:PutObject", "s3:GetObjectVersion", store.Bucket + "/*/blobs/*"} {
			if !strings.Contains(refused.Error(), word) {
				t.Errorf("the refusal does not name %s: %v", word, refused)
			}
		}
		if strings.Contains(refused.Error(), "zero_signature") {
			t.Errorf("what was waived is still named: %v", refused)
		}
	})
}

func TestProbeWrongIdentities(t *testing.T) {
	store := testenv.MinIO(t)
	identity := func(k objstore.Keys) *objstore.Identity { return &objstore.Identity{Keys: k} }
	for name, c := range map[string]struct {
		put, get objstore.Keys
		hole     string
		remedy   string
	}{
		"put may not write": {store.Get, store.Get, "put_allowed", "--s3-put-profile"},
		"get may not read":  {store.Put, store.Put, "get_allowed", "--s3-get-profile"},
		"put may read":      {store.Root, store.Get, "put_cannot_get", "no s3:GetObject"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := store.Config()
			cfg.Put, cfg.Get = identity(c.put), identity(c.get)
			r := probe(t, cfg, objstore.ProbeOptions{})
			if got := holes(r); len(got) == 0 || got[0] != c.hole {
				t.Errorf("holes %q, want %s first", got, c.hole)
			}
			if err := r.Refusal(true); err == nil || !strings.Contains(err.Error(), c.remedy) {
				t.Errorf("refusal: %v", err)
			}
		})
	}
}

func TestProbeWithoutABucket(t *testing.T) {
	testenv.Each(t, func(t *testing.T, store *testenv.Store) {
		cfg := store.Config()
		cfg.Bucket += "-none"
		r := probe(t, cfg, objstore.ProbeOptions{})
		wantHoles(t, r, "bucket")
		if err := r.Refusal(true); err == nil || !strings.Contains(err.Error(), "make the bucket") || !strings.Contains(err.Error(), "no such bucket") || !strings.Contains(err.Error(), cfg.Bucket) {
			t.Errorf("refusal: %v", err)
		}
	})
}

func TestProbeVersioned(t *testing.T) {
	if r := probe(t, testenv.MinIOVersioned(t).Config(), objstore.ProbeOptions{}); !r.Versioned {
		t.Error("not seen as versioned")
	}
}

func TestProbePublicHost(t *testing.T) {
	store := testenv.Embedded(t)
	cfg := store.Config()
	cfg.PublicEndpoint = "http://models.example:9000"
	wantHoles(t, probe(t, cfg, objstore.ProbeOptions{RegistryURL: "https://MODELS.example"}), "public_host")
	wantHoles(t, probe(t, cfg, objstore.ProbeOptions{RegistryURL: "https://registry.example"}))
}

// lax makes a store of weak character from a strict one: what the store refuses and lax matches, it writes after all,
// as root and unconditionally.
type lax struct {
	next    http.RoundTripper
	root    *minio.Client
	matches func(*http.Request) bool
}

func (l *lax) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	again := r.Clone(r.Context())
	again.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := l.next.RoundTrip(again)
	if err != nil || resp.StatusCode < 400 || !l.matches(r) {
		return resp, err
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if _, err := l.root.PutObject(r.Context(), bucket, key, bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{}); err != nil {
		return nil, err
	}
	resp.StatusCode = http.StatusOK
	return resp, nil
}

// TestProbeSeesPlantedHoles: each check can fail.
func TestProbeSeesPlantedHoles(t *testing.T) {
	isPut := func(r *http.Request) bool {
		return r.Method == http.MethodPut && !r.URL.Query().Has("partNumber") && strings.Contains(r.URL.Path, "/staging/")
	}
	for want, matches := range map[string]func(*http.Request) bool{
		"checksum_put conditional_put": func(r *http.Request) bool {
			return isPut(r) && r.Header.Get("X-Amz-Content-Sha256") == "" && r.Header.Get("X-Amz-Copy-Source") == ""
		},
		"checksum_put": func(r *http.Request) bool {
			return isPut(r) && r.Header.Get("X-Amz-Checksum-Sha256") == "" && r.Header.Get("If-None-Match") != ""
		},
		"copy_source":    func(r *http.Request) bool { return isPut(r) && r.Header.Get("X-Amz-Copy-Source") != "" },
		"zero_signature": func(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, strings.Repeat("0", 64)) },
		"checksum_part":  func(r *http.Request) bool { return r.URL.Query().Get("partNumber") == "1" },
	} {
		t.Run(want, func(t *testing.T) {
			store := testenv.Embedded(t)
			client := newClient(t)
			client.Transport = &lax{client.Transport, store.Client(t, store.Root), matches}
			wantHoles(t, probe(t, store.Config(), objstore.ProbeOptions{Client: client}), strings.Fields(want)...)
		})
	}
}

func TestProbeSeesAWrongClock(t *testing.T) {
	late := answering(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusForbidden)
	})
	r := probe(t, fakeConfig("http://store.invalid"), objstore.ProbeOptions{Client: late})
	wantHoles(t, r, "clock")
	if off := (r.ClockOffset + time.Hour).Abs(); off > time.Minute {
		t.Errorf("clock off by %v", r.ClockOffset)
	}
}

// TestProbeWithoutALastLook: a store that drops unsigned headers passes, and a network that breaks while the probe looks
// whether it did is no verdict.
func TestProbeWithoutALastLook(t *testing.T) {
	store := testenv.Embedded(t)
	for _, broken := range []bool{false, true} {
		client := newClient(t)
		next := client.Transport
		client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if broken && r.Header.Get("Accept-Encoding") == "identity" {
				return nil, errors.New("connection reset")
			}
			if r.Header.Del("X-Amz-Meta-Probe"); r.Header.Get("Content-Encoding") == "gzip" {
				r.Header.Del("Content-Encoding")
			}
			return next.RoundTrip(r)
		})
		r, err := objstore.Probe(t.Context(), open(t, store.Config()), objstore.ProbeOptions{Client: client})
		if errors.Is(err, objstore.ErrUnavailable) != broken || len(holes(r)) != 0 {
			t.Errorf("broken %t: %v; %+v", broken, err, r.Checks[len(r.Checks)-1])
		}
	}
}

// TestProbeWithoutANetwork: a broken network or a busy store is no verdict.
func TestProbeWithoutANetwork(t *testing.T) {
	for name, client := range map[string]*http.Client{
		"busy": answering(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }),
		"gone": {Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		})},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg := fakeConfig("http://store.invalid")
			cfg.HTTPClient = client
			r, err := objstore.Probe(t.Context(), open(t, cfg), objstore.ProbeOptions{Client: client})
			if !errors.Is(err, objstore.ErrUnavailable) || !errors.Is(r.Refusal(true), objstore.ErrUnavailable) || len(holes(r)) != 0 {
				t.Errorf("%s: %v; %+v", name, err, r)
			}
			if name == "gone" {
				wantWords(t, err, "no answer from http://store.invalid (", "connection refused", "check --s3-endpoint")
			}
			if r.Leftover != nil {
				t.Errorf("%s: left %v", name, r.Leftover)
			}
		})
	}
}
