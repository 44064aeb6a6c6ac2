package client_test

import (
	"bytes"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// Verify names what is missing and what differs, fetches nothing and changes nothing.
func TestVerifyNamesWhatDiffers(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	files := map[string][]byte{"a": []byte("1"), "sub/b": []byte("22"), "c": []byte("333"), "d": []byte("4"), "e": {}}
	_, err := w.push(c, folder(t, files), "m", client.PushOptions{})
	w.must(err)
	w.store.Add(method(http.MethodGet), -1, testenv.Drop)
	verify := func(dir string, o client.VerifyOptions) (client.VerifyResult, error) {
		o.Ref, o.Dir = ref(t, "m"), dir
		return c.Verify(t.Context(), o)
	}
	right := folder(t, files)
	if r, err := verify(right, client.VerifyOptions{}); err != nil || r.Files != 5 || r.Size != 7 || len(r.Missing)+len(r.Differ)+r.Others != 0 {
		t.Errorf("the right folder: %+v, %v", r, err)
	}
	wrong := folder(t, map[string][]byte{"a": []byte("2"), "sub/b": []byte("2"), "d/x": []byte("a folder"), "mine": []byte("x"), "e": {}, ".ballast-x.part": {}})
	before := contents(t, wrong)
	r, err := verify(wrong, client.VerifyOptions{})
	wantCode(t, err, ballast.CodeIntegrity)
	if !slices.Equal(r.Differ, []string{"a", "d", "sub/b"}) || !slices.Equal(r.Missing, []string{"c"}) || r.Others != 2 {
		t.Errorf("a wrong folder: %+v", r)
	}
	if after := contents(t, wrong); !maps.EqualFunc(before, after, bytes.Equal) {
		t.Errorf("it was changed: %q", slices.Collect(maps.Keys(after)))
	}
	if r, err := verify(wrong, client.VerifyOptions{Include: []string{"e"}}); err != nil || r.Files != 1 {
		t.Errorf("what is right of it: %+v, %v", r, err)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	r, err = verify(gone, client.VerifyOptions{})
	wantCode(t, err, ballast.CodeIntegrity)
	if len(r.Missing) != 5 {
		t.Errorf("no folder: %+v", r)
	}
	if _, err := os.Stat(gone); err == nil {
		t.Error("it made the folder")
	}
}
