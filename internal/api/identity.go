package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// Identity knows the tokens that others issue.
type Identity interface {
	// IsToken reports whether a token has the form of those. None of the service's own has.
	IsToken(token ballast.Secret) bool
	// Authenticate returns the holder of such a token. Errors: unauthenticated; unavailable when that cannot be known now.
	Authenticate(ctx context.Context, token ballast.Secret) (engine.Principal, error)
}

// holder is who has a token, whoever issued it.
func (s *server) holder(ctx context.Context, token ballast.Secret) (p engine.Principal, err error) {
	if s.identity != nil && s.identity.IsToken(token) {
		p, err = s.identity.Authenticate(ctx, token)
	} else {
		p, err = s.service.Authenticate(ctx, token)
	}
	if err != nil {
		return engine.Principal{}, fmt.Errorf("api: authenticate: %w", err)
	}
	return p, nil
}

// anonymousReads are the routes that who has no token may read, where that is allowed: what describes models, and what a
// client asks for on its way there. What happened, and who did it, is for those who say who they are.
var anonymousReads = []string{
	"/v1/models", "/v1/versions", modelPath, modelPath + "/versions", modelPath + "/production", modelPath + "/aliases",
	versionRoute, versionRoute + "/files", versionRoute + "/files/{path}", versionRoute + "/tensors/{path}", versionRoute + "/children",
	"/v1/tasks", "/v1/store", "/v1/whoami",
}

const (
	modelPath    = "/v1/models/{name}"
	versionRoute = modelPath + "/versions/{ref}"
)

// isAnonymous reports whether a request comes without any credentials and may: a header that is there is one, whatever
// it says. The guest only reads.
func (s *server) isAnonymous(c echo.Context) bool {
	r := c.Request()
	if !s.anonymousRead || len(r.Header.Values(echo.HeaderAuthorization)) > 0 {
		return false
	}
	if s.isGuests(r) {
		return true
	}
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && slices.Contains(anonymousReads, s.template(c))
}

// ofAnonymous says to who sent no token, and maybe forgot to, why so little is found.
func ofAnonymous(err error) error {
	if err == nil || problemOf(err).Code != ballast.CodeNotFound {
		return err
	}
	e := *problemOf(err)
	e.Detail += "; without a token, what is global is all that is seen"
	return &e
}

// errNoToken is for who sent no token, or something in its place.
func errNoToken() error {
	return ballast.Errorf(ballast.CodeUnauthenticated, "send one header Authorization: Bearer <token>; an admin makes tokens with: ballast token create")
}
