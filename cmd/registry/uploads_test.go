package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
)

// TestShowUpload: how far an upload is that is verified, until when one is held that waits for bytes, and why one failed.
func TestShowUpload(t *testing.T) {
	u := ballast.Upload{ID: "the-id", Scope: ballast.Global, CreatedBy: "ci@global", CreatedAt: ballast.At(time.Now())}
	var err error
	if u.Name, err = ballast.ParseName("m"); err != nil {
		t.Fatal(err)
	}
	verifying, pending, failed := u, u, u
	verifying.Status, verifying.Key = ballast.UploadVerifying, "m::1"
	verifying.Progress = &ballast.Progress{Blobs: 3, BlobsVerified: 1, Bytes: 3 << 30, BytesVerified: 1 << 30}
	pending.Status, pending.ExpiresAt = ballast.UploadPending, ballast.At(time.Now().Add(time.Minute))
	failed.Status, failed.Error = ballast.UploadFailed, ballast.Errorf(ballast.CodeIntegrity, "other bytes")
	for want, u := range map[string]ballast.Upload{"verified 1.0 GiB of 3.0 GiB; 1 of 3 files": verifying, "until ": pending, "other bytes": failed} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/uploads/the-id" {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			_ = json.NewEncoder(w).Encode(u)
		}))
		env := func(name string) string { return map[string]string{envURL: srv.URL, envToken: "bal_x"}[name] }
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"uploads", "show", "the-id"}, env, strings.NewReader(""), &stdout, &stderr); code != exitDone || !strings.Contains(stdout.String(), want) || !strings.Contains(stdout.String(), string(u.Status)) {
			t.Errorf("%s: exit code %d, %s%s", u.Status, code, stdout.String(), stderr.String())
		}
		srv.Close()
	}
}
