package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// drawImport has the registry publish what lies in an inbox, and waits until it has done so.
func (m *machine) drawImport() step {
	if m.outage || m.nextRound() < settling {
		return step{}
	}
	p := m.actor(pick(m, "of", []ballast.Scope{acme, acme, ballast.Global}))
	req := ballast.CreateImport{Scope: m.anyScope(), Name: m.anyName(), Version: m.anyVersion(), Move: m.oneIn(2)}
	if m.oneIn(20) {
		req.Name = ballast.Name{}
	}
	inbox := "inbox/" + fmt.Sprint(m.steps) + "/"
	req.Source = source("inbox:" + strings.TrimPrefix(inbox, "inbox/"))
	var files []ballast.File
	if s := home(p, req.Scope); !s.IsZero() && !m.oneIn(8) {
		inbox = s.Path() + "/" + inbox
		for _, path := range []string{"a", "b", "c/d"}[:1+m.draw("files", 3)] {
			b := m.anyBody()
			m.mem.Plant(inbox+path, b.bytes)
			files = append(files, ballast.File{Path: path, Size: int64(len(b.bytes)), Digest: b.digest})
		}
	}
	return m.imports(p, req, files, inbox)
}

// imports asks for an import of files that lie below a key, and waits until the engine has come to rest.
func (m *machine) imports(p engine.Principal, req ballast.CreateImport, files []ballast.File, inbox string) step {
	var got ballast.Import
	var conflict *ballast.Error
	return step{
		name: "import", show: args(p.Name, req, len(files)),
		call: func() (err error) {
			if got, _, err = m.engine.CreateImport(m.Context(), p, req); err != nil {
				conflict = ballast.AsError(err)
				return err
			}
			synctest.Wait()
			time.Sleep(settling / 2) // what lay where a copy goes is removed first
			synctest.Wait()
			return nil
		},
		want: func() ballast.Code {
			holder, code := m.mayImport(p, req, files)
			if code == ballast.CodeConflict {
				if conflict != nil && (conflict.Holder == nil || conflict.Holder.Upload != holder.id) {
					m.Fatalf("the conflict names %+v, the label is held by %s", conflict.Holder, holder.id)
				}
				m.reap(m.now)
			}
			if code == "" {
				m.imported(p, req, files, got.ID)
			}
			return code
		},
		check: func() {
			u := m.upload(got.ID)
			now := must(m.engine.Import(m.Context(), p, got.ID, 0))
			equal(m, "import", []any{now.Scope, now.Name, now.Version, now.Status}, []any{u.scope, u.name, u.version, u.status})
			left := len(files)
			if u.status == ballast.UploadDone && req.Move {
				left = 0
				equal(m, "moved", *now.Moved, ballast.Moved{Done: true, Files: len(files)})
			}
			equal(m, "left at the source", len(m.mem.Keys(inbox)), left)
			m.sameUpload(must(m.engine.Upload(m.Context(), p, got.ID, 0)), u)
		},
	}
}

// mayImport is the model's CreateImport.
func (m *machine) mayImport(p engine.Principal, req ballast.CreateImport, files []ballast.File) (holder *modelUpload, code ballast.Code) {
	if req.Name.IsZero() {
		return nil, ballast.CodeInvalid
	}
	s := home(p, req.Scope)
	if code := mayWrite(p, s); code != "" {
		return nil, code
	}
	if len(files) == 0 {
		return nil, ballast.CodeNotFound
	}
	if req.Version.IsZero() {
		return nil, ""
	}
	switch v := m.name(s, req.Name).at(req.Version); {
	case v == nil:
	case v.status == ballast.StatusRetired:
		return nil, ballast.CodeRetired
	case v.status == ballast.StatusDeleted || v.key.Version.Fold() != req.Version.Fold():
		return nil, ballast.CodeAlreadyExists
	default:
		return nil, "" // its files decide
	}
	if holder = m.holder(s, req.Name, req.Version); holder != nil {
		return holder, ballast.CodeConflict
	}
	return nil, ""
}

// imported is what an import has made once the engine has come to rest.
func (m *machine) imported(p engine.Principal, req ballast.CreateImport, files []ballast.File, id string) {
	_, body, err := ballast.BuildManifest(files)
	if err != nil {
		m.Fatalf("the machine drew bad files: %v", err)
	}
	u := &modelUpload{
		id: id, attempt: "import-" + id, principal: p.ID, scope: home(p, req.Scope), name: req.Name, version: req.Version,
		status: ballast.UploadImporting, manifest: ballast.DigestOf(body), accepted: files, imported: true,
	}
	m.uploads = append(m.uploads, u)
	defer func() { u.settled = m.contents().Uploads[id].SettledAt.Time }()
	if v := m.name(u.scope, u.name).at(u.version); v != nil && !u.version.IsZero() {
		if v.digest != u.manifest {
			m.fail(u, ballast.CodeAlreadyExists)
			return
		}
		m.settle(u, ballast.UploadDone, m.now)
		return
	}
	for f := range distinctFiles(files) {
		m.takeOver(u, f)
	}
	for m.own(u, u.manifest, int64(len(body))) != "" { // what lay there was none of it, and is removed
	}
	u.status = ballast.UploadVerifying
	sorted := slices.SortedFunc(slices.Values(files), func(a, b ballast.File) int { return strings.Compare(a.Path, b.Path) })
	v, code := m.seal(u, sorted, "")
	if code != "" {
		m.fail(u, code)
		return
	}
	if v.status == ballast.StatusSealed {
		m.publish(v)
	}
}

// takeOver is what becomes of a blob that an import pins: there already, or copied, whatever others have begun with it.
func (m *machine) takeOver(u *modelUpload, f ballast.File) {
	w := want{BlobRequest: ballast.BlobRequest{Digest: f.Digest, Size: f.Size}}
	id := w.id(u.scope)
	m.pin(u, w)
	b := m.blob(id)
	if b.state == index.BlobVerified {
		return
	}
	m.abortParts(id)
	if b.object == nil || b.object.tainted {
		b.object = &modelObject{size: f.Size}
	}
	m.look(id)
}

// drawImports lists the imports into one scope, the newest first.
func (m *machine) drawImports() step {
	s := pick(m, "scope", []ballast.Scope{{}, acme, acme, ballast.Global})
	p := m.actor(s)
	var got, expected []string
	return step{
		name: "imports", show: args(p.Name, s),
		call: func() error {
			for cursor, more := "", true; more; more = cursor != "" {
				page, err := m.engine.Imports(m.Context(), p, engine.ListImports{Scope: s, Limit: 2, Cursor: cursor})
				if err != nil {
					return err
				}
				for _, i := range page.Imports {
					got = append(got, fmt.Sprint(i.ID, i.Name, i.Version, i.Status))
				}
				cursor = page.Cursor
			}
			return nil
		},
		want: func() ballast.Code {
			if code := mayWrite(p, home(p, s)); code != "" {
				return code
			}
			for _, u := range slices.Backward(m.uploads) {
				if u.imported && u.scope == home(p, s) {
					expected = append(expected, fmt.Sprint(u.id, u.name, u.version, u.status))
				}
			}
			return ""
		},
		check: func() { equal(m, "imports", got, expected) },
	}
}

// drawCancelImport finds none under way: each draws to its end.
func (m *machine) drawCancelImport() step {
	id := m.anyUpload()
	for _, u := range m.uploads {
		if u.imported && !m.oneIn(3) {
			id = u.id
		}
	}
	p := m.whose(id)
	return step{
		name: "cancel import", show: args(p.Name, id),
		call: func() error { return m.engine.CancelImport(m.Context(), p, id) },
		want: func() ballast.Code {
			u, code := m.access(p, id)
			if code == "" && !u.imported {
				code = ballast.CodeNotFound
			}
			return code
		},
	}
}
