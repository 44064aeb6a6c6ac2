package failpoint_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestStepsHaveNames(t *testing.T) {
	seen := map[string]failpoint.Step{}
	for _, s := range failpoint.Steps() {
		if other, taken := seen[s.String()]; taken || s.String() == "" {
			t.Errorf("step %d has the name %q, as has %d", s, s, other)
		}
		seen[s.String()] = s
	}
}

// traces counts what a binary has of this package beside the names of the steps, by which the metrics tell them apart: symbols,
// and the variable that says where to stop.
func traces(t *testing.T, binary string) (symbols, names int) {
	t.Helper()
	out, err := exec.Command("go", "tool", "nm", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "ballast/internal/engine.") {
		t.Fatalf("%s shows no symbols of the engine, so it would show none of this package", binary)
	}
	for line := range strings.Lines(string(out)) {
		if _, symbol, ok := strings.Cut(strings.TrimSpace(line), "ballast/internal/failpoint."); ok && symbol != "Step.String" && symbol != "(*Step).String" && symbol != "names" {
			symbols++
		}
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	return symbols, bytes.Count(content, []byte("BALLAST_FAILPOINT"))
}

func TestShippedBinaryHasNone(t *testing.T) {
	if symbols, names := traces(t, testenv.Binary(t)); symbols+names > 0 {
		t.Errorf("the binary has %d symbols and %d names of failpoints", symbols, names)
	}
	if symbols, names := traces(t, testenv.FailpointBinary(t)); symbols == 0 || names == 0 {
		t.Errorf("the binary with the tag shows %d symbols and %d names: the test is blind", symbols, names)
	}
}
