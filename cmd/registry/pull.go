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
	Ref    string `arg:"" help:"What, as in llama/tiny, llama/tiny:1.2.0, llama/tiny@champion or acme::llama/tiny::1.2.0."`
	Dir    string `arg:"" optional:"" type:"path" help:"Whereto; default a folder here with the name's last segment."`
	Exact  bool   `xor:"only" help:"Remove everything in the folder that is not in the version. Not in a folder that holds the current or the home folder. With --include and --exclude files of the version that they leave out stay."`
	Verify bool   `xor:"only,cache" help:"Fetch nothing and change nothing: compare the folder with the version, name what is missing or differs, and exit 6 then."`
	Cache  string `xor:"cache" type:"path" placeholder:"DIR" help:"Share files with other pulls through this folder: as copies-on-write where the file system has them, else as read-only hard links, else as copies."`
	Sync   bool   `default:"true" negatable:"" help:"Exit only when everything is on the disk, so that no loss of power leaves a file with holes."`

	selection `embed:""`
	remote    `embed:""`
}

// Help is the long form of ballast pull --help.
func (*pullCmd) Help() string {
	return `Every file is written beside its place as .ballast-*.part and renamed once all of it has the SHA-256 that the version names. One
that is there already and right is not fetched. A pull that was cut off, by whatever, is repeated on any later day and goes on
where it was; the .part files of one that is not repeated go with the next pull of another version into the folder.

What comes from the cache is hashed like all else, and what is damaged in it is removed and fetched. Nothing is removed from the
cache otherwise: remove what you like, at any time.`
}

// cutPull is what a pull that was interrupted says.
const cutPull interrupted = "what has arrived is kept: run the same command again to go on"

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
	if p.Verify {
		return p.verify(ctx, a, c, ref, dir)
	}
	if p.Exact {
		if err := a.mayEmpty(dir); err != nil {
			return err
		}
	}
	progress, stop := a.progress(p.Progress)
	result, err := c.Pull(ctx, client.PullOptions{
		Ref: ref, Dir: dir, Include: p.Include, Exclude: p.Exclude, Exact: p.Exact, Cache: p.Cache, Sync: p.Sync, Parallel: int(p.Parallel), Progress: progress,
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
	resumed, cached := "", ""
	if r.Resumed > 0 {
		resumed = size(r.Resumed) + " of an earlier pull"
	}
	if r.Cached > 0 {
		cached = count(r.Cached, "file") + " of these"
	}
	err := a.pairs("digest", r.Version.Digest.String(),
		"files", fmt.Sprintf("%s, %s; %d fetched, %s", count(r.Files, "file"), size(r.Size), r.Fetched, size(r.Bytes)), "cached", cached, "resumed", resumed)
	if n := len(r.Damaged); n > 0 {
		a.list(fmt.Sprintf("warning: fetched %s again that arrived damaged; something on the way from the object store changes bytes:", count(n, "range")), r.Damaged)
	}
	if n := len(r.Replaced); n > 0 {
		fmt.Fprintf(a.stderr, "replaced %s that had other content; --json names them\n", count(n, "file"))
	}
	if n := len(r.Removed); n > 0 {
		a.list(fmt.Sprintf("removed %s that the version does not have:", count(n, "file")), r.Removed)
	}
	if r.Others > 0 {
		fmt.Fprintf(a.stderr, "left alone %s that the version does not have; --exact removes them\n", count(r.Others, "file"))
	}
	return err
}

// list writes a line and names below it, to stderr.
func (a *app) list(line string, names []string) {
	fmt.Fprintln(a.stderr, line)
	for _, name := range names {
		fmt.Fprintln(a.stderr, " ", harmless(name))
	}
}

// verify compares a folder. What it found is on stdout whatever the verdict.
func (p *pullCmd) verify(ctx context.Context, a *app, c *client.Client, ref ballast.Ref, dir string) error {
	progress, stop := a.progress(p.Progress)
	r, err := c.Verify(ctx, client.VerifyOptions{Ref: ref, Dir: dir, Include: p.Include, Exclude: p.Exclude, Parallel: int(p.Parallel), Progress: progress})
	stop()
	differs := len(r.Missing)+len(r.Differ) > 0
	switch {
	case err != nil && !differs:
		return err
	case p.JSON:
		document := struct {
			client.VerifyResult
			Error *ballast.Error `json:"error,omitempty"`
		}{VerifyResult: r}
		if err != nil {
			document.Error = ballast.AsError(err)
		}
		return told(a.json(document), err)
	}
	for _, path := range r.Missing {
		fmt.Fprintln(a.stdout, "missing ", harmless(path))
	}
	for _, path := range r.Differ {
		fmt.Fprintln(a.stdout, "differs ", harmless(path))
	}
	if !differs {
		fmt.Fprintf(a.stdout, "%s  in %s\n", r.Version.Key, r.Dir)
		err = a.pairs("digest", r.Version.Digest.String(), "files", fmt.Sprintf("%s, %s, all right", count(r.Files, "file"), size(r.Size)))
	}
	if r.Others > 0 {
		fmt.Fprintf(a.stderr, "beside them %s that the version does not have\n", count(r.Others, "file"))
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
