package engine_test

import (
	"bytes"
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

// resolve is the model's meaning of a reference.
func (m *model) resolve(p engine.Principal, ref ballast.Ref) (*modelVersion, ballast.Code) {
	for _, s := range lookup(p, ref.Scope) {
		n := m.name(s, ref.Name)
		ready := n.ready()
		switch {
		case !ref.Version.IsZero():
			v := n.at(ref.Version)
			if v != nil && !v.ready && roleIn(p, s) < ballast.Writer {
				return nil, ballast.CodeNotFound
			}
			if v != nil {
				return v, ""
			}
		case ref.Digest != "":
			if i := slices.IndexFunc(ready, func(v *modelVersion) bool { return v.digest == ref.Digest }); i >= 0 {
				return ready[i], ""
			}
		case len(ready) == 0:
		case !ref.Alias.IsZero():
			if a, ok := n.aliases[ref.Alias]; ok {
				return a.to, ""
			}
			return nil, ballast.CodeNotFound
		default:
			return n.latest(), ""
		}
	}
	return nil, ballast.CodeNotFound
}

// anyRef draws a reference of every form, mostly to something that is there.
func (m *machine) anyRef() ballast.Ref {
	r := ballast.Ref{Scope: m.anyScope(), Name: m.anyName(), Version: m.anyVersion(), Digest: ballast.EmptyDigest}
	if known := m.known(); len(known) > 0 && !m.oneIn(4) {
		v := pick(m, "known version", known)
		r = ballast.Ref{Scope: v.key.Scope, Name: v.key.Name, Version: v.key.Version, Digest: v.digest}
		if m.oneIn(2) {
			r.Scope = ballast.Scope{}
		}
	}
	switch m.draw("form", 4) {
	case 0:
		return ballast.Ref{Scope: r.Scope, Name: r.Name, Version: r.Version}
	case 1:
		return ballast.Ref{Scope: r.Scope, Name: r.Name, Alias: m.anyAlias()}
	case 2:
		return ballast.Ref{Scope: r.Scope, Name: r.Name, Digest: r.Digest}
	}
	return ballast.Ref{Scope: r.Scope, Name: r.Name}
}

// known are all versions, sealed or ready.
func (m *machine) known() (all []*modelVersion) {
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
			equal(m, "version", []any{got.Key, got.Digest, got.Files, got.Metadata.BaseModel, got.Status == ballast.StatusReady, got.Aliases, got.CreatedBy},
				[]any{v.key, v.digest, len(v.files), v.base, v.ready, m.aliasesOf(v), m.principal(v.upload.principal).By()})
		},
	}
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
	ref := m.anyRef()
	if sealed := slices.DeleteFunc(m.known(), func(v *modelVersion) bool { return v.ready }); len(sealed) > 0 && m.oneIn(2) {
		k := pick(m, "sealed version", sealed).key
		ref = ballast.Ref{Scope: k.Scope, Name: k.Name, Version: k.Version}
	}
	return m.files(page{p: m.actor(ref.Scope), ref: ref})
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
			case !v.ready:
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

func (m *machine) drawModels() step { return m.models(m.anybody(), m.anyScope()) }

// visible are the names that a principal sees: its own shadow global ones.
func (m *machine) visible(p engine.Principal, named ballast.Scope) (seen []string) {
	byFold := map[string]string{}
	scopes := lookup(p, named)
	slices.Reverse(scopes)
	for _, s := range scopes {
		for id, n := range m.names {
			if ready := n.ready(); id.Scope == s && len(ready) > 0 {
				byFold[id.Name] = fmt.Sprint(s, n.name, n.latest().key.Version, len(ready))
			}
		}
	}
	for _, fold := range slices.Sorted(maps.Keys(byFold)) {
		seen = append(seen, byFold[fold])
	}
	return seen
}

func (m *machine) models(p engine.Principal, named ballast.Scope) step {
	var got []string
	return step{
		name: "models", show: args(p.Name, named),
		call: func() error {
			for cursor, more := "", true; more; more = cursor != "" {
				page, err := m.engine.Models(m.Context(), p, engine.ListModels{Scope: named, Limit: 1, Cursor: cursor})
				if err != nil {
					return err
				}
				for _, i := range page.Models {
					got = append(got, fmt.Sprint(i.Scope, i.Name, i.Latest, i.Versions))
				}
				cursor = page.Cursor
			}
			return nil
		},
		want:  func() ballast.Code { return "" },
		check: func() { equal(m, "models", got, m.visible(p, named)) },
	}
}

func (m *machine) drawVersions() step { return m.versions(m.anybody(), m.anyScope(), m.anyName()) }

// found is the name that a list without a reference is about, or nil.
func (m *machine) found(p engine.Principal, named ballast.Scope, name ballast.Name) *modelName {
	for _, s := range lookup(p, named) {
		if n := m.name(s, name); len(n.ready()) > 0 {
			return n
		}
	}
	return nil
}

func (m *machine) versions(p engine.Principal, named ballast.Scope, name ballast.Name) step {
	var got, expected []string
	return step{
		name: "versions", show: args(p.Name, named, name),
		call: func() error {
			for cursor, more := "", true; more; more = cursor != "" {
				page, err := m.engine.Versions(m.Context(), p, named, name, engine.ListVersions{Limit: 2, Cursor: cursor})
				if err != nil {
					return err
				}
				for _, v := range page.Versions {
					got = append(got, fmt.Sprint(v.Key, v.Digest, v.Aliases))
				}
				cursor = page.Cursor
			}
			return nil
		},
		want: func() ballast.Code {
			n := m.found(p, named, name)
			if n == nil {
				return ballast.CodeNotFound
			}
			for _, v := range n.ready() {
				expected = append(expected, fmt.Sprint(v.key, v.digest, m.aliasesOf(v)))
			}
			return ""
		},
		check: func() { equal(m, "versions", got, expected) },
	}
}
