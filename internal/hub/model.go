package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// model is a version as clients know a repository.
type model struct {
	InternalID   string       `json:"_id"`
	ID           string       `json:"id"`
	ModelID      string       `json:"modelId"`
	Author       string       `json:"author,omitempty"`
	SHA          string       `json:"sha,omitempty"`
	Private      bool         `json:"private"`
	Gated        bool         `json:"gated"`
	Disabled     bool         `json:"disabled"`
	Downloads    int          `json:"downloads"`
	Likes        int          `json:"likes"`
	LastModified ballast.Time `json:"lastModified"`
	CreatedAt    ballast.Time `json:"createdAt,omitzero"`
	PipelineTag  string       `json:"pipeline_tag,omitempty"`
	LibraryName  string       `json:"library_name,omitempty"`
	Tags         []string     `json:"tags"`
	CardData     *card        `json:"cardData,omitempty"`
	Safetensors  *parameters  `json:"safetensors,omitempty"`
	GGUF         *parameters  `json:"gguf,omitempty"`
	UsedStorage  int64        `json:"usedStorage,omitempty"`
	Siblings     []sibling    `json:"siblings,omitzero"` // nil in a list of models
}

// card is the part of a model card that the registry knows.
type card struct {
	BaseModel   string   `json:"base_model,omitempty"`
	PipelineTag string   `json:"pipeline_tag,omitempty"`
	LibraryName string   `json:"library_name,omitempty"`
	Tags        []string `json:"tags,omitempty"`
}

// parameters says what the weights hold, as their headers say it.
type parameters struct {
	Parameters map[string]int64 `json:"parameters,omitempty"` // by type
	Total      int64            `json:"total"`
}

// sibling is a file of a model.
type sibling struct {
	Name   string `json:"rfilename"`
	Size   *int64 `json:"size,omitempty"`
	BlobID string `json:"blobId,omitempty"`
	LFS    *lfs   `json:"lfs,omitempty"`
}

// listed is a model of which no more is known than that it is there.
func listed(name ballast.Name, scope ballast.Scope) model {
	sum := sha256.Sum256([]byte(scope.String() + "\x00" + name.Fold()))
	m := model{InternalID: hex.EncodeToString(sum[:12]), ID: name.String(), ModelID: name.String(), Private: true, Tags: []string{}}
	if author, _, ok := strings.Cut(name.String(), "/"); ok {
		m.Author = author
	}
	return m
}

// describe adds to a model what a version says of it.
func (m *model) describe(v ballast.VersionInfo) {
	meta := v.Metadata
	m.SHA, m.LastModified, m.CreatedAt, m.UsedStorage = commitOf(v), v.UpdatedAt, v.CreatedAt, v.Size
	m.PipelineTag, m.LibraryName = meta.Task, meta.Backend
	m.Tags = append(m.Tags, meta.Tags...)
	if c := (card{meta.BaseModel, meta.Task, meta.Backend, meta.Tags}); c.BaseModel != "" || c.PipelineTag != "" || c.LibraryName != "" || len(c.Tags) > 0 {
		m.CardData = &c
	}
	if w := v.Weights; w != nil {
		switch w.Format {
		case ballast.FormatSafetensors:
			m.Safetensors = &parameters{w.DTypes, w.Parameters}
		case ballast.FormatGGUF:
			m.GGUF = &parameters{Total: w.Parameters}
		}
	}
}

// siblings lists the files of a snapshot; blobs adds their ids and sizes.
func siblings(s engine.Snapshot, blobs bool) []sibling {
	all := make([]sibling, 0, len(s.Files))
	for _, f := range s.Files {
		one := sibling{Name: f.Path}
		if blobs {
			text := pointer(f)
			one.Size, one.BlobID = &f.Size, blobID(text)
			one.LFS = &lfs{SHA256: f.Digest.Encoded(), Size: f.Size, PointerSize: len(text)}
		}
		all = append(all, one)
	}
	return all
}

// modelInfo answers a model at a revision. The files are always among the answer: older clients take their list from
// there. Whatever else the query wants expanded is either there already or unknown here, and not an error.
func (h *Hub) modelInfo(w http.ResponseWriter, r *request) error {
	s, err := h.snapshot(w, r)
	if err != nil {
		return err
	}
	m := listed(s.Version.Name, s.Version.Scope)
	m.describe(s.Version)
	m.Siblings = siblings(s, isTrue(r.URL.Query().Get("blobs")))
	return writeJSON(w, http.StatusOK, m)
}

// authCheck says whether the token may read a model.
func (h *Hub) authCheck(w http.ResponseWriter, r *request) error {
	name, err := r.name(w)
	if err != nil {
		return err
	}
	if _, err := h.service.Model(r.Context(), r.principal, ballast.Scope{}, name); err != nil {
		return h.missing(w, r, name, err)
	}
	return writeJSON(w, http.StatusOK, struct{}{})
}
