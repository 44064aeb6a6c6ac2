package main

import (
	"context"
	"fmt"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// cpCmd copies.
type cpCmd struct {
	From string `arg:"" name:"ref" help:"What to copy, as in llama/tiny@champion or acme::llama/tiny::1.2.0."`
	To   string `arg:"" name:"name[:version]" help:"Where to, as in global::llama/tiny:1.2.0. Without a version the next one, unless nothing changed."`

	Progress string `enum:"auto,plain,json,none" default:"auto" help:"Progress on stderr: ${enum}. auto is bars on a terminal, else none."`

	remote `embed:""`
}

// cutCopy is what a copy that was interrupted says.
const cutCopy interrupted = "the registry goes on with it; run the same command again to see what became of it"

// Run implements the command.
func (k *cpCmd) Run(ctx context.Context, a *app) error {
	from, err := ballast.ParseRef(k.From)
	if err != nil {
		return err
	}
	to, err := parseTarget(k.To, ": alias set …")
	if err != nil {
		return err
	}
	c, err := k.client(a)
	if err != nil {
		return err
	}
	me, unread := c.Whoami(ctx) // for the registry's clock
	progress, stop := a.progress(k.Progress)
	v, err := c.Copy(ctx, client.CopyOptions{From: from, To: to, Progress: progress})
	stop()
	switch {
	case err != nil:
		return cutCopy.because(ctx, holderHint(err))
	case k.JSON:
		return a.json(v)
	}
	state := string(v.Status)
	if unread == nil && v.CreatedAt.Before(me.Time.Time) {
		state = "unchanged"
	}
	fmt.Fprintf(a.stdout, "%s  %s\n", v.Key, state)
	return a.pairs("digest", v.Digest.String(), "files", fmt.Sprintf("%s, %s", count(v.Files, "file"), size(v.Size)))
}
