package oidc

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestDocs: the files of rules in docs/identity.md are good, and do what the page says of them.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/identity.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		var v any
		if err := yaml.Unmarshal([]byte(m[1]), &v); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
	files := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```yaml\n# ([a-z-]+)\\.yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		files[m[1]] = m[2]
	}
	for _, c := range docRows() {
		var outer *Issuer
		if !strings.Contains(files[c.file], "issuers:") {
			outer = &Issuer{URL: c.issuer, Audiences: []string{"ballast"}}
		}
		all, err := Parse([]byte(files[c.file]), outer)
		if err != nil {
			t.Fatalf("%s: %v", c.file, err)
		}
		got := ""
		for _, i := range all {
			if h, err := (&issuer{Issuer: i}).holder(says(t, c.claims)); i.URL == c.issuer && err == nil {
				got = h.Name + " " + texts(h.Grants)
			}
		}
		if got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.file, c.claims, got, c.want)
		}
	}
	for _, c := range docRows() {
		delete(files, c.file)
	}
	for name := range files {
		t.Errorf("nothing is said of %s.yaml", name)
	}
}

type docRow struct{ file, issuer, claims, want string }

func docRows() []docRow {
	const (
		github  = "https://token.actions.githubusercontent.com"
		cluster = "https://kubernetes.default.svc.cluster.local"
		corp    = "https://login.example.com/realms/main"

		push  = `{"sub":"repo:octo-org/models:ref:refs/heads/main","repository":"octo-org/models","repository_owner":"octo-org","ref":"refs/heads/main"}`
		pull  = `{"sub":"repo:octo-org/models:pull_request","repository":"octo-org/models","repository_owner":"octo-org","ref":"refs/pull/7/merge"}`
		fork  = `{"sub":"repo:evil/models:ref:refs/heads/main","repository":"evil/models","repository_owner":"evil","ref":"refs/heads/main"}`
		pod   = `{"sub":"system:serviceaccount:training:trainer","kubernetes.io":{"namespace":"training","serviceaccount":{"name":"trainer","uid":"0b"},"pod":{"name":"train"}}}`
		other = `{"sub":"system:serviceaccount:web:trainer","kubernetes.io":{"namespace":"web","serviceaccount":{"name":"trainer"}}}`
		ada   = `{"sub":"4711","preferred_username":"ada","groups":["staff","ml-engineers"]}`
		bob   = `{"sub":"4712","preferred_username":"bob","groups":["staff"]}`
	)
	return []docRow{
		{"rules", github, push, "oidc:repo:octo-org/models:ref:refs/heads/main acme=writer acme=reader"},
		{"rules", github, pull, "oidc:repo:octo-org/models:pull_request acme=reader"},
		{"rules", github, fork, ""},
		{"several", github, push, "oidc:octo-org/models acme=writer"},
		{"several", github, pull, ""},
		{"several", corp, ada, "oidc:ada acme=maintainer"},
		{"several", corp, bob, ""},
		{"several", github, ada, ""},
		{"kubernetes", cluster, pod, "oidc:system:serviceaccount:training:trainer acme=writer k8s-training=reader"},
		{"kubernetes", cluster, other, "oidc:system:serviceaccount:web:trainer k8s-web=reader"},
	}
}
