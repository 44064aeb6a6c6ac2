package main

import (
	"context"
	"fmt"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// pullCmd fetches.
type pullCmd struct {
	Ref   string `arg:"" help:"What, as in llama/tiny, llama/tiny:1.2.0, llama/tiny@champion or acme::llama/tiny::1.2.0."`
	Dir   string `arg:"" optional:"" type:"path" help:"Whereto; default a folder here with the name's last segment."`
	Exact bool   `help:"Remove everything in the folder that is not in the version."`

	selection `embed:""`
	remote    `embed:""`
}

// Run implements the command.
func (p *pullCmd) Run(ctx context.Context, a *app) error {
	ref, err := ballast.ParseRef(p.Ref)
	if err != nil {
		return err
	}
	c, err := p.client(a)
	if err != nil {
		return err
	}
	dir := p.Dir
	if dir == "" {
		dir = ref.Name.Base()
	}
	progress, stop := a.progress(p.Progress)
	result, err := c.Pull(ctx, client.PullOptions{
		Ref: ref, Dir: dir, Include: p.Include, Exclude: p.Exclude, Exact: p.Exact, Parallel: p.Parallel, Progress: progress,
	})
	stop()
	switch {
	case err != nil:
		return err
	case p.JSON:
		return a.json(result)
	}
	return a.pulled(result)
}

func (a *app) pulled(r client.PullResult) error {
	fmt.Fprintf(a.stdout, "%s  in %s\n", r.Version.Key, r.Dir)
	err := a.pairs("digest", r.Version.Digest.String(),
		"files", fmt.Sprintf("%s, %s; %d fetched, %s", count(r.Files, "file"), size(r.Size), r.Fetched, size(r.Bytes)))
	switch {
	case r.Removed:
		fmt.Fprintf(a.stderr, "removed %s that the version does not have\n", count(r.Others, "file"))
	case r.Others > 0:
		fmt.Fprintf(a.stderr, "left alone %s that the version does not have; --exact removes them\n", count(r.Others, "file"))
	}
	return err
}
