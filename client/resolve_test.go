package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// TestResolve: an independent client of S3, and one of HTTP, find every byte of a version where Resolve says.
func TestResolve(t *testing.T) {
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		w := newWorld(t, s)
		c := w.as("acme=writer")
		files := map[string][]byte{"a": mib(1, 1), "dir/b": []byte("b"), "empty": {}}
		pushed, err := w.push(c, folder(t, files), "m", client.PushOptions{})
		w.must(err)
		r, err := c.Resolve(t.Context(), client.ResolveOptions{Ref: ref(t, "m"), URLs: true})
		w.must(err)
		if r.Version.Digest != pushed.Version.Digest || r.Store.Bucket != s.Bucket || r.Store.Region != s.Region {
			t.Errorf("resolved %+v in %+v", r.Version, r.Store)
		}
		byKey, byURL := map[string][]byte{}, map[string][]byte{"empty": {}}
		for _, f := range r.Files {
			if f.URI != "s3://"+s.Bucket+"/"+f.Key {
				t.Errorf("%s is at %s and %s", f.Path, f.Key, f.URI)
			}
			o, err := s.Client(t, s.Root).GetObject(t.Context(), s.Bucket, f.Key, minio.GetObjectOptions{})
			w.must(err)
			byKey[f.Path], err = io.ReadAll(o)
			w.must(err)
			if f.Request != nil {
				res, err := http.Get(f.Request.URL)
				w.must(err)
				byURL[f.Path], err = io.ReadAll(res.Body)
				w.must(err)
				res.Body.Close()
			}
		}
		if !maps.EqualFunc(byKey, files, bytes.Equal) || !maps.EqualFunc(byURL, files, bytes.Equal) {
			t.Errorf("%d files by key and %d by URL are not the %d pushed", len(byKey), len(byURL), len(files))
		}
		r, err = c.Resolve(t.Context(), client.ResolveOptions{Ref: ref(t, "m"), Include: []string{"dir"}})
		if w.must(err); len(r.Files) != 1 || r.Files[0].Path != "dir/b" || r.Files[0].Request != nil {
			t.Errorf("selected %+v", r.Files)
		}
		_, err = c.Resolve(t.Context(), client.ResolveOptions{Ref: ref(t, "m"), Include: []string{"nothing"}})
		if ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("of no file: %v", err)
		}
	})
}

// TestResolvePages: a version of more files than a page holds is resolved as a whole, and passes the gate.
func TestResolvePages(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=maintainer")
	files := map[string][]byte{}
	for i := range 2100 {
		files[fmt.Sprint("f", i)] = []byte("same")
	}
	_, err := w.push(c, folder(t, files), "m:1", client.PushOptions{})
	w.must(err)
	r, err := c.Resolve(t.Context(), client.ResolveOptions{Ref: ref(t, "m"), URLs: true})
	if w.must(err); len(r.Files) != len(files) {
		t.Errorf("%d files, want %d", len(r.Files), len(files))
	}
	_, _, err = c.Retire(t.Context(), ref(t, "m:1"), 0)
	w.must(err)
	if _, err := c.Resolve(t.Context(), client.ResolveOptions{Ref: ref(t, "m:1")}); ballast.CodeOf(err) != ballast.CodeRetired {
		t.Errorf("a retired version: %v", err)
	}
}

// TestResolveBelievesNoRegistry: what goes into scripts and other programs' command lines is checked first.
func TestResolveBelievesNoRegistry(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	_, err := w.push(c, folder(t, map[string][]byte{"a": []byte("a")}), "m", client.PushOptions{})
	w.must(err)
	for name, lie := range map[string]struct {
		path, old, new string
		want           ballast.Code
	}{
		"the truth":         {"/files", "", "", ""},
		"another path":      {"/files", `"path":"a"`, `"path":"../a"`, ballast.CodeIntegrity},
		"another digest":    {"/files", `"sha256":"ca`, `"sha256":"cb`, ballast.CodeIntegrity},
		"a file's URL":      {"/files", `"url":"http://`, `"url":"file://`, ballast.CodeUnavailable},
		"no URL":            {"/files", `"request"`, `"requests"`, ballast.CodeUnavailable},
		"headers to send":   {"/files", `"headers":{}`, `"headers":{"x-y":"z"}`, ballast.CodeUnavailable},
		"a bucket of lines": {"/v1/store", `"bucket":"`, `"bucket":"x\n`, ballast.CodeUnavailable},
		"a bucket with key": {"/v1/store", `"bucket":"`, `"bucket":"x/`, ballast.CodeUnavailable},
		"no bucket":         {"/v1/store", `"bucket"`, `"buckets"`, ballast.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			defer w.registry.Clear()
			w.registry.Add(path(http.MethodGet, lie.path), -1, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
				rec := httptest.NewRecorder()
				next.ServeHTTP(rec, r)
				body := bytes.Replace(rec.Body.Bytes(), []byte(lie.old), []byte(lie.new), 1)
				if lie.old != lie.new && bytes.Equal(body, rec.Body.Bytes()) || !json.Valid(body) {
					t.Errorf("it made nothing of %s", rec.Body)
				}
				rw.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
				_, _ = rw.Write(body)
			})
			if _, err := c.Resolve(t.Context(), client.ResolveOptions{Ref: ref(t, "m"), URLs: true}); ballast.CodeOf(err) != lie.want {
				t.Errorf("%v, want %q", err, lie.want)
			}
		})
	}
}
