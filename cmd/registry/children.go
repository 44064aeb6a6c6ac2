package main

import (
	"context"

	"github.com/ballast-registry/ballast"
)

// childrenCmd lists what was made from a version.
type childrenCmd struct {
	Ref string `arg:"" help:"The version, as in llama/base:1; it may be retired."`

	remote `embed:""`
}

// Run implements the command.
func (l *childrenCmd) Run(ctx context.Context, a *app) error {
	ref, err := ballast.ParseRef(l.Ref)
	if err != nil {
		return err
	}
	c, err := l.client(a)
	if err != nil {
		return err
	}
	children, err := collect(c.Children(ctx, ref))
	if err != nil {
		return err
	}
	if l.JSON {
		return a.json(map[string][]ballast.Child{"children": children})
	}
	rows := make([][]string, len(children))
	for i, child := range children {
		rows[i] = []string{child.Key, string(child.Status), string(child.Stage)}
	}
	return a.table([]string{"KEY", "STATUS", "STAGE"}, rows)
}
