package index

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Change says who changes a version, and from which revision. IfRevision nil changes it whatever its revision is.
type Change struct {
	By         string
	IfRevision *int64
}

// check refuses a change that was meant for another revision.
func (c Change) check(v Version) error {
	if c.IfRevision == nil || *c.IfRevision == v.Revision {
		return nil
	}
	return ballast.Errorf(ballast.CodePrecondition, "%s is at revision %d, not %d; read it again", v.Key(), v.Revision, *c.IfRevision)
}

// changeable returns a version that may be changed: it is ready or, for what people say of it, retired.
func changeable(tx Tx, k ballast.Key, c Change) (Version, error) {
	v, err := getVersion(tx, k.Scope, k.Name, k.Version)
	if errors.Is(err, ErrNotFound) || err == nil && (v.Status == ballast.StatusDeleted || v.Status == ballast.StatusSealed) {
		return v, NotFound(keyRef(k))
	}
	if err != nil {
		return v, err
	}
	if v.Refused != "" {
		return v, errRefused(v)
	}
	return v, c.check(v)
}

func keyRef(k ballast.Key) ballast.Ref {
	return ballast.Ref{Scope: k.Scope, Name: k.Name, Version: k.Version}
}

// touch counts a change of a version and of its name's.
func touch(tx Tx, v *Version, at ballast.Time) error {
	v.Revision++
	v.UpdatedAt = at
	name, err := get[Name](tx, scopedName(kindName, v.Scope, v.Name))
	if err != nil {
		return err
	}
	name.Updated = v.UpdatedAt
	return errors.Join(put(tx, scopedName(kindName, v.Scope, v.Name), name), putVersion(tx, *v))
}

func putVersion(tx Tx, v Version) error {
	return put(tx, versionKey(kindVersion, v.Scope, v.Name, v.Version), v)
}

// Patch changes what people say of a version: descriptive fields and the stage. What changes nothing leaves the
// revision as it is. Errors: not_found, invalid, too_large; precondition for another revision or a move of the stage
// that is not allowed, with those that are.
func (x *Index) Patch(ctx context.Context, k ballast.Key, c Change, metadata map[string]json.RawMessage, stage ballast.Stage) (v Version, err error) {
	err = x.update(ctx, failpoint.Patch, func(tx Tx) error {
		if v, err = changeable(tx, k, c); err != nil {
			return err
		}
		at, before := ballast.At(x.now()), v.Revision
		var fields []string
		if v.Metadata, fields, err = v.Metadata.Patched(metadata); err != nil {
			return err
		}
		if slices.Contains(fields, "task") {
			if err := knowsTask(tx, v.Metadata.Task); err != nil {
				return err
			}
		}
		if stage != "" && stage != v.Stage {
			if err := moveStage(tx, &v, stage, c.By, at); err != nil {
				return err
			}
			fields = append(fields, "stage")
			slices.Sort(fields)
		}
		if len(fields) == 0 {
			return nil
		}
		if err := touch(tx, &v, at); err != nil {
			return err
		}
		return x.emit(tx, Event{At: at, By: c.By, Kind: ballast.EventChanged, Scope: v.Scope, Name: v.Name, Version: v.Version, Before: before, After: v.Revision, Fields: fields})
	})
	return v, err
}

// moveStage moves a ready version to another stage, other than by a promotion. The caller writes the version.
func moveStage(tx Tx, v *Version, to ballast.Stage, by string, at ballast.Time) error {
	if v.Status != ballast.StatusReady {
		return ballast.Errorf(ballast.CodePrecondition, "%s is %s; its stage moves no more", v.Key(), v.Status)
	}
	if !slices.Contains(v.Stage.Next(), to) {
		return wrongMove(*v, to)
	}
	if v.Stage == ballast.StageProduction {
		if err := clearProduction(tx, *v, by, at); err != nil {
			return err
		}
	}
	return setStage(tx, v, to)
}

func wrongMove(v Version, to ballast.Stage) error {
	next := make([]string, 0, len(v.Stage.Next()))
	for _, s := range v.Stage.Next() {
		next = append(next, string(s))
	}
	hint := ""
	if to == ballast.StageProduction || v.Stage.Active() && v.Stage != ballast.StageProduction {
		hint = "; production is reached by promote"
	}
	return ballast.Errorf(ballast.CodePrecondition, "%s is %s and cannot be moved to %s; from there it can be moved to %s%s", v.Key(), v.Stage, to, strings.Join(next, " or "), hint)
}

// setStage gives a version a stage and keeps what latest chooses from in step.
func setStage(tx Tx, v *Version, to ballast.Stage) error {
	v.Stage = to
	candidate := candidateKey(v.Scope, v.Name, v.Version)
	if to.Active() && v.Status == ballast.StatusReady {
		return tx.Put(candidate, nil)
	}
	return tx.Delete(candidate)
}
