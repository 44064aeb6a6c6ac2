package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// setCmd changes what is said of a version.
type setCmd struct {
	Ref    string   `arg:"" help:"The version, as in llama/tiny:1.2.0."`
	Fields []string `arg:"" optional:"" name:"field=value" help:"As in task=text-generation. Fields: model_type, task, backend, architecture, description, registered_by, input_dim, output_dim, num_parameters, num_training_examples, dataset_id, config_hash, and config and extra, which take JSON. Tasks are the pipeline tags of Hugging Face and six more; an unknown one is answered with the list. The rest stays as it is."`

	Unset    []string `sep:"none" placeholder:"FIELD" help:"Remove a field, or one metric as metrics.NAME. Repeatable."`
	Tag      []string `sep:"none" help:"Add a tag. Repeatable."`
	Untag    []string `sep:"none" placeholder:"TAG" help:"Take a tag away. Repeatable."`
	Metric   metrics  `placeholder:"NAME=NUMBER" help:"Add or replace a measured number. Repeatable."`
	Revision int64    `placeholder:"N" help:"Change it only from this revision, as show shows it."`

	remote `embed:""`
}

// changes are fields of the metadata as a PatchVersion has them.
type changes map[string]json.RawMessage

// setTries is how often tags are put together anew when somebody else changed the version meanwhile.
const setTries = 5

// Run implements the command.
func (s *setCmd) Run(ctx context.Context, a *app) error {
	ref, err := ballast.ParseRef(s.Ref)
	if err != nil {
		return err
	}
	said, err := s.changes()
	if err != nil {
		return err
	}
	c, err := s.client(a)
	if err != nil {
		return err
	}
	v, err := s.patch(ctx, c, ref, said)
	if err != nil {
		return err
	}
	if s.JSON {
		return a.json(v)
	}
	fmt.Fprintf(a.stdout, "%s  revision %d\n", v.Key, v.Revision)
	return nil
}

// patch sends the changes. Tags are a list, which a patch replaces: they are put together here, and sent so that a change
// of somebody else's in between is not undone.
func (s *setCmd) patch(ctx context.Context, c *client.Client, ref ballast.Ref, said changes) (ballast.VersionInfo, error) {
	if len(s.Tag)+len(s.Untag) == 0 {
		return c.Patch(ctx, ref, ballast.PatchVersion{Metadata: said}, s.Revision)
	}
	if ref.Scope.IsZero() { // a change falls back to no other scope, and so neither does what it reads
		me, err := c.Whoami(ctx)
		if err != nil {
			return ballast.VersionInfo{}, err
		}
		ref.Scope = me.Scope
	}
	for try := 1; ; try++ {
		v, err := c.Provenance(ctx, ref)
		if err != nil {
			return v, err
		}
		said["tags"] = s.tags(v.Metadata.Tags)
		revision := v.Revision
		if s.Revision > 0 {
			revision = s.Revision
		}
		v, err = c.Patch(ctx, exactly(v), ballast.PatchVersion{Metadata: said}, revision)
		if ballast.CodeOf(err) != ballast.CodePrecondition || s.Revision > 0 || try == setTries {
			return v, err
		}
	}
}

func (s *setCmd) tags(held []string) json.RawMessage {
	tags := slices.DeleteFunc(slices.Clone(held), func(tag string) bool { return slices.Contains(s.Untag, tag) })
	for _, tag := range s.Tag {
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	if len(tags) == 0 {
		return json.RawMessage("null")
	}
	return encoded(tags)
}

// changes is what the command line says, but for tags.
func (s *setCmd) changes() (changes, error) {
	said, metrics := changes{}, changes{}
	for _, text := range s.Fields {
		field, value, ok := strings.Cut(text, "=")
		if _, twice := said[field]; !ok || twice {
			return nil, ballast.Errorf(ballast.CodeInvalid, "%q: write FIELD=VALUE, each field once", text)
		}
		if field == "stage" {
			return nil, stageHint(s.Ref, value)
		}
		raw, err := fieldValue(field, value)
		if err != nil {
			return nil, err
		}
		said[field] = raw
	}
	for name, number := range s.Metric {
		metrics[name] = encoded(number)
	}
	for _, field := range s.Unset {
		to, name := said, field
		if metric, ok := strings.CutPrefix(field, "metrics."); ok {
			to, name = metrics, metric
		}
		if _, twice := to[name]; twice {
			return nil, ballast.Errorf(ballast.CodeInvalid, "%s is set and unset: say one of them", field)
		}
		to[name] = json.RawMessage("null")
	}
	if _, unset := said["metrics"]; unset && len(metrics) > 0 {
		return nil, ballast.Errorf(ballast.CodeInvalid, "--unset metrics removes all of them: run it by itself, then add new ones")
	}
	if _, unset := said["tags"]; unset && len(s.Tag)+len(s.Untag) > 0 {
		return nil, ballast.Errorf(ballast.CodeInvalid, "--unset tags removes all of them: run it by itself, then add new ones")
	}
	if len(metrics) > 0 {
		said["metrics"] = encoded(metrics)
	}
	if len(said)+len(s.Tag)+len(s.Untag) == 0 {
		return nil, ballast.Errorf(ballast.CodeInvalid, "nothing to change: write FIELD=VALUE, --tag, --metric or --unset")
	}
	return said, nil
}

// fieldValue is the JSON of a field's value as the command line writes it. Which fields there are is the registry's to say.
func fieldValue(field, value string) (json.RawMessage, error) {
	switch {
	case value == "":
		return nil, ballast.Errorf(ballast.CodeInvalid, "%s=: to remove it, say --unset %s", field, field)
	case field == "tags":
		return nil, ballast.Errorf(ballast.CodeInvalid, "tags: add one with --tag %s, take one away with --untag %s", value, value)
	case field == "metrics":
		return nil, ballast.Errorf(ballast.CodeInvalid, "metrics: add or replace one with --metric NAME=NUMBER")
	case slices.Contains([]string{"input_dim", "output_dim", "num_parameters", "num_training_examples"}, field):
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return nil, ballast.Errorf(ballast.CodeInvalid, "%s=%s: write an integer", field, value)
		}
		return json.RawMessage(value), nil
	case field == "config" || field == "extra":
		if !json.Valid([]byte(value)) {
			return nil, ballast.Errorf(ballast.CodeInvalid, "%s: write JSON, in quotes for the shell, as in %s='{\"a\": 1}'", field, field)
		}
		return json.RawMessage(value), nil
	}
	return encoded(value), nil
}

// stageHint says which command moves a version to a stage.
func stageHint(ref, stage string) error {
	if stage == string(ballast.StageProduction) {
		return ballast.Errorf(ballast.CodeInvalid, "production is reached by a promotion: run `ballast promote %s`", ref)
	}
	return ballast.Errorf(ballast.CodeInvalid, "stage: use `ballast stage %s %s`", ref, stage)
}

// encoded is the JSON of what always has one.
func encoded(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// stageCmd moves a version to a stage.
type stageCmd struct {
	Ref      string `arg:"" help:"The version, as in llama/tiny:1.2.0."`
	Stage    string `arg:"" help:"validated, staged, archived or deprecated."`
	Revision int64  `placeholder:"N" help:"Move it only from this revision, as show shows it."`

	remote `embed:""`
}

// Run implements the command.
func (s *stageCmd) Run(ctx context.Context, a *app) error {
	ref, err := ballast.ParseRef(s.Ref)
	if err != nil {
		return err
	}
	to := ballast.Stage(s.Stage)
	switch to {
	case ballast.StageValidated, ballast.StageStaged, ballast.StageArchived, ballast.StageDeprecated:
	case ballast.StageProduction:
		return stageHint(s.Ref, s.Stage)
	default:
		return ballast.Errorf(ballast.CodeInvalid, "stage %q: write validated, staged, archived or deprecated; production is reached by `ballast promote %s`", s.Stage, ref)
	}
	c, err := s.client(a)
	if err != nil {
		return err
	}
	v, err := c.Patch(ctx, ref, ballast.PatchVersion{Stage: to}, s.Revision)
	if err != nil {
		return err
	}
	if s.JSON {
		return a.json(v)
	}
	fmt.Fprintf(a.stdout, "%s  %s\n", v.Key, v.Stage)
	if !v.Stage.Active() {
		a.leftProduction(ctx, c, v)
	}
	return nil
}
