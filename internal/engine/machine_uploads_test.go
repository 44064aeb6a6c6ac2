package engine_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// The principals of the machine, beside those of the rig.
var (
	writer2 = engine.Principal{ID: "w2", Name: "ci2", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Writer}}}
	both    = engine.Principal{ID: "b", Name: "both", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Writer}, {Scope: ballast.Global, Role: ballast.Writer}}}
	nobody  = engine.Principal{ID: "n", Name: "nobody"}
)

func everybody() []engine.Principal {
	return []engine.Principal{writer, writer2, both, keeper, reader, admin, other, nobody}
}

func (m *machine) anybody() engine.Principal {
	return pick(m, "principal", everybody())
}

// actor is mostly somebody who may write in a scope.
func (m *machine) actor(s ballast.Scope) engine.Principal {
	able := slices.DeleteFunc(everybody(), func(p engine.Principal) bool { return mayWrite(p, s) != "" })
	if len(able) == 0 || m.oneIn(8) {
		return m.anybody()
	}
	return pick(m, "writer", able)
}

func parsed[T any](parse func(string) (T, error), texts ...string) (all []T) {
	for _, s := range texts {
		all = append(all, must(parse(s)))
	}
	return all
}

func (m *machine) anyName() ballast.Name {
	return pick(m, "name", parsed(ballast.ParseName, "m", "m", "M", "org/n"))
}

// anyVersion draws labels of which some stand at one position; the zero one leaves the label out.
func (m *machine) anyVersion() ballast.Version {
	labels := append(parsed(ballast.ParseVersion, "1", "1.0.0", "2", "3", "2.1.0", "2.1.0-rc.1", "2.1.0-RC.1", "4.0.0-beta"), ballast.Version{}, ballast.Version{})
	return pick(m, "version", labels)
}

// anyScope draws a scope to name; the zero one names none.
func (m *machine) anyScope() ballast.Scope {
	return pick(m, "scope", []ballast.Scope{{}, {}, {}, acme, ballast.Global, scope("other")})
}

// anyUpload draws an upload's id: mostly an open one, now and then one that is over, or none.
func (m *machine) anyUpload() string {
	var open, over []string
	for _, u := range m.uploads {
		if u.status.Settled() {
			over = append(over, u.id)
		} else {
			open = append(open, u.id)
		}
	}
	open, over = open[max(0, len(open)-4):], over[max(0, len(over)-4):]
	from := append(slices.Repeat(open, 3), over...)
	if len(from) == 0 || m.oneIn(20) {
		return uuid.Nil.String()
	}
	return pick(m, "upload", from)
}

// whose draws who calls on an upload.
func (m *machine) whose(id string) engine.Principal {
	if u := m.upload(id); u != nil {
		return m.actor(u.scope)
	}
	return m.anybody()
}

func (m *machine) drawCreate() step {
	p := m.actor(pick(m, "of", []ballast.Scope{acme, acme, acme, ballast.Global}))
	req := ballast.CreateUpload{Scope: m.anyScope(), Name: m.anyName(), Version: m.anyVersion()}
	if p.ID == both.ID && m.oneIn(2) {
		req.Scope = ballast.Global
	}
	switch m.draw("attempt", 20) {
	case 0:
		req.Attempt = "short"
	case 1:
		req.Name = ballast.Name{}
	case 2, 3, 4, 5:
		if u := m.upload(m.anyUpload()); u != nil { // again, mostly as it was
			req.Attempt = u.attempt
			if !m.oneIn(4) {
				req.Scope, req.Name, req.Version = u.scope, u.name, u.version
				p = principal(u.principal)
			}
		}
	}
	if req.Attempt == "" {
		req.Attempt = fmt.Sprintf("attempt-number-%d", m.steps)
	}
	return m.create(p, req, new(string))
}

func principal(id string) engine.Principal {
	all := everybody()
	return all[slices.IndexFunc(all, func(p engine.Principal) bool { return p.ID == id })]
}

// by is how the principal with an id shows in created_by and in the feed.
func by(id string) string { return principal(id).By() }

// create opens an upload and leaves its id in made.
func (m *machine) create(p engine.Principal, req ballast.CreateUpload, made *string) step {
	var got ballast.Upload
	var created, wantCreated bool
	var conflict *ballast.Error
	return step{
		name: "create", show: args(p, req),
		call: func() (err error) {
			got, created, err = m.engine.CreateUpload(m.Context(), p, req)
			if *made = got.ID; err != nil {
				conflict = ballast.AsError(err)
			}
			return err
		},
		want: func() (code ballast.Code) {
			var holder *modelUpload
			wantCreated, holder, code = m.opens(p, req, got.ID)
			if code == ballast.CodeConflict {
				if conflict != nil && (conflict.Holder == nil || conflict.Holder.Upload != holder.id) {
					m.Fatalf("the conflict names %+v, the label is held by %s", conflict.Holder, holder.id)
				}
				m.reap(m.now) // the holder may be dead
			}
			return code
		},
		check: func() {
			u := m.upload(got.ID)
			if u == nil {
				m.Fatalf("answered an upload that is not the attempt's: %+v", got)
			}
			equal(m, "created", created, wantCreated)
			m.sameUpload(got, u)
		},
	}
}

// opens is the model's CreateUpload. id is what the engine called a new one.
func (m *machine) opens(p engine.Principal, req ballast.CreateUpload, id string) (created bool, holder *modelUpload, code ballast.Code) {
	if req.Name.IsZero() || len(req.Attempt) < 16 {
		return false, nil, ballast.CodeInvalid
	}
	s := home(p, req.Scope)
	if code := mayWrite(p, s); code != "" {
		return false, nil, code
	}
	for _, u := range m.uploads {
		if u.status.Settled() || u.principal != p.ID || u.attempt != req.Attempt {
			continue
		}
		if u.scope != s || u.name.Fold() != req.Name.Fold() || u.version.Fold() != req.Version.Fold() && !(u.sealed && req.Version.IsZero()) {
			return false, nil, ballast.CodeInvalid
		}
		if u.status == ballast.UploadPending {
			u.renewed = m.now
		}
		return false, nil, ""
	}
	if !req.Version.IsZero() {
		if v := m.name(s, req.Name).at(req.Version); v != nil && v.status == ballast.StatusRetired {
			return false, nil, ballast.CodeRetired
		} else if v != nil {
			return false, nil, ballast.CodeAlreadyExists
		}
		if holder = m.holder(s, req.Name, req.Version); holder != nil {
			return false, holder, ballast.CodeConflict
		}
	}
	m.uploads = append(m.uploads, &modelUpload{
		id: id, attempt: req.Attempt, principal: p.ID, scope: s, name: req.Name, version: req.Version,
		status: ballast.UploadPending, renewed: m.now, declared: map[digest.Digest]modelDeclared{},
	})
	return true, nil, ""
}

// sameUpload holds what the engine shows of an upload to the model.
func (m *machine) sameUpload(got ballast.Upload, u *modelUpload) {
	m.Helper()
	equal(m, "upload "+u.id, []any{got.Scope, got.Name, got.Version, got.Status}, []any{u.scope, u.name, u.version, u.status})
	switch u.status {
	case ballast.UploadPending:
		equal(m, "lease", got.ExpiresAt, ballast.At(u.renewed.Add(machineLease)))
	case ballast.UploadFailed:
		equal(m, "error", got.Error.Code, u.failed)
	case ballast.UploadDone:
		v := m.name(u.scope, u.name).at(u.version)
		equal(m, "result", []any{got.Result.Key, got.Result.Digest}, []any{v.key.String(), u.manifest})
	}
}

func (m *machine) drawUpload() step {
	id := m.anyUpload()
	p := m.whose(id)
	var got ballast.Upload
	return step{
		name: "upload", show: args(p, id),
		call: func() (err error) { got, err = m.engine.Upload(m.Context(), p, id, 0); return err },
		want: func() ballast.Code {
			u, code := m.access(p, id)
			if code == "" && u.status == ballast.UploadPending && m.now.Sub(u.renewed) > machineLease/3 {
				u.renewed = m.now
			}
			return code
		},
		check: func() { m.sameUpload(got, m.upload(id)) },
	}
}

func (m *machine) drawCheckUpload() step {
	id := m.anyUpload()
	p := m.whose(id)
	return step{
		name: "check upload", show: args(p.Name, id),
		call: func() error { return m.engine.CheckUpload(m.Context(), p, id) },
		want: func() ballast.Code { _, code := m.access(p, id); return code },
	}
}

func (m *machine) drawAbort() step {
	id := m.anyUpload()
	return m.abort(m.whose(id), id)
}

func (m *machine) abort(p engine.Principal, id string) step {
	return step{
		name: "abort", show: args(p, id),
		call: func() error { return m.engine.AbortUpload(m.Context(), p, id) },
		want: func() ballast.Code {
			u, code := m.access(p, id)
			switch {
			case code != "" || u.status.Settled():
				return code
			case u.sealed:
				return ballast.CodeConflict
			}
			m.settle(u, ballast.UploadAborted, m.now)
			return ""
		},
	}
}

func (m *machine) drawWait() step {
	d := pick(m, "wait", []time.Duration{time.Second, time.Minute, 20 * time.Minute, 40 * time.Minute})
	if m.oneIn(4) {
		d = pick(m, "long wait", []time.Duration{
			70 * time.Minute, machineLease - time.Minute, machineLease, machineLease + machineReap, index.SettledLife,
		})
	}
	return step{
		name: "wait", show: args(d),
		call: func() error { time.Sleep(d); return nil },
		want: func() ballast.Code { return "" },
	}
}
