package engine_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// copyCall is a copy as somebody asks for it.
type copyCall struct {
	p    engine.Principal
	from ballast.Ref
	req  ballast.CopyVersion
}

func (c copyCall) target() ballast.Scope { return home(c.p, c.req.Scope) }

// upload is what a copy of a version opens: the same for the same copy.
func (c copyCall) upload(v *modelVersion) ballast.CreateUpload {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s", v.key, c.target(), c.req.Name.Fold(), c.req.Version.Fold()))
	return ballast.CreateUpload{Scope: c.target(), Name: c.req.Name, Version: c.req.Version, Attempt: fmt.Sprintf("copy-%x", sum[:16])}
}

// anyCopy draws a copy between scopes or within one, mostly by somebody who may, now and then one that was asked for before.
func (m *machine) anyCopy() copyCall {
	if len(m.copies) > 0 && m.oneIn(4) {
		c := pick(m, "copy", m.copies)
		if m.oneIn(4) || m.outage {
			c.p, c.req.Scope = m.actor(c.target()), c.target()
		}
		return c
	}
	c := copyCall{p: m.anybody(), from: m.anySource(), req: ballast.CopyVersion{Scope: m.anyScope(), Name: m.anyName(), Version: m.anyVersion()}}
	switch m.draw("where to", 30) {
	case 0:
		c.req.Name = ballast.Name{}
	case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10:
		c.req.Scope = map[ballast.Scope]ballast.Scope{acme: ballast.Global, ballast.Global: acme}[c.from.Scope]
	}
	able := slices.DeleteFunc(everybody(), func(p engine.Principal) bool {
		_, code := m.resolve(p, c.from)
		return code != "" || mayWrite(p, home(p, c.req.Scope)) != ""
	})
	if len(able) > 0 && !m.oneIn(8) {
		c.p = pick(m, "copier", able)
	}
	m.copies = append(m.copies, c)
	m.copies = m.copies[max(0, len(m.copies)-6):]
	return c
}

// anySource draws what to copy: mostly by its label, and what is sealed or has a base rather than other versions.
func (m *machine) anySource() ballast.Ref {
	var sealed, made, ready []*modelVersion
	for _, v := range m.all() {
		switch {
		case v.status == ballast.StatusSealed:
			sealed = append(sealed, v)
		case v.status == ballast.StatusReady && v.base != "":
			made = append(made, v)
			fallthrough
		case v.status == ballast.StatusReady:
			ready = append(ready, v)
		}
	}
	for _, some := range [][]*modelVersion{sealed, made, ready} {
		if len(some) > 0 && m.oneIn(2) {
			k := pick(m, "source", some).key
			return ballast.Ref{Scope: k.Scope, Name: k.Name, Version: k.Version}
		}
	}
	return m.anyRef()
}

func (m *machine) drawCopy() step {
	if m.nextRound() < settling || len(m.all()) == 0 && !m.oneIn(4) {
		return step{}
	}
	c := m.anyCopy()
	if m.oneIn(3) {
		m.beside(c)
	}
	return m.copy(c)
}

// beside has another upload send some of what is to be copied, honestly or not, or only begin to.
func (m *machine) beside(c copyCall) {
	v, code := m.resolve(c.p, c.from)
	if code != "" || mayWrite(c.p, c.target()) != "" {
		return
	}
	var id string
	req := ballast.CreateUpload{Scope: c.target(), Name: m.anyName(), Attempt: fmt.Sprintf("attempt-beside-%d", m.steps)}
	if m.do(m.create(c.p, req, &id)); m.upload(id) == nil {
		return
	}
	_, manifest, err := ballast.BuildManifest(v.files)
	if err != nil {
		m.Fatal(err)
	}
	w := want{ballast.BlobRequest{Digest: v.digest, Size: int64(len(manifest)), Method: ballast.MethodPut}, manifest}
	if len(v.files) > 0 && !m.oneIn(4) {
		f := pick(m, "file", v.files)
		if i := slices.IndexFunc(m.bodies, func(b body) bool { return b.digest == f.Digest }); i >= 0 {
			w = m.anyWant(m.bodies[i])
		}
	}
	before := len(m.sends)
	m.do(m.ask(c.p, id, []want{w}, false))
	for _, s := range m.sends[min(before, len(m.sends)):] {
		extra := http.Header{}
		if m.oneIn(2) {
			extra.Set("Content-Encoding", "gzip")
		}
		if !m.oneIn(4) {
			m.do(m.send(s, extra))
		}
	}
}

// copy asks for a copy, and waits until the engine has come to rest.
func (m *machine) copy(c copyCall) step {
	var got ballast.Upload
	var err error
	var as copied
	return step{
		name: "copy", show: args(c.p.Name, c.from, c.req),
		call: func() error {
			if got, err = m.engine.Copy(m.Context(), c.p, c.from, c.req); err == nil && got.Status == ballast.UploadVerifying {
				synctest.Wait()
				time.Sleep(settling / 2) // what lay where it copies to is removed first
			}
			return err
		},
		want: func() (code ballast.Code) {
			if as, code = m.copyBegins(c, err); code == "" && as.upload != nil && as.upload.status == ballast.UploadVerifying && !as.upload.sealed {
				code = m.copyEnds(&as)
			}
			if err == nil && got.Status == ballast.UploadVerifying {
				code = "" // it was answered before it failed
			}
			return code
		},
		check: func() {
			switch {
			case as.same != nil:
				equal(m, "copied before", []any{got.Status, got.Result.Status}, []any{ballast.UploadDone, ballast.StatusReady})
				m.sameVersion(*got.Result, as.same)
			case got.Status == ballast.UploadVerifying:
				if !as.waits && as.upload.status != ballast.UploadVerifying {
					m.Fatalf("the copy to %s is not waited for", got.Key)
				}
				m.sameUpload(must(m.engine.Upload(m.Context(), c.p, as.upload.id, 0)), as.upload)
			default:
				m.sameUpload(got, as.upload)
				m.sameVersion(*got.Result, m.name(as.upload.scope, as.upload.name).at(as.upload.version))
			}
		},
	}
}

// copied is what became of a copy.
type copied struct {
	from   *modelVersion
	same   *modelVersion // that the label had already
	upload *modelUpload  // that it opened or joined
	waits  bool          // for what lies where it copies to
}

// copyBegins is the model's Copy until the upload is accepted, joined or refused. err is what the call answered: whether
// it met bytes that are being removed, or came after them, is not the model's to say.
func (m *machine) copyBegins(c copyCall, err error) (as copied, code ballast.Code) {
	s := c.target()
	if code := mayWrite(c.p, s); code != "" {
		return as, code
	}
	if as.from, code = m.resolve(c.p, c.from); code != "" {
		return as, code
	}
	if as.from.status != ballast.StatusReady {
		return as, ballast.CodeBusy
	}
	if base, err := ballast.ParseKey(as.from.base); err == nil && base.Scope != s && base.Scope != ballast.Global {
		return as, ballast.CodePrecondition
	}
	req := c.upload(as.from)
	_, holder, code := m.opens(c.p, req, m.unknownUpload())
	switch code {
	case "":
	case ballast.CodeAlreadyExists:
		same := m.name(s, req.Name).at(req.Version)
		switch {
		case same.status == ballast.StatusDeleted || same.key.Version.Fold() != req.Version.Fold() || same.digest != as.from.digest:
			return as, code
		case same.status == ballast.StatusSealed:
			return as, ballast.CodeBusy
		}
		as.same, code = m.resolve(c.p, ballast.Ref{Scope: s, Name: req.Name, Version: req.Version})
		return as, code
	case ballast.CodeConflict:
		if e := ballast.AsError(err); e == nil || e.Holder == nil || e.Holder.Upload != holder.id {
			m.Fatalf("the copy met %v, the label is held by %s", err, holder.id)
		}
		m.reap(m.now)
		return as, code
	default:
		return as, code
	}
	as.upload = m.attempted(c.p, req.Attempt)
	switch {
	case as.upload.status == ballast.UploadPending:
		code = m.copyAccepted(&as, err)
	case as.upload.manifest != as.from.digest:
		code = ballast.CodeConflict
	}
	return as, code
}

// unknownUpload is the id of the upload that a call has made, or "".
func (m *machine) unknownUpload() string {
	for id := range m.contents().Uploads {
		if m.upload(id) == nil {
			return id
		}
	}
	return ""
}

// attempted is the open upload of an attempt.
func (m *model) attempted(p engine.Principal, attempt string) *modelUpload {
	i := slices.IndexFunc(m.uploads, func(u *modelUpload) bool {
		return u.principal == p.ID && u.attempt == attempt && !u.status.Settled()
	})
	return m.uploads[i]
}

// copyAccepted pins what is to be copied and fixes what is published.
func (m *machine) copyAccepted(as *copied, err error) ballast.Code {
	u, v := as.upload, as.from
	u.renewed = m.now
	fresh := map[index.BlobID]bool{}
	for f := range distinctFiles(v.files) {
		w := want{BlobRequest: ballast.BlobRequest{Digest: f.Digest, Size: f.Size}}
		fresh[w.id(u.scope)] = m.pin(u, w)
	}
	for f := range distinctFiles(v.files) {
		id := index.BlobID{Scope: u.scope, Digest: f.Digest}
		b := m.blob(id)
		if b.state != index.BlobUploading || b.method != ballast.MethodPut || fresh[id] && f.Size > 0 {
			continue
		}
		if f.Size == 0 && b.object == nil {
			b.object = &modelObject{} // the service writes empty files itself
		}
		m.look(id)
		as.waits = as.waits || m.blob(id).state == index.BlobAbsent
	}
	if as.waits && ballast.CodeOf(err) == ballast.CodeBusy {
		return ballast.CodeBusy
	}
	_, body, berr := ballast.BuildManifest(v.files)
	if berr != nil {
		m.Fatal(berr)
	}
	if m.own(u, v.digest, int64(len(body))) != "" { // what lay there is removed
		return ballast.CodeBusy
	}
	u.accepted, u.said, u.manifest, u.status = v.files, maps.Clone(v.said), v.digest, ballast.UploadVerifying
	return ""
}

// copyEnds is what becomes of a copy that was accepted, once the store copies.
func (m *machine) copyEnds(as *copied) ballast.Code {
	u := as.upload
	code := m.copyPublished(as)
	if code != "" {
		m.fail(u, code)
		m.adoptBlobs() // some of them were copied
	}
	if u.status.Settled() {
		u.settled = m.contents().Uploads[u.id].SettledAt.Time
	}
	return code
}

func (m *machine) copyPublished(as *copied) (code ballast.Code) {
	u := as.upload
	for f := range distinctFiles(u.accepted) {
		b := m.blob(index.BlobID{Scope: u.scope, Digest: f.Digest})
		as.waits = as.waits || b.state != index.BlobVerified && b.object != nil && b.object.tainted
		if b.state == index.BlobUploading && b.method == ballast.MethodMultipart && b.object == nil && m.there(u, f) {
			if code = m.complete(u, f); code != "" { // what its own client sent in parts
				return code
			}
			continue
		}
		m.takeOver(u, f)
	}
	if as.from.base != "" {
		k := must(ballast.ParseKey(as.from.base))
		if m.name(k.Scope, k.Name).at(k.Version).status != ballast.StatusReady {
			return ballast.CodePrecondition
		}
	}
	v, code := m.seal(u, u.accepted, as.from.base)
	if code == "" && v.status == ballast.StatusSealed && !m.outage {
		m.publish(v)
	}
	return code
}

// opensCopy opens the upload of a copy that would be accepted, as if the service had died before it was, and returns it;
// nil when the copy opens none.
func (m *machine) opensCopy(c copyCall) *modelUpload {
	v, code := m.resolve(c.p, c.from)
	if code != "" || v.status != ballast.StatusReady || mayWrite(c.p, c.target()) != "" || c.req.Name.IsZero() {
		return nil
	}
	if base, err := ballast.ParseKey(v.base); err == nil && base.Scope != c.target() && base.Scope != ballast.Global {
		return nil
	}
	var id string
	m.do(m.create(c.p, c.upload(v), &id))
	return m.upload(id)
}

// drawHeldCopy asks for a copy while the store copies nothing, and something happens before it does again: the source ends,
// the engine starts anew, the copy is asked for again or given up.
func (m *machine) drawHeldCopy() step {
	if m.outage || m.nextRound() < 4*settling {
		return step{}
	}
	c := m.anyCopy()
	for _, from := range []ballast.Scope{acme, ballast.Global} {
		if c.from.Scope == from && !m.oneIn(4) {
			c.p, c.req.Scope = both, map[ballast.Scope]ballast.Scope{acme: ballast.Global, ballast.Global: acme}[from]
		}
	}
	if m.oneIn(3) {
		m.beside(c)
	}
	u := m.opensCopy(c)
	if u == nil || u.status != ballast.UploadPending || len(u.declared) > 0 {
		return step{}
	}
	v, _ := m.resolve(c.p, c.from)
	if !slices.ContainsFunc(v.files, func(f ballast.File) bool { return m.isCopied(u.scope, f) }) {
		return m.copy(c)
	}
	m.mem.Before(func(_ context.Context, op objstoretest.Op, _ string) {
		if op == objstoretest.OpCopy {
			m.mem.Fail(op, 1, objstore.ErrUnavailable, false)
		}
	})
	as := copied{}
	if m.do(m.heldCopy(c, u, &as)); u.status == ballast.UploadVerifying {
		switch pick(m, "meanwhile", []string{"again", "end", "end", "restart", "abort"}) {
		case "again":
			m.do(m.heldCopy(c, u, &as))
		case "end":
			own := engine.Own{Ref: ballast.Ref{Scope: v.key.Scope, Name: v.key.Name, Version: v.key.Version}}
			m.do(m.end(m.changer(v.key.Scope), own, pick(m, "end", []ballast.Status{ballast.StatusRetired, ballast.StatusDeleted})))
		case "restart":
			m.restart()
		case "abort":
			m.do(m.abort(c.p, u.id))
		}
	}
	return step{
		name: "held copy", show: args(u.id),
		call: func() error { m.mem.Before(nil); m.mem.Heal(); time.Sleep(settling); return nil },
		want: func() ballast.Code {
			if u.status == ballast.UploadVerifying {
				m.copyEnds(&as)
			}
			m.adoptBlobs()
			return ""
		},
		check: func() { m.sameUpload(must(m.engine.Upload(m.Context(), c.p, u.id, 0)), u) },
	}
}

// isCopied reports whether the store has to copy a file into a scope.
func (m *machine) isCopied(s ballast.Scope, f ballast.File) bool {
	b := m.blob(index.BlobID{Scope: s, Digest: f.Digest})
	return f.Size > 0 && b.state != index.BlobVerified && (b.object == nil || b.object.tainted)
}

// heldCopy asks for a copy, again or for the first time, that cannot end.
func (m *machine) heldCopy(c copyCall, u *modelUpload, as *copied) step {
	var got ballast.Upload
	var err error
	return step{
		name: "copy", show: args("held", c.p.Name, c.from, c.req),
		call: func() error { got, err = m.engine.Copy(m.Context(), c.p, c.from, c.req); return err },
		want: func() (code ballast.Code) { *as, code = m.copyBegins(c, err); return code },
		check: func() {
			equal(m, "joined", got.ID, u.id)
			m.sameUpload(got, u)
		},
	}
}
