package objstore_test

import (
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// TestForeign reads a bucket as AWS's own programs would: with what the environment says, and no other object than was listed.
func TestForeign(t *testing.T) {
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		registry, err := objstore.Open(t.Context(), s.Config())
		if err != nil {
			t.Fatal(err)
		}
		put := func(key, body string) {
			t.Helper()
			if _, err := registry.Put(t.Context(), key, []byte(body), objstore.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		put("m/a b", "0123456789")
		put("m/c", "c")
		put("n", "n")
		t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
		t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
		t.Setenv("AWS_ENDPOINT_URL_S3", s.Endpoint)
		if _, err := objstore.OpenForeign(t.Context(), s.Bucket, nil); !errors.Is(err, objstore.ErrDenied) {
			t.Errorf("without credentials: %v", err)
		}
		t.Setenv("AWS_ACCESS_KEY_ID", s.Service.ID)
		t.Setenv("AWS_SECRET_ACCESS_KEY", s.Service.Secret)
		f, err := objstore.OpenForeign(t.Context(), s.Bucket, nil)
		if err != nil {
			t.Fatal(err)
		}
		etags := map[string]string{}
		for o, err := range f.List(t.Context(), "m/") {
			if err != nil {
				t.Fatal(err)
			}
			etags[o.Key] = o.ETag
		}
		if len(etags) != 2 || etags["m/a b"] == "" || etags["m/c"] == "" {
			t.Errorf("listed %v", etags)
		}
		for _, r := range []struct {
			offset, length int64
			want           string
		}{{0, 0, "0123456789"}, {3, 4, "3456"}, {9, 1, "9"}} {
			body, err := f.Get(t.Context(), "m/a b", etags["m/a b"], r.offset, r.length)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(body); err != nil || string(b) != r.want {
				t.Errorf("%+v: %q, %v", r, b, err)
			}
			body.Close()
		}
		put("m/a b", "9876543210")
		if _, err := f.Get(t.Context(), "m/a b", etags["m/a b"], 3, 4); !errors.Is(err, objstore.ErrPrecondition) {
			t.Errorf("replaced: %v", err)
		}
		t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
		if f, err = objstore.OpenForeign(t.Context(), s.Bucket, nil); err != nil {
			t.Fatal(err)
		}
		for _, err := range f.List(t.Context(), "") {
			if !errors.Is(err, objstore.ErrDenied) {
				t.Errorf("with a wrong key: %v", err)
			}
		}
		if _, err := objstore.OpenForeign(t.Context(), "No_Bucket", nil); err == nil {
			t.Error("a bucket of that name")
		}
	})
}
