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

	Prefix  string   `help:"Only names that begin so; never one model's versions alone."`
	Status  string   `help:"Versions that are ready (what is listed unasked), retired, or all of them."`
	Stage   string   `help:"Versions of this stage: none, validated, staged, production, archived or deprecated."`
	Task    string   `help:"Versions for this task, as in text-generation."`
	Tag     []string `sep:"none" help:"Versions with this tag; given again, with all of them."`
	Metric  []string `sep:"none" placeholder:"'NAME>=NUMBER'" help:"Versions whose metric is at least (>=) or at most (<=) this; without the metric they are left out."`
	Base    string   `placeholder:"REF" help:"Versions made from this version."`
	Creator string   `help:"Versions published by this name@scope, as show says under created."`
	Order   string   `help:"Versions of all models by name, newest or oldest."`

	remote `embed:""`
}

// Run implements the command.
func (l *lsCmd) Run(ctx context.Context, a *app) error {
	filter, err := l.filter()
	if err != nil {
		return err
	}
	o, err := l.models()
	if err != nil {
		return err
	}
	if err := l.looksLikeVersion(); err != nil {
		return err
	}
	c, err := l.client(a)
	if err != nil {
		return err
	}
	scope, name, notName := ballast.ParseQualifiedName(l.Name)
	if notName == nil && l.Prefix == "" && l.Order == "" {
		versions, err := collect(c.Versions(ctx, ballast.Ref{Scope: scope, Name: name}, filter))
		if err == nil {
			return l.versions(a, versions)
		}
		if ballast.CodeOf(err) != ballast.CodeNotFound {
			return err
		}
	}
	if !filter.IsZero() || l.Order != "" {
		versions, err := collect(c.AllVersions(ctx, client.ListVersions{Scope: o.Scope, Prefix: o.Prefix, Order: ballast.VersionOrder(l.Order), Filter: filter}))
		if err == nil && len(versions) == 0 {
			_, err = modelsOf(ctx, c, o)
		}
		if err != nil {
			return err
		}
		return l.versions(a, versions)
	}
	models, err := modelsOf(ctx, c, o)
	if err != nil {
		return err
	}
	return l.list(a, models)
}

// modelsOf lists models. None is not_found where a beginning of names or a scope that the token cannot see was asked for.
func modelsOf(ctx context.Context, c *client.Client, o client.ListModels) ([]ballast.ModelInfo, error) {
	models, err := collect(c.Models(ctx, o))
	if err != nil || len(models) > 0 {
		return models, err
	}
	if !o.Scope.IsZero() && o.Scope != ballast.Global {
		me, err := c.Whoami(ctx)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(me.Grants, func(g ballast.Grant) bool { return g.Scope == o.Scope }) {
			return nil, ballast.Errorf(ballast.CodeNotFound, "scope %s: not found, or not open to this token, whose own is %s", o.Scope, me.Scope)
		}
	}
	if o.Prefix != "" {
		return nil, ballast.Errorf(ballast.CodeNotFound, "no model is named %q or begins so; `ballast ls` lists all that you may see", o.Prefix)
	}
	return models, nil
}

// looksLikeVersion refuses what means one version.
func (l *lsCmd) looksLikeVersion() error {
	if _, _, err := ballast.ParseQualifiedName(l.Name); err == nil || l.Name == "" {
		return nil
	}
	if _, err := ballast.ParseRef(l.Name); err != nil {
		return nil // the beginning of names
	}
	return ballast.Errorf(ballast.CodeInvalid, "%q: ls takes a name; for one version run `ballast show %s`", l.Name, l.Name)
}

// filter is what the flags say of versions.
func (l *lsCmd) filter() (f ballast.VersionFilter, err error) {
	f = ballast.VersionFilter{Status: ballast.ListedStatus(l.Status), Stage: ballast.Stage(l.Stage), Task: l.Task, Tags: l.Tag, Creator: l.Creator}
	if l.Creator != "" && !strings.Contains(l.Creator, "@") {
		return f, ballast.Errorf(ballast.CodeInvalid, "--creator %q: write NAME@SCOPE, as `ballast show` says under created", l.Creator)
	}
	for _, text := range l.Metric {
		m, err := parseMetric(text)
		if err != nil {
			return f, err
		}
		f.Metrics = append(f.Metrics, m)
	}
	if l.Base != "" {
		if f.Base, err = ballast.ParseRef(l.Base); err != nil {
			return f, err
		}
	}
	if _, err := ballast.ParseVersionOrder(l.Order); err != nil {
		return f, err
	}
	return f, f.Check()
}

// parseMetric parses NAME>=NUMBER or NAME<=NUMBER.
func parseMetric(s string) (m ballast.MetricFilter, err error) {
	for sign, bound := range map[string]ballast.Bound{">=": ballast.AtLeast, "<=": ballast.AtMost} {
		name, number, ok := strings.Cut(s, sign)
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err == nil {
			return ballast.MetricFilter{Metric: strings.TrimSpace(name), Bound: bound, Value: value}, nil
		}
	}
	return m, ballast.Errorf(ballast.CodeInvalid, "--metric %q: write NAME>=NUMBER or NAME<=NUMBER, as in 'validation_accuracy>=0.9'", s)
}

// models is the scope and the beginning of names that the command asks for.
func (l *lsCmd) models() (o client.ListModels, err error) {
	text := l.Prefix
	if text == "" {
		text = l.Name
	} else if l.Name != "" {
		return o, ballast.Errorf(ballast.CodeInvalid, "--prefix: goes without a name; write one of the two")
	}
	o.Prefix = text
	if scope, prefix, ok := strings.Cut(text, "::"); ok {
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

	IncludeRetired bool `help:"Show it even if it, or its base, was retired."`

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
	find := c.Version
	if s.IncludeRetired {
		find = c.Provenance
	}
	v, err := find(ctx, ref)
	if err != nil {
		return err
	}
	exact := exactly(v)
	files, err := collect(c.Files(ctx, exact, client.ListFiles{}))
	if s.IncludeRetired && ballast.CodeOf(err) == ballast.CodeRetired {
		fmt.Fprintln(a.stderr, "its files are not served:", harmless(ballast.AsError(err).Detail))
		files, err = []ballast.FileInfo{}, nil
	}
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
	if s.Tensors && len(tensors) > 0 {
		return a.tensorTable(tensors)
	}
	if len(files) == 0 || s.Tensors {
		return nil
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
	ended := ""
	if v.RetiredBy != "" {
		ended = fmt.Sprintf("%s by %s", when(v.RetiredAt), v.RetiredBy)
	}
	return a.pairs("key", v.Key, "status", string(v.Status), "stage", string(v.Stage), "aliases", joinAliases(v.Aliases),
		"digest", v.Digest.String(), "object", v.ObjectKey,
		"files", fmt.Sprintf("%s, %s", count(v.Files, "file"), size(v.Size)), "assurance", string(v.Assurance),
		"weights", inside(v.Weights),
		"created", fmt.Sprintf("%s by %s", when(v.CreatedAt), v.CreatedBy), "retired", ended, "revision", strconv.FormatInt(v.Revision, 10), "task", m.Task, "type", m.ModelType,
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
