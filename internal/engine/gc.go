package engine

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// gcRuns holds the run of gc that is under way, or the last one.
type gcRuns struct {
	mu     sync.Mutex
	last   ballast.GCRun
	scopes map[ballast.Scope]*ballast.GCScope
	done   time.Time // when the last one ended that removed what there was to remove; zero: none has
}

// found adds to what a run found in a scope.
func (g *gcRuns) found(scope ballast.Scope, add func(*ballast.GCScope)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.scopes[scope]
	if s == nil {
		s = &ballast.GCScope{Scope: scope}
		g.scopes[scope] = s
	}
	add(s)
}

// show copies what there is now.
func (g *gcRuns) show() ballast.GCRun {
	g.mu.Lock()
	defer g.mu.Unlock()
	run := g.last
	run.State = cmp.Or(run.State, ballast.GCNone)
	all := slices.SortedFunc(maps.Values(g.scopes), func(a, b *ballast.GCScope) int {
		return cmp.Or(cmp.Compare(b.Removed.Bytes+b.Waiting.Bytes, a.Removed.Bytes+a.Waiting.Bytes), strings.Compare(a.Scope.String(), b.Scope.String()))
	})
	run.Scopes = []ballast.GCScope{}
	for i, s := range all {
		run.Removed.Add(s.Removed)
		run.Waiting.Blobs, run.Waiting.Bytes = run.Waiting.Blobs+s.Waiting.Blobs, run.Waiting.Bytes+s.Waiting.Bytes
		if i < ballast.MaxGCScopes {
			run.Scopes = append(run.Scopes, *s)
		} else {
			run.ScopesCut++
		}
	}
	return run
}

// begin starts a run unless one is under way.
func (g *gcRuns) begin(run ballast.GCRun) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last.State == ballast.GCRunning {
		return false
	}
	g.last, g.scopes = run, map[ballast.Scope]*ballast.GCScope{}
	return true
}

func (g *gcRuns) end(at ballast.Time, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last.State, g.last.EndedAt = ballast.GCDone, at
	if err != nil {
		g.last.State, g.last.Error = ballast.GCFailed, ballast.AsError(storeError(err))
	} else if !g.last.DryRun {
		g.done = at.Time
	}
}

// SinceGC is how long ago a run of gc ended that did all it had to; since the start while there was none. Dry runs and failed
// ones do not count.
func (e *Engine) SinceGC() time.Duration {
	e.gc.mu.Lock()
	defer e.gc.mu.Unlock()
	since := e.began
	if !e.gc.done.IsZero() {
		since = e.gc.done
	}
	return max(0, e.now().Sub(since))
}

// Freed is what this process has removed from the bucket.
type Freed struct{ Blobs, Bytes, Multiparts, Runs, Failures int64 }

type freed struct{ blobs, bytes, multiparts, runs, failures atomic.Int64 }

// Freed returns what was removed since the start, for metrics.
func (e *Engine) Freed() Freed {
	return Freed{e.freed.blobs.Load(), e.freed.bytes.Load(), e.freed.multiparts.Load(), e.freed.runs.Load(), e.freed.failures.Load()}
}

// StartGC starts a run of gc, or answers the one that is under way. It takes an admin of global. Errors: denied; conflict
// when the one under way is a dry run and this is none, or the other way round; unavailable before the bucket's records
// were listed after a start, and when this instance may not write.
func (e *Engine) StartGC(_ context.Context, p Principal, req ballast.GCRequest) (ballast.GCRun, error) {
	if err := mayCollect(p); err != nil {
		return ballast.GCRun{}, err
	}
	if err := e.owner.verdict(); err != nil {
		return ballast.GCRun{}, err
	}
	if err := e.mayRemove("gc"); err != nil {
		return ballast.GCRun{}, err
	}
	if run := e.newGCRun(p.By(), req.DryRun); e.gc.begin(run) {
		e.work.Go(func() { e.collect(e.ctx, req.DryRun) })
		return e.gc.show(), nil
	}
	run := e.gc.show()
	if run.DryRun != req.DryRun && run.State == ballast.GCRunning {
		return run, ballast.Errorf(ballast.CodeConflict, "another run of gc is under way since %s; wait for it (ballast gc --status), then start this one", run.StartedAt.UTC().Format("15:04:05Z"))
	}
	return run, nil
}

// GC returns the run of gc that is under way, or the last since the start; wait holds the answer while it runs. It takes an
// admin of global. Errors: denied.
func (e *Engine) GC(ctx context.Context, p Principal, wait time.Duration) (ballast.GCRun, error) {
	if err := mayCollect(p); err != nil {
		return ballast.GCRun{}, err
	}
	timeout := time.NewTimer(min(wait, MaxWait))
	defer timeout.Stop()
	changed, leave := e.changed.listen(ballast.Global)
	defer leave()
	for {
		run := e.gc.show()
		if run.State != ballast.GCRunning || wait <= 0 {
			return run, nil
		}
		select {
		case <-changed:
		case <-timeout.C:
			return e.gc.show(), nil
		case <-ctx.Done():
			return e.gc.show(), nil
		case <-e.hurry.Done():
			return e.gc.show(), nil
		}
	}
}

func mayCollect(p Principal) error {
	if !p.administersGlobal() {
		return ballast.Errorf(ballast.CodeDenied, "gc takes the role admin in global; ask an operator of the registry")
	}
	return nil
}

// mayRemove refuses to remove what the index does not use before it is certain that the index is no old copy.
func (e *Engine) mayRemove(what string) error {
	if e.isSurveyed() {
		return nil
	}
	early := ballast.Errorf(ballast.CodeUnavailable, "%s removes nothing before the bucket's records were listed after the start, to see that the index knows them all; try again", what)
	early.RetryAfter = 2
	return early
}

func (e *Engine) newGCRun(by string, dry bool) ballast.GCRun {
	return ballast.GCRun{State: ballast.GCRunning, DryRun: dry, By: by, StartedAt: ballast.At(e.now()), GraceSeconds: int64(e.limits.Grace / time.Second)}
}

// gcByClock is the run that nobody asked for. Before the survey, and once this instance may not write, there is none.
func (e *Engine) gcByClock(ctx context.Context) error {
	if e.isSurveyed() && e.owner.verdict() == nil && e.gc.begin(e.newGCRun("", false)) {
		e.collect(ctx, false)
	}
	return nil
}

// collect is one run, which has begun.
func (e *Engine) collect(ctx context.Context, dry bool) {
	err := e.sweep(ctx, dry)
	e.gc.end(ballast.At(e.now()), err)
	run := e.gc.show()
	level := slog.LevelInfo
	if err != nil && ctx.Err() == nil { // else the service stops, and the next one goes on
		level = slog.LevelWarn
		e.freed.failures.Add(1)
	}
	e.freed.runs.Add(1)
	e.log.LogAttrs(ctx, level, "gc "+string(run.State), slog.Bool("dry_run", dry), slog.String("by", run.By), slog.Int64("blobs", run.Removed.Blobs),
		slog.Int64("bytes", run.Removed.Bytes), slog.Int64("uploads", run.Removed.Uploads), slog.Int64("staging", run.Removed.Staging),
		slog.Int64("multiparts", run.Removed.Multiparts), slog.Int64("references", run.Removed.References), slog.Int64("records", run.Removed.Records),
		slog.Int64("waiting_blobs", run.Waiting.Blobs), slog.Int64("waiting_bytes", run.Waiting.Bytes), slog.Any("error", err))
	e.changed.notify(ballast.Global)
}

func (l Limits) gcTimes() index.GCTimes {
	return index.GCTimes{Grace: l.Grace, Slack: l.ClockSlack, Record: l.RecordLife}
}
