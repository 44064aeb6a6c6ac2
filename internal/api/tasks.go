package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

func (s *server) listTasks(c echo.Context, _ engine.Principal) error {
	if q := queryOf(c); q.err != nil {
		return q.err
	}
	page, err := s.service.Tasks(c.Request().Context())
	if err != nil {
		return err
	}
	page.Tasks = list(page.Tasks)
	return writeRead(c, page)
}

func (s *server) addTask(c echo.Context, p engine.Principal) error {
	task, err := taskParam(c)
	if err != nil {
		return err
	}
	t, err := s.service.AddTask(c.Request().Context(), p, task)
	if err != nil {
		return err
	}
	return writeFresh(c, http.StatusOK, t)
}

func (s *server) removeTask(c echo.Context, p engine.Principal) error {
	task, err := taskParam(c)
	if err != nil {
		return err
	}
	if err := s.service.RemoveTask(c.Request().Context(), p, task); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// taskParam is {task}.
func taskParam(c echo.Context) (string, error) {
	task, err := param(c, "task")
	if err != nil {
		return "", err
	}
	return task, ballast.CheckTask(task)
}
