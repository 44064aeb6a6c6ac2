package main

import (
	"context"
	"fmt"

	"github.com/ballast-registry/ballast"
)

// taskCmd manages the tasks that versions can be for.
type taskCmd struct {
	Ls  taskLsCmd  `cmd:"" help:"List the tasks that versions can be for."`
	Add taskAddCmd `cmd:"" help:"Add a task for all scopes; takes an admin of global."`
	Rm  taskRmCmd  `cmd:"" help:"Remove a task that was added. Versions that are for it stay so."`
}

type taskLsCmd struct {
	Added bool `help:"Only those that were added to the ones that every registry knows."`

	remote `embed:""`
}

// Run implements the command.
func (t *taskLsCmd) Run(ctx context.Context, a *app) error {
	c, err := t.client(a)
	if err != nil {
		return err
	}
	all, err := c.Tasks(ctx)
	if err != nil {
		return err
	}
	shown, rows := []ballast.TaskInfo{}, [][]string{}
	for _, info := range all {
		if t.Added && info.AddedBy == "" {
			continue
		}
		shown, rows = append(shown, info), append(rows, []string{info.Task, when(info.AddedAt), info.AddedBy})
	}
	if t.JSON {
		return a.json(ballast.TasksPage{Tasks: shown})
	}
	return a.table([]string{"TASK", "ADDED", "BY"}, rows)
}

type taskAddCmd struct {
	Task string `arg:"" help:"As in claim-triage: 1 to 64 of a-z 0-9 _ -."`

	remote `embed:""`
}

// Run implements the command.
func (t *taskAddCmd) Run(ctx context.Context, a *app) error {
	c, err := t.client(a)
	if err != nil {
		return err
	}
	info, err := c.AddTask(ctx, t.Task)
	if err != nil {
		return err
	}
	if t.JSON {
		return a.json(info)
	}
	fmt.Fprintln(a.stdout, "versions can be for", info.Task)
	return nil
}

type taskRmCmd struct {
	Task string `arg:"" help:"As ballast task ls --added shows it."`

	remote `embed:""`
}

// Run implements the command.
func (t *taskRmCmd) Run(ctx context.Context, a *app) error {
	c, err := t.client(a)
	if err != nil {
		return err
	}
	if err := c.RemoveTask(ctx, t.Task); err != nil {
		return err
	}
	if t.JSON {
		return a.json(map[string]string{"removed": t.Task})
	}
	fmt.Fprintln(a.stdout, "removed", t.Task)
	return nil
}
