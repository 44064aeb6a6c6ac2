package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/oidc/oidctest"
)

// TestIdentityFlagsGoTogether: what is missing is said before anything is opened.
func TestIdentityFlagsGoTogether(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const rule = "rules: [{match: {sub: x}, grants: [acme=writer]}]\n"
	rules, none, long := file("rules", rule), filepath.Join(dir, "none"), file("long", rule+strings.Repeat("#", 1<<20))
	several := file("several", "issuers: [{issuer: https://b.example, audience: b, "+strings.TrimSpace(rule)+"}]\n")
	for args, want := range map[string]string{
		"": "", "--anonymous-read": "",
		"--oidc-rules " + several: "",
		"--oidc-issuer https://a.example --oidc-audience a,b --oidc-rules " + rules: "",
		"--oidc-issuer https://a.example":                                           "--oidc-issuer needs --oidc-rules",
		"--oidc-audience a":                                                         "needs --oidc-rules",
		"--oidc-audience a --oidc-rules " + several:                                 "are of --oidc-issuer",
		"--oidc-ca x --oidc-rules " + several:                                       "are of --oidc-issuer",
		"--oidc-issuer https://a.example --oidc-rules " + rules:                     "needs --oidc-audience",
		"--oidc-rules " + rules:                                                     "its rules are of no issuer",
		"--oidc-issuer http://a.example --oidc-audience a --oidc-rules " + rules:    "https://",
		"--oidc-issuer https://a.example --oidc-audience a --oidc-rules " + several: `it has no "rules:"`,
		"--oidc-issuer https://a.example --oidc-audience a --oidc-rules " + none:    "no such file",
		"--oidc-issuer https://a.example --oidc-audience a --oidc-rules " + long:    "over 1048576 bytes",
	} {
		c := parseServe(t, strings.Fields(args)...)
		err := c.OIDC.check()
		if err == nil {
			_, err = c.OIDC.issuers()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
		if c.AnonymousRead != (args == "--anonymous-read") {
			t.Errorf("%s: the anonymous read: %v", args, c.AnonymousRead)
		}
	}
}

// TestServeIdentity: the real binary takes the tokens of an issuer that came up after it, by the rules of its file, lets who has
// no token read global, and keeps all of that to itself without the flags.
func TestServeIdentity(t *testing.T) {
	i := oidctest.New(t)
	i.Down()
	dir := t.TempDir()
	data, rules := filepath.Join(dir, "data"), filepath.Join(dir, "rules.yaml")
	err := os.WriteFile(rules, []byte("rules:\n  - match: {kubernetes.io: {namespace: training}}\n    grants: ['{kubernetes.io/namespace}=writer', global=writer]\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0", "--anonymous-read",
		"--oidc-issuer", i.URL, "--oidc-audience", oidctest.Audience, "--oidc-rules", rules))
	url := s.url(t)
	pod := func(n int) string {
		return i.Token("system:serviceaccount:training:trainer", map[string]any{"jti": n, "kubernetes.io": map[string]any{"namespace": "training"}})
	}
	if status, body := get(t, url+"/v1/whoami", pod(0)); status != http.StatusServiceUnavailable {
		t.Fatalf("while the issuer is away: %d %s", status, body)
	}
	i.Up()
	call := func(token client.Token) *client.Client {
		c, err := client.New(client.Options{URL: url, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	who, err := call(client.Token(pod(1))).Whoami(t.Context()) // tries again, as it is asked to
	if err != nil || who.Scope.String() != "training" || who.Name != "oidc:system:serviceaccount:training:trainer" || !strings.HasSuffix(who.ID, "#system:serviceaccount:training:trainer") {
		t.Fatalf("%+v, %v", who, err)
	}
	name, err := ballast.ParseName("llama/tiny")
	if err != nil {
		t.Fatal(err)
	}
	ask := ballast.CreateUpload{Scope: ballast.Global, Name: name, Attempt: "0123456789abcdef"}
	first, err := call(client.Token(pod(2))).CreateUpload(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	again, err := call(client.Token(pod(3))).CreateUpload(t.Context(), ask)
	if err != nil || again.ID != first.ID || first.CreatedBy != "oidc:system:serviceaccount:training:trainer@training" {
		t.Errorf("under a new token of the same: %+v, then %+v, %v", first, again, err)
	}
	if _, err := call(client.Token(pod(4))).Commit(t.Context(), first.ID, ballast.CommitRequest{Files: []ballast.File{}}); err != nil {
		t.Fatal(err)
	}
	nobody := run(context.WithoutCancel(t.Context()), []string{"ls", "--url", url}, noEnvironment, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})
	if nobody != exitDone {
		t.Errorf("ls without a token: exit code %d", nobody)
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"show", "llama/tiny", "--url", url}, noEnvironment, strings.NewReader(""), &stdout, &stderr); code != exitDone || !strings.Contains(stdout.String(), "llama/tiny") {
		t.Errorf("show without a token: %d, %s%s", code, stdout.String(), stderr.String())
	}
	if code := run(t.Context(), []string{"events", "--url", url}, noEnvironment, strings.NewReader(""), &stdout, &stderr); code != exitDenied || !strings.Contains(stderr.String(), "no token for "+url) {
		t.Errorf("events without a token: %d, %s", code, stderr.String())
	}
	if status, body := get(t, url+"/api/models", ""); status != http.StatusOK || !strings.Contains(body, "llama/tiny") {
		t.Errorf("the other face without a token: %d %s", status, body)
	}
	for _, token := range []string{i.Token("nobody", nil), pod(5) + "x", i.Token("x", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})} {
		if status, body := get(t, url+"/v1/models", token); status != http.StatusUnauthorized {
			t.Errorf("a token that is not good: %d %s", status, body)
		}
	}
	s.stop(t)
	if log := s.stderr.String(); strings.Contains(log, pod(0)[:40]) || !strings.Contains(log, "cannot be fetched") {
		t.Errorf("the log: %s", log)
	}

	plain := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0"))
	for _, token := range []string{"", pod(6)} {
		for _, path := range []string{"/v1/models", "/v1/whoami", "/api/models"} {
			if status, body := get(t, plain.url(t)+path, token); status != http.StatusUnauthorized {
				t.Errorf("%s without the flags: %d %s", path, status, body)
			}
		}
	}
	plain.stop(t)
}

func noEnvironment(string) string { return "" }
