package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// gcFlags are when what nobody uses is removed.
type gcFlags struct {
	Interval time.Duration `env:"BALLAST_GC_INTERVAL" default:"1h" placeholder:"DURATION" help:"Time between two runs of gc, which removes bytes that nobody uses. 0 for none: then only ballast gc removes them."`
	Grace    time.Duration `env:"BALLAST_GC_GRACE" default:"24h" placeholder:"DURATION" help:"How long bytes that nobody uses stay, and so how long a deletion can be taken back with ballast restore. Longer than a signed URL lives."`
}

func (f gcFlags) check() error {
	if f.Interval < 0 || f.Grace <= 0 {
		return errors.New("--gc-interval and --gc-grace: write times, as in 1h; --gc-interval 0 for no runs by the clock")
	}
	return nil
}

// limits sets those of the engine.
func (f gcFlags) limits(l *engine.Limits) {
	l.GCInterval, l.Grace = f.Interval, f.Grace
	if f.Interval == 0 {
		l.GCInterval = -1
	}
}

// countFreed adds what gc does to the metrics.
func countFreed(reg prometheus.Registerer, e *engine.Engine) {
	for _, m := range []struct {
		name, help string
		of         func(engine.Freed) int64
	}{
		{"ballast_gc_blobs_removed_total", "Blobs whose bytes were removed from the bucket.", func(f engine.Freed) int64 { return f.Blobs }},
		{"ballast_gc_bytes_removed_total", "Bytes that were removed from the bucket, as far as their sizes are known.", func(f engine.Freed) int64 { return f.Bytes }},
		{"ballast_gc_multiparts_aborted_total", "Multipart uploads that were aborted because nobody needs them.", func(f engine.Freed) int64 { return f.Multiparts }},
		{"ballast_gc_runs_total", "Runs of gc that ended, dry and failed ones too.", func(f engine.Freed) int64 { return f.Runs }},
		{"ballast_gc_failures_total", "Runs of gc that failed; the next one goes on.", func(f engine.Freed) int64 { return f.Failures }},
	} {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: m.name, Help: m.help}, func() float64 { return float64(m.of(e.Freed())) }))
	}
}

// gcCmd removes what nobody uses.
type gcCmd struct {
	DryRun bool `help:"Say what would be removed, and remove nothing."`
	Status bool `xor:"what" help:"Show the run that is under way, or the last one, and start none."`

	remote `embed:""`
}

// Help is the long form of ballast gc --help.
func (*gcCmd) Help() string {
	return `Removes from the bucket what nobody uses any more: the bytes of deleted versions, of pushes that were given up, and
multipart uploads that were left open. The service does it by itself every hour (ballast serve --gc-interval); this does
it now and shows what went. It takes a token with the role admin in global.

Bytes stay for a grace, 24 hours unless ballast serve --gc-grace says otherwise, after nobody uses them any more. Those
of a deleted version go in two steps, first its list of files and then, after another grace, the files that no other
version has. Until the first step a deletion can be taken back: ballast restore.

Only what this registry has recorded is removed. Other objects in the bucket are left alone.

  ballast gc --dry-run   what would go, and what waits for its grace to end
  ballast gc             remove it
  ballast gc --status    how far it is, or what the last run did`
}

// gcWait is how long one look at a run is held.
const gcWait = 30 * time.Second

// Run implements the command.
func (g *gcCmd) Run(ctx context.Context, a *app) error {
	c, err := g.client(a)
	if err != nil {
		return err
	}
	var run ballast.GCRun
	if g.Status {
		run, err = c.GC(ctx, 0)
	} else {
		run, err = c.StartGC(ctx, ballast.GCRequest{DryRun: g.DryRun})
		for err == nil && run.State == ballast.GCRunning {
			run, err = c.GC(ctx, gcWait)
		}
	}
	if err != nil {
		return err
	}
	if g.JSON {
		err = a.json(run)
	} else {
		err = a.showGC(run)
	}
	if err == nil && run.State == ballast.GCFailed && run.Error != nil {
		return run.Error
	}
	return err
}

// showGC writes what a run did.
func (a *app) showGC(run ballast.GCRun) error {
	if run.State == ballast.GCNone {
		fmt.Fprintln(a.stdout, "gc has not run since the service was started; ballast gc --dry-run shows what it would remove")
		return nil
	}
	verb := "removed"
	switch {
	case run.DryRun:
		verb = "would remove"
	case run.State == ballast.GCRunning:
		verb = "removed so far"
	}
	n := run.Removed
	fmt.Fprintf(a.stdout, "%s  %d blobs, %s\n", verb, n.Blobs, size(n.Bytes))
	for _, more := range []struct {
		n    int64
		what string
	}{
		{n.Uploads, "uploads whose lease was over"}, {n.Staging, "staged objects"}, {n.Multiparts, "open multipart uploads"},
		{n.References, "references of deleted versions to their files, which wait for a grace of their own"}, {n.Records, "records of blobs that are gone"},
	} {
		if more.n > 0 {
			fmt.Fprintf(a.stdout, "  and %d %s\n", more.n, more.what)
		}
	}
	if run.Waiting.Blobs > 0 {
		fmt.Fprintf(a.stdout, "waiting  %d blobs, %s: unused for less than %s; the files of deleted versions follow once their lists went\n", run.Waiting.Blobs, size(run.Waiting.Bytes), time.Duration(run.GraceSeconds)*time.Second)
	}
	if len(run.Scopes) == 0 {
		return nil
	}
	rows := make([][]string, 0, len(run.Scopes))
	for _, s := range run.Scopes {
		rows = append(rows, []string{s.Scope.String(), fmt.Sprint(s.Removed.Blobs), size(s.Removed.Bytes), fmt.Sprint(s.Waiting.Blobs), size(s.Waiting.Bytes)})
	}
	if err := a.table([]string{"SCOPE", "BLOBS", "BYTES", "WAITING", "THEIR BYTES"}, rows); err != nil {
		return err
	}
	if run.ScopesCut > 0 {
		fmt.Fprintf(a.stdout, "and %d scopes with less\n", run.ScopesCut)
	}
	return nil
}
