package ballast_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

// TestTaskForms: what no task is called is refused wherever it is said; whether one is known, only a registry can say.
func TestTaskForms(t *testing.T) {
	for _, task := range []string{"NER", "ner ", "-ner", "_x", "a.b", "a/b", strings.Repeat("a", 65), "größe"} {
		for what, err := range map[string]error{
			"task": ballast.CheckTask(task), "metadata": (&ballast.Metadata{Task: task}).Check(), "filter": ballast.VersionFilter{Task: task}.Check(),
		} {
			if ballast.CodeOf(err) != ballast.CodeInvalid || !strings.Contains(err.Error(), "as in text-generation") {
				t.Errorf("%s %q: %v", what, task, err)
			}
		}
	}
	for _, task := range []string{"claim-triage", "3d", strings.Repeat("a", 64)} {
		if err := ballast.CheckTask(task); err != nil || ballast.IsTask(task) {
			t.Errorf("%q: %v", task, err)
		}
	}
}

// TestTasks: the registry's own six are known, each is of the form of a task, and a refusal lists all that is known.
func TestTasks(t *testing.T) {
	for _, task := range []string{"text_embedding", "image_embedding", "audio_embedding", "classification", "ner", "regression", "text-generation"} {
		if !ballast.IsTask(task) {
			t.Errorf("%s is not known", task)
		}
	}
	for _, task := range ballast.Tasks() {
		if err := ballast.CheckTask(task); err != nil {
			t.Error(err)
		}
	}
	known := append(ballast.Tasks(), "claim-triage")
	_, list, _ := strings.Cut(ballast.UnknownTask("flying", known).Error(), "use one of ")
	list, _, _ = strings.Cut(list, ". ")
	if listed := strings.Split(list, ", "); !slices.Equal(listed, known) {
		t.Errorf("the refusal lists %q", listed)
	}
}
