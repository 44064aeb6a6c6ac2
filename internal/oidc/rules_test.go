package oidc

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

// says are claims in JSON.
func says(t testing.TB, text string) claims {
	t.Helper()
	c, err := decodeClaims([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// given are the grants that rules give to claims, as text.
func given(t testing.TB, rules, claims string) string {
	t.Helper()
	parsed, err := Parse([]byte(rules), &Issuer{URL: "https://issuer.example", Audiences: []string{"ballast"}})
	if err != nil {
		t.Fatalf("%s: %v", rules, err)
	}
	i := issuer{Issuer: parsed[0]}
	h, err := i.holder(says(t, claims))
	if err != nil {
		return ""
	}
	return texts(h.Grants)
}

func texts(grants []ballast.Grant) string {
	var all []string
	for _, g := range grants {
		all = append(all, g.String())
	}
	return strings.Join(all, " ")
}

// TestMatches: what matches a rule, and what does not. What is not there never does.
func TestMatches(t *testing.T) {
	for _, c := range []struct{ match, claims, want string }{
		{`{sub: robot}`, `{"sub":"robot"}`, "yes"},
		{`{sub: robot}`, `{"sub":"robots"}`, ""},
		{`{sub: robot}`, `{"sub":"a robot"}`, ""},
		{`{sub: robot}`, `{"sub":"Robot"}`, ""},
		{`{sub: robot}`, `{"sub":"robot\n"}`, ""},
		{`{sub: robot}`, `{"sub":"x\nrobot"}`, ""},
		{`{sub: robot}`, `{"SUB":"robot"}`, ""},
		{`{sub: robot}`, `{}`, ""},
		{`{sub: "**"}`, `{}`, ""},
		{`{sub: "**"}`, `{"sub":""}`, ""},
		{`{sub: "**"}`, `{"sub":null}`, ""},
		{`{sub: "**"}`, `{"sub":{"x":"y"}}`, ""},
		{`{sub: "**"}`, `{"sub":[]}`, ""},
		{`{sub: "**"}`, `{"sub":"a/b:c\nd"}`, "yes"},
		{`{sub: "*"}`, `{"sub":"a/b"}`, ""},
		{`{sub: "*"}`, `{"sub":"a:b"}`, ""},
		{`{sub: "*"}`, `{"sub":"a.b"}`, "yes"},
		{`{sub: a.b}`, `{"sub":"axb"}`, ""},
		{`{sub: "a|b"}`, `{"sub":"a"}`, ""},
		{`{sub: "(?i)a"}`, `{"sub":"A"}`, ""},
		{`{repository: octo/*}`, `{"repository":"octo/models"}`, "yes"},
		{`{repository: octo/*}`, `{"repository":"octo/"}`, ""},
		{`{repository: octo/*}`, `{"repository":"octopus/models"}`, ""},
		{`{repository: octo/*}`, `{"repository":"evil/octo/models"}`, ""},
		{`{sub: "repo:octo/*:ref:refs/heads/main"}`, `{"sub":"repo:octo/models:ref:refs/heads/main"}`, "yes"},
		{`{sub: "repo:octo/*:ref:refs/heads/main"}`, `{"sub":"repo:octo/models:environment:x:ref:refs/heads/main"}`, ""},
		{`{ref: refs/heads/release/**}`, `{"ref":"refs/heads/release/1/2"}`, "yes"},
		{`{ref: [refs/heads/main, refs/tags/*]}`, `{"ref":"refs/tags/v1"}`, "yes"},
		{`{ref: [refs/heads/main, refs/tags/*]}`, `{"ref":"refs/heads/mainly"}`, ""},
		{`{a: x, b: y}`, `{"a":"x","b":"y"}`, "yes"},
		{`{a: x, b: y}`, `{"a":"x"}`, ""},
		{`{groups: ml}`, `{"groups":["hr","ml"]}`, "yes"},
		{`{groups: ml}`, `{"groups":["hr",["ml"]]}`, ""},
		{`{groups: ml}`, `{"groups":"ml"}`, "yes"},
		{`{groups: ml}`, `{"groups":["html"]}`, ""},
		{`{email_verified: true}`, `{"email_verified":true}`, "yes"},
		{`{email_verified: true}`, `{"email_verified":false}`, ""},
		{`{repository_id: 42}`, `{"repository_id":42}`, "yes"},
		{`{repository_id: 42}`, `{"repository_id":"42"}`, "yes"},
		{`{repository_id: 9007199254740993}`, `{"repository_id":9007199254740992}`, ""},
		{`{kubernetes.io: {namespace: acme}}`, `{"kubernetes.io":{"namespace":"acme"}}`, "yes"},
		{`{kubernetes.io: {namespace: acme}}`, `{"kubernetes.io":{"namespace":"acme2"}}`, ""},
		{`{kubernetes.io: {namespace: acme}}`, `{"kubernetes.io/namespace":"acme"}`, ""},
		{`{kubernetes.io: {namespace: acme, serviceaccount: {name: trainer}}}`, `{"kubernetes.io":{"namespace":"acme","serviceaccount":{"name":"trainer","uid":"1"}}}`, "yes"},
		{`{kubernetes.io: {namespace: acme, serviceaccount: {name: trainer}}}`, `{"kubernetes.io":{"namespace":"acme","serviceaccount":{"name":"x"}}}`, ""},
		{`{kubernetes.io: {namespace: acme}}`, `{"kubernetes.io":"acme"}`, ""},
		{`{"https://corp.example/groups": ml}`, `{"https://corp.example/groups":["ml"]}`, "yes"},
	} {
		got := given(t, fmt.Sprintf("rules: [{match: %s, grants: [acme=reader]}]", c.match), c.claims)
		if (got != "") != (c.want != "") {
			t.Errorf("%s and %s: %q, want %q", c.match, c.claims, got, c.want)
		}
	}
}

// TestGrants: every rule that matches gives, in the order of the file; what a claim makes is a tenant or nothing.
func TestGrants(t *testing.T) {
	for _, c := range []struct{ rules, claims, want string }{
		{`[{match: {a: x}, grants: [acme=writer, global=reader]}, {match: {b: y}, grants: [acme=writer, them=reader]}]`, `{"a":"x","b":"y"}`, "acme=writer global=reader them=reader"},
		{`[{match: {a: x}, grants: [acme=writer]}, {match: {b: y}, grants: [them=reader]}]`, `{"b":"y"}`, "them=reader"},
		{`[{match: {a: x}, grants: [acme=writer]}]`, `{"b":"y"}`, ""},
		{`[{match: {sub: "**"}, grants: ["{ns}=writer"]}]`, `{"sub":"s","ns":"acme"}`, "acme=writer"},
		{`[{match: {sub: "**"}, grants: ["k8s-{kubernetes.io/namespace}=writer"]}]`, `{"sub":"s","kubernetes.io":{"namespace":"acme"}}`, "k8s-acme=writer"},
		{`[{match: {sub: "**"}, grants: ["{ns}=writer"]}]`, `{"sub":"s"}`, ""},
		{`[{match: {sub: "**"}, grants: ["{ns}=writer"]}]`, `{"sub":"s","ns":"global"}`, ""},
		{`[{match: {sub: "**"}, grants: ["glo{ns}=writer"]}]`, `{"sub":"s","ns":"bal"}`, ""},
		{`[{match: {sub: "**"}, grants: ["{ns}=writer"]}]`, `{"sub":"s","ns":""}`, ""},
		{`[{match: {sub: "**"}, grants: ["team{ns}=writer"]}]`, `{"sub":"s","ns":""}`, ""},
		{`[{match: {sub: "**"}, grants: ["{ns}=writer"]}]`, `{"sub":"s","ns":"Acme"}`, ""},
		{`[{match: {sub: "**"}, grants: ["{ns}=writer"]}]`, `{"sub":"s","ns":"acme=admin,x"}`, ""},
		{`[{match: {sub: "**"}, grants: ["{ns}=writer"]}]`, `{"sub":"s","ns":"../acme"}`, ""},
		{`[{match: {sub: "**"}, grants: ["{ns}=writer"]}]`, `{"sub":"s","ns":["acme"]}`, ""},
		{`[{match: {sub: "**"}, grants: ["{ns}=writer"]}]`, `{"sub":"s","ns":{"x":"acme"}}`, ""},
		{`[{match: {sub: "**"}, grants: ["{ns}=writer"]}]`, `{"sub":"s","ns":7}`, ""},
		{`[{match: {sub: "**"}, grants: ["{ns}=writer", global=reader]}]`, `{"sub":"s"}`, "global=reader"},
	} {
		if got := given(t, "rules: "+c.rules, c.claims); got != c.want {
			t.Errorf("%s and %s: %q, want %q", c.rules, c.claims, got, c.want)
		}
	}
	var many []string
	for n := range ballast.MaxGrants + 1 {
		many = append(many, fmt.Sprintf("{match: {sub: s}, grants: [t%d=reader]}", n))
	}
	if got := given(t, "rules: ["+strings.Join(many[:ballast.MaxGrants], ",")+"]", `{"sub":"s"}`); strings.Count(got, "=") != ballast.MaxGrants {
		t.Errorf("%d grants: %q", ballast.MaxGrants, got)
	}
	if got := given(t, "rules: ["+strings.Join(many, ",")+"]", `{"sub":"s"}`); got != "" {
		t.Errorf("more than %d grants: %q", ballast.MaxGrants, got)
	}
}

// TestParseRefuses: what cannot be meant is refused, with its line.
func TestParseRefuses(t *testing.T) {
	const rule = "rules:\n  - match: {sub: robot}\n    grants: [acme=writer]\n"
	section := func(lines string) string {
		return "issuers:\n  - issuer: https://a.example\n    audience: ballast\n" + lines + "    rules: [{match: {sub: x}, grants: [acme=reader]}]\n"
	}
	for name, c := range map[string]struct {
		file  string
		outer bool
		want  string
	}{
		"empty":                      {"", true, `write "rules:"`},
		"only a comment":             {"# nothing\n", true, `write "rules:"`},
		"a list":                     {"- x\n", true, "line 1: write a map of issuers, rules"},
		"null":                       {"null\n", true, "line 1: write a map"},
		"two documents":              {rule + "---\n" + rule, true, "something follows"},
		"no YAML":                    {"rules: [\n", true, "line 1"},
		"an unknown field":           {rule + "rule: x\n", true, `line 4: there is no "rule" here`},
		"an unknown field of a rule": {rule + "    unless: {sub: x}\n", true, `line 4: there is no "unless" here`},
		"a field twice":              {rule + "rules: []\n", true, `line 4: "rules" is there twice`},
		"a claim twice":              {"rules:\n  - match:\n      sub: a\n      sub: b\n    grants: [acme=reader]\n", true, `line 4: "sub" is there twice`},
		"a rule for everybody":       {"rules:\n  - grants: [acme=reader]\n", true, "line 2: a rule needs \"match:\""},
		"a match of nothing":         {"rules:\n  - match: {}\n    grants: [acme=reader]\n", true, "line 2: write the claims"},
		"a match that is a text":     {"rules:\n  - match: sub\n    grants: [acme=reader]\n", true, "line 2: write the claims"},
		"an empty value":             {"rules:\n  - match: {sub: ''}\n    grants: [acme=reader]\n", true, "line 2: an empty value"},
		"a null value":               {"rules:\n  - match: {sub: }\n    grants: [acme=reader]\n", true, "line 2: write a text"},
		"an empty list":              {"rules:\n  - match: {sub: []}\n    grants: [acme=reader]\n", true, "line 2: write a list"},
		"a list in a list":           {"rules:\n  - match: {sub: [[a]]}\n    grants: [acme=reader]\n", true, "line 2: write a text"},
		"no grants":                  {"rules:\n  - match: {sub: a}\n", true, `line 2: a rule needs "grants:"`},
		"a bad grant":                {"rules:\n  - match: {sub: a}\n    grants: [acme]\n", true, "line 2: "},
		"a role that is none":        {"rules:\n  - match: {sub: a}\n    grants: [acme=owner]\n", true, "line 2: "},
		"a scope that is none":       {"rules:\n  - match: {sub: a}\n    grants: [Acme=reader]\n", true, "line 2: "},
		"two claims in a scope":      {"rules:\n  - match: {sub: a}\n    grants: ['{a}{b}=reader']\n", true, "may hold one {claim}"},
		"braces that do not close":   {"rules:\n  - match: {sub: a}\n    grants: ['{a=reader']\n", true, "may hold one {claim}"},
		"a claim in a role":          {"rules:\n  - match: {sub: a}\n    grants: ['acme={role}']\n", true, "line 2: "},
		"a claim without a name":     {"rules:\n  - match: {sub: a}\n    grants: ['{}=reader']\n", true, "makes a tenant"},
		"letters around a claim":     {"rules:\n  - match: {sub: a}\n    grants: ['K8S{ns}=reader']\n", true, "makes a tenant"},
		"an anchor":                  {"rules:\n  - &a {match: {sub: a}, grants: [acme=reader]}\n  - *a\n", true, "line 3: write a map"},
		"a merge":                    {"rules:\n  - match: {<<: {sub: a}}\n    grants: [acme=reader]\n", true, "line 2: a name is a text"},
		"rules of no issuer":         {rule, false, "give --oidc-issuer"},
		"no rules of the issuer":     {section(""), true, `has no "rules:" for https://issuer.example`},
		"an issuer twice":            {section("") + strings.TrimPrefix(section(""), "issuers:\n"), false, "is there twice"},
		"an issuer in the clear":     {strings.ReplaceAll(section(""), "https:", "http:"), false, "line 2: http://a.example: an issuer's keys come by https"},
		"an issuer that is no URL":   {strings.ReplaceAll(section(""), "https://a.example", "a.example"), false, "line 2: "},
		"an issuer with a password":  {strings.ReplaceAll(section(""), "https://a", "https://u:p@a"), false, "line 2: "},
		"an issuer with a query":     {strings.ReplaceAll(section(""), "a.example", "a.example?x=y"), false, "without ? and #"},
		"an issuer with a fragment":  {strings.ReplaceAll(section(""), "https://a.example", "'https://a.example#x'"), false, "without ? and #"},
		"no audience":                {strings.ReplaceAll(section(""), "    audience: ballast\n", ""), false, "line 2: the issuer https://a.example needs an audience"},
		"an empty audience":          {strings.ReplaceAll(section(""), "audience: ballast", "audience: ''"), false, "needs an audience"},
		"keys in the clear":          {section("    keys: http://a.example/keys\n"), false, "line 2: "},
		"no issuers":                 {"issuers: []\n", false, "line 1: write a list"},
		"an unknown field of one":    {section("    client_id: x\n"), false, `line 4: there is no "client_id" here`},
	} {
		var outer *Issuer
		if c.outer {
			outer = &Issuer{URL: "https://issuer.example", Audiences: []string{"ballast"}}
		}
		if _, err := Parse([]byte(c.file), outer); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestHolders: one text is the id of one subject of one issuer, whatever the subject is; names are for people.
func TestHolders(t *testing.T) {
	long := strings.Repeat("x", 300)
	ids := map[string]string{}
	for _, c := range []struct{ issuer, subject string }{
		{"https://a.example", "robot"}, {"https://a.example/realms/x", "robot"}, {"https://a.example", "x#robot"}, {"https://a.example", "#robot"},
		{"https://a.example", "ro bot"}, {"https://a.example", "ro\nbot"}, {"https://a.example", "roböt"}, {"https://a.example", long}, {"https://a.example", long + "y"},
		{"https://a.example", "system:serviceaccount:acme:trainer"}, {"https://a.example", "auth0|5f7c8ec7c33c6c004bbafe82"}, {"https://a.example:8443", "robot"},
	} {
		id := idOf(c.issuer, c.subject)
		if was, ok := ids[id]; ok || len(id) > maxPlainID || !isPlain(id) {
			t.Errorf("%s: id %q, which is also that of %q", c, id, was)
		}
		ids[id] = c.subject
		if again := idOf(c.issuer, c.subject); again != id {
			t.Errorf("%s: %q and %q", c, id, again)
		}
	}
	if got := idOf("https://kubernetes.default.svc", "system:serviceaccount:acme:trainer"); got != "oidc:kubernetes.default.svc#system:serviceaccount:acme:trainer" {
		t.Error(got)
	}
	for _, c := range []struct{ claim, claims, want string }{
		{"", `{"sub":"robot","email":"ada@corp.example"}`, "robot"},
		{"email", `{"sub":"robot","email":"ada@corp.example"}`, "ada@corp.example"},
		{"email", `{"sub":"robot"}`, "robot"},
		{"email", `{"sub":"robot","email":["a","b"]}`, "robot"},
		{"kubernetes.io/serviceaccount/name", `{"sub":"robot","kubernetes.io":{"serviceaccount":{"name":"trainer"}}}`, "trainer"},
		{"email", `{"sub":"robot","email":"a\n\"<b>\u0001é"}`, "a___b___"},
		{"", `{"sub":"` + long + `"}`, long[:maxName]},
	} {
		i := issuer{Issuer: Issuer{Name: c.claim}}
		if got := i.nameOf(says(t, c.claims)); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.claim, c.claims, got, c.want)
		}
	}
}

// TestNames of claims are those of a token, and no more of it.
func TestNames(t *testing.T) {
	c := says(t, `{"sub":"secret","b\nad":"secret","aud":["secret"]}`)
	if got := c.names(); got != "aud, one with an odd name, sub" {
		t.Error(got)
	}
	all := map[string]any{}
	for n := range 100 {
		all[fmt.Sprint("claim-", n)] = n
	}
	text, _ := json.Marshal(all)
	if got := says(t, string(text)).names(); strings.Count(got, ",") != 40 || !strings.HasSuffix(got, "…") {
		t.Error(got)
	}
}

// FuzzParse: no file of rules makes the parser panic, and what it takes has for every issuer what it needs.
func FuzzParse(f *testing.F) {
	f.Add("rules:\n  - match: {sub: robot}\n    grants: [acme=writer]\n", `{"sub":"robot"}`)
	f.Add("rules: [{match: {kubernetes.io: {namespace: '*'}}, grants: ['k8s-{kubernetes.io/namespace}=writer', global=reader]}]", `{"sub":"x","kubernetes.io":{"namespace":"acme"}}`)
	f.Add("issuers:\n  - issuer: https://a.example\n    audience: [a, b]\n    keys: https://a.example/k\n    ca: f\n    token: f\n    name: email\n    rules: [{match: {a: ['**', x]}, grants: [acme=admin]}]\n", `{"sub":"x","a":[1,true,"x"]}`)
	f.Fuzz(func(t *testing.T, file, payload string) {
		c, bad := strictClaims([]byte(payload))
		for _, outer := range []*Issuer{nil, {URL: "https://issuer.example", Audiences: []string{"ballast"}}} {
			all, err := Parse([]byte(file), outer)
			if err != nil {
				continue
			}
			for _, i := range all {
				if err := i.Check(); err != nil {
					t.Errorf("%q: %v", file, err)
				}
				if bad != nil {
					continue
				}
				h, err := (&issuer{Issuer: i}).holder(c)
				if err != nil {
					continue
				}
				if len(h.Grants) == 0 || len(h.Grants) > ballast.MaxGrants || !isPlain(h.ID) || len(h.ID) > maxPlainID || !isPlain(h.Name) || len(h.Name) > maxName+5 {
					t.Errorf("%q and %q: %+v", file, payload, h)
				}
				for _, g := range h.Grants {
					if again, err := ballast.ParseGrant(g.String()); err != nil || again != g {
						t.Errorf("%q and %q: grant %v", file, payload, g)
					}
					if g.Scope == ballast.Global && !strings.Contains(file, "global") {
						t.Errorf("%q and %q give global", file, payload)
					}
				}
			}
		}
	})
}

// FuzzToken: whatever is sent as a token, it is refused, in few words that hold nothing of it, and nothing panics.
func FuzzToken(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIiwia2lkIjoib25lIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoicm9ib3QiLCJhdWQiOiJiYWxsYXN0In0.")
	issuers := must(Parse([]byte(robots), &Issuer{URL: "https://issuer.example", Audiences: []string{"ballast"}}))
	v := must(New(nil, Options{}))
	v.issuers["https://issuer.example"] = &issuer{Issuer: issuers[0], keys: these{rsaKey().Signer.Public()}}
	v.issuers["https://issuer.example"].config.SupportedSigningAlgs = algorithms
	f.Fuzz(func(t *testing.T, token string) {
		_, err := v.Authenticate(t.Context(), token)
		if e := ballast.AsError(err); e == nil || e.Code != ballast.CodeUnauthenticated || len(e.Detail) > 300 {
			t.Errorf("%q: %v", token, err)
		}
	})
}
