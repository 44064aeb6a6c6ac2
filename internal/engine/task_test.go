package engine_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// TestAddedTasks: an admin of global adds a task for everybody; when it is removed the versions that are for it stay so, and
// no other can be.
func TestAddedTasks(t *testing.T) {
	r := newRig(t, memStore(t))
	push := func(target, task string) error {
		f := small(target)
		u, err := r.open(t, writer, target)
		if err != nil {
			return err
		}
		if err := r.sendAll(t, writer, u.ID, f); err != nil {
			return err
		}
		_, err = r.commit(t, writer, u.ID, f.files(), ballast.Metadata{Task: task})
		return err
	}
	patch := func(target, field, value string) error {
		_, err := r.Patch(t.Context(), writer, own(target), ballast.PatchVersion{Metadata: map[string]json.RawMessage{field: json.RawMessage(value)}})
		return err
	}
	if err := push("refused:1", "claim-triage"); ballast.CodeOf(err) != ballast.CodeInvalid || !strings.Contains(err.Error(), "ner, ") {
		t.Errorf("before it was added: %v", err)
	}
	chief := engine.Principal{ID: "c", Name: "c", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Admin}}}
	for _, p := range []engine.Principal{writer, keeper, chief} {
		_, err := r.AddTask(t.Context(), p, "claim-triage")
		wantCode(t, err, ballast.CodeDenied)
		wantCode(t, r.RemoveTask(t.Context(), p, "claim-triage"), ballast.CodeDenied)
	}
	added := must(r.AddTask(t.Context(), admin, "claim-triage"))
	if again := must(r.AddTask(t.Context(), admin, "claim-triage")); again != added || added.AddedBy == "" {
		t.Errorf("added %+v, then %+v", added, again)
	}
	if err := push("m:1", "claim-triage"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, patch("m:1", "task", `"claim"`), ballast.CodeInvalid)
	wantCode(t, r.RemoveTask(t.Context(), admin, "ner"), ballast.CodePrecondition)
	for range 2 { // the second time there is nothing to remove
		if err := r.RemoveTask(t.Context(), admin, "claim-triage"); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, push("m:2", "claim-triage"), ballast.CodeInvalid)
	if err := patch("m:1", "description", `"as good as ever"`); err != nil {
		t.Errorf("another field of a version whose task was removed: %v", err)
	}
	if v := must(r.Version(t.Context(), writer, ref("m:1"))); v.Metadata.Task != "claim-triage" {
		t.Errorf("its task is %q now", v.Metadata.Task)
	}
	page := must(r.Tasks(t.Context()))
	if !slices.IsSortedFunc(page.Tasks, func(a, b ballast.TaskInfo) int { return strings.Compare(a.Task, b.Task) }) || len(page.Tasks) != len(ballast.Tasks()) {
		t.Errorf("%d tasks, want %d, sorted", len(page.Tasks), len(ballast.Tasks()))
	}
	kinds, _ := r.feed(t, admin, "")
	if heard := strings.Join(kinds, " "); !strings.Contains(heard, string(ballast.EventTaskAdded)) || !strings.Contains(heard, string(ballast.EventTaskGone)) {
		t.Errorf("the feed says %v", kinds)
	}
}

// TestTasksAreBounded: they stand in every refusal.
func TestTasksAreBounded(t *testing.T) {
	r := newRig(t, memStore(t))
	for i := range ballast.MaxTasks {
		must(r.AddTask(t.Context(), admin, fmt.Sprintf("task-%d", i)))
	}
	_, err := r.AddTask(t.Context(), admin, "one-more")
	wantCode(t, err, ballast.CodePrecondition)
}
