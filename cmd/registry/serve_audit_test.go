package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/audit/audittest"
	"github.com/ballast-registry/ballast/testenv"
	"github.com/ballast-registry/ballast/testenv/canary"
)

// TestNoSecretIsLogged takes the real binary at debug level through pushing, pulling, refusals and changes, in over 1,000
// lines, and finds none of the secrets in use in them, nor in the audit, nor in what the commands print.
func TestNoSecretIsLogged(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0", "--log-level", "debug", "--log-format", "json"))
	url, admin := s.url(t), readToken(t, data)
	canary.Secret(admin)
	for file, secret := range map[string]string{recordKeyFile: `(?m)^[0-9a-f]{64}$`, "s3.credentials": `(?m)secret_access_key *= *(\S+)$`} {
		b, err := os.ReadFile(filepath.Join(data, file))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(secret).FindSubmatch(b)
		if m == nil {
			t.Fatalf("control: no secret in %s", file)
		}
		canary.Secret(string(m[len(m)-1]))
	}
	var said bytes.Buffer
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), testenv.Binary(t), args...)
		cmd.Env = []string{"HOME=" + filepath.Dir(data), "BALLAST_URL=" + url, "BALLAST_TOKEN=" + admin, "XDG_CACHE_HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
		out, _ := cmd.CombinedOutput() // some are to be refused
		if args[0] != "token" && args[0] != "resolve" {
			said.Write(out)
		}
		return string(out)
	}
	model := t.TempDir()
	for name, body := range map[string]string{"config.json": "{}", "w.bin": strings.Repeat("w", 1<<16)} {
		if err := os.WriteFile(filepath.Join(model, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("push", model, "m:1")
	run("push", model, "acme::m:1")
	run("pull", "m:1", filepath.Join(t.TempDir(), "m"))
	run("pull", "m:9", filepath.Join(t.TempDir(), "m"))
	run("resolve", "m:1", "--urls")
	minted := strings.Fields(run("token", "create", "--grant", "acme=reader"))
	reader := minted[len(minted)-1]
	if canary.Find([]byte(reader)) == "" {
		t.Fatalf("control: %q is no token", reader)
	}
	run("alias", "set", "m@champion", "1")
	run("retire", "m:1")
	run("pull", "m:1", filepath.Join(t.TempDir(), "m"))
	for i := range 1000 {
		token, path := admin, fmt.Sprintf("/v1/models/acme::m/versions/1/files/w.bin?X-Amz-Signature=%064d", i)
		switch i % 10 {
		case 1:
			token, path = reader+"x", "/v1/whoami?token="+reader
		case 2:
			path = "/v1/models/" + reader
		case 3:
			path = "/m/resolve/main/w.bin?token=" + reader
		case 4:
			path = "/v1/models/acme::m/versions/1/files?urls=true"
		case 5:
			token = reader
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.after(t, "export BALLAST_URL=")+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("User-Agent", "leaky "+token)
		req.Header.Set("X-Request-Id", token)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	s.stop(t)
	lines := 0
	for line := range strings.Lines(s.stderr.String()) {
		lines++
		if found := canary.Find([]byte(line)); found != "" {
			t.Errorf("the log holds %q: %s", found, line)
		}
	}
	if lines < 1000 {
		t.Errorf("control: %d lines of log", lines)
	}
	if found := canary.Find(said.Bytes()); found != "" {
		t.Errorf("a command printed %q", found)
	}
	kinds := map[ballast.AuditAction]int{}
	for _, e := range audittest.Read(t, filepath.Join(data, auditFolder)) { // which reads each for tokens and signatures
		kinds[e.Action]++
		if text := fmt.Sprintf("%+v", e); canary.Find([]byte(text)) != "" {
			t.Errorf("the audit holds a secret: %s", text)
		}
	}
	if kinds[ballast.AuditRead] < 500 || kinds[ballast.AuditAuth] < 100 || kinds[ballast.AuditWrite] == 0 || kinds[ballast.AuditRefused] == 0 {
		t.Errorf("control: the audit has %v", kinds)
	}
}

// TestAuditFlags: what cannot be is refused before anything is touched, in words that say what can.
func TestAuditFlags(t *testing.T) {
	good := auditFlags{FileSize: "64MiB", TotalSize: "1GiB", Age: audit.DefaultAge}
	if b, err := good.bounds(); err != nil || b != (audit.Bounds{File: audit.DefaultFile, Total: audit.DefaultTotal, Age: audit.DefaultAge}) {
		t.Errorf("the defaults are %+v, %v", b, err)
	}
	for want, f := range map[string]auditFlags{
		"--audit-file-size \"x\": write a size": {FileSize: "x", TotalSize: "1GiB", Age: audit.DefaultAge},
		"--audit-total-size \"1\": write":       {FileSize: "1MiB", TotalSize: "1", Age: audit.DefaultAge},
		"has to be twice --audit-file-size":     {FileSize: "1GiB", TotalSize: "1GiB", Age: audit.DefaultAge},
		"--audit-age 1s: write an hour":         {FileSize: "64MiB", TotalSize: "1GiB", Age: time.Second},
	} {
		if err := f.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", f, err, want)
		}
	}
}

// TestAuditElsewhere: on stdout there are lines of JSON and nothing else, with off there is none, and neither leaves a folder.
func TestAuditElsewhere(t *testing.T) {
	for to, want := range map[string]bool{auditStdout: true, auditOff: false} {
		s := &serving{cmd: &serveCmd{Audit: auditFlags{Log: to}}, app: &app{}, log: canary.Log(t, canary.Quiet), registry: newRegistry(), data: t.TempDir()}
		var stdout bytes.Buffer
		s.app.stdout = &stdout
		if err := s.openAudit(); err != nil {
			t.Fatal(err)
		}
		_, rec := audit.Begin(t.Context())
		s.audit.Write(rec, audit.Request{Method: "GET", Status: 401, Code: ballast.CodeUnauthenticated})
		s.close()
		if strings.Contains(stdout.String(), `"action":"auth.refused"`) != want || s.auditReader() != nil {
			t.Errorf("%s: %q", to, &stdout)
		}
		if left, err := os.ReadDir(s.data); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v", to, left)
		}
	}
}
