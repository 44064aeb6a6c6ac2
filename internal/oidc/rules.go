package oidc

import (
	"regexp"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
)

// Issuer is one whose tokens are taken, as a file of rules or the settings name it.
type Issuer struct {
	URL       string   // as its tokens write it in iss
	Audiences []string // one of them is in aud
	Keys      string   // URL of its keys; "": where its discovery document says
	CA        string   // file with the certificates to trust in its place; "": the system's
	Token     string   // file with a token to send to it, read each time; "": none
	Name      string   // claim that people know the holder by; "": sub
	Rules     []Rule
}

// Rule gives grants to tokens whose claims match. It is made by [Parse].
type Rule struct {
	conditions []condition // all of them
	grants     []grant
}

// condition is on one claim, which is there and has one of the values.
type condition struct {
	path   []string // names, one in the other
	values []*regexp.Regexp
}

// holds reports whether a claim is as the condition says. What is not there never is.
func (c condition) holds(of claims) bool {
	return slices.ContainsFunc(textsOf(of.at(c.path)), func(text string) bool {
		return slices.ContainsFunc(c.values, func(value *regexp.Regexp) bool { return value.MatchString(text) })
	})
}

// pattern compiles a value of a rule: "*" is one or more characters but "/" and ":", "**" one or more of any; everything else
// is itself. The whole claim has to match.
func pattern(value string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`\A(?s:`)
	for value != "" {
		plain, rest, found := strings.Cut(value, "*")
		b.WriteString(regexp.QuoteMeta(plain))
		if value = rest; !found {
			break
		}
		if any, ok := strings.CutPrefix(rest, "*"); ok {
			b.WriteString(`.+`)
			value = any
		} else {
			b.WriteString(`[^/:]+`)
		}
	}
	b.WriteString(`)\z`)
	return regexp.Compile(b.String())
}

// grant is a role in a scope, which is fixed or made from a claim.
type grant struct {
	ballast.Grant
	before, after string   // of a scope that is made
	claim         []string // nil: fixed
}

// to is the grant to the holder of claims. A claim that is no text, or that makes no tenant, gives none: above all never
// global, whatever a claim says.
func (g grant) to(c claims) (ballast.Grant, bool) {
	if g.claim == nil {
		return g.Grant, true
	}
	text, ok := c.at(g.claim).(string)
	scope, err := ballast.ParseScope(g.before + text + g.after)
	if !ok || text == "" || err != nil || scope == ballast.Global {
		return ballast.Grant{}, false
	}
	return ballast.Grant{Scope: scope, Role: g.Role}, true
}

// grantsTo are what the rule gives to the holder of claims.
func (r Rule) grantsTo(c claims) (all []ballast.Grant) {
	if slices.ContainsFunc(r.conditions, func(on condition) bool { return !on.holds(c) }) {
		return nil
	}
	for _, g := range r.grants {
		if made, ok := g.to(c); ok {
			all = append(all, made)
		}
	}
	return all
}
