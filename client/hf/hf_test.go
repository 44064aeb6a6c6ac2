package hf_test

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/client/hf"
)

const (
	token  = "hf_secret"
	commit = "0123456789abcdef0123456789abcdef01234567"
)

// hub is an endpoint of one repository, org/m, with a store on another port of the same host name. It polices what clients
// must do: escapes, the token at the endpoint and nowhere else, each address used once, ranges of a known form.
type hub struct {
	t     *testing.T
	files map[string][]byte
	small map[string]bool // served by the endpoint, and listed without git-lfs
	page  int             // entries of a page

	endpoint, store *httptest.Server
	used            map[string]bool
	handed          atomic.Int64
	edit            func(w http.ResponseWriter, r *http.Request) bool // may answer in its place
	link            string                                            // host of the links to further pages
	hurt            func(w http.ResponseWriter, r *http.Request) bool // of the store
}

func newHub(t *testing.T, files map[string][]byte, small ...string) *hub {
	t.Helper()
	h := &hub{t: t, files: files, small: map[string]bool{}, page: 2, used: map[string]bool{}}
	for _, path := range small {
		h.small[path] = true
	}
	h.endpoint, h.store = httptest.NewServer(http.HandlerFunc(h.api)), httptest.NewServer(http.HandlerFunc(h.object))
	t.Cleanup(h.endpoint.Close)
	t.Cleanup(h.store.Close)
	return h
}

func (h *hub) open(source string) (*hf.Origin, error) {
	h.t.Helper()
	s, err := hf.ParseSource(source)
	if err != nil {
		h.t.Fatal(err)
	}
	return hf.Open(h.t.Context(), s, hf.Options{Endpoint: h.endpoint.URL + "/", Token: token, UserAgent: "test", Pause: time.Millisecond})
}

func (h *hub) must() *hf.Origin {
	h.t.Helper()
	o, err := h.open("hf://org/m")
	if err != nil {
		h.t.Fatal(err)
	}
	return o
}

func (h *hub) api(w http.ResponseWriter, r *http.Request) {
	if got := r.Header.Get("Authorization"); got != "Bearer "+token {
		h.t.Errorf("%s: Authorization %q", r.URL, got)
	}
	if h.edit != nil && h.edit(w, r) {
		return
	}
	path := r.URL.EscapedPath()
	switch {
	case path == "/api/models/org/m/revision/main" || path == "/api/models/org/m/revision/refs%2Fpr%2F1":
		_ = json.NewEncoder(w).Encode(map[string]any{"id": "org/m", "sha": commit})
	case path == "/api/models/org/m/tree/"+commit:
		h.tree(w, r)
	case strings.HasPrefix(path, "/org/m/resolve/"+commit+"/"):
		name, err := url.PathUnescape(strings.TrimPrefix(path, "/org/m/resolve/"+commit+"/"))
		body, ok := h.files[name]
		if err != nil || !ok {
			http.Error(w, "no such file: "+name, http.StatusNotFound)
			return
		}
		w.Header().Set("X-Repo-Commit", commit)
		if h.small[name] {
			w.Header().Set("ETag", strconv.Quote(gitID(body)))
			h.ranged(w, r, body)
			return
		}
		w.Header().Set("X-Linked-Etag", strconv.Quote(sha(body)))
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(body)))
		http.Redirect(w, r, fmt.Sprintf("%s/%s?signature=%d", h.store.URL, url.PathEscape(name), h.handed.Add(1)), http.StatusFound)
	default:
		w.Header().Set("X-Error-Code", "RepoNotFound")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error":"Repository not found"}`)
	}
}

func (h *hub) tree(w http.ResponseWriter, r *http.Request) {
	names := slices.Sorted(maps.Keys(h.files))
	begin, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	if r.URL.Query().Get("recursive") != "true" {
		h.t.Errorf("asked for %s", r.URL)
	}
	list := []map[string]any{{"type": "directory", "path": "folder", "oid": gitID(nil)}}
	end := min(begin+h.page, len(names))
	for _, name := range names[begin:end] {
		body := h.files[name]
		e := map[string]any{"type": "file", "path": name, "size": len(body), "oid": gitID(body)}
		if !h.small[name] {
			e["lfs"] = map[string]any{"oid": sha(body), "size": len(body), "pointerSize": 130}
		}
		list = append(list, e)
	}
	if end < len(names) {
		host := h.endpoint.URL
		if h.link != "" {
			host = h.link
		}
		w.Header().Set("Link", fmt.Sprintf(`<%s/api/models/org/m/tree/%s?recursive=true&cursor=%d>; rel="next"`, host, commit, end))
	}
	_ = json.NewEncoder(w).Encode(list)
}

// object is the store: it knows no token, and an address is good for one request.
func (h *hub) object(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		h.t.Errorf("the store gets the token")
	}
	if r.Header.Get("Accept-Encoding") != "identity" {
		h.t.Errorf("Accept-Encoding %q", r.Header.Get("Accept-Encoding"))
	}
	signature := r.URL.Query().Get("signature")
	if h.used[signature] {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	h.used[signature] = true
	if h.hurt != nil && h.hurt(w, r) {
		return
	}
	h.ranged(w, r, h.files[strings.TrimPrefix(r.URL.Path, "/")])
}

func (h *hub) ranged(w http.ResponseWriter, r *http.Request, body []byte) {
	from, to := 0, len(body)-1
	if text := r.Header.Get("Range"); text != "" {
		if n, err := fmt.Sscanf(text, "bytes=%d-%d", &from, &to); n != 2 || err != nil || to >= len(body) {
			h.t.Errorf("Range %q of %d bytes", text, len(body))
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(body)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(to+1-from))
	if r.Header.Get("Range") != "" {
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(body[from : to+1])
}

func sha(b []byte) string { sum := sha256.Sum256(b); return hex.EncodeToString(sum[:]) }

func gitID(b []byte) string {
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(b)), b...))
	return hex.EncodeToString(sum[:])
}

func collect(t *testing.T, o *hf.Origin) (files []client.OriginFile, err error) {
	t.Helper()
	for f, err := range o.Files(t.Context()) {
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

var model = map[string][]byte{
	"config.json": []byte("{}"), "deep/er/100% #1?&;=é,@:$'+.bin": []byte("some bytes"), "model.safetensors": []byte("0123456789"), "z": []byte("last"),
}

func TestFilesOfAllPages(t *testing.T) {
	for _, host := range []string{"", "http://elsewhere.example"} { // a link's host is not followed, nor is the token sent there
		h := newHub(t, model, "config.json")
		h.link = host
		files, err := collect(t, h.must())
		if err != nil {
			t.Fatal(err)
		}
		var want []client.OriginFile
		for _, name := range slices.Sorted(maps.Keys(model)) {
			f := client.OriginFile{Path: name, Size: int64(len(model[name])), Version: sha(model[name]), Digest: ballast.DigestOf(model[name])}
			if name == "config.json" {
				f.Version, f.GitBlob, f.Digest = gitID(model[name]), gitID(model[name]), ""
			}
			want = append(want, f)
		}
		if diff := cmp.Diff(want, files); diff != "" {
			t.Errorf("want (-), got (+):\n%s", diff)
		}
	}
}

func read(o *hf.Origin, f client.OriginFile, offset, length int64) (string, error) {
	body, err := o.Open(context.Background(), f, offset, length)
	if err != nil {
		return "", err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, length))
	return string(b), err
}

// TestOpenReadsRanges: each time by a fresh address, and with the token at the endpoint alone.
func TestOpenReadsRanges(t *testing.T) {
	h := newHub(t, model, "config.json")
	o := h.must()
	files, err := collect(t, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		whole := string(model[f.Path])
		for offset := range f.Size {
			for _, length := range []int64{1, f.Size - offset} {
				if got, err := read(o, f, offset, length); err != nil || got != whole[offset:offset+length] {
					t.Errorf("%s from %d: %q, %v", f.Path, offset, got, err)
				}
			}
		}
	}
	h.hurt = func(w http.ResponseWriter, r *http.Request) bool { // one that knows no ranges
		_, _ = w.Write(model["model.safetensors"])
		return true
	}
	if got, err := read(o, files[2], 4, 6); err != nil || got != "456789" {
		t.Errorf("without ranges: %q, %v", got, err)
	}
}

// TestOpenRefusesWhatWasNotListed: other contents, another size, another commit, another range, another encoding.
func TestOpenRefusesWhatWasNotListed(t *testing.T) {
	const lfs, git = "model.safetensors", "config.json"
	header := func(name, value string) func(h *hub) {
		return func(h *hub) {
			h.edit = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/resolve/") {
					w = &headers{w, name, value}
					h.edit = nil
					h.api(w, r)
					return true
				}
				return false
			}
		}
	}
	stored := func(edit func(w http.ResponseWriter)) func(h *hub) {
		return func(h *hub) {
			h.hurt = func(w http.ResponseWriter, r *http.Request) bool { edit(w); return true }
		}
	}
	for name, test := range map[string]struct {
		file string
		hurt func(h *hub)
		want ballast.Code
	}{
		"all well":         {lfs, func(*hub) {}, ""},
		"all well, small":  {git, func(*hub) {}, ""},
		"another digest":   {lfs, header("X-Linked-Etag", strconv.Quote(sha(nil))), ballast.CodePrecondition},
		"a weak ETag":      {lfs, header("X-Linked-Etag", `W/"`+sha([]byte("0123456789"))+`"`), ""},
		"an unknown ETag":  {lfs, header("X-Linked-Etag", `"abc"`), ""},
		"another size":     {lfs, header("X-Linked-Size", "11"), ballast.CodePrecondition},
		"another commit":   {lfs, header("X-Repo-Commit", strings.Repeat("a", 40)), ballast.CodePrecondition},
		"another git id":   {git, header("Etag", strconv.Quote(gitID(nil))), ballast.CodePrecondition},
		"another encoding": {git, header("Content-Encoding", "gzip"), ballast.CodeUnavailable},
		"refused":          {lfs, stored(func(w http.ResponseWriter) { w.WriteHeader(403) }), ballast.CodeUnavailable},
		"not at the store": {lfs, stored(func(w http.ResponseWriter) { w.WriteHeader(404) }), ballast.CodeUnavailable},
		"another range":    {lfs, stored(func(w http.ResponseWriter) { w.Header().Set("Content-Range", "bytes 0-5/10"); w.WriteHeader(206) }), ballast.CodeUnavailable},
		"grown":            {lfs, stored(func(w http.ResponseWriter) { w.Header().Set("Content-Range", "bytes 2-9/11"); w.WriteHeader(206) }), ballast.CodePrecondition},
		"an endless detour": {lfs, func(h *hub) {
			h.hurt = func(w http.ResponseWriter, r *http.Request) bool {
				r.Header.Del("Range")
				http.Redirect(w, r, "/x?signature="+strconv.FormatInt(h.handed.Add(1), 10), http.StatusFound)
				return true
			}
		}, ballast.CodeUnavailable},
		"a detour to HTTPS": {lfs, stored(func(w http.ResponseWriter) { w.Header().Set("Location", "ftp://x/y"); w.WriteHeader(302) }), ballast.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, model, git)
			o := h.must()
			files, err := collect(t, o)
			if err != nil {
				t.Fatal(err)
			}
			f := files[slices.IndexFunc(files, func(f client.OriginFile) bool { return f.Path == test.file })]
			test.hurt(h)
			offset := min(2, f.Size-1)
			got, err := read(o, f, offset, f.Size-offset)
			if ballast.CodeOf(err) != test.want || test.want == "" && got != string(model[f.Path][offset:]) {
				t.Errorf("%q, %v", got, err)
			}
			if err != nil && !strings.Contains(err.Error(), test.file) && test.want == ballast.CodePrecondition {
				t.Errorf("unnamed: %v", err)
			}
		})
	}
}

// headers replaces a header at the last moment.
type headers struct {
	http.ResponseWriter
	name, value string
}

func (h *headers) WriteHeader(status int) {
	h.Header().Set(h.name, h.value)
	h.ResponseWriter.WriteHeader(status)
}

func (h *headers) Write(b []byte) (int, error) {
	h.Header().Set(h.name, h.value)
	return h.ResponseWriter.Write(b)
}

// TestRefusals: the endpoint's words, and the code that fits.
func TestRefusals(t *testing.T) {
	answer := func(status int, body string, header ...string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	for name, test := range map[string]struct {
		edit  func(w http.ResponseWriter, r *http.Request) bool
		want  ballast.Code
		words string
	}{
		"gated":     {answer(403, `{"error":"You need to agree to share"}`, "X-Error-Code", "GatedRepo"), ballast.CodeDenied, "You need to agree to share"},
		"retired":   {answer(410, `{"error":"m:1 is retired"}`), ballast.CodeRetired, "m:1 is retired"},
		"bad token": {answer(401, `{"error":"Invalid credentials"}`), ballast.CodeUnauthenticated, "HF_TOKEN"},
		"no such":   {answer(401, "", "X-Error-Code", "RepoNotFound", "X-Error-Message", "Repository not found"), ballast.CodeNotFound, "Repository not found"},
		"no JSON":   {answer(200, `<html>`), ballast.CodeUnavailable, "HF_ENDPOINT"},
		"no commit": {answer(200, `{"sha":"main"}`), ballast.CodeUnavailable, "names no commit"},
		"in a circle": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}, ballast.CodeUnavailable, "redirects more than 5 times"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, model)
			h.edit = test.edit
			_, err := h.open("hf://org/m")
			if e := ballast.AsError(err); e == nil || e.Code != test.want || !strings.Contains(e.Detail, test.words) || strings.Contains(e.Detail, token) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestBusyEndpointIsAskedAgain as it wishes.
func TestBusyEndpointIsAskedAgain(t *testing.T) {
	h := newHub(t, model)
	asked := 0
	h.edit = func(w http.ResponseWriter, r *http.Request) bool {
		if asked++; asked > 3 {
			return false
		}
		w.WriteHeader([]int{429, 503, 502}[asked-1])
		return true
	}
	if o := h.must(); o.Commit() != commit || asked != 4 {
		t.Errorf("commit %s after %d", o.Commit(), asked)
	}
}

func TestParseSource(t *testing.T) {
	for text, want := range map[string]hf.Source{
		"hf://org/m": {Repo: "org/m"}, "hf://gpt2": {Repo: "gpt2"}, "hf://org/m@v1.0": {Repo: "org/m", Revision: "v1.0"},
		"hf://org/m@refs/pr/1": {Repo: "org/m", Revision: "refs/pr/1"}, "hf://org/m/": {Repo: "org/m"}, "hf://o_r-g/m.x@" + commit: {Repo: "o_r-g/m.x", Revision: commit},
		"hf://": {}, "hf://org/m@": {}, "hf://org/m/file": {}, "hf://datasets/m": {}, "hf://org/../m": {}, "hf://org/..": {}, "hf:///m": {}, "hf://org//m": {},
		"hf://org/m@..": {}, "hf://org/m@a b": {}, "hf://org/a--b": {}, "hf://org/m.git": {}, "hf://-org/m": {}, "s3://org/m": {}, "hf://org/m?x": {}, "hf://org/m%2Fx": {},
	} {
		got, err := hf.ParseSource(text)
		if got != want || (err == nil) != (want.Repo != "") {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := hf.ParseSource(got.String()); want.Repo != "" && (err != nil || again != got) {
			t.Errorf("%s becomes %s", text, got)
		}
	}
}
