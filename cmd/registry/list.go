package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// lsCmd lists.
type lsCmd struct {
	Name string `arg:"" optional:"" name:"name|prefix" help:"A model, to list its versions; else the beginning of names. acme::… looks into one scope."`

	remote `embed:""`
}

// Run implements the command.
func (l *lsCmd) Run(ctx context.Context, a *app) error {
	c, err := l.client(a)
	if err != nil {
		return err
	}
	if scope, name, err := ballast.ParseQualifiedName(l.Name); err == nil {
		versions, err := collect(c.Versions(ctx, ballast.Ref{Scope: scope, Name: name}))
		if err == nil {
			return l.versions(a, versions)
		}
		if ballast.CodeOf(err) != ballast.CodeNotFound {
			return err
		}
	}
	o, err := l.models()
	if err != nil {
		return err
	}
	models, err := collect(c.Models(ctx, o))
	if err == nil && len(models) == 0 && l.Name != "" {
		err = ballast.Errorf(ballast.CodeNotFound, "no model is named %q or begins so; `ballast ls` lists all that you may see", l.Name)
	}
	if err != nil {
		return err
	}
	return l.list(a, models)
}

func (l *lsCmd) models() (o client.ListModels, err error) {
	o.Prefix = l.Name
	if scope, prefix, ok := strings.Cut(l.Name, "::"); ok {
		o.Prefix = prefix
		o.Scope, err = ballast.ParseScope(scope)
	}
	return o, err
}

func (l *lsCmd) list(a *app, models []ballast.ModelInfo) error {
	if l.JSON {
		return a.json(ballast.ModelsPage{Models: models})
	}
	rows := make([][]string, len(models))
	for i, m := range models {
		latest := "-"
		if !m.Latest.IsZero() {
			latest = m.Latest.String()
		}
		rows[i] = []string{m.Scope.String(), m.Name.String(), latest, strconv.Itoa(m.Versions), when(m.UpdatedAt)}
	}
	return a.table([]string{"SCOPE", "NAME", "LATEST", "VERSIONS", "UPDATED"}, rows)
}

func (l *lsCmd) versions(a *app, versions []ballast.VersionInfo) error {
	if l.JSON {
		return a.json(ballast.VersionsPage{Versions: versions})
	}
	rows := make([][]string, len(versions))
	for i, v := range versions {
		rows[i] = []string{v.Key, string(v.Status), string(v.Stage), joinAliases(v.Aliases), strconv.Itoa(v.Files), size(v.Size), when(v.CreatedAt), v.CreatedBy}
	}
	return a.table([]string{"KEY", "STATUS", "STAGE", "ALIASES", "FILES", "SIZE", "CREATED", "BY"}, rows)
}

func joinAliases(aliases []ballast.Alias) string {
	texts := make([]string, len(aliases))
	for i, alias := range aliases {
		texts[i] = "@" + alias.String()
	}
	if len(texts) == 0 {
		return "-"
	}
	return strings.Join(texts, " ")
}

// collect takes everything, or the first error. It never returns nil without one, so that JSON has a list.
func collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	all := []T{}
	for v, err := range seq {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// showCmd shows one version.
type showCmd struct {
	Ref     string `arg:"" help:"A reference, as in llama/tiny, llama/tiny:1.2.0 or llama/tiny@champion."`
	Tensors bool   `help:"List the tensors of its weight files, as their headers say."`

	remote `embed:""`
}

// shown is the document of show --json.
type shown struct {
	ballast.VersionInfo
	FileList   []ballast.FileInfo `json:"file_list"`
	TensorList []fileTensors      `json:"tensor_list,omitempty"` // with --tensors
}

// fileTensors are the tensors of one file.
type fileTensors struct {
	Path    string               `json:"path"`
	Tensors []ballast.TensorInfo `json:"tensors"`
}

// Run implements the command.
func (s *showCmd) Run(ctx context.Context, a *app) error {
	ref, err := ballast.ParseRef(s.Ref)
	if err != nil {
		return err
	}
	c, err := s.client(a)
	if err != nil {
		return err
	}
	v, err := c.Version(ctx, ref)
	if err != nil {
		return err
	}
	exact := ballast.Ref{Scope: v.Scope, Name: v.Name, Version: v.Version}
	files, err := collect(c.Files(ctx, exact, client.ListFiles{}))
	if err != nil {
		return err
	}
	var tensors []fileTensors
	if s.Tensors {
		if tensors, err = a.tensors(ctx, c, exact, files); err != nil {
			return err
		}
	}
	if s.JSON {
		return a.json(shown{v, files, tensors})
	}
	if err := a.version(v); err != nil {
		return err
	}
	if s.Tensors {
		return a.tensorTable(tensors)
	}
	rows := make([][]string, len(files))
	for i, f := range files {
		rows[i] = []string{f.Path, size(f.Size), f.SHA256}
	}
	fmt.Fprintln(a.stdout)
	return a.table([]string{"FILE", "SIZE", "SHA256"}, rows)
}

func (a *app) version(v ballast.VersionInfo) error {
	m := v.Metadata
	var metrics []string
	for _, name := range slices.Sorted(maps.Keys(m.Metrics)) {
		metrics = append(metrics, fmt.Sprintf("%s=%g", name, m.Metrics[name]))
	}
	return a.pairs("key", v.Key, "status", string(v.Status), "stage", string(v.Stage), "aliases", joinAliases(v.Aliases),
		"digest", v.Digest.String(), "object", v.ObjectKey,
		"files", fmt.Sprintf("%s, %s", count(v.Files, "file"), size(v.Size)), "assurance", string(v.Assurance),
		"weights", inside(v.Weights),
		"created", fmt.Sprintf("%s by %s", when(v.CreatedAt), v.CreatedBy), "task", m.Task, "type", m.ModelType,
		"backend", m.Backend, "architecture", m.Architecture, "base", m.BaseModel, "tags", strings.Join(m.Tags, ", "),
		"metrics", strings.Join(metrics, ", "), "description", m.Description, "config", compact(m.Config), "extra", compact(m.Extra))
}

// compact shows JSON on one line, cut to what a screen holds.
func compact(raw json.RawMessage) string {
	const width = 200
	if len(raw) > width {
		return strings.ToValidUTF8(string(raw[:width]), "") + "…"
	}
	return string(raw)
}
