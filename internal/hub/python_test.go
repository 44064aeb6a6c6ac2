package hub_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hub/hubtest"
)

// holds reports unless a snapshot holds exactly the files.
func holds(t *testing.T, got map[string][]byte, want map[string]string) {
	t.Helper()
	have := map[string]string{}
	for path, body := range got {
		have[path] = string(body)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
}

// TestPythonReadsAModel sends what the Python client sends, by each kind of revision and by old and new releases.
func TestPythonReadsAModel(t *testing.T) {
	r := newRig(t, nil, nil)
	writer := r.token("acme=writer")
	meta := ballast.Metadata{Task: "fill-mask", Backend: "transformers", Tags: []string{"prod"}, Description: "a model"}
	first := r.publish(writer, "acme/tiny:1", meta, files("one"))
	second := r.publish(writer, "acme/tiny:2", meta, files("two"))
	p := r.principal(writer)
	name := must(ballast.ParseName("acme/tiny"))
	if _, err := r.SetAlias(t.Context(), p, ballast.Scope{}, name, must(ballast.ParseAlias("champion")), ballast.MajorVersion(1), nil); err != nil {
		t.Fatal(err)
	}
	c, ctx := r.python("hf_"+r.token("acme=reader")), t.Context()
	for revision, commit := range map[string]string{
		"main": second, "1": first, "1.0.0": first, "2": second, "champion": first, first: first, second: second, "refs/heads/main": second, "refs/tags/1": first,
	} {
		info, err := c.ModelInfo(ctx, "acme/tiny", revision)
		if err != nil || info.SHA != commit || info.ID != "acme/tiny" || !info.Private || info.PipelineTag != "fill-mask" || info.LibraryName != "transformers" {
			t.Errorf("%s: %+v, %v; want commit %s", revision, info, err, commit)
		}
		of := map[string]string{first: "one", second: "two"}[commit]
		for _, old := range []bool{false, true} {
			got, err := c.Snapshot(ctx, "acme/tiny", revision, old)
			if err != nil {
				t.Errorf("%s: %v", revision, err)
			}
			holds(t, got, files(of))
		}
	}
	who, err := c.Whoami(ctx)
	if err != nil || who.Name != "tester" || len(who.Orgs) != 1 || who.Orgs[0].Name != "acme" {
		t.Errorf("%+v, %v", who, err)
	}
	if err := c.AuthCheck(ctx, "acme/tiny"); err != nil {
		t.Error(err)
	}
	refs, err := c.Refs(ctx, "acme/tiny")
	want := hubtest.Refs{
		Branches: &[]hubtest.Ref{{Name: "main", Ref: "refs/heads/main", TargetCommit: second}, {Name: "champion", Ref: "refs/heads/champion", TargetCommit: first}},
		Converts: &[]hubtest.Ref{},
		Tags:     &[]hubtest.Ref{{Name: "2", Ref: "refs/tags/2", TargetCommit: second}, {Name: "1", Ref: "refs/tags/1", TargetCommit: first}},
	}
	if diff := cmp.Diff(want, refs); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
}

// TestPythonSendsInOrder: the replay is of what the client sends, and not of what is easy to answer.
func TestPythonSendsInOrder(t *testing.T) {
	r := newRig(t, nil, nil)
	commit := r.publish(r.token("acme=writer"), "tiny:1", ballast.Metadata{}, map[string]string{"model.bin": "w"})
	at := "/tiny/resolve/" + commit + "/model.bin"
	for _, old := range []bool{false, true} {
		c := r.python(r.token("acme=reader"))
		if _, err := c.Snapshot(t.Context(), "tiny", "main", old); err != nil {
			t.Fatal(err)
		}
		want := []string{"GET /api/models/tiny/revision/main", "GET /api/models/tiny/tree/" + commit + "?recursive=true&expand=false", "HEAD " + at, "GET " + at}
		if old {
			want = slices.Delete(want, 1, 2)
		}
		if diff := cmp.Diff(want, c.Sent()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestTreeHasPages lists 3,000 files in folders, and each once.
func TestTreeHasPages(t *testing.T) {
	r := newRig(t, nil, nil)
	many := map[string]string{}
	for i := range 3000 {
		many[fmt.Sprintf("shard %02d/%04d.bin", i/100, i)] = "same"
	}
	r.publish(r.token("acme=writer"), "acme/many:1", ballast.Metadata{}, many)
	c := r.python(r.token("acme=reader"))
	for _, old := range []bool{false, true} {
		all, err := c.Tree(t.Context(), "acme/many", "main", "", true, old)
		seen, folders := map[string]bool{}, 0
		for _, e := range all {
			if seen[e.Path] {
				t.Errorf("%s twice", e.Path)
			}
			seen[e.Path] = true
			if e.Type == "directory" {
				folders++
			} else if many[e.Path] == "" {
				t.Errorf("%s is no file", e.Path)
			}
		}
		if err != nil || len(all) != 3030 || folders != 30 {
			t.Errorf("%d entries, %d folders, %v", len(all), folders, err)
		}
	}
	top, err := c.Tree(t.Context(), "acme/many", "main", "", false, false)
	if err != nil || len(top) != 30 {
		t.Errorf("%d entries at the top, %v", len(top), err)
	}
	one, err := c.Tree(t.Context(), "acme/many", "main", "shard 07", false, true)
	if err != nil || len(one) != 100 {
		t.Errorf("%d entries in a folder, %v", len(one), err)
	}
	if n := len(c.Sent()); n != 4+4+1+1 {
		t.Errorf("%d requests, want 4 pages of each recursive list: %q", n, c.Sent())
	}
}

func TestPathsInfo(t *testing.T) {
	r := newRig(t, nil, nil)
	r.publish(r.token("acme=writer"), "tiny:1", ballast.Metadata{}, files("one"))
	list, err := r.python(r.token("acme=reader")).PathsInfo(t.Context(), "tiny", "main", "config.json", "absent", "sub", "su", "empty.txt")
	var got []string
	for _, e := range list {
		got = append(got, e.Type+" "+e.Path)
	}
	if diff := cmp.Diff([]string{"file config.json", "directory sub", "file empty.txt"}, got); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
}

func TestListModels(t *testing.T) {
	r := newRig(t, nil, nil)
	writer := r.token("acme=writer")
	for i := range 7 {
		r.publish(writer, fmt.Sprintf("org/model-%d:1", i), ballast.Metadata{Task: "fill-mask"}, files(fmt.Sprint(i)))
	}
	r.publish(writer, "Other/Tiny:1", ballast.Metadata{Tags: []string{"prod"}}, files("t"))
	c := r.python(r.token("acme=reader"))
	for query, want := range map[string]int{
		"": 8, "author=org": 7, "search=TINY": 1, "limit=3": 8, "author=org&search=-3&limit=1": 1, "filter=prod": 1, "pipeline_tag=fill-mask&limit=2": 7, "search=absent": 0,
	} {
		list, err := c.ListModels(t.Context(), must(url.ParseQuery(query)))
		if err != nil || len(list) != want {
			t.Errorf("%s: %d models, %v; want %d", query, len(list), err, want)
		}
	}
}

// refusal is what the client makes of an answer.
func refusal(t *testing.T, err error) hubtest.Refused {
	t.Helper()
	var e *hubtest.Refused
	if !errors.As(err, &e) {
		t.Fatalf("%v is no refusal", err)
	}
	return *e
}

// TestPythonIsRefused: each refusal raises the exception that a caller expects, and says why.
func TestPythonIsRefused(t *testing.T) {
	r := newRig(t, nil, nil)
	writer := r.token("acme=maintainer")
	commit := r.publish(writer, "acme/tiny:1", ballast.Metadata{}, files("one"))
	r.publish(writer, "acme/base:1", ballast.Metadata{}, files("base"))
	r.publish(writer, "acme/child:1", ballast.Metadata{BaseModel: "acme/base:1"}, files("child"))
	r.publish(writer, "acme/old:1", ballast.Metadata{}, files("old"))
	for _, target := range []string{"acme/base:1", "acme/old:1"} {
		r.retire(writer, target)
	}
	reader := r.token("acme=reader")
	for _, c := range []struct {
		token, repo, revision, path string
		exception                   string
		status                      int
		says, commit                string
	}{
		{reader, "acme/tiny", "main", "absent.json", "RemoteEntryNotFoundError", 404, "absent.json", commit},
		{reader, "acme/tiny", "main", "../config.json", "RemoteEntryNotFoundError", 404, "no file", commit},
		{reader, "acme/tiny", "9", "config.json", "RevisionNotFoundError", 404, `"9"`, ""},
		{reader, "acme/tiny", "refs/pr/1", "config.json", "RevisionNotFoundError", 404, "it is main, a version", ""},
		{reader, "acme/tiny", strings.Repeat("0", 40), "config.json", "RevisionNotFoundError", 404, "no revision", ""},
		{reader, "acme/absent", "main", "config.json", "RepositoryNotFoundError", 404, "acme/absent", ""},
		{reader, "acme/-no", "main", "config.json", "RepositoryNotFoundError", 404, "not found", ""},
		{r.token("other=admin"), "acme/tiny", "main", "config.json", "RepositoryNotFoundError", 404, "acme/tiny", ""},
		{reader, "acme/old", "main", "model.bin", "GatedRepoError", 410, "was retired", ""},
		{reader, "acme/old", "1", "config.json", "GatedRepoError", 410, "was retired", ""},
		{reader, "acme/child", "1", "config.json", "GatedRepoError", 410, "its base", ""},
		{"", "acme/tiny", "main", "config.json", "RepositoryNotFoundError", 401, "HF_TOKEN", ""},
		{"hf_nonsense", "acme/tiny", "main", "config.json", "HfHubHTTPError", 401, "Invalid credentials in Authorization header", ""},
	} {
		_, err := r.python(c.token).Metadata(t.Context(), c.repo, c.revision, c.path)
		got := refusal(t, err)
		if got.Exception != c.exception || got.Status != c.status || !strings.Contains(got.Message, c.says) || got.Commit != c.commit {
			t.Errorf("%s at %s, %s: %+v, want %s", c.repo, c.revision, c.path, got, c.exception)
		}
	}
	_, err := r.python(reader).ModelInfo(t.Context(), "acme/old", "main")
	if got := refusal(t, err); got.Exception != "GatedRepoError" {
		t.Errorf("%+v", got)
	}
}

func (r *rig) retire(token, target string) {
	r.t.Helper()
	if _, _, err := r.Retire(r.t.Context(), r.principal(token), own(target)); err != nil {
		r.t.Fatal(err)
	}
}

// TestReplayNotices doctors answers, each in a way that broke a client somewhere: the replay must notice.
func TestReplayNotices(t *testing.T) {
	for name, doctored := range map[string]func(http.Header){
		"no commit":            func(h http.Header) { h.Del("X-Repo-Commit") },
		"a commit of 64":       func(h http.Header) { h.Set("X-Repo-Commit", strings.Repeat("a", 64)) },
		"no etag":              func(h http.Header) { h.Del("ETag"); h.Del("X-Linked-Etag") },
		"an etag with a slash": func(h http.Header) { h.Set("X-Linked-Etag", `"a/b"`) },
		"no size":              func(h http.Header) { h.Del("X-Linked-Size"); h.Del("Content-Length") },
		"another size":         func(h http.Header) { h.Set("X-Linked-Size", "9999") },
		"Xet":                  func(h http.Header) { h.Set("X-Xet-Hash", "abc") },
		"a relative link":      func(h http.Header) { h.Set("Link", `</api>; rel="next"`) },
		"a link elsewhere":     func(h http.Header) { h.Set("Link", `<https://huggingface.co/x>; rel="next"`) },
		"a redirect to itself": func(h http.Header) {
			if at := h.Get("Location"); at != "" {
				h.Set("Location", strings.Replace(at, "127.0.0.1", "localhost", 1))
			}
		},
	} {
		r := newRig(t, nil, func(h http.Handler) http.Handler { return doctor(h, doctored) })
		r.publish(r.token("acme=writer"), "tiny:1", ballast.Metadata{}, files("one"))
		if _, err := r.python(r.token("acme=reader")).Snapshot(t.Context(), "tiny", "main", false); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// doctor changes the headers of each answer.
func doctor(h http.Handler, change func(http.Header)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		change(rec.Header())
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	})
}
