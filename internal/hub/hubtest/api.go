package hubtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Info is a model as model_info reads it.
type Info struct {
	ID           string `json:"id"`
	SHA          string `json:"sha"`
	LastModified string `json:"lastModified"`
	CreatedAt    string `json:"createdAt"`
	Private      bool   `json:"private"`
	PipelineTag  string `json:"pipeline_tag"`
	LibraryName  string `json:"library_name"`
	Tags         []string
	Safetensors  *struct {
		Parameters map[string]int64
		Total      int64
	}
	Siblings []struct {
		Name string `json:"rfilename"`
		Size int64
	}
}

// check holds an answer to what the client cannot do without.
func (i *Info) check() error {
	if i.ID == "" {
		return errors.New("hubtest: KeyError: id")
	}
	for _, date := range []string{i.LastModified, i.CreatedAt} {
		if date == "" {
			continue
		}
		if _, err := time.Parse(time.RFC3339, date); err != nil || !strings.HasSuffix(date, "Z") {
			return fmt.Errorf("hubtest: ValueError: the date %q", date)
		}
	}
	return nil
}

// ModelInfo asks for a model; without a revision for the repository as such.
func (c *Python) ModelInfo(ctx context.Context, repo, revision string) (i Info, err error) {
	to := c.Endpoint + "/api/models/" + repo
	if revision != "" {
		to += "/revision/" + quote(revision, "")
	}
	if _, err = c.getJSON(ctx, http.MethodGet, to, nil, &i); err == nil {
		err = i.check()
	}
	return i, err
}

// Entry is a file or a folder of a listing.
type Entry struct {
	Type, Path, OID string
	Size            int64
	LFS             *struct {
		OID         string
		Size        int64
		PointerSize *int64
	}
	XetHash string
}

func checkEntries(entries []Entry, err error) ([]Entry, error) {
	for _, e := range entries {
		switch {
		case e.XetHash != "":
			return entries, fmt.Errorf("hubtest: %s is sent to Xet", e.Path)
		case e.Type != "file" && e.Type != "directory" || e.Path == "" || len(e.OID) != 40:
			return entries, fmt.Errorf("hubtest: %+v is no entry", e)
		case e.LFS != nil && (e.LFS.PointerSize == nil || e.LFS.Size != e.Size || len(e.LFS.OID) != 64):
			return entries, fmt.Errorf("hubtest: KeyError: %s has half an lfs", e.Path)
		}
	}
	return entries, err
}

// Tree lists a folder, all pages of it; old writes flags as releases up to 0.36 do.
func (c *Python) Tree(ctx context.Context, repo, revision, path string, recursive, old bool) ([]Entry, error) {
	to := c.Endpoint + "/api/models/" + repo + "/tree/" + quote(revision, "")
	if path != "" {
		to += "/" + quote(path, "")
	}
	flag := fmt.Sprint(recursive)
	if old {
		flag = strings.ToUpper(flag[:1]) + flag[1:]
	}
	return checkEntries(pages[Entry](ctx, c, to+"?recursive="+flag+"&expand=false"))
}

// PathsInfo asks what is at some paths, by a form.
func (c *Python) PathsInfo(ctx context.Context, repo, revision string, paths ...string) (list []Entry, err error) {
	form := url.Values{"paths": paths, "expand": {"False"}}
	to := c.Endpoint + "/api/models/" + repo + "/paths-info/" + quote(revision, "")
	_, err = c.getJSON(ctx, http.MethodPost, to, strings.NewReader(form.Encode()), &list)
	return checkEntries(list, err)
}

// ListModels lists the models that match a query.
func (c *Python) ListModels(ctx context.Context, query url.Values) ([]Info, error) {
	all, err := pages[Info](ctx, c, c.Endpoint+"/api/models?"+query.Encode())
	for i := range all {
		err = errors.Join(err, all[i].check())
	}
	return all, err
}

// Who is the answer of whoami.
type Who struct {
	Name, Type string
	Orgs       []struct{ Name string }
	Auth       *struct {
		AccessToken *struct{ DisplayName, Role string }
	}
}

// Whoami asks whose token it is.
func (c *Python) Whoami(ctx context.Context) (w Who, err error) {
	_, err = c.getJSON(ctx, http.MethodGet, c.Endpoint+"/api/whoami-v2", nil, &w)
	if err == nil && (w.Name == "" || w.Orgs == nil || w.Auth == nil || w.Auth.AccessToken == nil || w.Auth.AccessToken.Role == "") {
		err = fmt.Errorf("hubtest: KeyError: %+v", w)
	}
	return w, err
}

// AuthCheck asks whether the token may read a repository.
func (c *Python) AuthCheck(ctx context.Context, repo string) error {
	_, err := c.getJSON(ctx, http.MethodGet, c.Endpoint+"/api/models/"+repo+"/auth-check", nil, nil)
	return err
}

// Ref is a branch or a tag.
type Ref struct{ Name, Ref, TargetCommit string }

// Refs are those of a repository; the client reads each list without looking whether it is there.
type Refs struct{ Branches, Converts, Tags *[]Ref }

// Refs lists branches and tags.
func (c *Python) Refs(ctx context.Context, repo string) (r Refs, err error) {
	_, err = c.getJSON(ctx, http.MethodGet, c.Endpoint+"/api/models/"+repo+"/refs", nil, &r)
	if err == nil && (r.Branches == nil || r.Converts == nil || r.Tags == nil) {
		err = errors.New("hubtest: KeyError: a list of refs is missing")
	}
	return r, err
}

// snapshotWorkers is how many files snapshot_download fetches side by side.
const snapshotWorkers = 8

// Snapshot downloads a revision as snapshot_download does: its commit, the list of files there, and each at the commit.
// old takes the list from the model's siblings, as releases up to 1.22 do.
func (c *Python) Snapshot(ctx context.Context, repo, revision string, old bool) (map[string][]byte, error) {
	info, err := c.ModelInfo(ctx, repo, revision)
	if err != nil {
		return nil, err
	}
	if !commitPattern.MatchString(info.SHA) {
		return nil, fmt.Errorf("hubtest: AssertionError: the commit %q", info.SHA)
	}
	var paths []string
	for _, s := range info.Siblings {
		paths = append(paths, s.Name)
	}
	if !old {
		paths = nil
		tree, err := c.Tree(ctx, repo, info.SHA, "", true, false)
		if err != nil {
			return nil, err
		}
		for _, e := range tree {
			if e.Type == "file" {
				paths = append(paths, e.Path)
			}
		}
	}
	var mu sync.Mutex
	files := map[string][]byte{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(snapshotWorkers)
	for _, path := range paths {
		g.Go(func() error {
			body, m, err := c.Download(ctx, repo, info.SHA, path)
			if err == nil && m.Commit != info.SHA {
				err = fmt.Errorf("hubtest: %s is at commit %s, and the snapshot at %s", path, m.Commit, info.SHA)
			}
			mu.Lock()
			defer mu.Unlock()
			files[path] = body
			return err
		})
	}
	return files, g.Wait()
}
