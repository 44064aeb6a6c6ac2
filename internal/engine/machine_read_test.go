package engine_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// lookup are the scopes in which a principal's reference is looked up.
func lookup(p engine.Principal, named ballast.Scope) (scopes []ballast.Scope) {
	all := []ballast.Scope{named}
	if named.IsZero() {
		all = slices.Compact([]ballast.Scope{home(p, named), ballast.Global})
	}
	for _, s := range all {
		if roleIn(p, s) >= ballast.Reader {
			scopes = append(scopes, s)
		}
	}
	return scopes
}

// resolve is the model's meaning of a reference, for bytes.
func (m *model) resolve(p engine.Principal, ref ballast.Ref) (*modelVersion, ballast.Code) {
	v, code := m.known(p, lookup(p, ref.Scope), ref, false)
	if code == "" && m.shut(v) {
		return nil, ballast.CodeRetired
	}
	return v, code
}

// known is the model's meaning of a reference in some scopes; with retired also of what is no longer served.
func (m *model) known(p engine.Principal, scopes []ballast.Scope, ref ballast.Ref, retired bool) (*modelVersion, ballast.Code) {
	for _, s := range scopes {
		n := m.name(s, ref.Name)
		switch {
		case !ref.Version.IsZero():
			if v := n.at(ref.Version); v != nil {
				return v, v.shown(roleIn(p, s), retired)
			}
		case ref.Digest != "":
			if v, code := m.byDigest(n, ref.Digest, retired); v != nil || code != "" {
				return v, code
			}
		case !n.hadReady:
		case ref.Alias == ballast.ProductionAlias():
			if n.production == nil {
				return nil, ballast.CodeNotFound
			}
			return n.production, ""
		case !ref.Alias.IsZero():
			if a, ok := n.aliases[ref.Alias]; ok {
				return a.to, a.to.shown(roleIn(p, s), retired)
			}
			return nil, ballast.CodeNotFound
		default:
			if v := n.latest(); v != nil {
				return v, ""
			}
			if len(n.ready()) == 0 && slices.ContainsFunc(n.versions, func(v *modelVersion) bool { return v.status == ballast.StatusRetired }) {
				return nil, ballast.CodeRetired
			}
			return nil, ballast.CodeNotFound
		}
	}
	return nil, ballast.CodeNotFound
}

// shown is how a version answers to its own label.
func (v *modelVersion) shown(role ballast.Role, retired bool) ballast.Code {
	switch v.status {
	case ballast.StatusReady:
		return ""
	case ballast.StatusRetired:
		if retired {
			return ""
		}
		return ballast.CodeRetired
	case ballast.StatusSealed:
		if role >= ballast.Writer {
			return ""
		}
	}
	return ballast.CodeNotFound
}

// byDigest is the highest version with a digest that is served; why none is; or neither, when the name never had it.
func (m *model) byDigest(n *modelName, d digest.Digest, retired bool) (best *modelVersion, code ballast.Code) {
	for _, v := range slices.SortedFunc(slices.Values(n.versions), highestFirst) {
		switch {
		case v.digest != d || v.status == ballast.StatusSealed:
		case v.status == ballast.StatusReady && !m.shut(v):
			return v, ""
		case v.status == ballast.StatusDeleted:
			code = cmp.Or(code, ballast.CodeNotFound)
		default:
			if code = ballast.CodeRetired; best == nil {
				best = v
			}
		}
	}
	if retired && best != nil {
		return best, ""
	}
	return nil, code
}

// bases are those behind a version, its own first.
func (m *model) bases(v *modelVersion) (all []*modelVersion) {
	for v.base != "" {
		k := must(ballast.ParseKey(v.base))
		v = m.name(k.Scope, k.Name).at(k.Version)
		all = append(all, v)
	}
	return all
}

// shut reports whether a base of a version was retired.
func (m *model) shut(v *modelVersion) bool {
	return slices.ContainsFunc(m.bases(v), func(base *modelVersion) bool { return base.status == ballast.StatusRetired })
}

// anyRef draws a reference of every form, mostly to something that is there.
func (m *machine) anyRef() ballast.Ref {
	r := ballast.Ref{Scope: m.anyScope(), Name: m.anyName(), Version: m.anyVersion(), Digest: ballast.EmptyDigest}
	if all := m.all(); len(all) > 0 && !m.oneIn(4) {
		v := pick(m, "known version", all)
		r = ballast.Ref{Scope: v.key.Scope, Name: v.key.Name, Version: v.key.Version, Digest: v.digest}
		if m.oneIn(2) {
			r.Scope = ballast.Scope{}
		}
	}
	switch m.draw("form", 5) {
	case 0:
		return ballast.Ref{Scope: r.Scope, Name: r.Name, Version: r.Version}
	case 1:
		return ballast.Ref{Scope: r.Scope, Name: r.Name, Alias: m.anyAlias()}
	case 2:
		return ballast.Ref{Scope: r.Scope, Name: r.Name, Digest: r.Digest}
	case 3:
		return ballast.Ref{Scope: r.Scope, Name: r.Name, Alias: ballast.ProductionAlias()}
	}
	return ballast.Ref{Scope: r.Scope, Name: r.Name}
}

// all are all versions, in whatever state.
func (m *machine) all() (all []*modelVersion) {
	for _, id := range m.nameIDs() {
		all = append(all, m.names[id].versions...)
	}
	return all
}

func (m *machine) anyAlias() ballast.Alias {
	return pick(m, "alias", parsed(ballast.ParseAlias, "stable", "beta"))
}

func (m *machine) drawRead() step {
	ref := m.anyRef()
	return m.read(m.actor(ref.Scope), ref)
}

func (m *machine) read(p engine.Principal, ref ballast.Ref) step {
	var got ballast.VersionInfo
	var v *modelVersion
	return step{
		name: "read", show: args(p.Name, ref),
		call: func() (err error) { got, err = m.engine.Version(m.Context(), p, ref); return err },
		want: func() (code ballast.Code) { v, code = m.resolve(p, ref); return code },
		check: func() {
			equal(m, "created by", got.CreatedBy, by(v.upload.principal))
			m.sameVersion(got, v)
		},
	}
}

func (m *machine) drawProvenance() step {
	ref := m.anyRef()
	p := m.actor(ref.Scope)
	var got ballast.VersionInfo
	var v *modelVersion
	return step{
		name: "provenance", show: args(p.Name, ref),
		call: func() (err error) { got, err = m.engine.Provenance(m.Context(), p, ref); return err },
		want: func() (code ballast.Code) {
			v, code = m.known(p, lookup(p, ref.Scope), ref, true)
			return code
		},
		check: func() { m.sameVersion(got, v) },
	}
}

// sameVersion holds what the engine shows of a version to the model.
func (m *machine) sameVersion(got ballast.VersionInfo, v *modelVersion) {
	m.Helper()
	equal(m, "version", []any{got.Key, got.Digest, got.Files, got.Status, got.Stage, got.Revision, got.Aliases},
		[]any{v.key, v.digest, len(v.files), v.status, v.stage, v.revision, m.aliasesOf(v)})
	said := map[string]json.RawMessage{}
	for field, value := range v.said {
		said[field] = json.RawMessage(value)
	}
	if v.base != "" {
		said["base_model"] = must(json.Marshal(v.base))
	}
	var is map[string]json.RawMessage
	if err := json.Unmarshal(must(json.Marshal(got.Metadata)), &is); err != nil {
		m.Fatal(err)
	}
	equal(m, "metadata", string(must(json.Marshal(is))), string(must(json.Marshal(said))))
}

func (m *machine) aliasesOf(v *modelVersion) (of []ballast.Alias) {
	aliases := m.name(v.key.Scope, v.key.Name).aliases
	for _, a := range sortedAliases(aliases) {
		if aliases[a].to == v {
			of = append(of, a)
		}
	}
	return of
}

func sortedAliases(all map[ballast.Alias]modelAlias) []ballast.Alias {
	return slices.SortedFunc(maps.Keys(all), func(a, b ballast.Alias) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) })
}

// page is a list of files that a client has begun.
type page struct {
	p      engine.Principal
	ref    ballast.Ref
	digest digest.Digest
	cursor string
	next   int
}

func (m *machine) drawFiles() step {
	ref := m.refToPull()
	return m.files(page{p: m.actor(ref.Scope), ref: ref})
}

// refToPull draws a reference, mostly to what is sealed while there is any.
func (m *machine) refToPull() ballast.Ref {
	ref := m.anyRef()
	if sealed := slices.DeleteFunc(m.all(), func(v *modelVersion) bool { return v.status != ballast.StatusSealed }); len(sealed) > 0 && !m.oneIn(4) {
		k := pick(m, "sealed version", sealed).key
		ref = ballast.Ref{Scope: k.Scope, Name: k.Name, Version: k.Version}
	}
	return ref
}

func (m *machine) drawFile() step {
	ref := m.refToPull()
	p, path := m.actor(ref.Scope), pick(m, "path", []string{"a", "a", "a", "b", "nowhere"})
	var got ballast.FileInfo
	var f ballast.File
	return step{
		name: "file", show: args(p.Name, ref, path),
		call: func() (err error) { got, err = m.engine.File(m.Context(), p, ref, path); return err },
		want: func() ballast.Code {
			v, code := m.resolve(p, ref)
			switch {
			case code != "":
				return code
			case v.status != ballast.StatusReady:
				return ballast.CodeBusy
			}
			i := slices.IndexFunc(v.files, func(f ballast.File) bool { return f.Path == path })
			if i < 0 {
				return ballast.CodeNotFound
			}
			f = v.files[i]
			return ""
		},
		check: func() {
			equal(m, "file", fmt.Sprint(got.Path, got.Size, got.SHA256), fmt.Sprint(f.Path, f.Size, f.Digest.Encoded()))
			m.download(got, f)
		},
	}
}

// drawNextPage goes on with a list, though what its reference means may have changed.
func (m *machine) drawNextPage() step {
	if len(m.pages) == 0 {
		return step{}
	}
	at := pick(m, "list", m.pages)
	if m.oneIn(10) {
		at.cursor = "no cursor!"
	}
	s := m.files(at)
	s.name = "next page"
	return s
}

func (m *machine) files(at page) step {
	var got ballast.FilesPage
	var v *modelVersion
	const limit = 1
	return step{
		name: "files", show: args(at),
		call: func() (err error) {
			got, err = m.engine.Files(m.Context(), at.p, at.ref, engine.ListFiles{URLs: true, Limit: limit, Cursor: at.cursor})
			return err
		},
		want: func() (code ballast.Code) {
			v, code = m.resolve(at.p, at.ref)
			switch {
			case code != "":
			case v.status != ballast.StatusReady:
				code = ballast.CodeBusy
			case len(v.files) == 0:
				code = ballast.CodePrecondition
			case at.cursor == "no cursor!":
				code = ballast.CodeInvalid
			case at.cursor != "" && v.digest != at.digest:
				code = ballast.CodeGone
			}
			return code
		},
		check: func() {
			expected := v.files[at.next:min(at.next+limit, len(v.files))]
			equal(m, "files", fmt.Sprint(got.Key, got.Digest, len(got.Files)), fmt.Sprint(v.key, v.digest, len(expected)))
			for i, f := range expected {
				equal(m, "file", fmt.Sprint(got.Files[i].Path, got.Files[i].Size, got.Files[i].SHA256), fmt.Sprint(f.Path, f.Size, f.Digest.Encoded()))
				m.download(got.Files[i], f)
			}
			if equal(m, "more", got.Cursor != "", len(v.files) > at.next+limit); got.Cursor != "" {
				m.pages = append(m.pages, page{at.p, at.ref, v.digest, got.Cursor, at.next + limit})
				m.pages = m.pages[max(0, len(m.pages)-5):]
			}
		},
	}
}

// download fetches a file by its signed request and holds the bytes to their digest.
func (m *machine) download(got ballast.FileInfo, f ballast.File) {
	if f.Size == 0 {
		return
	}
	res, err := objstoretest.Send(m.Context(), m.mem.Client(), *got.Request, nil, nil)
	if err != nil {
		m.Fatal(err)
	}
	defer res.Body.Close()
	d, err := digest.FromReader(res.Body)
	equal(m, "downloaded "+f.Path, fmt.Sprint(d, err), fmt.Sprint(f.Digest, nil))
}
