package engine

import (
	"context"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
)

// Tasks lists the tasks that versions can be for: those of every registry, and those that were added here.
func (e *Engine) Tasks(ctx context.Context) (ballast.TasksPage, error) {
	added, err := e.index.Tasks(ctx)
	if err != nil {
		return ballast.TasksPage{}, err
	}
	var page ballast.TasksPage
	for _, t := range ballast.Tasks() {
		page.Tasks = append(page.Tasks, ballast.TaskInfo{Task: t})
	}
	for _, t := range added {
		page.Tasks = append(page.Tasks, ballast.TaskInfo(t))
	}
	slices.SortFunc(page.Tasks, func(a, b ballast.TaskInfo) int { return strings.Compare(a.Task, b.Task) })
	return page, nil
}

// AddTask adds a task for all scopes: what is copied from one to another must be as good there. It takes an admin of
// global. Errors: denied, invalid; precondition when there are too many.
func (e *Engine) AddTask(ctx context.Context, p Principal, task string) (ballast.TaskInfo, error) {
	if err := e.mayChangeTasks(p, task, "add"); err != nil {
		return ballast.TaskInfo{}, err
	}
	if ballast.IsTask(task) {
		return ballast.TaskInfo{Task: task}, nil
	}
	t, err := e.index.AddTask(ctx, task, p.By())
	e.changed.notify(ballast.Global)
	return ballast.TaskInfo(t), err
}

// RemoveTask removes a task that was added. Versions that are for it stay so, and so are copies of them; no other can be.
// Errors: denied, invalid; precondition for a task of every registry. An absent one is success.
func (e *Engine) RemoveTask(ctx context.Context, p Principal, task string) error {
	if err := e.mayChangeTasks(p, task, "remove"); err != nil {
		return err
	}
	if ballast.IsTask(task) {
		return ballast.Errorf(ballast.CodePrecondition, "every registry knows the task %s; only what an admin added can be removed", task)
	}
	err := e.index.RemoveTask(ctx, task, p.By())
	e.changed.notify(ballast.Global)
	return err
}

func (e *Engine) mayChangeTasks(p Principal, task, verb string) error {
	if p.Role(ballast.Global) < ballast.Admin {
		return ballast.Errorf(ballast.CodeDenied, "to %s a task takes the role admin in global", verb)
	}
	if err := ballast.CheckTask(task); err != nil {
		return err
	}
	return e.owner.verdict()
}
