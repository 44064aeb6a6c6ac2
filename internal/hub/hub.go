// Package hub is the registry's Hugging Face face: what the clients of huggingface.co send to read a model, answered
// from the engine. A model's name is the repository's id, and a version is a revision; its commit is the first 40 digits
// of its digest. docs/hub.md says what works with which client.
//
// It only reads. Files go from the store straight to the client, except empty ones and small ones that are no weights.
// The token, the request id, the log and the metrics are the native face's, whose guest this one is.
package hub

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// Service is what the face needs of the engine. Its errors are those of the native face's service.
type Service interface {
	// Snapshot returns a version with its files, sorted by path.
	Snapshot(ctx context.Context, p engine.Principal, ref ballast.Ref) (engine.Snapshot, error)
	// AtCommit returns the reference of the version whose digest begins with 40 digits.
	AtCommit(ctx context.Context, p engine.Principal, name ballast.Name, digits string) (ballast.Ref, error)
	// File returns one file with its Request, which is nil only for an empty file.
	File(ctx context.Context, p engine.Principal, ref ballast.Ref, path string) (ballast.FileInfo, error)
	// Content returns the bytes of a file of at most engine.MaxContent bytes.
	Content(ctx context.Context, p engine.Principal, ref ballast.Ref, path string) ([]byte, error)

	Version(ctx context.Context, p engine.Principal, ref ballast.Ref) (ballast.VersionInfo, error)
	Model(ctx context.Context, p engine.Principal, scope ballast.Scope, name ballast.Name) (ballast.ModelInfo, error)
	Models(ctx context.Context, p engine.Principal, list engine.ListModels) (ballast.ModelsPage, error)
	Versions(ctx context.Context, p engine.Principal, scope ballast.Scope, name ballast.Name, list engine.ListVersions) (ballast.VersionsPage, error)
	Aliases(ctx context.Context, p engine.Principal, scope ballast.Scope, name ballast.Name) (ballast.AliasesPage, error)
}

// Options of the face. The zero value works.
type Options struct {
	// PublicURL is where clients reach the service, for the links in its answers. Empty: where the request says it went,
	// which behind a proxy may be another place.
	PublicURL string
}

// Bounds of the bytes of files that are on their way to clients through the service, and of bodies on their way to it. Who reads or sends slowly keeps nobody waiting
// but its own scope.
const (
	maxInline        = 64 << 20
	maxInlineOfScope = 16 << 20

	maxAnswers        = 32 // lists and descriptions of many files that are made and sent
	maxAnswersOfScope = 8
)

// Hub is the face. Its methods are those of a guest of the native one.
type Hub struct {
	service Service
	public  string
	inline  *engine.Turns // in bytes
	answers *engine.Turns // long ones
	bodies  *engine.Turns // in bytes
}

// New returns the face of a service.
func New(service Service, opt Options) *Hub {
	return &Hub{
		service: service, public: strings.TrimRight(opt.PublicURL, "/"),
		inline: engine.NewTurns(maxInline, maxInlineOfScope), answers: engine.NewTurns(maxAnswers, maxAnswersOfScope),
		bodies: engine.NewTurns(maxInline, maxInlineOfScope),
	}
}

// request is a request that was told which route it takes.
type request struct {
	*http.Request
	principal engine.Principal
	repo      string // {repo}, decoded; so are the others
	rev       string
	path      string
}

// Serve answers a request of p. An error is to be answered by Refuse.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, p engine.Principal) error {
	found, at, err := match(r)
	if err != nil {
		return err
	}
	at.Request, at.principal = r, p
	return found.serve(h, w, at)
}

// Template is the route of a request, for labels and logs.
func (h *Hub) Template(r *http.Request) string {
	found, _, err := match(r)
	if err != nil {
		return "unmatched"
	}
	return found.path
}

// base is the URL under which the client reaches the service, without a "/" at its end.
func (h *Hub) base(r *request) string {
	if h.public != "" {
		return h.public
	}
	u := url.URL{Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u.String()
}
