package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// pullCmd fetches.
type pullCmd struct {
	Ref   string `arg:"" help:"What, as in llama/tiny, llama/tiny:1.2.0, llama/tiny@champion or acme::llama/tiny::1.2.0."`
	Dir   string `arg:"" optional:"" type:"path" help:"Whereto; default a folder here with the name's last segment."`
	Exact bool   `help:"Remove everything in the folder that is not in the version. Not in a folder that holds the current or the home folder."`

	selection `embed:""`
	remote    `embed:""`
}

// Help is the long form of ballast pull --help.
func (*pullCmd) Help() string {
	return `Every file is written beside its place as .ballast-*.part, checked against its SHA-256 and then renamed. One that is there
already and right is not fetched again, so a pull that was cut off, repeated, fetches the files that were not complete, each
from its start. The next pull into the folder removes the .part files of one that was killed.`
}

// cutPull is what a pull that was interrupted says.
const cutPull interrupted = "files that are complete are kept: run the same command again to fetch the others, each from its start"

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
	if p.Exact {
		if err := a.mayEmpty(dir); err != nil {
			return err
		}
	}
	progress, stop := a.progress(p.Progress)
	result, err := c.Pull(ctx, client.PullOptions{
		Ref: ref, Dir: dir, Include: p.Include, Exclude: p.Exclude, Exact: p.Exact, Parallel: int(p.Parallel), Progress: progress,
	})
	stop()
	switch {
	case err != nil:
		return cutPull.because(ctx, err)
	case p.JSON:
		return a.json(result)
	}
	return a.pulled(result)
}

func (a *app) pulled(r client.PullResult) error {
	fmt.Fprintf(a.stdout, "%s  in %s\n", r.Version.Key, r.Dir)
	err := a.pairs("digest", r.Version.Digest.String(),
		"files", fmt.Sprintf("%s, %s; %d fetched, %s", count(r.Files, "file"), size(r.Size), r.Fetched, size(r.Bytes)))
	if n := len(r.Replaced); n > 0 {
		fmt.Fprintf(a.stderr, "replaced %s that had other content; --json names them\n", count(n, "file"))
	}
	if n := len(r.Removed); n > 0 {
		fmt.Fprintf(a.stderr, "removed %s that the version does not have:\n", count(n, "file"))
		for _, path := range r.Removed {
			fmt.Fprintln(a.stderr, " ", harmless(path))
		}
	}
	if r.Others > 0 {
		fmt.Fprintf(a.stderr, "left alone %s that the version does not have; --exact removes them\n", count(r.Others, "file"))
	}
	return err
}

// mayEmpty refuses a folder that --exact is hardly meant for: one that is or holds the current folder or the home folder.
func (a *app) mayEmpty(dir string) error {
	folder, err := os.Stat(dir)
	if err != nil {
		return nil // nothing is in it, or the pull will say why it cannot be used
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	for what, below := range map[string]string{"the current folder": here, "the home folder": a.env("HOME")} {
		if below != "" && isOrHolds(folder, below) {
			return ballast.Errorf(ballast.CodeInvalid, "--exact would remove everything else in %q, which is or holds %s: name a folder that is the version's own, or leave out --exact", dir, what)
		}
	}
	return nil
}

func isOrHolds(folder os.FileInfo, path string) bool {
	for {
		if info, err := os.Stat(path); err == nil && os.SameFile(info, folder) {
			return true
		}
		up := filepath.Dir(path)
		if up == path {
			return false
		}
		path = up
	}
}
