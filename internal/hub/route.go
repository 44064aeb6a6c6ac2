package hub

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ballast-registry/ballast"
)

// route is one operation. In path, {repo} stands for one or two segments, {path}, which comes last, for one or more,
// and any other word in braces for one.
type route struct {
	method, path string
	serve        func(*Hub, http.ResponseWriter, *request) error
}

// routes is the face. A GET also answers HEAD. Where two could match, the first does.
func routes() []route {
	const (
		get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete

		model = "/api/models/{repo}"
	)
	return append([]route{
		{get, "/{repo}/resolve/{rev}/{path}", (*Hub).file},
		{get, "/{repo}/raw/{rev}/{path}", (*Hub).file},

		{get, "/api/whoami-v2", (*Hub).whoami},
		{get, "/api/models", long((*Hub).listModels)},
		{get, model + "/revision/{rev}", long((*Hub).modelInfo)},
		{get, model + "/tree/{rev}", long((*Hub).tree)},
		{get, model + "/tree/{rev}/{path}", long((*Hub).tree)},
		{post, model + "/paths-info/{rev}", (*Hub).pathsInfo},
		{get, model + "/commits/{rev}", long((*Hub).commits)},
		{get, model + "/refs", long((*Hub).refs)},
		{get, model + "/auth-check", (*Hub).authCheck},
	}, append(unsupported(),
		route{get, model, long((*Hub).modelInfo)},
	)...)
}

// long is an operation whose answers may be long: so many are made and sent at once, and so many of one scope.
func long(serve func(*Hub, http.ResponseWriter, *request) error) func(*Hub, http.ResponseWriter, *request) error {
	return func(h *Hub, w http.ResponseWriter, r *request) error {
		leave, err := h.answers.Take(r.Context(), r.principal.Turn(), 1)
		if err != nil {
			return err
		}
		defer leave()
		return serve(h, w, r)
	}
}

// match finds the route of a request and what its path says, decoded segment by segment: clients send "%2F" within a
// segment.
func match(r *http.Request) (route, *request, error) {
	segments := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	for i, segment := range segments {
		text, err := url.PathUnescape(segment)
		if err != nil || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return route{}, nil, ballast.Errorf(ballast.CodeInvalid, "the path holds a broken percent-encoding, a NUL or invalid UTF-8")
		}
		segments[i] = text
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, candidate := range table {
		if slices.Contains(segments, "") {
			break
		}
		var at request
		if candidate.method == method && at.follows(candidate.segments, segments) {
			return candidate.route, &at, nil
		}
	}
	return route{}, nil, ballast.Errorf(ballast.CodeNotFound, "no such route; docs/hub.md lists those of Hugging Face that are served, /openapi.yaml the registry's own")
}

// parsed is a route with its path taken apart, once.
type parsed struct {
	route
	segments []string
}

var table = func() (all []parsed) {
	for _, r := range routes() {
		all = append(all, parsed{r, strings.Split(strings.TrimPrefix(r.path, "/"), "/")})
	}
	return all
}()

// follows reports whether segments have the form of a route, and notes what stands for its words. A repository's first
// segment is tried alone before it is tried with the next: no segment of a name is a word that marks a route.
func (at *request) follows(form, segments []string) bool {
	if len(form) == 0 || len(segments) == 0 {
		return len(form) == len(segments)
	}
	switch word := form[0]; word {
	case "{path}":
		at.path = strings.Join(segments, "/")
		return true
	case "{repo}":
		at.repo = segments[0]
		if at.follows(form[1:], segments[1:]) {
			return true
		}
		at.repo = strings.Join(segments[:min(2, len(segments))], "/")
		return len(segments) > 1 && at.follows(form[1:], segments[2:])
	case "{rev}":
		at.rev = segments[0]
		return at.follows(form[1:], segments[1:])
	default:
		return (word == segments[0] || strings.HasPrefix(word, "{")) && at.follows(form[1:], segments[1:])
	}
}
