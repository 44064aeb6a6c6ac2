package engine_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// A brokenEngine breaks the rule that it is called by. Where the rule is broken for a moment only, somebody is made to
// call in that moment.
type brokenEngine struct {
	rule string
	make func(*engine.Engine, *breakage) registry
}

// breakage is what a broken engine knows of the history that it is part of.
type breakage struct {
	h     *history
	mu    sync.Mutex
	flush func() // what it put off; run at the end
}

func brokenEngines() []brokenEngine {
	return []brokenEngine{
		{"an alias moves only from the revision that If-Match names", func(e *engine.Engine, _ *breakage) registry { return ifMatchIgnored{e} }},
		{"the revision of an alias is compared in the transaction that moves it", func(e *engine.Engine, b *breakage) registry { return comparesBefore{e, b} }},
		{"what was answered as written stays", func(e *engine.Engine, _ *breakage) registry { return &forgetsMoves{Engine: e} }},
		{"a label is held by one open upload", func(e *engine.Engine, _ *breakage) registry { return labelShared{e} }},
		{"an attempt has one open upload", func(e *engine.Engine, _ *breakage) registry { return &attemptIgnored{Engine: e} }},
		{"a commit is answered as done once readers see the version", func(e *engine.Engine, b *breakage) registry { return answersEarly{e, b} }},
		{"readers do not see what is sealed", func(e *engine.Engine, _ *breakage) registry { return showsSealed{e} }},
		{"what is sealed cannot be aborted", func(e *engine.Engine, _ *breakage) registry { return abortsSealed{e} }},
		{"an aborted upload publishes nothing", func(e *engine.Engine, _ *breakage) registry { return zombies{e} }},
		{"a label has one content", func(e *engine.Engine, _ *breakage) registry { return otherFilesTaken{e} }},
		{"a read sees what was answered before it", func(e *engine.Engine, _ *breakage) registry {
			return &readsOld{Engine: e, answers: map[string]oldAnswer{}}
		}},
	}
}

// ifMatchIgnored moves an alias from any revision.
type ifMatchIgnored struct{ *engine.Engine }

func (e ifMatchIgnored) SetAlias(ctx context.Context, p engine.Principal, s ballast.Scope, n ballast.Name, a ballast.Alias, to ballast.Version, _ *int64) (ballast.AliasInfo, error) {
	return e.Engine.SetAlias(ctx, p, s, n, a, to, nil)
}

// A looseStore runs a marked Update in two transactions, or drops the second: the first sees what fn would write.
type looseStore struct{ index.Store }

// loosely marks the Updates of a call. Its value comes between the two transactions, and reports whether there is to be
// a second.
type loosely struct{}

var errRehearsed = errors.New("rehearsed")

func (s looseStore) Update(ctx context.Context, fn func(index.Tx) error) error {
	between, marked := ctx.Value(loosely{}).(func() bool)
	if !marked {
		return s.Store.Update(ctx, fn)
	}
	var writes []func(index.Tx) error
	err := s.Store.Update(ctx, func(tx index.Tx) error {
		writes = nil
		if err := fn(rehearsal{tx, &writes}); err != nil {
			return err
		}
		return errRehearsed
	})
	switch {
	case !errors.Is(err, errRehearsed):
		return err
	case !between():
		return nil
	}
	return s.Store.Update(context.WithoutCancel(ctx), func(tx index.Tx) error {
		var failed error
		for _, w := range writes {
			failed = errors.Join(failed, w(tx))
		}
		return failed
	})
}

// rehearsal notes what a transaction writes.
type rehearsal struct {
	index.Tx
	writes *[]func(index.Tx) error
}

func (r rehearsal) Put(key, value []byte) error {
	k, v := append([]byte(nil), key...), append([]byte(nil), value...)
	*r.writes = append(*r.writes, func(tx index.Tx) error { return tx.Put(k, v) })
	return r.Tx.Put(key, value)
}

func (r rehearsal) Delete(key []byte) error {
	k := append([]byte(nil), key...)
	*r.writes = append(*r.writes, func(tx index.Tx) error { return tx.Delete(k) })
	return r.Tx.Delete(key)
}

// comparesBefore compares in one transaction and moves in another; somebody with the same knowledge moves in between.
type comparesBefore struct {
	*engine.Engine
	b *breakage
}

func (e comparesBefore) SetAlias(ctx context.Context, p engine.Principal, s ballast.Scope, n ballast.Name, a ballast.Alias, to ballast.Version, ifMatch *int64) (ballast.AliasInfo, error) {
	if ifMatch != nil && ctx.Value(intruder{}) == nil {
		ctx = context.WithValue(ctx, loosely{}, func() bool {
			e.b.h.intrude(func(c *client) { c.moveSameAlias(n, a, to, ifMatch) })
			return true
		})
	}
	return e.Engine.SetAlias(ctx, p, s, n, a, to, ifMatch)
}

// forgetsMoves loses every third move of an alias.
type forgetsMoves struct {
	*engine.Engine
	mu    sync.Mutex
	moves int
}

func (e *forgetsMoves) SetAlias(ctx context.Context, p engine.Principal, s ballast.Scope, n ballast.Name, a ballast.Alias, to ballast.Version, ifMatch *int64) (ballast.AliasInfo, error) {
	e.mu.Lock()
	e.moves++
	lost := e.moves%3 == 0
	e.mu.Unlock()
	if lost {
		ctx = context.WithValue(ctx, loosely{}, func() bool { return false })
	}
	return e.Engine.SetAlias(ctx, p, s, n, a, to, ifMatch)
}

// labelShared lets a second upload in where a label is held.
type labelShared struct{ *engine.Engine }

func (e labelShared) CreateUpload(ctx context.Context, p engine.Principal, req ballast.CreateUpload) (ballast.Upload, bool, error) {
	u, created, err := e.Engine.CreateUpload(ctx, p, req)
	if ballast.CodeOf(err) == ballast.CodeConflict {
		req.Version = ballast.Version{}
		return e.Engine.CreateUpload(ctx, p, req)
	}
	return u, created, err
}

// attemptIgnored opens an upload for each call without a label.
type attemptIgnored struct{ *engine.Engine }

func (e *attemptIgnored) CreateUpload(ctx context.Context, p engine.Principal, req ballast.CreateUpload) (ballast.Upload, bool, error) {
	if req.Version.IsZero() {
		req.Attempt = attempt()
	}
	return e.Engine.CreateUpload(ctx, p, req)
}

// answersEarly answers a commit with a label, and does it after the next read.
type answersEarly struct {
	*engine.Engine
	b *breakage
}

func (e answersEarly) Commit(ctx context.Context, p engine.Principal, id string, req ballast.CommitRequest) (ballast.Upload, error) {
	u, err := e.Engine.Upload(ctx, p, id, 0)
	if err != nil || u.Status != ballast.UploadPending || u.Version.IsZero() {
		return e.Engine.Commit(ctx, p, id, req)
	}
	_, manifest, err := ballast.BuildManifest(req.Files)
	if err != nil {
		return u, err
	}
	e.b.mu.Lock()
	defer e.b.mu.Unlock()
	before := e.b.flush
	e.b.flush = func() {
		if before != nil {
			before()
		}
		_, _ = e.Engine.Commit(context.WithoutCancel(ctx), p, id, req)
	}
	u.Status, u.Result = ballast.UploadDone, &ballast.VersionInfo{Version: u.Version, Digest: ballast.DigestOf(manifest)}
	return u, nil
}

func (e answersEarly) Version(ctx context.Context, p engine.Principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	defer e.b.flushNow()
	return e.Engine.Version(ctx, p, ref)
}

// flushNow does what was put off.
func (b *breakage) flushNow() {
	b.mu.Lock()
	flush := b.flush
	b.flush = nil
	b.mu.Unlock()
	if flush != nil {
		flush()
	}
}

// showsSealed lets readers see what writers see.
type showsSealed struct{ *engine.Engine }

func (e showsSealed) Version(ctx context.Context, _ engine.Principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	return e.Engine.Version(ctx, writer, ref)
}

// abortsSealed says that it aborted what it could not.
type abortsSealed struct{ *engine.Engine }

func (e abortsSealed) AbortUpload(ctx context.Context, p engine.Principal, id string) error {
	if err := e.Engine.AbortUpload(ctx, p, id); ballast.CodeOf(err) != ballast.CodeConflict {
		return err
	}
	return nil
}

// zombies says that it aborted what it did not.
type zombies struct{ *engine.Engine }

func (e zombies) AbortUpload(context.Context, engine.Principal, string) error { return nil }

// otherFilesTaken answers a commit of other files as if they were the upload's.
type otherFilesTaken struct{ *engine.Engine }

func (e otherFilesTaken) Commit(ctx context.Context, p engine.Principal, id string, req ballast.CommitRequest) (ballast.Upload, error) {
	u, err := e.Engine.Commit(ctx, p, id, req)
	if ballast.CodeOf(err) != ballast.CodeConflict {
		return u, err
	}
	_, manifest, _ := ballast.BuildManifest(req.Files)
	if u, err = e.Engine.Upload(ctx, p, id, time.Minute); err == nil && u.Result != nil {
		u.Result.Digest = ballast.DigestOf(manifest)
	}
	return u, err
}

// readsOld answers a reference as when it was first asked about.
type readsOld struct {
	*engine.Engine
	mu      sync.Mutex
	answers map[string]oldAnswer
}

type oldAnswer struct {
	version ballast.VersionInfo
	err     error
}

func (e *readsOld) Version(ctx context.Context, p engine.Principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	asked := p.ID + " " + ref.String()
	if _, known := e.answers[asked]; !known {
		v, err := e.Engine.Version(ctx, p, ref)
		e.answers[asked] = oldAnswer{v, err}
	}
	return e.answers[asked].version, e.answers[asked].err
}
