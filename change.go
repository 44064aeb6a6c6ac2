package ballast

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Next returns the stages that a version may be moved to by a change of its stage. Production is reached by a promotion
// alone, and left for staged when another version is promoted.
func (s Stage) Next() []Stage {
	switch s {
	case StageNone:
		return []Stage{StageValidated, StageStaged, StageArchived, StageDeprecated}
	case StageValidated:
		return []Stage{StageStaged, StageArchived, StageDeprecated}
	case StageStaged, StageProduction:
		return []Stage{StageArchived, StageDeprecated}
	case StageArchived:
		return []Stage{StageDeprecated}
	case StageDeprecated:
		return []Stage{StageArchived}
	}
	return nil
}

// Active reports whether latest chooses among versions of this stage.
func (s Stage) Active() bool { return s != StageArchived && s != StageDeprecated }

// Stages returns every stage, in their order.
func Stages() []Stage {
	return []Stage{StageNone, StageValidated, StageStaged, StageProduction, StageArchived, StageDeprecated}
}

// ParseStage parses a stage. Errors: invalid, with the stages.
func ParseStage(s string) (Stage, error) {
	if !slices.Contains(Stages(), Stage(s)) {
		return "", Errorf(CodeInvalid, "stage %s: use one of none, validated, staged, production, archived, deprecated", quote(s))
	}
	return Stage(s), nil
}

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseStage does.
func (s *Stage) UnmarshalText(text []byte) (err error) {
	*s, err = ParseStage(string(text))
	return err
}

// PatchVersion is the body of PATCH …/versions/{ref}. A field of the metadata that is left out stays as it is, null
// removes it, any other value takes its place; metrics are merged by name in the same way.
type PatchVersion struct {
	Stage    Stage                      `json:"stage,omitempty"` // not production: that is a promotion
	Metadata map[string]json.RawMessage `json:"metadata,omitempty"`
}

// Patched returns the metadata with the changes of a PatchVersion and the names of the fields that differ, sorted. The
// base model is part of what was published and stays. Errors: those of Check; invalid for an unknown field.
func (m Metadata) Patched(changes map[string]json.RawMessage) (next Metadata, fields []string, err error) {
	before, err := membersOf(m)
	if err != nil {
		return m, nil, err
	}
	after := maps.Clone(before)
	known := metadataFields()
	for name, value := range changes {
		switch {
		case !slices.Contains(known, name):
			return m, nil, Errorf(CodeInvalid, "metadata has no field %s; use one of %s", quote(name), strings.Join(known, ", "))
		case name == "base_model":
			return m, nil, Errorf(CodeInvalid, "base_model: is fixed when a version is published; publish a version with the other base")
		case string(value) == "null":
			delete(after, name)
		case name == "metrics":
			if after[name], err = mergeObjects(before[name], value); err != nil {
				return m, nil, err
			}
		default:
			after[name] = value
		}
	}
	body, err := json.Marshal(after)
	if err != nil {
		return m, nil, Errorf(CodeInvalid, "metadata: not JSON").Because(err)
	}
	if err := StrictUnmarshal(body, &next); err != nil {
		return m, nil, err
	}
	if err := next.Check(); err != nil {
		return m, nil, err
	}
	if after, err = membersOf(next); err != nil {
		return m, nil, err
	}
	for name := range changes {
		if !bytes.Equal(before[name], after[name]) {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return next, fields, nil
}

// metadataFields are the fields of Metadata, sorted. A decoder takes a name in any case, so that a change which is not
// held to them could say BASE_MODEL.
func metadataFields() (names []string) {
	for f := range reflect.TypeFor[Metadata]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func membersOf(m Metadata) (fields map[string]json.RawMessage, err error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return fields, json.Unmarshal(b, &fields)
}

// mergeObjects puts the members of change into an object; null removes one.
func mergeObjects(object, change json.RawMessage) (json.RawMessage, error) {
	var members, changes map[string]json.RawMessage
	if object != nil {
		if err := json.Unmarshal(object, &members); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(change, &changes); err != nil {
		return nil, Errorf(CodeInvalid, "metrics: write an object of names and finite numbers")
	}
	if members == nil {
		members = map[string]json.RawMessage{}
	}
	for name, value := range changes {
		if string(value) == "null" {
			delete(members, name)
		} else {
			members[name] = value
		}
	}
	return json.Marshal(members)
}

// PromotionKind says how the version in production changed.
type PromotionKind string

// The kinds.
const (
	Promoted   PromotionKind = "promoted"
	RolledBack PromotionKind = "rolled_back"
	Cleared    PromotionKind = "cleared" // it was retired, archived or deprecated, and nothing took its place
)

// Promotion is one change of what is in production under a name.
type Promotion struct {
	Number int64         `json:"number"` // from 1, per name
	Kind   PromotionKind `json:"kind"`
	From   Version       `json:"from,omitzero"` // left out when nothing was in production
	To     Version       `json:"to,omitzero"`   // left out when it was cleared
	Reason string        `json:"reason,omitempty"`
	By     string        `json:"by"`
	At     Time          `json:"at"`
}

// ProductionPage is what is in production under a name, and one page of how that came about, the newest first.
type ProductionPage struct {
	Scope      Scope       `json:"scope"`
	Name       Name        `json:"name"`
	Version    Version     `json:"version,omitzero"` // left out when nothing is in production
	Promotions []Promotion `json:"promotions"`
	Cursor     string      `json:"cursor,omitempty"`
}

// MaxReasonBytes bounds the reason of a rollback or promotion.
const MaxReasonBytes = 1024

// Promote is the body of POST …/promote.
type Promote struct {
	Reason string `json:"reason,omitempty"`
}

// Rollback is the body of POST /v1/models/{name}/rollback.
type Rollback struct {
	Reason string `json:"reason"` // required
}

// ReferenceKind says what keeps a version from being deleted.
type ReferenceKind string

// The kinds.
const (
	ReferenceChild      ReferenceKind = "child"      // another version has it as its base
	ReferenceAlias      ReferenceKind = "alias"      // an alias points at it
	ReferenceProduction ReferenceKind = "production" // it is in production
)

// Reference is one thing that points at a version.
type Reference struct {
	Kind ReferenceKind `json:"kind"`
	Name string        `json:"name,omitempty"` // the child's key, or the alias
}

// Child is a version that was made from another one.
type Child struct {
	Key    string `json:"key"`
	Status Status `json:"status"`
	Stage  Stage  `json:"stage"`
}

// ChildrenPage is one page of the versions that have a version as their base, of those that the caller sees.
type ChildrenPage struct {
	Key      string  `json:"key"`
	Children []Child `json:"children"`
	Cursor   string  `json:"cursor,omitempty"`
}

// EventKind says what an event is about.
type EventKind string

// The kinds of events.
const (
	EventReady        EventKind = "version.ready"
	EventChanged      EventKind = "version.changed"
	EventPromoted     EventKind = "version.promoted"
	EventRolledBack   EventKind = "version.rolled_back"
	EventRetired      EventKind = "version.retired"
	EventDeleted      EventKind = "version.deleted"
	EventRestored     EventKind = "version.restored"
	EventAliasSet     EventKind = "alias.set"
	EventAliasGone    EventKind = "alias.deleted"
	EventTokenMinted  EventKind = "token.created"
	EventTokenRotated EventKind = "token.rotated"
	EventTokenGone    EventKind = "token.revoked"
	EventTaskAdded    EventKind = "task.added"
	EventTaskGone     EventKind = "task.removed"
	EventQuota        EventKind = "quota.changed"
)

// EventKinds returns every kind.
func EventKinds() []EventKind {
	return []EventKind{
		EventReady, EventChanged, EventPromoted, EventRolledBack, EventRetired, EventDeleted, EventRestored, EventAliasSet, EventAliasGone,
		EventTokenMinted, EventTokenRotated, EventTokenGone, EventTaskAdded, EventTaskGone, EventQuota,
	}
}

// Event is one change: who changed what, and its revision before and after. Values are not in it: read the thing itself.
type Event struct {
	Cursor string    `json:"cursor"` // behind this event
	At     Time      `json:"at"`
	By     string    `json:"by"`
	Kind   EventKind `json:"kind"`
	Scope  Scope     `json:"scope"`
	Key    string    `json:"key,omitempty"`   // of the version that changed
	Name   Name      `json:"name,omitzero"`   // of the model
	Alias  Alias     `json:"alias,omitzero"`  // that changed
	Token  string    `json:"token,omitempty"` // id
	Task   string    `json:"task,omitempty"`  // that versions can be for, or no longer
	From   Version   `json:"from,omitzero"`   // promoted and rolled back: what was in production
	Before int64     `json:"before,omitempty"`
	After  int64     `json:"after,omitempty"`
	Fields []string  `json:"fields,omitempty"` // that a change touched, sorted
	Source Source    `json:"source,omitzero"`  // that a ready version was imported from; only for writers of its scope
}

// EventsPage is one page of GET /v1/events, the oldest first. It may be empty; Cursor is always where to go on.
type EventsPage struct {
	Events []Event `json:"events"`
	Cursor string  `json:"cursor"`
}
