package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/ballast-registry/ballast"
)

// aliasCmd manages aliases.
type aliasCmd struct {
	Set aliasSetCmd `cmd:"" help:"Point an alias at a version."`
	Rm  aliasRmCmd  `cmd:"" help:"Remove an alias."`
	Ls  aliasLsCmd  `cmd:"" help:"List the aliases of a model."`
}

type aliasSetCmd struct {
	Alias    string `arg:"" name:"name@alias" help:"As in llama/tiny@champion."`
	Version  string `arg:"" help:"The version to point at."`
	Revision int64  `placeholder:"N" help:"Move it only from this revision, as alias ls shows it."`

	remote `embed:""`
}

// Run implements the command.
func (s *aliasSetCmd) Run(ctx context.Context, a *app) error {
	ref, err := parseAlias(s.Alias)
	if err != nil {
		return err
	}
	version, err := ballast.ParseVersion(s.Version)
	if whole, other := ballast.ParseRef(s.Version); err != nil && other == nil && !whole.Version.IsZero() {
		err = ballast.Errorf(ballast.CodeInvalid, "%q: an alias points at a version of its own name; write %s", s.Version, whole.Version)
	}
	if err != nil {
		return err
	}
	c, err := s.client(a)
	if err != nil {
		return err
	}
	info, err := c.SetAlias(ctx, ref, ref.Alias, version, s.Revision)
	if err != nil {
		return err
	}
	if s.JSON {
		return a.json(info)
	}
	fmt.Fprintf(a.stdout, "%s is %s\n", ref, info.Version)
	return nil
}

type aliasRmCmd struct {
	Alias    string `arg:"" name:"name@alias" help:"As in llama/tiny@champion."`
	Revision int64  `placeholder:"N" help:"Remove it only while it has this revision."`

	remote `embed:""`
}

// Run implements the command.
func (r *aliasRmCmd) Run(ctx context.Context, a *app) error {
	ref, err := parseAlias(r.Alias)
	if err != nil {
		return err
	}
	c, err := r.client(a)
	if err != nil {
		return err
	}
	if err := c.DeleteAlias(ctx, ref, ref.Alias, r.Revision); err != nil {
		return err
	}
	if r.JSON {
		return a.json(map[string]string{"removed": ref.String()})
	}
	fmt.Fprintln(a.stdout, "removed", ref)
	return nil
}

type aliasLsCmd struct {
	Name string `arg:"" help:"The model."`

	remote `embed:""`
}

// Run implements the command.
func (l *aliasLsCmd) Run(ctx context.Context, a *app) error {
	model, err := parseModel(l.Name)
	if err != nil {
		return err
	}
	c, err := l.client(a)
	if err != nil {
		return err
	}
	aliases, err := c.Aliases(ctx, model)
	if err != nil {
		return err
	}
	if l.JSON {
		return a.json(ballast.AliasesPage{Aliases: append([]ballast.AliasInfo{}, aliases...)})
	}
	rows := make([][]string, len(aliases))
	for i, info := range aliases {
		rows[i] = []string{"@" + info.Alias.String(), info.Version.String(), strconv.FormatInt(info.Revision, 10), when(info.UpdatedAt), info.UpdatedBy}
	}
	return a.table([]string{"ALIAS", "VERSION", "REVISION", "UPDATED", "BY"}, rows)
}

// parseAlias parses name@alias.
func parseAlias(s string) (ballast.Ref, error) {
	ref, err := ballast.ParseRef(s)
	if err == nil && strings.HasSuffix(s, "@latest") {
		return ref, ballast.Errorf(ballast.CodeInvalid, "%q: latest is reserved: it is the highest release, and nobody sets it", s)
	}
	if err == nil && ref.Alias.IsZero() {
		err = ballast.Errorf(ballast.CodeInvalid, "%q: write NAME@ALIAS, as in llama/tiny@champion", s)
	}
	if err == nil && ref.Alias == ballast.ProductionAlias() {
		err = ballast.Errorf(ballast.CodeInvalid, "%q: production is no alias; it moves with `ballast promote` and `ballast rollback`", s)
	}
	return ref, err
}
