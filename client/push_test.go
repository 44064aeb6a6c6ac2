package client_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// model has what may go wrong: folders, an empty file, one content twice, a name with odd characters.
func model() map[string][]byte {
	return map[string][]byte{
		"config.json": []byte(`{"model_type":"llama"}`), "model.safetensors": mib(1, 1), "sub/dir/copy.safetensors": mib(1, 1),
		"empty.txt": {}, "sub/näme with space+%.txt": []byte("odd"), "sub/also-empty": {},
	}
}

func TestPushAndPullRoundTrip(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c := w.t, w.as("acme=writer")
		files := model()
		alias, err := ballast.ParseAlias("champion")
		w.must(err)
		pushed, err := w.push(c, folder(t, files), "llama/tiny:1.2.0", client.PushOptions{
			Alias: alias, Metadata: ballast.Metadata{Description: "a tiny one", Metrics: map[string]float64{"acc": 0.5}},
		})
		w.must(err)
		v := pushed.Version
		if v.Key != "acme::llama/tiny::1.2.0" || v.Status != ballast.StatusReady || v.Files != len(files) || v.Metadata.Metrics["acc"] != 0.5 || pushed.Unchanged {
			t.Errorf("pushed %+v", pushed)
		}
		if distinct := int64(1<<20 + len(files["config.json"]) + len("odd")); pushed.Sent != distinct {
			t.Errorf("sent %d bytes, want each content once: %d", pushed.Sent, distinct)
		}
		dir := filepath.Join(t.TempDir(), "new", "folder")
		pulled, err := w.pull(c, "llama/tiny@champion", dir, client.PullOptions{})
		w.must(err)
		if got := contents(t, dir); !maps.EqualFunc(got, files, bytes.Equal) {
			t.Errorf("pulled %d files other than the pushed", len(got))
		}
		if pulled.Fetched != len(files) || pulled.Others != 0 || pulled.Version.Digest != v.Digest {
			t.Errorf("pulled %+v", pulled)
		}
	})
}

func TestTheAliasOfAPush(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c, dir := w.as("acme=writer"), folder(t, map[string][]byte{"a": []byte("1")})
	champion, err := ballast.ParseAlias("champion")
	w.must(err)
	for _, unchanged := range []bool{false, true} {
		pushed, err := w.push(c, dir, "m", client.PushOptions{Alias: champion})
		w.must(err)
		if !slices.Equal(pushed.Version.Aliases, []ballast.Alias{champion}) || pushed.Unchanged != unchanged {
			t.Errorf("pushed %+v", pushed)
		}
	}
	w.registry.Add(method(http.MethodPut), 1, testenv.Answer(http.StatusForbidden))
	pushed, err := w.push(c, dir, "m:2", client.PushOptions{Alias: champion})
	if ballast.CodeOf(err) != ballast.CodeDenied || !strings.Contains(err.Error(), "acme::m::2 is ready") || pushed.Version.Key != "acme::m::2" || len(pushed.Version.Aliases) > 0 {
		t.Errorf("a push whose alias failed: %+v, %v", pushed, err)
	}
}

func TestASecondRunMovesOnlyWhatIsMissing(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c := w.t, w.as("acme=writer")
		files := map[string][]byte{"a": mib(1, 1), "b": mib(1, 2)}
		dir := folder(t, files)
		first, err := w.push(c, dir, "m", client.PushOptions{})
		w.must(err)
		again, err := w.push(c, dir, "m", client.PushOptions{})
		w.must(err)
		if !again.Unchanged || again.Sent != 0 || again.Version.Key != first.Version.Key {
			t.Errorf("an unchanged push: %+v", again)
		}
		same, err := w.push(c, dir, "m:1", client.PushOptions{})
		w.must(err)
		if !same.Unchanged || same.Sent != 0 || same.Version.Key != first.Version.Key {
			t.Errorf("an unchanged push of the label: %+v", same)
		}
		out := t.TempDir()
		_, err = w.pull(c, "m", out, client.PullOptions{})
		w.must(err)
		w.must(os.WriteFile(filepath.Join(dir, "b"), []byte("changed"), 0o644))
		next, err := w.push(c, dir, "m", client.PushOptions{})
		w.must(err)
		if next.Unchanged || next.Sent != int64(len("changed")) || next.Version.Version.String() != "2" {
			t.Errorf("a push of one changed file: %+v", next)
		}
		pulled, err := w.pull(c, "m", out, client.PullOptions{})
		w.must(err)
		if pulled.Fetched != 1 || pulled.Bytes != int64(len("changed")) {
			t.Errorf("a pull of one changed file: %+v", pulled)
		}
		if got := contents(t, out); string(got["b"]) != "changed" || !bytes.Equal(got["a"], files["a"]) {
			t.Error("the folder is not the second version")
		}
	})
}

func TestTheSameLabelWithOtherFilesIsRefusedNamingBoth(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	first, err := w.push(c, folder(t, map[string][]byte{"a": []byte("1")}), "m:1", client.PushOptions{})
	w.must(err)
	_, err = w.push(c, folder(t, map[string][]byte{"a": []byte("2")}), "m:1", client.PushOptions{})
	e := ballast.AsError(err)
	if e.Code != ballast.CodeAlreadyExists || e.Expected != first.Version.Digest || e.Actual == "" || !strings.Contains(e.Detail, e.Actual.String()) {
		t.Errorf("error %+v", e)
	}
}

func TestLargeFilesGoInPartsAndSurviveFaults(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c := w.t, w.as("acme=writer")
		files := map[string][]byte{"big": mib(17, 1)}
		w.store.Add(part("1"), 1, testenv.CutUpload(1<<20))
		w.store.Add(part("2"), 1, testenv.Answer(http.StatusServiceUnavailable))
		w.store.Add(part("3"), 1, testenv.Answer(http.StatusForbidden))
		w.store.Add(part("4"), 1, testenv.DropAnswer)
		pushed, err := w.push(c, folder(t, files), "m", client.PushOptions{PartSize: ballast.MinPartSize})
		w.must(err)
		if pushed.Version.Assurance != ballast.AssuranceReread {
			t.Errorf("assurance %q", pushed.Version.Assurance)
		}
		dir := t.TempDir()
		_, err = w.pull(c, "m", dir, client.PullOptions{})
		w.must(err)
		if !bytes.Equal(contents(t, dir)["big"], files["big"]) {
			t.Error("other bytes came back")
		}
	})
}

func TestAPushThatWasKilledGoesOn(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c := w.t, w.as("acme=writer")
		dir := folder(t, map[string][]byte{"big": mib(17, 1)})
		ctx, kill := context.WithCancel(t.Context())
		w.store.Add(part("3"), 1, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(rw, r)
			kill()
		})
		o := client.PushOptions{Path: dir, Target: ref(t, "m:1"), AttemptDir: w.attempts, PartSize: ballast.MinPartSize, Parallel: 1}
		if _, err := c.Push(ctx, o); !errors.Is(err, context.Canceled) {
			t.Fatalf("killed push: %v", err)
		}
		pushed, err := c.Push(t.Context(), o)
		w.must(err)
		if pushed.Sent == 0 || pushed.Sent > 12<<20 {
			t.Errorf("the second push sent %d of %d bytes", pushed.Sent, 17<<20)
		}
		if left, err := os.ReadDir(w.attempts); err != nil || len(left) != 0 {
			t.Errorf("attempts left: %v, %v", left, err)
		}
	})
}

// A large file goes up whole, and in parts once that was cut off: killed over and over, a push still comes to its end.
func TestAPushThatWasKilledGoesOnInParts(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	const size = ballast.DefaultPartSize + 1<<20
	o := client.PushOptions{Path: folder(t, map[string][]byte{"big": mib(size>>20, 1)}), Target: ref(t, "m:1"), AttemptDir: w.attempts, Parallel: 1}
	whole := func(r *http.Request) bool {
		return r.Method == http.MethodPut && !r.URL.Query().Has("partNumber") && r.ContentLength == size
	}
	killAt := func(match func(*http.Request) bool) {
		t.Helper()
		ctx, kill := context.WithCancel(t.Context())
		defer kill()
		w.store.Add(match, 1, func(http.ResponseWriter, *http.Request, http.Handler) { kill() })
		if _, err := c.Push(ctx, o); !errors.Is(err, context.Canceled) {
			t.Fatalf("killed push: %v", err)
		}
	}
	killAt(whole)
	killAt(part("2"))
	pushed, err := c.Push(t.Context(), o)
	w.must(err)
	if pushed.Sent == 0 || pushed.Sent > size/2+1<<20 {
		t.Errorf("the third push sent %d of %d bytes", pushed.Sent, size)
	}
}

func TestPartsCutAtAnotherSizeAreCutAgain(t *testing.T) {
	eachWorld(t, func(w *world) {
		t, c := w.t, w.as("acme=writer")
		dir := folder(t, map[string][]byte{"big": mib(17, 1)})
		ctx, kill := context.WithCancel(t.Context())
		w.store.Add(part("2"), 1, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(rw, r)
			kill()
		})
		_, err := c.Push(ctx, client.PushOptions{Path: dir, Target: ref(t, "m:1"), AttemptDir: t.TempDir(), PartSize: 6 << 20, Parallel: 1})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("killed push: %v", err)
		}
		// The blob stays pinned by the killed push and open at 6 MiB.
		pushed, err := w.push(c, dir, "other", client.PushOptions{PartSize: ballast.MinPartSize})
		w.must(err)
		if pushed.Sent >= 17<<20 {
			t.Errorf("sent %d bytes: the parts of the other push were not used", pushed.Sent)
		}
	})
}

func TestSinglePutsSurviveFaults(t *testing.T) {
	faults := map[string]testenv.Fault{
		"expired": testenv.Answer(http.StatusForbidden), "unavailable": testenv.Answer(http.StatusServiceUnavailable),
		"cut": testenv.CutUpload(100), "dropped": testenv.Drop, "answer lost": testenv.DropAnswer,
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			eachWorld(t, func(w *world) {
				w.store.Add(method(http.MethodPut), 2, fault)
				_, err := w.push(w.as("acme=writer"), folder(w.t, map[string][]byte{"a": mib(1, 1)}), "m", client.PushOptions{})
				w.must(err)
			})
		})
	}
}

func TestAPutThatNeverArrivedIsSentAgainAtCommit(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	w.store.Add(method(http.MethodPut), 1, testenv.Answer(http.StatusOK))
	pushed, err := w.push(w.as("acme=writer"), folder(t, map[string][]byte{"a": mib(1, 1), "b": mib(1, 2)}), "m", client.PushOptions{})
	w.must(err)
	if pushed.Version.Status != ballast.StatusReady {
		t.Errorf("pushed %+v", pushed)
	}
}

func TestTheStoreGetsExactlyWhatWasSigned(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	var mu sync.Mutex
	var puts []http.Header
	var chunked bool
	w.store.Add(func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPut {
			puts = append(puts, r.Header.Clone())
			chunked = chunked || len(r.TransferEncoding) > 0 || r.ContentLength <= 0
		}
		if r.Header.Get("Authorization") != "" {
			t.Error("a token went to the object store")
		}
		return false
	}, -1, nil)
	_, err := w.push(w.as("acme=writer"), folder(t, map[string][]byte{"a": mib(1, 1)}), "m", client.PushOptions{})
	w.must(err)
	if len(puts) != 1 || chunked {
		t.Fatalf("%d puts, chunked or of unknown length: %v", len(puts), chunked)
	}
	for _, name := range []string{"X-Amz-Checksum-Sha256", "If-None-Match", "Content-Length", "Expect"} {
		if puts[0].Get(name) == "" {
			t.Errorf("no %s", name)
		}
		puts[0].Del(name)
	}
	for _, name := range []string{"User-Agent", "Accept-Encoding"} {
		puts[0].Del(name)
	}
	if len(puts[0]) > 0 {
		t.Errorf("more headers than were signed: %v", puts[0])
	}
}

func TestTakeover(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	dir := folder(t, map[string][]byte{"a": []byte("1")})
	holder, err := c.CreateUpload(t.Context(), ballast.CreateUpload{Name: ref(t, "m").Name, Version: ref(t, "m:1").Version, Attempt: "0123456789abcdef"})
	w.must(err)
	_, err = w.push(c, dir, "m:1", client.PushOptions{})
	e := ballast.AsError(err)
	if e.Code != ballast.CodeConflict || e.Holder == nil || e.Holder.Upload != holder.ID {
		t.Fatalf("held label: %v", err)
	}
	_, err = w.push(c, dir, "m:1", client.PushOptions{Takeover: true})
	w.must(err)
	if u, err := c.Upload(t.Context(), holder.ID, 0); err != nil || u.Status != ballast.UploadAborted {
		t.Errorf("the holder is %s, %v", u.Status, err)
	}
}

func TestALostLeaseIsStartedAnewOnce(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	c := w.as("acme=writer")
	var aborted atomic.Int32
	w.registry.Add(path(http.MethodPost, "/commit"), 1, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		id := strings.Split(r.URL.Path, "/")[3]
		if err := c.Abort(r.Context(), id); err == nil {
			aborted.Add(1)
		}
		next.ServeHTTP(rw, r)
	})
	pushed, err := w.push(c, folder(t, map[string][]byte{"a": mib(1, 1)}), "m:1", client.PushOptions{})
	w.must(err)
	if aborted.Load() != 1 || pushed.Version.Status != ballast.StatusReady {
		t.Errorf("%d aborted, %+v", aborted.Load(), pushed)
	}
}

func TestAFileThatChangesIsNamed(t *testing.T) {
	changes := map[string]func(t *testing.T, file string){
		"rewritten": func(t *testing.T, file string) { write(t, file, mib(1, 9)) },
		"grown":     func(t *testing.T, file string) { write(t, file, append(mib(1, 2), 'x')) },
		"cut":       func(t *testing.T, file string) { write(t, file, []byte("short")) },
		"gone":      func(t *testing.T, file string) { _ = os.Remove(file) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			eachWorld(t, func(w *world) {
				t, c := w.t, w.as("acme=writer")
				dir := folder(t, map[string][]byte{"still": mib(1, 1), "moving": mib(1, 2)})
				w.registry.Add(path(http.MethodPost, "/blobs"), 1, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
					change(t, filepath.Join(dir, "moving")) // after it was hashed or before: both must be seen
					next.ServeHTTP(rw, r)
				})
				pushed, err := w.push(c, dir, "m:1", client.PushOptions{Parallel: 1})
				if err == nil && name != "gone" { // changed before it was hashed: then it is what was published
					v := contents(t, dir)["moving"]
					if pushed.Version.Size != int64(len(v))+1<<20 {
						t.Fatalf("published %d bytes", pushed.Version.Size)
					}
					return
				}
				if code := ballast.CodeOf(err); code != ballast.CodeIntegrity && code != ballast.CodeInvalid || !strings.Contains(err.Error(), "moving") {
					t.Fatalf("error %v", err)
				}
				if _, err := c.Version(t.Context(), ref(t, "m:1")); ballast.CodeOf(err) != ballast.CodeNotFound {
					t.Errorf("visible: %v", err)
				}
			})
		})
	}
}

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Error(err)
	}
}

func TestManySmallFilesAreAskedForInBatches(t *testing.T) {
	w := newWorld(t, testenv.Embedded(t))
	files := make(map[string][]byte)
	for i := range 300 {
		files[strings.Repeat("d/", i%3)+"f"+string(rune('a'+i%26))+strings.Repeat("x", i/26)] = []byte{byte(i), byte(i >> 8), 1}
	}
	var asks atomic.Int32
	w.registry.Add(func(r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/blobs") {
			asks.Add(1)
		}
		return false
	}, -1, nil)
	pushed, err := w.push(w.as("acme=writer"), folder(t, files), "m", client.PushOptions{})
	w.must(err)
	if pushed.Version.Files != len(files) {
		t.Errorf("%d files of %d", pushed.Version.Files, len(files))
	}
	if asks.Load() > int32(len(files)/5) {
		t.Errorf("%d files asked for in %d calls", len(files), asks.Load())
	}
}

func TestPushRefusesBeforeItAsks(t *testing.T) {
	c, err := client.New(client.Options{URL: "http://127.0.0.1:1", Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t, map[string][]byte{"a": []byte("1")})
	cases := map[string]client.PushOptions{
		"no name":  {Path: dir},
		"alias":    {Path: dir, Target: ref(t, "m@champion")},
		"no file":  {Path: t.TempDir(), Target: ref(t, "m")},
		"metadata": {Path: dir, Target: ref(t, "m"), Metadata: ballast.Metadata{Task: "Flying!"}},
		"pattern":  {Path: dir, Target: ref(t, "m"), Include: []string{"["}},
	}
	for name, o := range cases {
		if _, err := c.Push(t.Context(), o); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPushesOfOneFolderSideBySideShareTheUpload(t *testing.T) {
	for _, target := range []string{"m:1", "m"} {
		t.Run(target, func(t *testing.T) {
			w := newWorld(t, testenv.Embedded(t))
			c := w.as("acme=writer")
			dir := folder(t, map[string][]byte{"a": mib(1, 1), "b": mib(1, 2)})
			var wg sync.WaitGroup
			var mu sync.Mutex
			keys := make(map[string]bool)
			for range 6 {
				wg.Go(func() {
					pushed, err := w.push(c, dir, target, client.PushOptions{})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					keys[pushed.Version.Key] = true
					mu.Unlock()
				})
			}
			wg.Wait()
			if !keys["acme::m::1"] || len(keys) != 1 {
				t.Errorf("published %v", keys)
			}
		})
	}
}
