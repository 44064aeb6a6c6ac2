package e2e_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
	"github.com/ballast-registry/ballast/testenv/tool"
)

// hubClient runs functions of the npm package @huggingface/hub.
type hubClient struct {
	folder, url, token string
}

// params are the parameters of a function, beside the endpoint and the token.
type params map[string]any

// hubCall is a function of the package, its parameters, and where its value goes; nil wants it to fail.
type hubCall struct {
	function string
	params   params
	value    any
}

// jsClient has npm install the package as it is pinned.
func (r *registry) jsClient(t *testing.T, token client.Token) hubClient {
	t.Helper()
	need(t, "node", "npm")
	modules := must[string](t)(tool.NodeModules(t.Context(), "huggingface-js", t.Output()))
	folder := t.TempDir() // a module is looked for beside the script
	check(t, os.Symlink(modules, filepath.Join(folder, "node_modules")))
	check(t, os.WriteFile(filepath.Join(folder, "hub.mjs"), must[[]byte](t)(os.ReadFile("testdata/hub.mjs")), 0o600))
	return hubClient{folder, r.url, "hf_" + string(token)}
}

// hubAnswer is what a call came to.
type hubAnswer struct {
	Value  json.RawMessage
	Error  string
	Status int
}

// run makes the calls, in order and in one process, and returns the answers of those that had to fail.
func (c hubClient) run(t *testing.T, calls ...hubCall) (failures []hubAnswer) {
	t.Helper()
	in := struct {
		HubURL      string   `json:"hubUrl"`
		AccessToken string   `json:"accessToken,omitempty"`
		Calls       [][2]any `json:"calls"`
	}{HubURL: c.url, AccessToken: c.token}
	for _, call := range calls {
		in.Calls = append(in.Calls, [2]any{call.function, call.params})
	}
	cmd := exec.CommandContext(t.Context(), "node", "hub.mjs")
	cmd.Dir, cmd.Env = c.folder, environment(t.TempDir())
	cmd.Stdin = bytes.NewReader(must[[]byte](t)(json.Marshal(in)))
	ran := finish(cmd).want(t, 0)
	var answers []hubAnswer
	check(t, json.Unmarshal([]byte(ran.stdout), &answers))
	for i, call := range calls {
		a := answers[i]
		switch {
		case call.value == nil && a.Error == "":
			t.Errorf("%s %v: %s, want a refusal", call.function, call.params, a.Value)
		case call.value == nil:
			failures = append(failures, a)
		case a.Error != "":
			t.Errorf("%s %v: %d %s", call.function, call.params, a.Status, a.Error)
		default:
			check(t, json.Unmarshal(a.Value, call.value))
		}
	}
	return failures
}

// part is a file, or a part of one, as the script sums it up.
type part struct {
	Size   int
	SHA256 string
}

func partOf(b []byte) part { return part{len(b), ballast.DigestOf(b).Encoded()} }

// listed is a file in a tree or among paths.
type listed struct {
	Type, Path, OID string
	Size            int
	LFS             struct {
		OID  string
		Size int
	}
}

// hubFiles are the files of a model: what comes inline, what comes from the store, and a name that a URL has to escape.
// None has a percent sign: the client puts paths into URLs as they are.
func hubFiles() map[string][]byte {
	return map[string][]byte{
		"config.json": []byte(`{"model_type":"bert"}`), "empty.txt": nil, "sub/dir/tokenizer.json": []byte(`{}`), "a b/größe+1.bin": random(100),
		"model.safetensors": random(2*ballast.MinPartSize + 1),
	}
}

// TestHubJS: the JavaScript client of Hugging Face reads a model by each kind of revision, byte for byte.
func TestHubJS(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		r := serve(t, s, t.TempDir())
		c, files := r.as(t, "acme=writer"), hubFiles()
		push := func(target string, files map[string][]byte) ballast.VersionInfo {
			return must[client.PushResult](t)(c.Push(t.Context(), client.PushOptions{
				Path: folder(t, files), Target: ref(target), AttemptDir: t.TempDir(), PartSize: ballast.MinPartSize, Metadata: ballast.Metadata{Task: "fill-mask"},
			})).Version
		}
		first := push("acme/tiny:1", files)
		_ = must[ballast.AliasInfo](t)(c.SetAlias(t.Context(), ref("acme/tiny"), must[ballast.Alias](t)(ballast.ParseAlias("champion")), first.Version, 0))
		js := r.jsClient(t, r.token(t, "acme=reader"))
		commit := first.Digest.Encoded()[:40]
		for _, revision := range []string{"", "main", "1", "champion", commit} {
			t.Run("revision "+revision, func(t *testing.T) { js.readsAll(t, revision, commit, files) })
		}
		t.Run("snapshot", func(t *testing.T) { js.snapshots(t, commit, files) })
		t.Run("who", js.whoAmI)

		newer := push("acme/tiny:2", map[string][]byte{"config.json": []byte(`{}`)})
		js.readsAll(t, "main", newer.Digest.Encoded()[:40], map[string][]byte{"config.json": []byte(`{}`)})
		js.readsAll(t, "champion", commit, files)
		t.Run("refusals", func(t *testing.T) { js.refusals(t, r) })
	})
}

// repo is the model that the tests read.
var repo = params{"type": "model", "name": "acme/tiny"}

// readsAll reads and looks at each file of a revision, which may be left out.
func (c hubClient) readsAll(t *testing.T, revision, commit string, files map[string][]byte) {
	t.Helper()
	with := func(more params) params {
		p := params{"repo": repo}
		if revision != "" {
			p["revision"] = revision
		}
		maps.Copy(p, more)
		return p
	}
	var tree, infos []listed
	var info struct{ Name, Task, SHA string }
	paths := slices.Sorted(maps.Keys(files))
	about := with(params{"name": "acme/tiny", "additionalFields": []string{"sha"}})
	calls := []hubCall{
		{"modelInfo", about, &info},
		{"listFiles", with(params{"recursive": true}), &tree},
		{"pathsInfo", with(params{"paths": append(paths, "absent")}), &infos},
	}
	var absent bool
	calls = append(calls, hubCall{"fileExists", with(params{"path": "absent"}), &absent})
	got, cut, exists := make([]part, len(paths)), make([]part, len(paths)), make([]bool, len(paths))
	download := make([]struct {
		Size int
		ETag string
	}, len(paths))
	for i, path := range paths {
		calls = append(calls,
			hubCall{"fileExists", with(params{"path": path}), &exists[i]},
			hubCall{"fileDownloadInfo", with(params{"path": path}), &download[i]},
			hubCall{"downloadFile", with(params{"path": path}), &got[i]},
			hubCall{"downloadFile", with(params{"path": path, "slice": []int{1, 70}}), &cut[i]})
	}
	c.run(t, calls...)
	if info.Name != "acme/tiny" || info.SHA != commit || info.Task != "fill-mask" {
		t.Errorf("model %+v, want commit %s", info, commit)
	}
	if absent {
		t.Error("a file exists that does not")
	}
	for i, path := range paths {
		content := files[path]
		if !exists[i] || download[i].Size != len(content) || download[i].ETag == "" {
			t.Errorf("%s: exists %t, %+v", path, exists[i], download[i])
		}
		if got[i] != partOf(content) {
			t.Errorf("%s: %+v, want %+v", path, got[i], partOf(content))
		}
		if want := partOf(content[min(1, len(content)):min(70, len(content))]); cut[i] != want {
			t.Errorf("%s from 1 to 70: %+v, want %+v", path, cut[i], want)
		}
	}
	wantEntries(t, "tree", tree, files)
	wantEntries(t, "paths", infos, files)
}

func wantEntries(t *testing.T, what string, list []listed, files map[string][]byte) {
	t.Helper()
	seen := map[string]bool{}
	for _, f := range list {
		if f.Type == "directory" {
			continue
		}
		content, ok := files[f.Path]
		if sum := ballast.DigestOf(content).Encoded(); !ok || seen[f.Path] || f.Size != len(content) || f.LFS.Size != len(content) || f.LFS.OID != sum || len(f.OID) != 40 {
			t.Errorf("%s: %+v, want %d bytes of %s", what, f, len(content), sum)
		}
		seen[f.Path] = true
	}
	if len(seen) != len(files) {
		t.Errorf("%s: %d files, want %d", what, len(seen), len(files))
	}
}

// snapshots downloads the model twice into one cache.
func (c hubClient) snapshots(t *testing.T, commit string, files map[string][]byte) {
	cache := t.TempDir()
	var byName, byCommit string
	c.run(t,
		hubCall{"snapshotDownload", params{"repo": repo, "cacheDir": cache, "revision": "champion"}, &byName},
		hubCall{"snapshotDownload", params{"repo": repo, "cacheDir": cache, "revision": commit}, &byCommit})
	if byName != byCommit || filepath.Base(byName) != commit {
		t.Errorf("snapshots %s and %s, want both at %s", byName, byCommit, commit)
	}
	for path, content := range files {
		if got := must[[]byte](t)(fs.ReadFile(os.DirFS(byName), path)); !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, want %d", path, len(got), len(content))
		}
	}
}

func (c hubClient) whoAmI(t *testing.T) {
	var who struct{ Type, Name string }
	c.run(t, hubCall{"whoAmI", params{}, &who})
	if who.Name == "" || who.Type == "" {
		t.Errorf("%+v", who)
	}
}

// refusals: what is retired, absent or not theirs is refused, and says why where the caller may know.
func (c hubClient) refusals(t *testing.T, r *registry) {
	stranger := hubClient{c.folder, c.url, "hf_" + string(r.token(t, "other=reader"))}
	nobody := hubClient{c.folder, c.url, ""}
	ask := params{"repo": repo, "path": "config.json", "revision": "1"}
	for _, who := range []struct {
		name   string
		client hubClient
		status int
	}{{"another tenant", stranger, 404}, {"nobody", nobody, 401}} {
		for _, a := range who.client.run(t, hubCall{"downloadFile", ask, nil}) {
			if a.Status != who.status {
				t.Errorf("%s: %d %s, want %d", who.name, a.Status, a.Error, who.status)
			}
		}
	}
	maintainer := r.as(t, "acme=maintainer")
	if _, _, err := maintainer.Retire(t.Context(), ref("acme/tiny:1"), 0); err != nil {
		t.Fatal(err)
	}
	for _, a := range c.run(t, hubCall{"downloadFile", ask, nil}, hubCall{"snapshotDownload", params{"repo": repo, "revision": "1", "cacheDir": t.TempDir()}, nil}) {
		if !strings.Contains(a.Error, "retired") {
			t.Errorf("after the retirement: %d %s", a.Status, a.Error)
		}
	}
}
