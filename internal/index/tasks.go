package index

import (
	"context"
	"errors"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Task is the stored form of a task that an admin added.
type Task struct {
	Task    string       `json:"task"`
	AddedBy string       `json:"added_by"`
	AddedAt ballast.Time `json:"added_at"`
}

// AddTask adds a task; one that is there already stays as it is. Errors: precondition when there are ballast.MaxTasks.
func (x *Index) AddTask(ctx context.Context, task, by string) (t Task, err error) {
	err = x.update(ctx, failpoint.AddTask, func(tx Tx) (err error) {
		var known bool
		if t, known, err = lookup[Task](tx, key(kindTask, task)); err != nil || known {
			return err
		}
		all, err := keys(tx, []byte{kindTask}, ballast.MaxTasks)
		if err != nil {
			return err
		}
		if len(all) == ballast.MaxTasks {
			return ballast.Errorf(ballast.CodePrecondition, "%d tasks were added, which is the most; remove one first", ballast.MaxTasks)
		}
		t = Task{Task: task, AddedBy: by, AddedAt: ballast.At(x.now())}
		return errors.Join(put(tx, key(kindTask, task), t), x.emit(tx, Event{At: t.AddedAt, By: by, Kind: ballast.EventTaskAdded, Scope: ballast.Global, Task: task}))
	})
	return t, err
}

// RemoveTask removes a task that was added; an absent one is success.
func (x *Index) RemoveTask(ctx context.Context, task, by string) error {
	return x.update(ctx, failpoint.RemoveTask, func(tx Tx) error {
		known, err := exists(tx, key(kindTask, task))
		if err != nil || !known {
			return err
		}
		return errors.Join(tx.Delete(key(kindTask, task)), x.emit(tx, Event{By: by, Kind: ballast.EventTaskGone, Scope: ballast.Global, Task: task}))
	})
}

// Tasks lists the tasks that were added, sorted.
func (x *Index) Tasks(ctx context.Context) (all []Task, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		all = nil
		for item, err := range readable[Task](tx.Scan([]byte{kindTask}, nil, false), skip) {
			if err != nil {
				return err
			}
			all = append(all, item.value)
		}
		return nil
	})
	return all, err
}

// KnowsTask refuses a task that every registry knows as little as this one.
func (x *Index) KnowsTask(ctx context.Context, task string) error {
	return x.store.View(ctx, func(tx Tx) error { return knowsTask(tx, task) })
}

func knowsTask(tx Tx, task string) error {
	if task == "" || ballast.IsTask(task) {
		return nil
	}
	if known, err := exists(tx, key(kindTask, task)); err != nil || known {
		return err
	}
	added, err := keys(tx, []byte{kindTask}, ballast.MaxTasks)
	if err != nil {
		return err
	}
	known := ballast.Tasks()
	for _, k := range added {
		known = append(known, partAfter(k, []byte{kindTask}))
	}
	return ballast.UnknownTask(task, known)
}
