package docs_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestSecurityPage holds security.md to the tree: every test that it names exists, and it speaks of everybody of whom the
// threat model has to.
func TestSecurityPage(t *testing.T) {
	text, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, problem := range unproved(page) {
		t.Error(problem)
	}
	for _, holder := range []string{
		"a reader's token", "a writer's token", "a tenant admin's token", "a leaked token", "a signed GET", "a signed PUT or part", "the put key", "the get key",
		"the service's key, or the bucket's admin", "`record.key`", "the data folder", "the network between client and service",
	} {
		if !strings.Contains(page, "\n| "+holder+" | ") {
			t.Errorf("nothing is said of who holds %s", holder)
		}
	}
	if doctored := strings.Replace(page, "TestTaintedPut", "TestTaintedGet", 1); len(unproved(doctored)) != 1 {
		t.Errorf("control: a test that is gone gives %q", unproved(doctored))
	}
}

// TestPoliciesAreJSON: of the policies of iam, tests apply to MinIO all but those about roles, which it does not know. Of
// each, no word is a placeholder but those that direct-s3.md names.
func TestPoliciesAreJSON(t *testing.T) {
	files, err := filepath.Glob("iam/*.json")
	if err != nil || len(files) != 7 {
		t.Fatalf("policies %q, %v", files, err)
	}
	placeholder := regexp.MustCompile(`\b[A-Z]{3,}\b`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var policy struct {
			Version   string
			Statement []struct{ Effect string }
		}
		if err := json.Unmarshal(text, &policy); err != nil || policy.Version != "2012-10-17" || len(policy.Statement) == 0 || policy.Statement[0].Effect != "Allow" {
			t.Errorf("%s: %+v, %v", file, policy, err)
		}
		for _, word := range placeholder.FindAllString(string(text), -1) {
			if !slices.Contains([]string{"BUCKET", "PREFIX", "TENANT", "ACCOUNT", "USER", "ROLE", "AWS"}, word) {
				t.Errorf("%s: what is %s?", file, word)
			}
		}
	}
}

// unproved are the tests that a page names and that are not there.
func unproved(page string) (found []string) {
	tests := testName.FindAllStringSubmatch(page, -1)
	if len(tests) < 30 {
		found = append(found, "the page names few tests: is their form another?")
	}
	for _, test := range tests {
		if !exists(os.DirFS(root), test[1], test[2], test[3]) {
			found = append(found, "there is no "+strings.Trim(test[0], "`"))
		}
	}
	return found
}
