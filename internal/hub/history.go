package hub

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// maxHistory bounds the versions of one answer: the highest of a name.
const maxHistory = 1000

// title is a version as the title of a commit.
func title(v ballast.VersionInfo) string { return "version " + v.Version.String() }

// history returns the versions of a name that are served, the highest first.
func (h *Hub) history(r *request, name ballast.Name) ([]ballast.VersionInfo, error) {
	page, err := h.service.Versions(r.Context(), r.principal, ballast.Scope{}, name, engine.ListVersions{Limit: maxHistory})
	return page.Versions, err
}

// gitRef is a branch or a tag.
type gitRef struct {
	Name         string `json:"name"`
	Ref          string `json:"ref"`
	TargetCommit string `json:"targetCommit"`
}

// refList holds all four lists, the empty ones too: clients look into each.
type refList struct {
	Branches     []gitRef `json:"branches"`
	Converts     []gitRef `json:"converts"`
	Tags         []gitRef `json:"tags"`
	PullRequests []gitRef `json:"pullRequests"`
}

// refs answers the revisions of a model: main and the aliases, which move, as branches, and the versions as tags.
func (h *Hub) refs(w http.ResponseWriter, r *request) error {
	name, err := r.name(w)
	if err != nil {
		return err
	}
	versions, err := h.history(r, name)
	if err != nil {
		return h.missing(w, r, name, err)
	}
	aliases, err := h.service.Aliases(r.Context(), r.principal, ballast.Scope{}, name)
	if err != nil {
		return h.missing(w, r, name, err)
	}
	list := refList{[]gitRef{}, []gitRef{}, []gitRef{}, []gitRef{}}
	branch := func(branch, commit string) {
		if commit != "" {
			list.Branches = append(list.Branches, gitRef{branch, "refs/heads/" + branch, commit})
		}
	}
	latest, err := h.commitAt(r, ballast.Ref{Name: name})
	if err != nil {
		return err
	}
	branch("main", latest)
	commits := map[ballast.Version]string{} // to look at a version costs as much as it has aliases
	for _, a := range aliases.Aliases {
		commit, known := commits[a.Version]
		if !known {
			if commit, err = h.commitAt(r, ballast.Ref{Name: name, Alias: a.Alias}); err != nil {
				return err
			}
			commits[a.Version] = commit
		}
		branch(a.Alias.String(), commit)
	}
	for _, v := range versions {
		list.Tags = append(list.Tags, gitRef{v.Version.String(), "refs/tags/" + v.Version.String(), commitOf(v)})
	}
	return writeJSON(w, http.StatusOK, list)
}

// commitAt is the commit of what a reference means, or "" when that is not served.
func (h *Hub) commitAt(r *request, ref ballast.Ref) (string, error) {
	v, err := h.service.Version(r.Context(), r.principal, ref)
	switch ballast.CodeOf(err) {
	case "":
		return commitOf(v), nil
	case ballast.CodeNotFound, ballast.CodeRetired:
		return "", nil
	}
	return "", err
}

// commit is a version as an entry of a model's log.
type commit struct {
	ID      string       `json:"id"`
	Title   string       `json:"title"`
	Message string       `json:"message"`
	Date    ballast.Time `json:"date"`
	Authors []author     `json:"authors"`
}

type author struct {
	User string `json:"user"`
}

func logged(v ballast.VersionInfo) commit {
	return commit{commitOf(v), title(v), v.Metadata.Description, v.CreatedAt, []author{{v.CreatedBy}}}
}

// commits answers the log of a model: the version that is asked for and those below it. It stands alone when it is none of
// the highest maxHistory, or a global one under a name that the principal has versions of its own of.
func (h *Hub) commits(w http.ResponseWriter, r *request) error {
	s, err := h.snapshot(w, r)
	if err != nil {
		return err
	}
	versions, err := h.history(r, s.Version.Name)
	if err != nil {
		return err
	}
	log, begun := []commit{}, false
	for _, v := range versions {
		if begun = begun || v.Version == s.Version.Version; begun {
			log = append(log, logged(v))
		}
	}
	if !begun {
		log = append(log, logged(s.Version))
	}
	w.Header().Set(headerTotal, strconv.Itoa(len(log)))
	page, err := pageOf(h, w, r, "/api/models/"+r.repo+"/commits/"+url.PathEscape(s.Version.Version.String()), slices.Values(log))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, page)
}
