package e2e_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/ballast-registry/ballast/internal/objstore"
)

// requirePrograms set to 1 makes the lack of somebody else's program a failure. It is apart from testenv.RequireVariable:
// `make test` has to pass on a machine with nothing but Go, and CI has to miss nothing.
const requirePrograms = "BALLAST_REQUIRE_PROGRAMS"

// programs are how each program of the operating system that a test may need shows that it is there.
var programs = map[string][]string{
	"aws":     {"aws", "--version"},
	"bash":    {"bash", "--version"},
	"boto3":   {"python3", "-c", "import boto3"},
	"curl":    {"curl", "--version"},
	"jq":      {"jq", "--version"},
	"node":    {"node", "--version"},
	"npm":     {"npm", "--version"},
	"openssl": {"openssl", "version"},
	"python3": {"python3", "--version"},
}

// need skips the test unless the programs are there.
func need(t *testing.T, names ...string) {
	t.Helper()
	if !has(t, names...) {
		t.SkipNow()
	}
}

// has reports whether the programs are there, and fails the test if they must be.
func has(t *testing.T, names ...string) bool {
	t.Helper()
	for _, name := range names {
		probe := programs[name]
		if probe == nil {
			t.Fatalf("no test knows how to look for %s", name)
		}
		out, err := exec.CommandContext(t.Context(), probe[0], probe[1:]...).CombinedOutput()
		switch {
		case err == nil:
		case os.Getenv(requirePrograms) == "1":
			t.Fatalf("%s: %v (%s=1 forbids to go on without)\n%s", name, err, requirePrograms, out)
		default:
			t.Logf("%s is not here: %v", name, err)
			return false
		}
	}
	return true
}

// soundContinue keeps botocore from asking "Expect: 100-continue" of an empty body. A server written in Go, as MinIO is,
// answers that at once, and botocore then takes this answer's status for the next request's on the connection as well: the
// next PUT hangs for 30 s and ends as done, or in KeyError 'ETag'.
const soundContinue = "BOTO_EXPERIMENTAL__NO_EMPTY_CONTINUE=true"

// asAWS are the variables that AWS's own programs read.
func asAWS(k objstore.Keys, region string) []string {
	return []string{"AWS_ACCESS_KEY_ID=" + k.ID, "AWS_SECRET_ACCESS_KEY=" + k.Secret, "AWS_DEFAULT_REGION=" + region, soundContinue}
}
