package oidc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ballast-registry/ballast"
)

// Limits of a file of rules.
const (
	MaxFileBytes  = 1 << 20
	maxIssuers    = 64
	maxRules      = 1000 // of one issuer
	maxConditions = 32   // of one rule, and how deep claims lie in each other
	maxValues     = 100  // of one condition
	maxValueBytes = 1024
	maxAudiences  = 16
	maxURL        = 180 // bytes of an issuer's, so that a Holder's ID keeps to its own limit
)

// Parse reads a file of rules, in YAML or JSON: its issuers, each with its rules. A file may also hold rules alone, under
// "rules": they are those of outer, the issuer that the settings name, which is nil when they name none. What is not known, is
// there twice or cannot be meant is refused with its line.
func Parse(file []byte, outer *Issuer) ([]Issuer, error) {
	var doc, rest yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(file))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, errors.New(`it is empty: write "rules:" or "issuers:"`)
	} else if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := dec.Decode(&rest); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the rules: write one document, without --- after it")
	}
	var all []Issuer
	var rules []Rule
	top := fields{
		"rules":   listOf(&rules, maxRules, readRule),
		"issuers": listOf(&all, maxIssuers, readIssuer),
	}
	if err := top.read(doc.Content[0]); err != nil {
		return nil, err
	}
	switch {
	case outer == nil && rules != nil:
		return nil, errors.New(`its rules are of no issuer: give --oidc-issuer, or write them below an issuer in "issuers:"`)
	case outer != nil && rules == nil:
		return nil, fmt.Errorf(`it has no "rules:" for %s, which --oidc-issuer names`, outer.URL)
	case outer != nil:
		with := *outer
		with.Rules = rules
		all = append(all, with)
	}
	if len(all) == 0 {
		return nil, errors.New(`it names no issuer: write "rules:" or "issuers:"`)
	}
	return all, check(all)
}

// check holds issuers to what lies beyond a single line.
func check(all []Issuer) error {
	seen := map[string]bool{}
	for _, i := range all {
		if seen[i.URL] {
			return fmt.Errorf("the issuer %s is there twice: give it several audiences and all the rules in one place", i.URL)
		}
		seen[i.URL] = true
		if err := i.Check(); err != nil {
			return err
		}
	}
	return nil
}

// Check refuses an issuer without what it needs.
func (i Issuer) Check() error {
	if err := checkURL(i.URL); err != nil {
		return err
	}
	if len(i.URL) > maxURL || !isPlain(i.URL) {
		return fmt.Errorf("the issuer %q: at most %d plain characters", i.URL, maxURL)
	}
	if u, _ := url.Parse(i.URL); u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(i.URL, "?") || strings.Contains(i.URL, "#") {
		return fmt.Errorf("the issuer %s: write it as its tokens do, without ? and #", i.URL)
	}
	if i.Keys != "" {
		if err := checkURL(i.Keys); err != nil {
			return err
		}
	}
	if len(i.Audiences) == 0 || slices.Contains(i.Audiences, "") {
		return fmt.Errorf("the issuer %s needs an audience: the text that its tokens for this registry have in aud", i.URL)
	}
	if len(i.Rules) == 0 {
		return fmt.Errorf("the issuer %s has no rules: nobody could come in", i.URL)
	}
	return nil
}

// checkURL refuses where keys would be fetched in the clear.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return fmt.Errorf("%q is no URL of an issuer: write https://…", text)
	case !mayAsk(u):
		return fmt.Errorf("%s: an issuer's keys come by https:// alone, but from this machine itself", text)
	}
	return nil
}

// mayAsk reports whether nobody between can change what a URL answers.
func mayAsk(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

func readIssuer(n *yaml.Node) (i Issuer, err error) {
	f := fields{
		"issuer": textOf(&i.URL), "audience": textsIn(&i.Audiences, maxAudiences), "keys": textOf(&i.Keys), "ca": textOf(&i.CA),
		"token": textOf(&i.Token), "name": textOf(&i.Name), "rules": listOf(&i.Rules, maxRules, readRule),
	}
	if err := f.read(n); err != nil {
		return i, err
	}
	if err := i.Check(); err != nil {
		return i, at(n, "%w", err)
	}
	return i, nil
}

func readRule(n *yaml.Node) (r Rule, err error) {
	var texts []string
	f := fields{
		"match":  func(n *yaml.Node) error { return r.readMatch(n, nil) },
		"grants": textsIn(&texts, ballast.MaxGrants),
	}
	if err := f.read(n); err != nil {
		return r, err
	}
	if len(r.conditions) == 0 {
		return r, at(n, `a rule needs "match:" with a claim, or every token of the issuer would match`)
	}
	if len(texts) == 0 {
		return r, at(n, `a rule needs "grants:", as in [acme=writer]`)
	}
	for _, text := range texts {
		g, err := parseGrant(text)
		if err != nil {
			return r, at(n, "%w", err)
		}
		r.grants = append(r.grants, g)
	}
	return r, nil
}

// readMatch reads the conditions on claims, which lie in each other as they do in a token.
func (r *Rule) readMatch(n *yaml.Node, in []string) error {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return at(n, "write the claims that have to match: each with its value, or a list of values")
	}
	return eachField(n, func(name string, value *yaml.Node) error {
		path := append(slices.Clone(in), name)
		if len(path) > maxConditions {
			return at(value, "claims lie at most %d deep", maxConditions)
		}
		if value.Kind == yaml.MappingNode {
			return r.readMatch(value, path)
		}
		if len(r.conditions) == maxConditions {
			return at(value, "at most %d claims in one rule", maxConditions)
		}
		var texts []string
		if err := textsIn(&texts, maxValues)(value); err != nil {
			return err
		}
		c := condition{path: path}
		for _, text := range texts {
			if text == "" {
				return at(value, "an empty value matches nothing: write what %s has to be", name)
			}
			compiled, err := pattern(text)
			if err != nil {
				return at(value, "%q: %w", text, err)
			}
			c.values = append(c.values, compiled)
		}
		r.conditions = append(r.conditions, c)
		return nil
	})
}

// parseGrant reads SCOPE=ROLE, in which a scope may hold one {claim}, or {claim/in it}.
func parseGrant(text string) (g grant, err error) {
	open, close := strings.IndexByte(text, '{'), strings.IndexByte(text, '}')
	if open < 0 && close < 0 {
		g.Grant, err = ballast.ParseGrant(text)
		return g, err
	}
	scope, role, _ := cutLast(text, "=")
	g.Role, err = ballast.ParseRole(role)
	open, close = strings.IndexByte(scope, '{'), strings.IndexByte(scope, '}')
	if err != nil || open < 0 || close < open || strings.Count(scope, "{")+strings.Count(scope, "}") != 2 {
		return g, fmt.Errorf("grant %q: write SCOPE=ROLE, as in acme=writer, where SCOPE may hold one {claim}", text)
	}
	g.before, g.after, g.claim = scope[:open], scope[close+1:], strings.Split(scope[open+1:close], "/")
	if _, err := ballast.ParseScope(g.before + "x" + g.after); err != nil || slices.Contains(g.claim, "") {
		return g, fmt.Errorf("grant %q: no claim makes a tenant of that: 1 to 63 lower-case letters, digits and inner hyphens", text)
	}
	return g, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
