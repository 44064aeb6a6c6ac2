package engine_test

import (
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// restoring reports whether a deletion is taken back, and the record of that cannot be written yet.
func (v *modelVersion) restoring() bool { return v.due != nil && v.due.kind == ballast.EventRestored }

// drawRestore takes deletions back, mostly of what was deleted. Whether the bytes are still there is the index's to say: gc
// draws when they go.
func (m *machine) drawRestore() step {
	p, own := m.change()
	var deleted []*modelVersion
	for _, v := range m.all() {
		if v.status == ballast.StatusDeleted {
			deleted = append(deleted, v)
		}
	}
	if len(deleted) > 0 && !m.oneIn(4) {
		k := pick(m, "deleted", deleted).key
		p, own.Ref = m.changer(k.Scope), ballast.Ref{Scope: k.Scope, Name: k.Name, Version: k.Version}
	}
	kept := func(*modelVersion) bool { return false }
	return m.ending("restore", p, own,
		func(e *engine.Engine, c ctx, p engine.Principal, own engine.Own) (ballast.VersionInfo, bool, error) {
			before := m.contents()
			kept = func(v *modelVersion) bool {
				b := before.Blobs[index.BlobID{Scope: v.key.Scope, Digest: v.digest}]
				at := before.Versions[index.VersionID(v.key.Scope, v.key.Name, v.key.Version)].DeletedAt
				return b.State == index.BlobVerified && !b.KeptSince.IsZero() && !b.KeptSince.After(at.Time)
			}
			return e.Restore(c, p, own)
		},
		func(p engine.Principal, own engine.Own, v *modelVersion) ballast.Code { return m.back(p, own, v, kept) })
}

func (m *machine) back(p engine.Principal, own engine.Own, v *modelVersion, kept func(*modelVersion) bool) ballast.Code {
	switch {
	case v == nil || v.status == ballast.StatusSealed:
		return ballast.CodeNotFound
	case v.restoring():
		return ""
	case v.status != ballast.StatusDeleted && !v.restored:
		return ballast.CodePrecondition
	case v.status != ballast.StatusDeleted:
		return ""
	case own.IfMatch != nil && *own.IfMatch != v.revision:
		return ballast.CodePrecondition
	case v.due != nil:
		return ballast.CodeUnavailable // the record before cannot be written
	case !kept(v):
		return ballast.CodeGone
	}
	if v.base != "" {
		k := must(ballast.ParseKey(v.base))
		if base := m.name(k.Scope, k.Name).at(k.Version); base == nil || base.status == ballast.StatusDeleted {
			return ballast.CodePrecondition
		}
	}
	v.restored = true
	m.over(v, v.before, modelEvent{kind: ballast.EventRestored, after: v.revision + 1, fields: []string{"status"}, by: p.By()})
	if m.outage {
		v.status = ballast.StatusDeleted // until the record is written
	}
	return ""
}

// drawGC runs gc, or a part of a day goes by before. What becomes of a blob that nobody uses is taken from the index: all
// others must be what they were.
func (m *machine) drawGC() step {
	if m.oneIn(2) {
		return step{name: "gc", call: func() error { time.Sleep(20 * time.Hour); return nil }, want: func() ballast.Code { return "" }}
	}
	dry := m.oneIn(6)
	var run ballast.GCRun
	return step{
		name: "gc", show: args(dry),
		call: func() (err error) {
			if _, err = m.engine.StartGC(m.Context(), admin, ballast.GCRequest{DryRun: dry}); err != nil {
				return err
			}
			run, err = m.engine.GC(m.Context(), admin, time.Minute)
			return err
		},
		want: func() ballast.Code {
			if !dry {
				m.collected()
			}
			return ""
		},
		check: func() { equal(m, "gc", run.State, ballast.GCDone) },
	}
}

func (m *machine) collected() {
	for _, u := range m.uploads {
		switch {
		case u.status != ballast.UploadPending || m.now.Before(u.renewed.Add(machineLease)):
		case m.partsArrive(u):
			u.renewed = m.now
		default:
			m.settle(u, ballast.UploadExpired, m.now)
		}
	}
	c := m.contents()
	used := map[index.BlobID]bool{}
	for _, v := range m.all() {
		if v.status != ballast.StatusDeleted || v.restoring() {
			used[index.BlobID{Scope: v.key.Scope, Digest: v.digest}] = true
			for _, f := range v.files {
				used[index.BlobID{Scope: v.key.Scope, Digest: f.Digest}] = true
			}
		}
	}
	for id, b := range m.blobs {
		real := c.Blobs[id]
		if used[id] || len(b.pins) > 0 || real.State == b.state {
			continue
		}
		if real.State != index.BlobAbsent {
			m.Fatalf("gc made %s %s of %s", id.Digest, real.State, b.state)
		}
		m.remove(id)
	}
}
