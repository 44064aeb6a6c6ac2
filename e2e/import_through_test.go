package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/hub/hubtest"
	"github.com/ballast-registry/ballast/testenv"
)

// toll stands before the store of a source: it counts what clients get from there, and may hurt a request.
type toll struct {
	passed atomic.Int64                                      // bytes of bodies
	fault  atomic.Pointer[func(*http.Request) testenv.Fault] // nil, and a nil answer, hurt nothing
}

func (l *toll) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	counted := &tolled{w, l}
	if choose := l.fault.Load(); choose != nil {
		if fault := (*choose)(r); fault != nil {
			fault(counted, r, next)
			return
		}
	}
	next.ServeHTTP(counted, r)
}

func (l *toll) hurt(choose func(*http.Request) testenv.Fault) { l.fault.Store(&choose) }

type tolled struct {
	http.ResponseWriter
	toll *toll
}

func (w *tolled) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.toll.passed.Add(int64(n))
	return n, err
}

func (w *tolled) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// hung passes on n bytes of a body, then nothing more until the client is gone.
type hung struct {
	http.ResponseWriter
	r    *http.Request
	left int
}

func hang(n int) testenv.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&hung{w, r, n}, r)
	}
}

func (h *hung) Write(b []byte) (int, error) {
	if len(b) <= h.left {
		h.left -= len(b)
		return h.ResponseWriter.Write(b)
	}
	_, _ = h.ResponseWriter.Write(b[:h.left])
	_ = http.NewResponseController(h.ResponseWriter).Flush()
	<-h.r.Context().Done()
	panic(http.ErrAbortHandler)
}

// site is one registry that has models, and another one whose user imports them from it.
type site struct {
	from, to *registry
	at       *toll    // before the first one's store
	through  *counted // before the second one's listener
	user     user
}

// newSite starts both; more are flags of the first.
func newSite(t *testing.T, s *testenv.Store, more ...string) *site {
	t.Helper()
	beside := s.Beside(t)
	proxy := testenv.NewProxy(t, s.Endpoint)
	p := &site{at: &toll{}, from: serve(t, beside, t.TempDir(), append(more, "--s3-public-endpoint", proxy.URL)...), to: serve(t, s, t.TempDir())}
	proxy.Add(func(r *http.Request) bool { return r.Method == http.MethodGet }, -1, p.at.serve)
	p.through = count(t, p.to.direct(t))
	p.user = p.to.user(t, p.to.token(t, "acme=writer"))
	p.user.env = append(p.user.env, "BALLAST_URL="+p.through.url, "HF_ENDPOINT="+p.from.direct(t), "HF_TOKEN=hf_"+string(p.from.token(t, "acme=reader")))
	return p
}

// publish pushes files to the first registry.
func (p *site) publish(t *testing.T, target string, files map[string][]byte) ballast.VersionInfo {
	t.Helper()
	r := must[client.PushResult](t)(p.from.as(t, "acme=writer").Push(t.Context(), client.PushOptions{
		Path: folder(t, files), Target: ref(target), AttemptDir: t.TempDir(), PartSize: ballast.MinPartSize, Alias: must[ballast.Alias](t)(ballast.ParseAlias("champion")),
	}))
	return r.Version
}

func (p *site) imports(t *testing.T, code int, args ...string) (r client.ImportFromResult, said string) {
	t.Helper()
	out := p.user.run(t, append([]string{"import", "--json"}, args...)...).want(t, code)
	if code == 0 {
		check(t, json.Unmarshal([]byte(out.stdout), &r))
	}
	return r, out.stderr
}

// leavesNothing: the spool of an import that is done is gone.
func (u user) leavesNothing(t *testing.T) {
	t.Helper()
	left, _ := filepath.Glob(filepath.Join(u.cache(), "imports", "*"))
	if len(left) > 0 {
		t.Errorf("left on this machine: %v", left)
	}
}

func (u user) cache() string {
	home, _ := strings.CutPrefix(u.env[0], "HOME=")
	return filepath.Join(home, ".cache", "ballast")
}

func sizeOf(files map[string][]byte) (n int64) {
	for _, b := range files {
		n += int64(len(b))
	}
	return n
}

// TestImportFromAnotherBallast: a registry is filled from another one's Hugging Face face, by version, alias, commit and as
// it is; what it has is not fetched, and no byte of a large file passes its listener.
func TestImportFromAnotherBallast(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		p := newSite(t, s)
		files := legacy()
		maps.Copy(files, map[string][]byte{".gitattributes": []byte("*.bin filter=lfs"), "deep/er/100% #1?&;=é,@:$'.txt": []byte("x"), "twin.safetensors": files["model.safetensors"]})
		v := p.publish(t, "org/tiny:1.0.0", files)
		c := p.to.as(t, "acme=writer")
		p.at.passed.Store(0)
		before := p.through.got.Load() + p.through.sent.Load()
		r, said := p.imports(t, 0, "hf://org/tiny@1.0.0", "by-version:1", "--task", "text-generation", "--alias", "best")
		if r.Version.Key != "acme::by-version::1" || r.Version.Digest != v.Digest || r.Version.Metadata.Task != "text-generation" || r.Unchanged {
			t.Errorf("imported %+v", r)
		}
		if once := sizeOf(files) - int64(len(files["twin.safetensors"])); r.Fetched != once || r.Sent != once || p.at.passed.Load() > once {
			t.Errorf("fetched %d, of which the store sent %d, and sent %d; the files have %d bytes", r.Fetched, p.at.passed.Load(), r.Sent, once)
		}
		if large := int64(len(files["model.safetensors"])); p.at.passed.Load() < large {
			t.Errorf("the count counts nothing: %d", p.at.passed.Load())
		}
		if passed := p.through.got.Load() + p.through.sent.Load() - before; passed == 0 || passed > 100_000 {
			t.Errorf("%d bytes passed the registry's listener", passed)
		}
		if !strings.Contains(said, "hf://org/tiny@1.0.0 at http://localhost:") || !strings.Contains(said, "passes through this machine, commit "+v.Digest.Encoded()[:40]) {
			t.Errorf("said %q", said)
		}
		check(t, pull(t, c, "by-version@best", files))
		for source, target := range map[string]string{"hf://org/tiny@champion": "by-alias", "hf://org/tiny@" + v.Digest.Encoded()[:40]: "by-commit:7", "hf://org/tiny": "as-it-is", "hf://org/tiny@refs/tags/1.0.0": "by-version:1"} {
			r, _ := p.imports(t, 0, source, target)
			if r.Fetched != 0 || r.Sent != 0 || r.Version.Digest != v.Digest || r.Unchanged != (target == "by-version:1") {
				t.Errorf("%s: %+v", source, r)
			}
		}
		again, _ := p.imports(t, 0, "hf://org/tiny", "by-version", "--description", "other")
		if !again.Unchanged || !again.MetadataKept || again.Version.Key != "acme::by-version::1" {
			t.Errorf("the same again: %+v", again)
		}
		some, _ := p.imports(t, 0, "hf://org/tiny", "some", "--include", "*.safetensors", "--exclude", "twin*")
		if some.Version.Files != 1 {
			t.Errorf("chosen: %+v", some)
		}
		for _, other := range []map[string][]byte{{"config.json": []byte("{}")}, {"model.safetensors": random(9 << 20)}} {
			p.publish(t, "org/other", other)
			p.imports(t, 5, "hf://org/other", "by-version:1")
		}
		p.user.leavesNothing(t)
	})
}

// TestImportOfManyFiles: a listing of more than a page.
func TestImportOfManyFiles(t *testing.T) {
	t.Parallel()
	p := newSite(t, testenv.Embedded(t))
	files := make(map[string][]byte)
	for i := range 1010 {
		files[fmt.Sprintf("d%d/%d", i%7, i)] = fmt.Appendf(nil, "%d", i)
	}
	v := p.publish(t, "many:1", files)
	r, _ := p.imports(t, 0, "hf://many", "m:1", "--parallel", "16")
	if r.Version.Digest != v.Digest || r.Version.Files != len(files) {
		t.Errorf("%+v", r)
	}
}

// TestImportGoesOn: the source's connection breaks at 30 % and each address that it signed is good for one request, then
// the command is killed in the midst of the second file: the same command again fetches what is lacking, and no more.
func TestImportGoesOn(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		p := newSite(t, s)
		files := map[string][]byte{"a.safetensors": random(20 << 20), "b.safetensors": random(70 << 20), "config.json": []byte("{}")}
		v := p.publish(t, "org/tiny:1", files)
		p.at.passed.Store(0)
		var mu sync.Mutex
		signed, seen := map[string]bool{}, map[string]bool{}
		p.at.hurt(func(r *http.Request) testenv.Fault {
			mu.Lock()
			defer mu.Unlock()
			if signature := r.URL.Query().Get("X-Amz-Signature"); signed[signature] {
				return testenv.Answer(http.StatusForbidden) // as one that has expired
			} else {
				signed[signature] = true
			}
			first := func(name string) bool { // request for that file
				ours := strings.HasSuffix(r.URL.Path, ballast.DigestOf(files[name]).Encoded()) && !seen[name]
				seen[name] = seen[name] || ours
				return ours
			}
			switch {
			case first("a.safetensors"):
				return testenv.CutDownload(6 << 20)
			case first("b.safetensors"):
				return hang(30 << 20)
			}
			return nil
		})
		args := []string{"import", "hf://org/tiny", "m:1", "--parallel", "1"}
		first := p.user.command(t.Context(), args...)
		var said bytes.Buffer
		first.Stderr = &said
		check(t, first.Start())
		eventually(t, "36 MiB of b", func() bool {
			all, _ := filepath.Glob(filepath.Join(p.user.cache(), "imports", "*", "*.bytes"))
			if len(all) > 1 {
				t.Errorf("%d files lie here at once", len(all))
			}
			for _, f := range all {
				if info, err := os.Stat(f); err == nil && info.Size() == 30<<20 {
					return true
				}
			}
			return false
		})
		check(t, first.Process.Kill())
		if err := first.Wait(); first.ProcessState.ExitCode() != -1 {
			t.Fatalf("it was not killed: %v: %s", err, &said)
		}
		p.at.fault.Store(nil)
		if sent := p.at.passed.Load(); sent != 50<<20 {
			t.Errorf("before it was killed it got %d bytes", sent)
		}
		r, _ := p.imports(t, 0, args[1:]...)
		if r.Version.Digest != v.Digest {
			t.Errorf("%+v", r)
		}
		const buffer = 1 << 20
		total := sizeOf(files)
		if all := p.at.passed.Load(); all < total-2 || all > total+buffer || r.Fetched > 40<<20+buffer {
			t.Errorf("%d bytes were fetched of %d, by the second command %d", all, total, r.Fetched)
		}
		if r.Sent != 70<<20+2 && r.Sent != 70<<20 {
			t.Errorf("the second command sent %d bytes", r.Sent)
		}
		check(t, pull(t, p.to.as(t, "acme=writer"), "m:1", files))
		p.user.leavesNothing(t)
	})
}

// TestDownloadsOutliveTheirURL: the source's connection breaks at 30 % of a file when the URL has ended, which the store then
// says itself. An import and the Python client's way of going on both ask for another one, and fetch the rest alone.
func TestDownloadsOutliveTheirURL(t *testing.T) {
	const life = 2 * time.Second
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		p := newSite(t, s, "--url-life", life.String())
		body := random(20 << 20)
		v := p.publish(t, "org/tiny:1", map[string][]byte{"a.safetensors": body})
		python := &hubtest.Python{Endpoint: p.from.direct(t), Token: "hf_" + string(p.from.token(t, "acme=reader"))}
		for who, fetch := range map[string]func(t *testing.T){
			"import": func(t *testing.T) {
				if r, _ := p.imports(t, 0, "hf://org/tiny", "m:1", "--parallel", "1"); r.Version.Digest != v.Digest {
					t.Errorf("%+v", r)
				}
			},
			"python": func(t *testing.T) {
				got, _, err := python.Download(t.Context(), "org/tiny", "main", "a.safetensors")
				check(t, err)
				if !bytes.Equal(got, body) {
					t.Errorf("%d other bytes", len(got))
				}
			},
		} {
			t.Run(who, func(t *testing.T) {
				var mu sync.Mutex
				var asked []*url.URL
				p.at.passed.Store(0)
				p.at.hurt(func(r *http.Request) testenv.Fault {
					mu.Lock()
					defer mu.Unlock()
					if asked = append(asked, r.URL); len(asked) > 1 {
						return nil
					}
					return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
						defer time.Sleep(life + 2*time.Second) // past the end, of which both clocks are sure
						testenv.CutDownload(6<<20)(w, r, next)
					}
				})
				fetch(t)
				if passed := p.at.passed.Load(); passed < int64(len(body)) || passed > int64(len(body))+1<<20 {
					t.Errorf("%d bytes of %d came from the store", passed, len(body))
				}
				if len(asked) != 2 {
					t.Fatalf("%d requests", len(asked))
				}
				first := must[*http.Response](t)(http.Get(s.Endpoint + asked[0].RequestURI()))
				first.Body.Close()
				if first.StatusCode != http.StatusForbidden {
					t.Errorf("the first URL is good for longer than %s: %s", life, first.Status)
				}
			})
		}
	})
}

// TestKilledWhileItSends: what the store has of a large file is not sent again, and none of it is fetched again.
func TestKilledWhileItSends(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		before := testenv.NewProxy(t, s.Endpoint) // the store that is sent to
		beside := s.Beside(t)
		at := testenv.NewProxy(t, s.Endpoint)
		p := &site{at: &toll{}, from: serve(t, beside, t.TempDir(), "--s3-public-endpoint", at.URL), to: serve(t, s, t.TempDir(), "--s3-public-endpoint", before.URL)}
		at.Add(func(r *http.Request) bool { return r.Method == http.MethodGet }, -1, p.at.serve)
		p.user = p.to.user(t, p.to.token(t, "acme=writer"))
		p.user.env = append(p.user.env, "HF_ENDPOINT="+p.from.direct(t), "HF_TOKEN="+string(p.from.token(t, "acme=reader")))
		files := map[string][]byte{"model.safetensors": random(130 << 20)} // three parts
		v := p.publish(t, "org/tiny:1", files)
		p.at.passed.Store(0)
		reached := make(chan struct{}, 8)
		before.Add(func(r *http.Request) bool { return r.URL.Query().Get("partNumber") == "3" }, 1, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
			reached <- struct{}{}
			_, _ = io.Copy(io.Discard, r.Body) // a server sees that a client is gone once it has read what came
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		})
		parts := atomic.Int64{}
		before.Add(func(r *http.Request) bool { return r.Method == http.MethodPut }, -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(w, r)
			parts.Add(1)
		})
		first := p.user.command(t.Context(), "import", "hf://org/tiny", "m:1", "--part-size", "64MiB")
		check(t, first.Start())
		<-reached
		eventually(t, "two parts at the store", func() bool { return parts.Load() == 2 })
		check(t, first.Process.Kill())
		_ = first.Wait()
		r, _ := p.imports(t, 0, "hf://org/tiny", "m:1", "--part-size", "64MiB")
		if r.Version.Digest != v.Digest || r.Fetched != 0 || r.Sent != 2<<20 || p.at.passed.Load() != 130<<20 {
			t.Errorf("fetched %d, of %d in all, sent %d: %+v", r.Fetched, p.at.passed.Load(), r.Sent, r.Version)
		}
		check(t, pull(t, p.to.as(t, "acme=writer"), "m:1", files))
	})
}

// TestImportIsRefusedInWords: what the other side says is what the user reads.
func TestImportIsRefusedInWords(t *testing.T) {
	t.Parallel()
	p := newSite(t, testenv.Embedded(t))
	p.publish(t, "org/tiny:1", legacy())
	p.publish(t, "org/old:1", map[string][]byte{"a": []byte("1")})
	_, _, err := p.from.as(t, "acme=maintainer").Retire(t.Context(), ref("org/old:1"), 0)
	check(t, err)
	good := p.user
	for name, test := range map[string]struct {
		env  string
		args []string
		code int
		said []string
	}{
		"retired":         {args: []string{"hf://org/old@1", "m"}, code: 3, said: []string{"acme::org/old::1", "retired"}},
		"unknown":         {args: []string{"hf://org/none", "m"}, code: 3, said: []string{"hf://org/none at http://localhost:", "not found"}},
		"revision":        {args: []string{"hf://org/tiny@v9", "m"}, code: 3, said: []string{"has no revision"}},
		"wrong token":     {env: "HF_TOKEN=hf_nothing", args: []string{"hf://org/tiny", "m"}, code: 4, said: []string{"HF_TOKEN"}},
		"no token":        {env: "HF_TOKEN=", args: []string{"hf://org/tiny", "m"}, code: 3, said: []string{"set HF_TOKEN"}},
		"nobody there":    {env: "HF_ENDPOINT=http://localhost:1", args: []string{"hf://org/tiny", "m"}, code: 7, said: []string{"no answer from localhost:1"}},
		"no endpoint":     {env: "HF_ENDPOINT=localhost", args: []string{"hf://org/tiny", "m"}, code: 2, said: []string{"HF_ENDPOINT"}},
		"move":            {args: []string{"hf://org/tiny", "m", "--move"}, code: 2, said: []string{"--move", "pass through this machine"}},
		"detach":          {args: []string{"hf://org/tiny", "m", "--detach"}, code: 2, said: []string{"--detach"}},
		"three segments":  {args: []string{"hf://org/tiny/x", "m"}, code: 2, said: []string{"--include"}},
		"data set":        {args: []string{"hf://datasets/tiny", "m"}, code: 2, said: []string{"only models"}},
		"latest":          {args: []string{"hf://org/tiny", "m:latest"}, code: 2},
		"spool":           {args: []string{"hf://org/tiny", "m", "--spool", "/dev/null"}, code: 1, said: []string{"/dev/null", "--spool"}},
		"nothing is left": {args: []string{"hf://org/tiny", "m", "--include", "*.onnx"}, code: 2, said: []string{"leaves nothing"}},
		"strict":          {args: []string{"hf://org/tiny", "m", "--strict"}, code: 2, said: []string{"model.safetensors"}},
		"the inbox":       {args: []string{"inbox:m", "m", "--strict"}, code: 2, said: []string{"--strict", "itself imports from inbox:m"}},
	} {
		t.Run(name, func(t *testing.T) {
			p.user = good
			if test.env != "" {
				p.user.env = append(append([]string{}, good.env...), test.env)
			}
			_, said := p.imports(t, test.code, test.args...)
			for _, words := range test.said {
				if !strings.Contains(said, words) {
					t.Errorf("%q lacks %q", said, words)
				}
			}
		})
	}
	file := filepath.Join(t.TempDir(), "token")
	check(t, os.WriteFile(file, []byte(p.from.token(t, "acme=reader")+"\n"), 0o600))
	for _, env := range []string{"HF_TOKEN_PATH=" + file, "HF_HOME=" + filepath.Dir(file)} {
		p.user = good
		p.user.env = append(append([]string{}, good.env...), "HF_TOKEN=", env)
		p.imports(t, 0, "hf://org/tiny", "by-file")
	}
}

// TestImportOfALie: an endpoint that states another digest than its bytes have is named with the file, and nothing is
// published; told the truth, the same command is done.
func TestImportOfALie(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		r := serve(t, s, t.TempDir())
		u := r.user(t, r.token(t, "acme=writer"))
		body := random(3 << 20)
		stated := ballast.DigestOf([]byte("something else"))
		commit := strings.Repeat("c0ffee00", 5)
		hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/revision/main"):
				fmt.Fprintf(w, `{"id":"org/m","sha":%q}`, commit)
			case strings.HasSuffix(r.URL.Path, "/tree/"+commit):
				fmt.Fprintf(w, `[{"type":"file","path":"w.bin","size":%d,"oid":%q,"lfs":{"oid":%q,"size":%d,"pointerSize":132}}]`, len(body), commit, stated.Encoded(), len(body))
			case r.URL.Path == "/org/m/resolve/"+commit+"/w.bin":
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
			default:
				t.Errorf("asked for %s", r.URL)
			}
		}))
		defer hub.Close()
		u.env = append(u.env, "HF_ENDPOINT="+hub.URL)
		out := u.run(t, "import", "hf://org/m", "m:1").want(t, 6)
		if !strings.Contains(out.stderr, `"w.bin": hf://org/m at `+hub.URL+` states the digest `+stated.String()) {
			t.Errorf("said %s", out.stderr)
		}
		if all := objectsBelow(t, s, acmePath+"/blobs/"); len(all) > 0 {
			t.Errorf("%d objects were sent", len(all))
		}
		u.run(t, "show", "m:1").want(t, 3)
		stated = ballast.DigestOf(body)
		u.run(t, "import", "hf://org/m", "m:1").want(t, 0)
		check(t, pull(t, r.as(t, "acme=writer"), "m:1", map[string][]byte{"w.bin": body}))
	})
}

// TestImportFromABucket that the registry does not import from: this machine reads it, with the user's credentials, and
// what is replaced meanwhile is refused by name.
func TestImportFromABucket(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		beside := s.Beside(t)
		r := serve(t, s, t.TempDir(), "--import-allow", "acme=s3://"+beside.Bucket+"/allowed/")
		c := r.as(t, "acme=writer")
		proxy := testenv.NewProxy(t, s.Endpoint)
		var passed toll
		proxy.Add(func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "" }, -1, passed.serve)
		through := count(t, r.direct(t))
		nobody := r.user(t, r.token(t, "acme=writer"))
		nobody.env = append(nobody.env, "BALLAST_URL="+through.url, "AWS_ENDPOINT_URL="+proxy.URL)
		u := nobody
		u.env = append(append([]string{}, nobody.env...), "AWS_SHARED_CREDENTIALS_FILE="+beside.Credentials(t))
		files := legacy()
		dir := folder(t, files)
		for _, place := range []string{"old/m/", "allowed/m/"} {
			feedByMinIO(t, beside, place, dir)
			_ = must[minio.UploadInfo](t)(beside.Client(t, s.Root).PutObject(t.Context(), beside.Bucket, place+".git/HEAD", strings.NewReader("x"), 1, minio.PutObjectOptions{}))
		}
		from := "s3://" + beside.Bucket + "/old/m"
		imports := func(code int, args ...string) (m client.ImportFromResult, said string) {
			t.Helper()
			out := u.run(t, append([]string{"import", "--json"}, args...)...).want(t, code)
			if code == 0 {
				check(t, json.Unmarshal([]byte(out.stdout), &m))
			}
			return m, out.stderr
		}
		before := through.got.Load() + through.sent.Load()
		m, said := imports(0, from, "m:1")
		if m.Fetched != sizeOf(files) || passed.passed.Load() != sizeOf(files) || len(m.Skipped) != 1 || m.Skipped[0] != ".git" || !strings.Contains(said, from+" passes through this machine, with SharedConfigCredentials") {
			t.Errorf("%+v, %d passed, said %q", m, passed.passed.Load(), said)
		}
		if all := through.got.Load() + through.sent.Load() - before; all == 0 || all > 100_000 {
			t.Errorf("%d bytes passed the registry's listener", all)
		}
		check(t, pull(t, c, "m:1", files))
		if again, _ := imports(0, from+"/", "m"); !again.Unchanged || again.Sent != 0 {
			t.Errorf("the same again: %+v", again)
		}
		if one, _ := imports(0, from+"/config.json", "one"); one.Version.Files != 1 {
			t.Errorf("one object: %+v", one)
		}
		passed.passed.Store(0)
		if out := u.run(t, "import", "s3://"+beside.Bucket+"/allowed/m", "by-the-registry").want(t, 0); passed.passed.Load() != 0 || strings.Contains(out.stderr, "passes through") {
			t.Errorf("%d bytes passed this machine, it said %q", passed.passed.Load(), out.stderr)
		}
		for _, test := range []struct {
			args []string
			code int
			said string
		}{
			{[]string{from, "x", "--move"}, 2, "--move"},
			{[]string{from, "x", "--detach"}, 2, "--detach"},
			{[]string{"s3://" + beside.Bucket + "/allowed/m", "x", "--exclude", "e*"}, 2, "the registry itself imports from"},
			{[]string{"s3://" + beside.Bucket + "/nothing/", "x"}, 3, "nothing to import at s3://" + beside.Bucket + "/nothing/"},
			{[]string{"s3://" + beside.Bucket + "-none/m/", "x"}, 0, ""},
		} {
			if test.code == 0 { // MinIO's users may hear of no other bucket, the embedded store's one user of all
				if out := u.run(t, append([]string{"import"}, test.args...)...); out.code != 3 && out.code != 4 || !strings.Contains(out.stderr, beside.Bucket+"-none") {
					t.Errorf("%v: %d %s", test.args, out.code, out.stderr)
				}
				continue
			}
			if _, said := imports(test.code, test.args...); !strings.Contains(said, test.said) {
				t.Errorf("%v: said %q", test.args, said)
			}
		}
		out := nobody.run(t, "import", from, "x").want(t, 4)
		if !strings.Contains(out.stderr, "finds no credentials") || !strings.Contains(out.stderr, "s3://"+beside.Bucket+"/allowed/") {
			t.Errorf("without credentials: %s", out.stderr)
		}
		changed := random(9 << 20)
		swap := sync.OnceFunc(func() {
			_, err := beside.Client(t, s.Root).PutObject(t.Context(), beside.Bucket, "old/m/model.safetensors", bytes.NewReader(changed), int64(len(changed)), minio.PutObjectOptions{})
			check(t, err)
		})
		passed.hurt(func(r *http.Request) testenv.Fault {
			if strings.HasSuffix(r.URL.Path, "/model.safetensors") {
				swap()
			}
			return nil
		})
		if _, said := imports(5, from, "replaced:1"); !strings.Contains(said, `"model.safetensors": it was replaced or removed at `+from) {
			t.Errorf("replaced: %q", said)
		}
		files["model.safetensors"] = changed
		imports(0, from, "replaced:1")
		check(t, pull(t, c, "replaced:1", files))
	})
}
