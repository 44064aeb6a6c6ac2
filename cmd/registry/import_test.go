package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

// TestInterruptedImportGoesOn: Ctrl-C ends the command and not the import, and so does a registry that goes away; either
// way it is said how to look after it.
func TestInterruptedImportGoesOn(t *testing.T) {
	for name, args := range map[string][]string{"import": {"import", "inbox:m", "m:1"}, "show": {"imports", "show", "--follow", "the-id"}} {
		for _, away := range []bool{false, true} {
			ctx, interrupt := context.WithCancel(t.Context())
			looks := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodDelete {
					t.Errorf("%s: the import was cancelled", name)
				}
				if looks++; looks == 3 && away {
					w.Header().Set("Content-Type", "application/problem+json")
					w.WriteHeader(http.StatusServiceUnavailable)
					_ = json.NewEncoder(w).Encode(ballast.Errorf(ballast.CodeUnavailable, "going down"))
					looks-- // and stays so
					return
				}
				if looks == 3 {
					interrupt()
					return
				}
				_ = json.NewEncoder(w).Encode(map[string]any{
					"id": "the-id", "scope": "acme", "name": "m", "source": "inbox:m/", "status": "importing", // whoami takes from it what it knows
				})
			}))
			env := func(name string) string { return map[string]string{envURL: srv.URL, envToken: "bal_x"}[name] }
			var stdout, stderr bytes.Buffer
			code := run(ctx, args, env, strings.NewReader(""), &stdout, &stderr)
			want := exitFailed
			if away {
				want = exitUnavailable
			}
			if said := stderr.String(); code != want || !strings.Contains(said, "the registry goes on with it: `ballast imports show the-id`") || !strings.Contains(said, "`ballast imports cancel the-id`") {
				t.Errorf("%s, away %t: exit code %d, %q", name, away, code, said)
			}
			interrupt()
			srv.Close()
		}
	}
}

// TestInterruptedImportThroughHere says that the same command goes on, and does.
func TestInterruptedImportThroughHere(t *testing.T) {
	for _, at := range []string{"/revision/main", "/tree/", "/resolve/"} {
		ctx, interrupt := context.WithCancel(t.Context())
		commit := strings.Repeat("0123456789", 4)
		hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, at) {
				interrupt()
				<-r.Context().Done()
				return
			}
			if strings.Contains(r.URL.Path, "/tree/") {
				_, _ = w.Write([]byte(`[{"type":"file","path":"a","size":3,"oid":"` + commit + `"}]`))
				return
			}
			_, _ = w.Write([]byte(`{"id":"m","sha":"` + commit + `"}`))
		}))
		registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				t.Errorf("at %s: the upload was given up", at)
			}
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(map[string]any{"id": "the-id", "scope": "acme", "name": "m", "status": "pending"})
		}))
		vars := map[string]string{envURL: registry.URL, envToken: "bal_x", "HF_ENDPOINT": hub.URL, "XDG_CACHE_HOME": t.TempDir()}
		var stdout, stderr bytes.Buffer
		code := run(ctx, []string{"import", "hf://m", "m:1"}, func(name string) string { return vars[name] }, strings.NewReader(""), &stdout, &stderr)
		if said := stderr.String(); code != exitFailed || !strings.Contains(said, "interrupted; what was fetched and sent is kept: run the same command again to go on where it was") {
			t.Errorf("at %s: exit code %d, %q", at, code, said)
		}
		interrupt()
		hub.Close()
		registry.Close()
	}
}

// TestCancelledImport is one that this command ended, and none that had ended before.
func TestCancelledImport(t *testing.T) {
	for status, want := range map[string]int{"aborted": exitDone, "done": exitConflict} {
		cancelled := false
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				cancelled = r.URL.Path == "/v1/imports/the-id"
				w.WriteHeader(http.StatusNoContent)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"id": "the-id", "scope": "acme", "name": "m", "source": "inbox:m/", "status": status})
		}))
		env := func(name string) string { return map[string]string{envURL: srv.URL, envToken: "bal_x"}[name] }
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"imports", "cancel", "the-id"}, env, strings.NewReader(""), &stdout, &stderr)
		if code != want || !cancelled || (code == exitDone) != (stdout.String() == "cancelled the-id\n") {
			t.Errorf("%s: exit code %d, %q, %q", status, code, stdout.String(), stderr.String())
		}
		srv.Close()
	}
}

func TestImportAllow(t *testing.T) {
	for text, want := range map[string]string{
		"acme=s3://legacy/acme/":        "acme=s3://legacy/acme/",
		"acme=s3://legacy/acme":         "acme=s3://legacy/acme/",
		"global=s3://legacy":            "global=s3://legacy/",
		"acme=s3://legacy/a,b=s3://l/b": "acme=s3://legacy/a/ b=s3://l/b/",
		"acme":                          "", "=s3://legacy/a": "", "Acme=s3://legacy/a": "", "acme=legacy/a": "", "acme=s3://": "", "acme=inbox:a": "", "acme=https://legacy/a": "",
	} {
		cmd := &serveCmd{}
		_, err := kongOf(t, cmd).Parse([]string{"--import-allow", text})
		var got []string
		for _, o := range cmd.ImportAllow {
			got = append(got, o.String())
		}
		if (err == nil) != (want != "") || strings.Join(got, " ") != want && want != "" {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for args, refused := range map[string]bool{
		"--import-allow acme=s3://ballast/legacy/":                                          true, // the embedded store's
		"--import-allow acme=s3://legacy/acme/":                                             false,
		"--s3-bucket ballast-2 --import-allow acme=s3://ballast/legacy/":                    false,
		"--s3-bucket models --import-allow acme=s3://models/acme/":                          true,
		"--s3-bucket models --s3-prefix /ballast/ --import-allow acme=s3://models/ballast/": true,
		"--s3-bucket models --s3-prefix ballast --import-allow acme=s3://models":            true,
		"--s3-bucket models --s3-prefix ballast --import-allow acme=s3://models/ballast-x/": false,
	} {
		cmd := parseServe(t, strings.Fields(args)...)
		if err := cmd.checkOrigins(); (err != nil) != refused {
			t.Errorf("%s: %v", args, err)
		}
	}
}
