package engine_test

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// knowsTask reports whether versions can be for a task; "" is none.
func (m *model) knowsTask(task string) bool {
	return task == "" || ballast.IsTask(task) || m.tasks[task]
}

func (m *machine) anyTask() string {
	return pick(m, "task", []string{"juggling", "juggling", "juggling", "ner", "no task!"})
}

func (m *machine) drawTasks() step {
	var got ballast.TasksPage
	return step{
		name: "tasks",
		call: func() (err error) { got, err = m.engine.Tasks(m.Context()); return err },
		want: func() ballast.Code { return "" },
		check: func() {
			var all []string
			for _, t := range got.Tasks {
				all = append(all, t.Task)
			}
			expected := ballast.Tasks()
			for task := range m.tasks {
				expected = append(expected, task)
			}
			slices.Sort(expected)
			equal(m, "tasks", all, expected)
		},
	}
}

func (m *machine) drawAddTask() step {
	p, task := pick(m, "principal", []engine.Principal{admin, admin, admin, both, other, nobody}), m.anyTask()
	return step{
		name: "add task", show: args(p.Name, task),
		call: func() error { _, err := m.engine.AddTask(m.Context(), p, task); return err },
		want: func() ballast.Code {
			switch {
			case roleIn(p, ballast.Global) < ballast.Admin:
				return ballast.CodeDenied
			case ballast.CheckTask(task) != nil:
				return ballast.CodeInvalid
			case !m.knowsTask(task):
				m.tasks[task] = true
				m.say(modelEvent{kind: ballast.EventTaskAdded, scope: ballast.Global, task: task, by: p.By()})
			}
			return ""
		},
	}
}

// drawRemoveTask leaves the versions that are for the task as they are.
func (m *machine) drawRemoveTask() step {
	p, task := pick(m, "principal", []engine.Principal{admin, admin, admin, both, other, nobody}), m.anyTask()
	return step{
		name: "remove task", show: args(p.Name, task),
		call: func() error { return m.engine.RemoveTask(m.Context(), p, task) },
		want: func() ballast.Code {
			switch {
			case roleIn(p, ballast.Global) < ballast.Admin:
				return ballast.CodeDenied
			case ballast.CheckTask(task) != nil:
				return ballast.CodeInvalid
			case ballast.IsTask(task):
				return ballast.CodePrecondition
			case m.tasks[task]:
				delete(m.tasks, task)
				m.say(modelEvent{kind: ballast.EventTaskGone, scope: ballast.Global, task: task, by: p.By()})
			}
			return ""
		},
	}
}

// describe draws what lists can be narrowed by.
func (m *machine) describe(d *ballast.Metadata) {
	if all := m.all(); len(all) > 0 && m.oneIn(2) {
		d.BaseModel = pick(m, "base", all).key.String()
	}
	if m.oneIn(2) {
		d.Tags = pick(m, "tags", [][]string{{"a"}, {"a", "b"}})
	}
	if m.oneIn(2) {
		d.Metrics = map[string]float64{"loss": pick(m, "loss", []float64{0.25, 0.5})}
	}
	if m.oneIn(3) {
		d.Task = pick(m, "task", []string{"ner", "ner", "juggling"})
	}
}

// saidIn is what metadata says, as JSON by field, less the base.
func saidIn(d ballast.Metadata) map[string]string {
	d.BaseModel = ""
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(must(json.Marshal(d)), &fields); err != nil {
		panic(err)
	}
	all := map[string]string{}
	for field, value := range fields {
		all[field] = string(value)
	}
	return all
}

// mergedMetrics is what is left of metrics, as JSON, once some were changed or, by null, removed; "" when it is none.
func mergedMetrics(before, change string) string {
	all := map[string]*float64{}
	for _, text := range []string{before, change} {
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			panic(fmt.Sprintf("metrics %s: %v", text, err))
		}
	}
	left := map[string]float64{}
	for name, value := range all {
		if value != nil {
			left[name] = *value
		}
	}
	if len(left) == 0 {
		return ""
	}
	return string(must(json.Marshal(left)))
}
