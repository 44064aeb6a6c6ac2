package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast/internal/engine"
)

// handler answers one request of an authenticated principal; on an open route the principal is the zero one.
type handler func(echo.Context, engine.Principal) error

// route is one operation. path is written as in docs/openapi.yaml; {name} stands for one or two segments and {path},
// which comes last, for any number.
type route struct {
	method, path string
	handle       handler
}

// routes is the face. A GET also answers HEAD, unless HEAD has a line of its own.
func (s *server) routes() []route {
	const (
		get, head, post, put, patch, del = http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete

		upload  = "/v1/uploads/{id}"
		model   = "/v1/models/{name}"
		version = model + "/versions/{ref}"
		alias   = model + "/aliases/{alias}"
		quota   = "/v1/admin/quotas/{scope}"
	)
	return []route{
		{post, "/v1/uploads", s.createUpload},
		{get, upload, s.getUpload},
		{del, upload, s.abortUpload},
		{post, upload + "/blobs", s.blobs},
		{post, upload + "/commit", s.commit},

		{post, "/v1/imports", s.createImport},
		{get, "/v1/imports", s.listImports},
		{get, "/v1/imports/{id}", s.getImport},
		{del, "/v1/imports/{id}", s.cancelImport},

		{get, "/v1/models", s.long(s.listModels)},
		{get, model, s.getModel},
		{get, model + "/versions", s.long(s.listVersions)},
		{get, "/v1/versions", s.long(s.listAllVersions)},
		{get, version, s.getVersion},
		{post, version + "/copy", s.copyVersion},
		{get, version + "/files", s.long(s.listFiles)},
		{get, version + "/files/{path}", s.getFile},
		{head, version + "/files/{path}", s.headFile},
		{get, version + "/tensors/{path}", s.long(s.listTensors)},
		{get, version + "/children", s.long(s.listChildren)},

		{patch, version, s.patchVersion},
		{post, version + "/promote", s.promote},
		{post, version + "/retire", s.retire},
		{post, version + "/restore", s.restore},
		{del, version, s.deleteVersion},
		{post, model + "/rollback", s.rollback},
		{get, model + "/production", s.production},

		{get, model + "/aliases", s.long(s.listAliases)},
		{put, alias, s.setAlias},
		{del, alias, s.deleteAlias},

		{get, "/v1/tokens", s.listTokens},
		{post, "/v1/tokens", s.createToken},
		{get, "/v1/tokens/{id}", s.getToken},
		{post, "/v1/tokens/{id}/rotate", s.rotateToken},
		{del, "/v1/tokens/{id}", s.revokeToken},
		{get, "/v1/tasks", s.listTasks},
		{put, "/v1/tasks/{task}", s.addTask},
		{del, "/v1/tasks/{task}", s.removeTask},
		{get, "/v1/admin/quotas", s.listQuotas},
		{get, quota, s.getQuota},
		{put, quota, s.setQuota},
		{del, quota, s.unsetQuota},
		{post, "/v1/admin/gc", s.startGC},
		{get, "/v1/admin/gc", s.getGC},
		{post, "/v1/admin/fsck", s.startFsck},
		{get, "/v1/admin/fsck", s.getFsck},
		{get, "/v1/whoami", s.whoami},
		{get, "/v1/store", s.where},
		{get, "/v1/events", s.listEvents},
		{get, "/v1/audit", s.long(s.listAudit)},

		{get, healthPath, s.health},
		{get, readyPath, s.ready},
		{get, descriptionPath, s.description},
	}
}

// register adds a route under each of its shapes.
func (s *server) register(e *echo.Echo, r route) {
	h := func(c echo.Context) error { return r.handle(c, principalOf(c)) }
	for _, pattern := range patterns(r.path) {
		s.templates[pattern] = r.path
		e.Add(r.method, pattern, h)
		if r.method == http.MethodGet && !s.hasHead(r.path) {
			e.Add(http.MethodHead, pattern, h)
		}
	}
}

// hasHead reports whether HEAD has a line of its own.
func (s *server) hasHead(path string) bool {
	return slices.ContainsFunc(s.routes(), func(r route) bool { return r.method == http.MethodHead && r.path == path })
}

// patterns writes a path the way echo does, once with a name of one segment and once with a name of two.
func patterns(path string) []string {
	p := strings.NewReplacer("{path}", "*", "{", ":", "}", "").Replace(path)
	if !strings.Contains(p, ":name") {
		return []string{p}
	}
	return []string{p, strings.Replace(p, ":name", ":owner/:name", 1)}
}

// template is the path of the route that c was sent to, for labels and logs: never what a client made up.
func (s *server) template(c echo.Context) string {
	if s.isGuests(c.Request()) {
		return s.guest.Template(c.Request())
	}
	if t, ok := s.templates[c.Path()]; ok {
		return t
	}
	return "unmatched"
}
