package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

// TestWhatTheBucketDoesNotSayYet: an end that is not recorded is a success that says so, on stderr alone.
func TestWhatTheBucketDoesNotSayYet(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(map[string]any{"key": "acme::m::1", "status": ballast.StatusRetired})
	}))
	defer srv.Close()
	env := func(name string) string { return map[string]string{envURL: srv.URL, envToken: "bal_x"}[name] }
	for _, args := range [][]string{{"retire", "m:1"}, {"retire", "m:1", "--json"}, {"rm", "m:1"}, {"rm", "m:1", "--json"}} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), args, env, strings.NewReader(""), &stdout, &stderr)
		if code != exitDone || !strings.Contains(stderr.String(), "the bucket does not say so yet") || strings.Contains(stdout.String(), "bucket") {
			t.Errorf("%v: exit code %d, %q, %q", args, code, stdout.String(), stderr.String())
		}
		if len(args) == 3 && !strings.Contains(stdout.String(), `"recorded": false`) {
			t.Errorf("%v: %s", args, stdout.String())
		}
	}
}
