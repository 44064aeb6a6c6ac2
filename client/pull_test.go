package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

func TestDownloadsSurviveFaults(t *testing.T) {
	faults := map[string]testenv.Fault{
		"expired": testenv.Answer(http.StatusForbidden), "unavailable": testenv.Answer(http.StatusServiceUnavailable),
		"cut at the start": testenv.CutDownload(0), "cut in the midst": testenv.CutDownload(1 << 20), "dropped": testenv.Drop,
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			eachWorld(t, func(w *world) {
				t, c := w.t, w.as("acme=writer")
				files := map[string][]byte{"a": mib(3, 1)}
				_, err := w.push(c, folder(t, files), "m", client.PushOptions{})
				w.must(err)
				w.store.Add(method(http.MethodGet), 2, fault)
				dir := t.TempDir()
				pulled, err := w.pull(c, "m", dir, client.PullOptions{})
				w.must(err)
				if !maps.EqualFunc(contents(t, dir), files, bytes.Equal) || pulled.Bytes != 3<<20 {
					t.Errorf("pulled %+v", pulled)
				}
			})
		})
	}
}

func TestABrokenDownloadGoesOnWhereItBroke(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	_, err := w.push(c, folder(t, map[string][]byte{"a": mib(3, 1)}), "m", client.PushOptions{})
	w.must(err)
	var mu sync.Mutex
	var ranges []string
	w.store.Add(func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		ranges = append(ranges, r.Header.Get("Range"))
		if r.Header.Get("Authorization") != "" {
			t.Error("a token went to the object store")
		}
		return false
	}, -1, nil)
	w.store.Add(method(http.MethodGet), 1, testenv.CutDownload(2<<20))
	_, err = w.pull(c, "m", t.TempDir(), client.PullOptions{})
	w.must(err)
	if len(ranges) != 2 || ranges[0] != "" || !strings.HasPrefix(ranges[1], "bytes=") || ranges[1] == "bytes=0-" {
		t.Errorf("ranges %q", ranges)
	}
}

// flipping passes an answer on with its last byte changed.
func flipping(rw http.ResponseWriter, r *http.Request, next http.Handler) {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	b := rec.Body.Bytes()
	b[len(b)-1] ^= 1
	maps.Copy(rw.Header(), rec.Header())
	rw.WriteHeader(rec.Code)
	_, _ = rw.Write(b)
}

func TestWrongBytesNeverGetAName(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	pushed, err := w.push(c, folder(t, map[string][]byte{"sub/a": mib(1, 1)}), "m", client.PushOptions{})
	w.must(err)
	w.store.Add(method(http.MethodGet), -1, flipping)
	dir := folder(t, map[string][]byte{"sub/a": []byte("what was here before")})
	_, err = w.pull(c, "m", dir, client.PullOptions{})
	e := ballast.AsError(err)
	if e.Code != ballast.CodeIntegrity || !strings.Contains(e.Detail, `"sub/a"`) || e.Expected == "" || e.Actual == "" || e.Expected == pushed.Version.Digest {
		t.Errorf("error %+v", e)
	}
	if got := contents(t, dir); len(got) != 1 || string(got["sub/a"]) != "what was here before" {
		t.Errorf("the folder holds %q", slices.Collect(maps.Keys(got)))
	}
}

// editing answers with a page of files that edit changed.
func editing(edit func(*ballast.FilesPage)) testenv.Fault {
	return func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		var page ballast.FilesPage
		_ = json.NewDecoder(rec.Body).Decode(&page)
		edit(&page)
		_ = json.NewEncoder(rw).Encode(page)
	}
}

func TestAListThatIsNotTheVersionsIsRefused(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	_, err := w.push(c, folder(t, map[string][]byte{"a": []byte("1"), "b": []byte("2")}), "m", client.PushOptions{})
	w.must(err)
	lies := map[string]func(*ballast.FilesPage){
		"one less":       func(p *ballast.FilesPage) { p.Files = p.Files[:1] },
		"another digest": func(p *ballast.FilesPage) { p.Files[0].SHA256 = strings.Repeat("0", 64) },
		"a way out":      func(p *ballast.FilesPage) { p.Files[0].Path = "../../etc/passwd" },
		"an absolute":    func(p *ballast.FilesPage) { p.Files[0].Path = "/etc/passwd" },
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			defer w.registry.Clear()
			w.registry.Add(path(http.MethodGet, "/files"), -1, editing(lie))
			dir := t.TempDir()
			if _, err := w.pull(c, "m", dir, client.PullOptions{}); ballast.CodeOf(err) != ballast.CodeIntegrity {
				t.Errorf("error %v", err)
			}
			if got := contents(t, dir); len(got) > 0 {
				t.Errorf("wrote %q", slices.Collect(maps.Keys(got)))
			}
		})
	}
}

// The list with the signed requests is another answer than the one that was held to the digest: one that repeats a file, or
// never ends, must not pass for all of the version.
func TestAListOfRequestsThatLeavesOutAFileIsRefused(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	_, err := w.push(c, folder(t, map[string][]byte{"a": []byte("1"), "b": []byte("2")}), "m", client.PushOptions{})
	w.must(err)
	for name, lie := range map[string]func(*ballast.FilesPage){
		"a file twice": func(p *ballast.FilesPage) { p.Files[1] = p.Files[0] },
		"endless": func(p *ballast.FilesPage) {
			p.Files, p.Cursor = slices.Repeat(p.Files[:1], 2), ballast.DigestOf([]byte(p.Cursor)).Encoded()
		},
		"empty pages": func(p *ballast.FilesPage) { p.Files, p.Cursor = nil, ballast.DigestOf([]byte(p.Cursor)).Encoded() },
	} {
		t.Run(name, func(t *testing.T) {
			defer w.registry.Clear()
			w.registry.Add(func(r *http.Request) bool { return r.URL.Query().Get("urls") == "true" }, -1, editing(lie))
			dir := t.TempDir()
			_, err := w.pull(c, "m", dir, client.PullOptions{})
			wantCode(t, err, ballast.CodeInternal)
			if _, err := os.Stat(filepath.Join(dir, "b")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("b: %v", err)
			}
		})
	}
}

func TestPullNeverLeavesItsFolder(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	_, err := w.push(c, folder(t, map[string][]byte{"sub/a": []byte("new")}), "m", client.PushOptions{})
	w.must(err)
	outside := folder(t, map[string][]byte{"a": []byte("old")})
	dir := t.TempDir()
	w.must(os.Symlink(outside, filepath.Join(dir, "sub")))
	if _, err := w.pull(c, "m", dir, client.PullOptions{Exact: true}); ballast.CodeOf(err) != ballast.CodeInvalid || !strings.Contains(err.Error(), "sub") {
		t.Errorf("error %v", err)
	}
	if got := contents(t, outside); len(got) != 1 || string(got["a"]) != "old" {
		t.Errorf("outside the folder: %q", got)
	}
}

func TestALinkInPlaceOfAFileIsReplacedNotFollowed(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	_, err := w.push(c, folder(t, map[string][]byte{"a": []byte("new")}), "m", client.PushOptions{})
	w.must(err)
	outside := folder(t, map[string][]byte{"a": []byte("old")})
	dir := t.TempDir()
	w.must(os.Symlink(filepath.Join(outside, "a"), filepath.Join(dir, "a")))
	_, err = w.pull(c, "m", dir, client.PullOptions{})
	w.must(err)
	if string(contents(t, dir)["a"]) != "new" || string(contents(t, outside)["a"]) != "old" {
		t.Error("the link was followed")
	}
}

func TestWhatStandsInTheWayIsNamed(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	_, err := w.push(c, folder(t, map[string][]byte{"sub/a": []byte("new")}), "m", client.PushOptions{})
	w.must(err)
	for _, dir := range []string{
		folder(t, map[string][]byte{"sub": []byte("a file where the folder goes")}),
		folder(t, map[string][]byte{"sub/a/b": []byte("a folder where the file goes")}),
	} {
		before := contents(t, dir)
		if _, err := w.pull(c, "m", dir, client.PullOptions{}); ballast.CodeOf(err) != ballast.CodeInvalid || !strings.Contains(err.Error(), "sub") {
			t.Errorf("error %v", err)
		}
		if after := contents(t, dir); !maps.EqualFunc(before, after, bytes.Equal) {
			t.Errorf("changed: %q", after)
		}
	}
}

func TestOtherFilesAreLeftAloneOrRemoved(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	files := map[string][]byte{"keep/a": []byte("1"), "b": []byte("2")}
	_, err := w.push(c, folder(t, files), "m", client.PushOptions{})
	w.must(err)
	dir := folder(t, map[string][]byte{"mine": []byte("x"), "keep/mine": []byte("y"), "own/deep/mine": []byte("z"), "own/two": []byte("z")})
	pulled, err := w.pull(c, "m", dir, client.PullOptions{})
	w.must(err)
	if pulled.Others != 4 || len(pulled.Removed) > 0 || len(contents(t, dir)) != 6 {
		t.Errorf("left alone: %+v", pulled)
	}
	pulled, err = w.pull(c, "m", dir, client.PullOptions{Exact: true})
	w.must(err)
	removed := []string{"keep/mine", "mine", "own/deep/mine", "own/two"}
	if pulled.Others != 0 || !slices.Equal(pulled.Removed, removed) || pulled.Fetched != 0 || !maps.EqualFunc(contents(t, dir), files, bytes.Equal) {
		t.Errorf("exact: %+v, %q", pulled, slices.Collect(maps.Keys(contents(t, dir))))
	}
}

func TestPullOfAPart(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	_, err := w.push(c, folder(t, map[string][]byte{"a.safetensors": []byte("1"), "a.bin": []byte("2"), "onnx/a.safetensors": []byte("3")}), "m", client.PushOptions{})
	w.must(err)
	dir := t.TempDir()
	pulled, err := w.pull(c, "m", dir, client.PullOptions{Include: []string{"*.safetensors"}, Exclude: []string{"onnx"}})
	w.must(err)
	if got := contents(t, dir); len(got) != 1 || string(got["a.safetensors"]) != "1" || pulled.Files != 1 || pulled.Size != 1 || pulled.Others != 0 {
		t.Errorf("pulled %q, %+v", got, pulled)
	}
	// What was not selected is the version's all the same.
	w.must(os.WriteFile(filepath.Join(dir, "a.bin"), []byte("mine"), 0o600))
	pulled, err = w.pull(c, "m", dir, client.PullOptions{Include: []string{"*.safetensors"}, Exact: true})
	w.must(err)
	if got := contents(t, dir); len(got) != 3 || string(got["a.bin"]) != "mine" || len(pulled.Removed) > 0 || len(pulled.Replaced) > 0 {
		t.Errorf("pulled exactly %q, %+v", got, pulled)
	}
	elsewhere := filepath.Join(t.TempDir(), "new")
	if _, err = w.pull(c, "m", elsewhere, client.PullOptions{Include: []string{"nope.json"}}); ballast.CodeOf(err) != ballast.CodeInvalid {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(elsewhere); err == nil {
		t.Error("an empty folder was made for nothing")
	}
}

func TestWhatAPullReplacesIsNamed(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	files := map[string][]byte{"sub/a": []byte("1"), "b": []byte("2"), "c": []byte("3"), "link": []byte("4")}
	_, err := w.push(c, folder(t, files), "m", client.PushOptions{})
	w.must(err)
	dir := folder(t, map[string][]byte{"sub/a": []byte("other"), "b": []byte("0"), "c": []byte("3")})
	w.must(os.Symlink("c", filepath.Join(dir, "link")))
	pulled, err := w.pull(c, "m", dir, client.PullOptions{})
	w.must(err)
	if !slices.Equal(pulled.Replaced, []string{"b", "link", "sub/a"}) || pulled.Fetched != 3 {
		t.Errorf("pulled %+v", pulled)
	}
}

func TestTwoPullsIntoOneFolder(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	files := map[string][]byte{"a": mib(2, 1), "b": mib(2, 2), "empty": {}}
	_, err := w.push(c, folder(t, files), "m", client.PushOptions{})
	w.must(err)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := w.pull(c, "m", dir, client.PullOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := contents(t, dir); !maps.EqualFunc(got, files, bytes.Equal) {
		t.Errorf("the folder holds %q", slices.Collect(maps.Keys(got)))
	}
}

func TestStoreRedirectsAreNotFollowed(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	_, err := w.push(c, folder(t, map[string][]byte{"a": []byte("1")}), "m", client.PushOptions{})
	w.must(err)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		t.Error("a redirect of the store was followed")
		_, _ = io.WriteString(rw, "1")
	}))
	defer elsewhere.Close()
	w.store.Add(method(http.MethodGet), -1, func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		rw.Header().Set("Location", elsewhere.URL)
		rw.WriteHeader(http.StatusTemporaryRedirect)
	})
	if _, err := w.pull(c, "m", t.TempDir(), client.PullOptions{}); ballast.CodeOf(err) != ballast.CodeUnavailable {
		t.Errorf("error %v", err)
	}
}

func TestPullOfNothingThere(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	dir := filepath.Join(t.TempDir(), "new")
	if _, err := w.pull(w.as("acme=reader"), "m", dir, client.PullOptions{}); ballast.CodeOf(err) != ballast.CodeNotFound {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("an empty folder was made for nothing")
	}
}

// TestA404OfSomethingBetweenIsNoLoss: only S3's own word says that an object is not there.
func TestA404OfSomethingBetweenIsNoLoss(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	if _, err := w.push(c, folder(t, map[string][]byte{"a": []byte("1")}), "m:1", client.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]ballast.Code{
		"": ballast.CodeUnavailable, "<html>no such page</html>": ballast.CodeUnavailable,
		"<Error><Code>NoSuchKey</Code></Error>": ballast.CodeIntegrity,
	} {
		w.store.Add(method(http.MethodGet), 1, func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
			rw.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(rw, body)
		})
		if _, err := w.pull(c, "m", t.TempDir(), client.PullOptions{}); ballast.CodeOf(err) != want {
			t.Errorf("%q: %v, want %s", body, err, want)
		}
	}
}

// TestPullOfAVersionWithoutFiles: such a version is there to be read about, and an empty folder would look like a model.
func TestPullOfAVersionWithoutFiles(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	u, err := c.CreateUpload(t.Context(), ballast.CreateUpload{Name: ref(t, "m").Name, Version: ref(t, "m:1").Version, Attempt: "0123456789abcdef"})
	w.must(err)
	u, err = c.Commit(t.Context(), u.ID, ballast.CommitRequest{Files: []ballast.File{}, Metadata: ballast.Metadata{Task: "ner"}})
	w.must(err)
	for !u.Status.Settled() {
		u, err = c.Upload(t.Context(), u.ID, 10*time.Second)
		w.must(err)
	}
	if v, err := c.Version(t.Context(), ref(t, "m")); err != nil || v.Status != ballast.StatusReady || v.Files != 0 || v.Metadata.Task != "ner" {
		t.Errorf("version %+v, %v", v, err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	_, err = w.pull(c, "m", dir, client.PullOptions{})
	wantCode(t, err, ballast.CodePrecondition)
	if !strings.Contains(err.Error(), "acme::m::1 has no files") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("an empty folder was made for nothing")
	}
}
