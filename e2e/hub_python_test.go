package e2e_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ballast-registry/ballast/testenv"
)

// TestHubPython runs the real Python clients of Hugging Face, where they are installed: docs/hub-python.md keeps what they
// said. They cannot be pinned here as the npm package is, so that the replayed requests of hubtest are the ones that are
// always run.
func TestHubPython(t *testing.T) {
	need(t, "python3")
	if err := exec.CommandContext(t.Context(), "python3", "-c", "import huggingface_hub").Run(); err != nil {
		t.Skip("Python's huggingface_hub is not installed: pip install huggingface_hub transformers torch")
	}
	script := must[string](t)(filepath.Abs("../testenv/huggingface/python.py"))
	out, err := exec.CommandContext(t.Context(), "python3", script, testenv.Binary(t)).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
