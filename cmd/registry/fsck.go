package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/engine"
)

// fsckCmd checks the registry.
type fsckCmd struct {
	Deep          bool   `help:"Read the bytes of every blob and hash them."`
	Rate          string `placeholder:"SIZE" help:"Bytes a second that --deep reads at most, as in 200MB."`
	Repair        bool   `help:"Mend what can be mended, in the index alone. Without --yes it only says what that would be."`
	RemoveOrphans bool   `help:"Delete objects that nobody recorded and that are older than the grace. Without --yes it only lists them."`
	Yes           bool   `help:"Do it."`
	Last          bool   `help:"Show the last check, or wait for the one that runs, instead of starting one."`
	Offline       bool   `help:"Open index and bucket here, with the settings of serve; the service must be stopped."`

	remote `embed:""`

	offlineFlags `embed:"" group:"Offline"`

	mendable, removable bool // something was shown that a repair would mend, or that --remove-orphans removes
}

// Help is the long form of ballast fsck --help.
func (*fsckCmd) Help() string {
	return `Checks that the index, the bucket and the digests agree, beside a running service, which takes an admin of
global. Each finding says what it is about, what is wrong and what to do; docs/fsck.md explains each kind. With --json
there is one finding a line, and last a line with the counts.

  ballast fsck                           what is wrong
  ballast fsck --deep --rate 200MB       and do the bytes still have their digests
  ballast fsck --repair                  what a repair would do
  ballast fsck --repair --yes            do it; it changes the index and never deletes an object
  ballast fsck --remove-orphans --yes    delete objects that nobody recorded
  ballast fsck --offline --data DIR      without a service: opens index and bucket by the settings of serve

Exit codes: 0 nothing is left that is wrong; 1 something is, or the check could not look at everything, which the last
line says.`
}

// fsckEnd is the last line of fsck --json.
type fsckEnd struct {
	Fsck ballast.Fsck `json:"fsck"`
}

// errFindings makes the exit code of a check that found something.
var errFindings = errors.New("there are findings: docs/fsck.md says of each kind what to do")

// Run implements the command.
func (f *fsckCmd) Run(ctx context.Context, a *app) error {
	want, err := f.want()
	if err != nil {
		return err
	}
	if f.Offline {
		return f.offline(ctx, a, want)
	}
	c, err := f.client(a)
	if err != nil {
		return err
	}
	run, err := f.follow(ctx, c, want)
	if err != nil {
		return err
	}
	kept := int64(0)
	for finding, err := range c.Findings(ctx) {
		if err != nil {
			return err
		}
		kept++
		if err := f.show(a, finding); err != nil {
			return err
		}
	}
	return f.end(a, run, kept)
}

// want is what is asked for. Nothing is changed without --yes.
func (f *fsckCmd) want() (ballast.StartFsck, error) {
	want := ballast.StartFsck{Deep: f.Deep, Repair: f.Repair && f.Yes, RemoveOrphans: f.RemoveOrphans && f.Yes}
	if f.Yes && !f.Repair && !f.RemoveOrphans {
		return want, ballast.Errorf(ballast.CodeInvalid, "--yes: say to what: --repair or --remove-orphans")
	}
	if f.Rate != "" {
		rate, err := humanize.ParseBytes(strings.TrimSuffix(f.Rate, "/s"))
		if err != nil || rate == 0 || rate > 1<<60 || !f.Deep {
			return want, ballast.Errorf(ballast.CodeInvalid, "--rate %q: it is a size that --deep reads a second, as in 200MB", f.Rate)
		}
		want.Rate = int64(rate)
	}
	return want, nil
}

// follow starts a check, unless the last one is asked for, and waits for its end.
func (f *fsckCmd) follow(ctx context.Context, c *client.Client, want ballast.StartFsck) (run ballast.Fsck, err error) {
	if f.Last {
		run, err = c.Fsck(ctx, 0)
	} else {
		run, err = c.StartFsck(ctx, want)
	}
	for err == nil && run.State == ballast.FsckRunning {
		run, err = c.Fsck(ctx, 30*time.Second)
	}
	if err == nil && run.State == ballast.FsckNone {
		err = ballast.Errorf(ballast.CodeNotFound, "nothing was checked since the service was started: run ballast fsck")
	}
	return run, err
}

// show prints one finding.
func (f *fsckCmd) show(a *app, finding ballast.Finding) error {
	if f.JSON {
		return json.NewEncoder(a.stdout).Encode(finding)
	}
	state := ""
	f.removable = f.removable || finding.Kind == ballast.FindingOrphan
	if finding.Repaired {
		state = "  repaired"
	}
	fmt.Fprintf(a.stdout, "%s%s  %s\n", finding.Kind, state, oneLine(finding.What))
	if finding.Object != "" {
		fmt.Fprintf(a.stdout, "  object    %s\n", oneLine(finding.Object))
	}
	if len(finding.Versions) > 0 {
		more := ""
		if finding.More {
			more = " and others"
		}
		fmt.Fprintf(a.stdout, "  versions  %s%s\n", oneLine(strings.Join(finding.Versions, ", ")), more)
	}
	if finding.Repair != "" && !finding.Repaired {
		f.mendable = true
		fmt.Fprintf(a.stdout, "  repair    %s\n", oneLine(finding.Repair))
	}
	if !finding.Repaired {
		fmt.Fprintf(a.stdout, "  do        %s\n", oneLine(finding.Do))
	}
	return nil
}

// end prints what was looked at and how much was found.
func (f *fsckCmd) end(a *app, run ballast.Fsck, kept int64) error {
	run.Findings = []ballast.Finding{}
	var verdict error
	switch {
	case run.State == ballast.FsckFailed && run.Error != nil:
		verdict = fmt.Errorf("the check could not look at everything: %s", run.Error.Detail) // exit 1 whatever it was
	case !run.Clean():
		verdict = errFindings
	}
	if f.JSON {
		return told(json.NewEncoder(a.stdout).Encode(fsckEnd{run}), verdict)
	}
	f.sum(a, run, kept)
	return verdict
}

func (f *fsckCmd) sum(a *app, run ballast.Fsck, kept int64) {
	fmt.Fprintf(a.stdout, "looked at %s objects, %s blobs, %s versions, %s items of the index", humanize.Comma(run.Objects), humanize.Comma(run.Blobs), humanize.Comma(run.Versions), humanize.Comma(run.Items))
	if run.Deep {
		fmt.Fprintf(a.stdout, "; hashed %s", size(run.Bytes))
	}
	fmt.Fprintln(a.stdout)
	total := int64(0)
	for _, c := range run.Counts {
		total += c.Count
		repaired := ""
		if c.Repaired > 0 {
			repaired = fmt.Sprintf(", %d of them mended", c.Repaired)
		}
		fmt.Fprintf(a.stdout, "  %-16s %d%s\n", c.Kind, c.Count, repaired)
	}
	for _, skipped := range run.Skipped {
		fmt.Fprintln(a.stdout, "not looked at:", oneLine(skipped))
	}
	if total > kept {
		fmt.Fprintf(a.stdout, "%d findings are counted and not listed\n", total-kept)
	}
	switch {
	case total == 0:
		fmt.Fprintln(a.stdout, "nothing is wrong")
	case f.mendable && f.Repair && !f.Yes:
		fmt.Fprintln(a.stdout, "nothing was changed: the same command with --yes does what is listed under repair")
	case f.Repair && !f.Yes:
		fmt.Fprintln(a.stdout, "a repair would change nothing: do what is listed under do")
	case f.removable && f.RemoveOrphans && !f.Yes:
		fmt.Fprintln(a.stdout, "nothing was removed: ballast fsck --remove-orphans --yes removes the orphans that are older than the grace")
	}
}

// offline checks what no service uses.
func (f *fsckCmd) offline(ctx context.Context, a *app, want ballast.StartFsck) (err error) {
	if f.Last {
		return ballast.Errorf(ballast.CodeInvalid, "--last asks the running service; leave out --offline")
	}
	if _, err := indexPath(a, f.Data); err != nil {
		return err
	}
	o, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	key, err := f.recordKey(o.data, false)
	if err != nil {
		return fmt.Errorf("%w\nThe index is here and the key that signs its records is not: put the copy back, or name it with --record-key", err)
	}
	shown, showErr := int64(0), error(nil)
	run, err := engine.FsckOffline(ctx, o.index, o.bucket, key, engine.Limits{}, want, func(finding ballast.Finding) {
		shown++
		showErr = errors.Join(showErr, f.show(a, finding))
	})
	if err != nil && run.State == "" {
		return err
	}
	return errors.Join(showErr, f.end(a, run, shown))
}
