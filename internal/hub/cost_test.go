package hub_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/hub"
)

const (
	typeJSON = "application/json"
	typeForm = "application/x-www-form-urlencoded"
)

// costs answers one request and returns the bytes that were allocated for it, and its error.
func (r *rig) costs(token, method, path, media string, body []byte) (mib uint64, w *httptest.ResponseRecorder, err error) {
	r.t.Helper()
	face, p := hub.New(r.Engine, hub.Options{}), r.principal(token)
	req := httptest.NewRequest(method, path, bytes.NewReader(body))
	req.Header.Set("Content-Type", media)
	w = httptest.NewRecorder()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = face.Serve(w, req, p)
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) >> 20, w, err
}

// TestPathsInfoIsBounded: what a body makes the service take is a few times its bytes, whatever is in it.
func TestPathsInfoIsBounded(t *testing.T) {
	r := newRig(t, nil, nil)
	token := r.token("acme=writer")
	r.publish(token, "tiny:1", ballast.Metadata{}, files("one"))
	const longest, most = 4 << 20, 40 // bytes, MiB
	for name, c := range map[string]struct {
		media, head, field, tail string
		code                     ballast.Code
	}{
		"JSON of empty paths":         {typeJSON, `{"paths":[`, `"",`, `""]}`, ballast.CodeTooLarge},
		"a form of empty paths":       {typeForm, "", "paths=&", "paths=", ballast.CodeTooLarge},
		"a form that names no path":   {typeForm, "", "a&", "a", ""},
		"JSON that names no path":     {typeJSON, `{"x":[`, `"",`, `""]}`, ""},
		"JSON that says paths twice":  {typeJSON, `{"paths":["a"],"paths":[`, `"",`, `""]}`, ballast.CodeTooLarge},
		"paths that are no list":      {typeJSON, `{"paths":{"x":[`, `"",`, `""]}}`, ballast.CodeInvalid},
		"paths of numbers":            {typeJSON, `{"paths":[`, `1,`, `1]}`, ballast.CodeInvalid},
		"a form with a broken escape": {typeForm, "", "paths=%zz&", "a", ballast.CodeInvalid},
	} {
		body := []byte(c.head + strings.Repeat(c.field, (longest-len(c.head+c.tail))/len(c.field)) + c.tail)
		mib, _, err := r.costs(token, http.MethodPost, "/api/models/tiny/paths-info/main", c.media, body)
		if ballast.CodeOf(err) != c.code || mib > most {
			t.Errorf("%s: %d MiB allocated, %v", name, mib, err)
		}
	}
}

// TestPathsInfoTakesAllFiles: a form may ask for as many paths as a version has at most, with what else the client sends.
func TestPathsInfoTakesAllFiles(t *testing.T) {
	r := newRig(t, nil, nil)
	token := r.token("acme=writer")
	r.publish(token, "tiny:1", ballast.Metadata{}, files("one"))
	form := strings.Repeat("paths=sub%2Fdir&", ballast.MaxFiles-1) + "paths=%F0&expand=True"
	list := `{"paths":[` + strings.Repeat(`"sub/dir",`, ballast.MaxFiles-1) + `"x"],"expand":true}`
	for media, body := range map[string]string{typeForm: form, typeJSON: list} {
		_, w, err := r.costs(token, http.MethodPost, "/api/models/tiny/paths-info/main", media, []byte(body))
		if n := strings.Count(w.Body.String(), `"lastCommit"`); err != nil || n != ballast.MaxFiles-1 {
			t.Errorf("%s: %d entries, %v", media, n, err)
		}
	}
	for media, body := range map[string]string{typeForm: form + "&paths=one", typeJSON: strings.Replace(list, `"x"`, `"x","y"`, 1)} {
		_, _, err := r.costs(token, http.MethodPost, "/api/models/tiny/paths-info/main", media, []byte(body))
		if ballast.CodeOf(err) != ballast.CodeTooLarge || !strings.Contains(fmt.Sprint(err), "10000") {
			t.Errorf("one more, %s: %v", media, err)
		}
	}
}

// TestTreeIsBounded: a page of a tree costs what is on it, however many folders there are besides.
func TestTreeIsBounded(t *testing.T) {
	r := newRig(t, nil, nil)
	token := r.token("acme=writer")
	deep := map[string]string{}
	for i := range 1000 {
		deep[fmt.Sprintf("%d/%sf", i, strings.Repeat("a/", 340))] = "x"
	}
	r.publish(token, "deep:1", ballast.Metadata{}, deep)
	if _, err := r.Snapshot(t.Context(), r.principal(token), must(ballast.ParseRef("deep:1"))); err != nil { // its manifest is kept from now on
		t.Fatal(err)
	}
	const all = 1000 * (1 + 340 + 1)
	for at, next := range map[int]string{0: "cursor=3", 5: "cursor=8", all - 4: fmt.Sprintf("cursor=%d", all-1), all - 3: "", all: ""} {
		mib, w, err := r.costs(token, http.MethodGet, fmt.Sprintf("/api/models/deep/tree/main?recursive=true&limit=3&cursor=%d", at), "", nil)
		if n := strings.Count(w.Body.String(), `"type"`); err != nil || mib > 1 || n != min(3, all-at) || !strings.Contains(w.Header().Get("Link"), next) || (w.Header().Get("Link") == "") != (next == "") {
			t.Errorf("at %d: %d MiB allocated, %d entries, %q, %v", at, mib, n, w.Header().Get("Link"), err)
		}
	}
	if _, _, err := r.costs(token, http.MethodGet, fmt.Sprintf("/api/models/deep/tree/main?recursive=true&cursor=%d", all+1), "", nil); ballast.CodeOf(err) != ballast.CodeInvalid {
		t.Errorf("a cursor past the end: %v", err)
	}
}

// counting counts how often a version is looked at.
type counting struct {
	*engine.Engine
	versions int
}

func (c *counting) Version(ctx context.Context, p engine.Principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	c.versions++
	return c.Engine.Version(ctx, p, ref)
}

// TestRefsLookAtAVersionOnce: an answer about a version holds all its aliases, so that one look for each alias would be quadratic.
func TestRefsLookAtAVersionOnce(t *testing.T) {
	c := &counting{}
	r := newRig(t, func(e *engine.Engine) hub.Service { c.Engine = e; return c }, nil)
	token := r.token("acme=maintainer")
	commits := map[string]string{"1": r.publish(token, "tiny:1", ballast.Metadata{}, files("one")), "2": r.publish(token, "tiny:2", ballast.Metadata{}, files("two"))}
	ref := must(ballast.ParseRef("tiny"))
	want := []string{"main " + commits["1"]}
	for i := range 20 {
		alias, to := fmt.Sprintf("a%02d", i), fmt.Sprint(1+i%2)
		if _, err := r.SetAlias(t.Context(), r.principal(token), ref.Scope, ref.Name, must(ballast.ParseAlias(alias)), must(ballast.ParseVersion(to)), nil); err != nil {
			t.Fatal(err)
		}
		if to == "1" { // the other will be retired
			want = append(want, alias+" "+commits[to])
		}
	}
	r.retire(token, "tiny:2")
	_, body := r.ask(token, http.MethodGet, "/api/models/tiny/refs")
	var got struct {
		Branches []struct{ Name, TargetCommit string }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	var branches []string
	for _, b := range got.Branches {
		branches = append(branches, b.Name+" "+b.TargetCommit)
	}
	if !slices.Equal(branches, want) || c.versions != 3 { // main and the two
		t.Errorf("%d looks for %q", c.versions, branches)
	}
}

// stuck is a client that reads nothing of a body until it is let go.
type stuck struct {
	http.ResponseWriter
	sending *atomic.Int64
	let     <-chan struct{}
}

func (w stuck) Write(p []byte) (int, error) {
	w.sending.Add(1)
	<-w.let
	return w.ResponseWriter.Write(p)
}

// TestSlowReadersKeepNoOtherScopeWaiting: the bytes that are on their way to clients are bounded, and one scope cannot hold all.
func TestSlowReadersKeepNoOtherScopeWaiting(t *testing.T) {
	const most = 16
	r := newRig(t, nil, nil)
	large := strings.Repeat("x", engine.MaxContent)
	for _, scope := range []string{"acme", "evil"} {
		r.publish(r.token(scope+"=writer"), "tiny:1", ballast.Metadata{}, map[string]string{"large.json": large})
	}
	face, slow := hub.New(r.Engine, hub.Options{}), r.principal(r.token("evil=reader"))
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/tiny/resolve/main/large.json", nil)
	var sending atomic.Int64
	let := make(chan struct{})
	var all sync.WaitGroup
	for range 5 * most {
		all.Go(func() {
			if err := face.Serve(stuck{httptest.NewRecorder(), &sending, let}, request, slow); err != nil {
				t.Error(err)
			}
		})
	}
	for had := int64(-1); had != sending.Load() || had == 0; time.Sleep(200 * time.Millisecond) { // until no more come
		had = sending.Load()
	}
	if n := sending.Load(); n != most {
		t.Errorf("%d are sent to one scope at once, want %d", n, most)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w := httptest.NewRecorder()
	if err := face.Serve(w, request.WithContext(ctx), r.principal(r.token("acme=reader"))); err != nil || w.Body.Len() != len(large) {
		t.Errorf("another scope is sent %d bytes, %v", w.Body.Len(), err)
	}
	close(let)
	all.Wait()
}

// TestAPageOfModelsIsBounded: a hundred, whatever limit is asked for, and the rest on further pages.
func TestAPageOfModelsIsBounded(t *testing.T) {
	const most, all = 100, 103
	r := newRig(t, nil, nil)
	token := r.token("acme=writer")
	for i := range all {
		r.publish(token, fmt.Sprintf("m-%d:1", i), ballast.Metadata{}, map[string]string{"empty.txt": ""})
	}
	resp, body := r.ask(token, http.MethodGet, "/api/models?limit=1000")
	if n := strings.Count(body, `"modelId"`); n != most || resp.Header.Get("Link") == "" {
		t.Errorf("%d models on a page, link %q", n, resp.Header.Get("Link"))
	}
	list, err := r.python(token).ListModels(t.Context(), url.Values{"limit": {"1000"}})
	if err != nil || len(list) != all {
		t.Errorf("%d models on all pages, %v", len(list), err)
	}
}
