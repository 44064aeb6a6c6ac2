package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/docs"
	"github.com/ballast-registry/ballast/internal/engine"
)

// The routes that need no token.
const (
	healthPath      = "/healthz"
	readyPath       = "/readyz"
	descriptionPath = "/openapi.yaml"
)

// readyTimeout is how long readiness may take to establish.
const readyTimeout = 5 * time.Second

// statusOK is the answer of both probes.
type statusOK struct {
	Status string `json:"status"`
}

// health says that the process answers. It takes no lock and asks nobody.
func (s *server) health(c echo.Context, _ engine.Principal) error {
	return writeFresh(c, http.StatusOK, statusOK{"ok"})
}

// ready says that requests can be served. Why they cannot goes to the log only as far as it is no typed error: the
// route is open to everybody.
func (s *server) ready(c echo.Context, _ engine.Principal) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), readyTimeout)
	defer cancel()
	err := s.service.Ready(ctx)
	if e := (*ballast.Error)(nil); err != nil && !errors.As(err, &e) {
		return ballast.Errorf(ballast.CodeUnavailable, "not ready; the service's log says why").Because(err)
	}
	if err != nil {
		return err
	}
	return writeFresh(c, http.StatusOK, statusOK{"ok"})
}

func (s *server) description(c echo.Context, _ engine.Principal) error {
	return c.Blob(http.StatusOK, "application/yaml", []byte(docs.OpenAPI()))
}
