package hub

import (
	"net/http"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

const (
	maxModels   = 100 // of one page: each may say 64 KiB of itself
	maxSearched = 20  // pages of names that one answer looks through
)

// listModels answers a page of the models that the token reads, by name. A page may be short, even empty, when few of
// many names match; only a missing link ends the list. What a query sorts by is not looked at.
func (h *Hub) listModels(w http.ResponseWriter, r *request) error {
	q := r.URL.Query()
	limit, err := r.limit(maxModels)
	if err != nil {
		return err
	}
	list := engine.ListModels{Limit: min(limit, maxModels), Cursor: q.Get("cursor")}
	if author := q.Get("author"); author != "" {
		list.Prefix = author + "/"
	}
	search := strings.ToLower(q.Get("search"))
	wanted := append(q["filter"], q["pipeline_tag"]...)
	if len(wanted) > ballast.MaxFilters {
		return ballast.Errorf(ballast.CodeInvalid, "%d filters; at most %d", len(wanted), ballast.MaxFilters)
	}
	models := []model{}
	for range maxSearched {
		page, err := h.service.Models(r.Context(), r.principal, list)
		if err != nil {
			return err
		}
		for _, found := range page.Models {
			if !strings.Contains(found.Name.Fold(), search) {
				continue
			}
			m, ok, err := h.entryOf(r, found, wanted)
			if err != nil {
				return err
			}
			if ok {
				models = append(models, m)
			}
		}
		if list.Cursor = page.Cursor; list.Cursor == "" || len(models) > 0 {
			break
		}
	}
	if list.Cursor != "" {
		h.next(w, r, "/api/models", list.Cursor)
	}
	return writeJSON(w, http.StatusOK, models)
}

// entryOf describes a name by its latest version; ok is false when that is not what is wanted. Of a name with no version
// to serve there is no more to say than that it is there.
func (h *Hub) entryOf(r *request, found ballast.ModelInfo, wanted []string) (m model, ok bool, err error) {
	m = listed(found.Name, found.Scope)
	m.LastModified = found.UpdatedAt
	v, err := h.service.Version(r.Context(), r.principal, ballast.Ref{Scope: found.Scope, Name: found.Name})
	switch ballast.CodeOf(err) {
	case "":
		m.describe(v)
	case ballast.CodeNotFound, ballast.CodeRetired:
	default:
		return m, false, err
	}
	for _, want := range wanted {
		if want != m.PipelineTag && want != m.LibraryName && !slices.Contains(m.Tags, want) {
			return m, false, nil
		}
	}
	return m, true, nil
}
