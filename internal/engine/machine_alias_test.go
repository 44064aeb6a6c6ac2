package engine_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

func (m *machine) drawAliases() step { return m.aliases(m.anybody(), m.anyScope(), m.anyName()) }

func (m *machine) aliases(p engine.Principal, named ballast.Scope, name ballast.Name) step {
	var got ballast.AliasesPage
	var n *modelName
	return step{
		name: "aliases", show: args(p.Name, named, name),
		call: func() (err error) { got, err = m.engine.Aliases(m.Context(), p, named, name); return err },
		want: func() ballast.Code {
			if n = m.found(p, named, name); n == nil {
				return ballast.CodeNotFound
			}
			return ""
		},
		check: func() {
			var all, expected []string
			for _, a := range got.Aliases {
				all = append(all, fmt.Sprint(a.Alias, a.Version, a.Revision))
			}
			for _, a := range sortedAliases(n.aliases) {
				expected = append(expected, fmt.Sprint(a, n.aliases[a].to.key.Version, n.aliases[a].revision))
			}
			equal(m, "aliases", all, expected)
		},
	}
}

// aliasCall draws what a change of an alias says first.
func (m *machine) aliasCall() (p engine.Principal, named ballast.Scope, name ballast.Name, alias ballast.Alias, ifMatch *int64) {
	p, named, name, alias = m.actor(acme), m.anyScope(), m.anyName(), m.anyAlias()
	if known := m.all(); len(known) > 0 && !m.oneIn(4) {
		v := pick(m, "known version", known)
		p, named, name = m.actor(v.key.Scope), v.key.Scope, v.key.Name
	}
	if revision := m.name(home(p, named), name).aliases[alias].revision; m.oneIn(2) {
		revision += pick(m, "off by", []int64{0, 0, -1, 1})
		ifMatch = &revision
	}
	return p, named, name, alias, ifMatch
}

func (m *machine) drawSetAlias() step {
	p, named, name, alias, ifMatch := m.aliasCall()
	to := m.anyVersion()
	if all := m.name(home(p, named), name).versions; len(all) > 0 && !m.oneIn(6) {
		to = pick(m, "to", all).key.Version
	}
	var got ballast.AliasInfo
	var expected modelAlias
	return step{
		name: "set alias", show: args(p.Name, named, name, alias, to, ifMatch),
		call: func() (err error) {
			got, err = m.engine.SetAlias(m.Context(), p, named, name, alias, to, ifMatch)
			return err
		},
		want: func() ballast.Code {
			s := home(p, named)
			if code := mayWrite(p, s); code != "" {
				return code
			}
			n := m.name(s, name)
			v, old := n.at(to), n.aliases[alias]
			switch {
			case v == nil || v.status == ballast.StatusSealed || v.status == ballast.StatusDeleted:
				return ballast.CodeNotFound
			case v.status == ballast.StatusRetired:
				return ballast.CodePrecondition
			case ifMatch != nil && *ifMatch != old.revision:
				return ballast.CodePrecondition
			case old.to != v:
				n.aliases[alias] = modelAlias{v, old.revision + 1}
				m.say(modelEvent{kind: ballast.EventAliasSet, of: v, alias: alias, before: old.revision, after: old.revision + 1, by: p.By()})
			}
			expected = n.aliases[alias]
			return ""
		},
		check: func() {
			equal(m, "alias", []any{got.Version, got.Revision}, []any{expected.to.key.Version, expected.revision})
		},
	}
}

func (m *machine) drawDeleteAlias() step {
	p, named, name, alias, ifMatch := m.aliasCall()
	return step{
		name: "delete alias", show: args(p.Name, named, name, alias, ifMatch),
		call: func() error { return m.engine.DeleteAlias(m.Context(), p, named, name, alias, ifMatch) },
		want: func() ballast.Code {
			s := home(p, named)
			if code := mayWrite(p, s); code != "" {
				return code
			}
			aliases := m.name(s, name).aliases
			old, had := aliases[alias]
			switch {
			case !had:
				return ballast.CodeNotFound
			case ifMatch != nil && *ifMatch != old.revision:
				return ballast.CodePrecondition
			}
			delete(aliases, alias)
			m.say(modelEvent{kind: ballast.EventAliasGone, scope: s, name: m.name(s, name).name, alias: alias, before: old.revision, by: p.By()})
			return ""
		},
	}
}

// issued is a token that was minted.
type issued struct {
	id      string
	secret  ballast.Secret
	name    string
	grants  []ballast.Grant
	revoked bool
}

// grants reports whether p may grant, and so see and revoke, all of these.
func grants(p engine.Principal, all []ballast.Grant) bool {
	return !slices.ContainsFunc(all, func(g ballast.Grant) bool {
		return roleIn(p, ballast.Global) < ballast.Admin && roleIn(p, g.Scope) < ballast.Admin
	})
}

func (m *machine) drawCreateToken() step {
	p := pick(m, "principal", []engine.Principal{admin, admin, other, writer})
	req := ballast.CreateToken{Name: pick(m, "name", []string{"", "gpu", "no name!"})}
	for range m.draw("grants", 3) {
		req.Grants = append(req.Grants, pick(m, "grant", parsed(ballast.ParseGrant, "acme=writer", "other=reader", "global=reader", "acme::m*=reader")))
	}
	var got ballast.TokenInfo
	return step{
		name: "create token", show: args(p.Name, req),
		call: func() (err error) { got, err = m.engine.CreateToken(m.Context(), p, req); return err },
		want: func() ballast.Code {
			switch {
			case len(req.Grants) == 0:
				return ballast.CodeInvalid
			case !grants(p, req.Grants):
				return ballast.CodeDenied
			case strings.Contains(req.Name, " "):
				return ballast.CodeInvalid
			}
			return ""
		},
		check: func() {
			if req.Name != "" {
				equal(m, "name", got.Name, req.Name)
			}
			m.tokens = append(m.tokens, issued{got.ID, got.Token, got.Name, req.Grants, false})
			m.say(modelEvent{kind: ballast.EventTokenMinted, scope: req.Grants[0].Scope, token: got.ID, by: p.By()})
		},
	}
}

// anyToken draws a token that was minted, revoked or not, or -1.
func (m *machine) anyToken() int {
	return m.draw("token", len(m.tokens)+1) - 1
}

func (m *machine) drawRevokeToken() step {
	p := pick(m, "principal", []engine.Principal{admin, other, writer})
	i, id := m.anyToken(), "0123456789"
	if i >= 0 {
		id = m.tokens[i].id
	}
	return step{
		name: "revoke token", show: args(p.Name, id),
		call: func() error { return m.engine.RevokeToken(m.Context(), p, id) },
		want: func() ballast.Code {
			if i < 0 || m.tokens[i].revoked || !grants(p, m.tokens[i].grants) {
				return ballast.CodeNotFound
			}
			m.tokens[i].revoked = true
			m.say(modelEvent{kind: ballast.EventTokenGone, scope: m.tokens[i].grants[0].Scope, token: id, by: p.By()})
			return ""
		},
	}
}

func (m *machine) drawRotateToken() step {
	p := pick(m, "principal", []engine.Principal{admin, other, writer})
	i, id := m.anyToken(), "0123456789"
	if i >= 0 {
		id = m.tokens[i].id
	}
	var got ballast.TokenInfo
	return step{
		name: "rotate token", show: args(p.Name, id),
		call: func() (err error) {
			got, err = m.engine.RotateToken(m.Context(), p, id, ballast.RotateToken{})
			return err
		},
		want: func() ballast.Code {
			if i < 0 || m.tokens[i].revoked || !grants(p, m.tokens[i].grants) {
				return ballast.CodeNotFound
			}
			m.say(modelEvent{kind: ballast.EventTokenRotated, scope: m.tokens[i].grants[0].Scope, token: id, by: p.By()})
			return ""
		},
		check: func() {
			equal(m, "rotated", fmt.Sprint(got.ID, got.Name, got.Grants), fmt.Sprint(id, m.tokens[i].name, m.tokens[i].grants))
			m.tokens[i].secret = got.Token
		},
	}
}

func (m *machine) drawAuthenticate() step {
	i, secret := m.anyToken(), ballast.Secret("bal_nonsense")
	if i >= 0 {
		secret = m.tokens[i].secret
	}
	spoilt := i >= 0 && m.oneIn(4)
	if spoilt {
		secret = secret[:20] + "x" + secret[20:]
	}
	var got engine.Principal
	return step{
		name: "authenticate",
		call: func() (err error) { got, err = m.engine.Authenticate(m.Context(), secret); return err },
		want: func() ballast.Code {
			if i < 0 || spoilt || m.tokens[i].revoked {
				return ballast.CodeUnauthenticated
			}
			return ""
		},
		check: func() {
			equal(m, "principal", got, engine.Principal{ID: m.tokens[i].id, Name: m.tokens[i].name, Grants: m.tokens[i].grants})
		},
	}
}

func (m *machine) drawToken() step {
	p := pick(m, "principal", []engine.Principal{admin, other, writer})
	i, id := m.anyToken(), "0123456789"
	if i >= 0 {
		id = m.tokens[i].id
		if holder := (engine.Principal{ID: id, Name: "its holder"}); m.oneIn(4) {
			p = holder
		}
	}
	var got ballast.TokenInfo
	return step{
		name: "token", show: args(p.Name, id),
		call: func() (err error) { got, err = m.engine.Token(m.Context(), p, id); return err },
		want: func() ballast.Code {
			if i < 0 || m.tokens[i].revoked || p.ID != id && !grants(p, m.tokens[i].grants) {
				return ballast.CodeNotFound
			}
			return ""
		},
		check: func() {
			equal(m, "token", fmt.Sprint(got.ID, got.Name, got.Grants, got.Token), fmt.Sprint(id, m.tokens[i].name, m.tokens[i].grants, ""))
		},
	}
}

func (m *machine) drawTokens() step {
	p := pick(m, "principal", []engine.Principal{admin, other, writer})
	var got, expected []string
	return step{
		name: "tokens", show: args(p.Name),
		call: func() error {
			for cursor, more := "", true; more; more = cursor != "" {
				page, err := m.engine.Tokens(m.Context(), p, 2, cursor)
				if err != nil {
					return err
				}
				for _, t := range page.Tokens {
					got = append(got, fmt.Sprint(t.ID, t.Name, t.Grants, t.Token))
				}
				cursor = page.Cursor
			}
			return nil
		},
		want: func() ballast.Code {
			if p.ID == writer.ID {
				return ballast.CodeDenied
			}
			for _, t := range m.tokens {
				if !t.revoked && grants(p, t.grants) {
					expected = append(expected, fmt.Sprint(t.id, t.name, t.grants, ""))
				}
			}
			slices.Sort(expected)
			return ""
		},
		check: func() { equal(m, "tokens", got, expected) },
	}
}
