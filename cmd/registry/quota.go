package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/dustin/go-humanize"

	"github.com/ballast-registry/ballast"
)

// quotaCmd shows and sets quotas.
type quotaCmd struct {
	Ls    quotaLsCmd    `cmd:"" help:"List what scopes may use, and what they do; an admin of global sees all of them."`
	Show  quotaShowCmd  `cmd:"" help:"Show what a scope may use, and what it does."`
	Set   quotaSetCmd   `cmd:"" help:"Set what a scope may use; takes an admin of global. What is not named stays as it is. A quota below what is used removes nothing and lets nothing new in."`
	Unset quotaUnsetCmd `cmd:"" help:"Remove the quota of a scope; takes an admin of global. A tenant then has that of '*', if it is set."`
}

type quotaLsCmd struct {
	remote `embed:""`
}

// Run implements the command.
func (q *quotaLsCmd) Run(ctx context.Context, a *app) error {
	c, err := q.client(a)
	if err != nil {
		return err
	}
	all, err := collect(c.Quotas(ctx))
	if err != nil {
		return err
	}
	if q.JSON {
		return a.json(ballast.QuotasPage{Quotas: all})
	}
	rows := make([][]string, 0, len(all))
	for _, info := range all {
		row := []string{info.Scope, string(info.Source)}
		for i, b := range boundsOf(info) {
			row = append(row, usedOf(i, b, info.Usage != nil))
		}
		rows = append(rows, row)
	}
	return a.table([]string{"SCOPE", "QUOTA", "BYTES", "VERSIONS", "UPLOADS", "THEIR BYTES"}, rows)
}

func boundsOf(info ballast.QuotaInfo) []ballast.QuotaBound {
	var used ballast.Usage
	if info.Usage != nil {
		used = *info.Usage
	}
	bounds := info.Quota.Bounds(used)
	return bounds[:]
}

// usedOf writes what is used of a bound, as in 3 of 10.
func usedOf(bound int, b ballast.QuotaBound, used bool) string {
	text := func(n int64) string {
		if bound == ballast.BoundBytes || bound == ballast.BoundUploadBytes {
			return size(n)
		}
		return strconv.FormatInt(n, 10)
	}
	switch {
	case b.Limit == nil && !used:
		return "-"
	case b.Limit == nil:
		return text(b.Used)
	case !used:
		return text(*b.Limit)
	}
	return text(b.Used) + " of " + text(*b.Limit)
}

type quotaShowCmd struct {
	Scope string `arg:"" help:"A tenant, or global, or '*': every tenant without its own."`

	remote `embed:""`
}

// Run implements the command.
func (q *quotaShowCmd) Run(ctx context.Context, a *app) error {
	c, err := q.client(a)
	if err != nil {
		return err
	}
	info, err := c.Quota(ctx, q.Scope)
	if err != nil {
		return err
	}
	return q.show(a, info)
}

// show writes one quota.
func (r *remote) show(a *app, info ballast.QuotaInfo) error {
	if r.JSON {
		return a.json(info)
	}
	set := ""
	if info.SetBy != "" {
		set = when(info.SetAt) + " by " + info.SetBy
	}
	said := map[ballast.QuotaSource]string{
		ballast.QuotaOwn: "its own", ballast.QuotaDefault: "that of every tenant", ballast.QuotaNone: "none",
	}
	pairs := []string{"scope", info.Scope, "quota", said[info.Source], "set", set}
	for i, b := range boundsOf(info) {
		pairs = append(pairs, []string{"bytes", "versions", "open uploads", "their bytes"}[i], usedOf(i, b, info.Usage != nil))
	}
	if u := info.Usage; u != nil && u.ReservedBytes+u.ReservedVersions > 0 {
		pairs = append(pairs, "reserved", fmt.Sprintf("of these, %s and %s by open uploads", size(u.ReservedBytes), count(int(u.ReservedVersions), "version")))
	}
	return a.pairs(pairs...)
}

type quotaSetCmd struct {
	Scope       string `arg:"" help:"A tenant, or global, or '*': every tenant without its own."`
	Bytes       string `placeholder:"SIZE" help:"Of files, each once, as in 10TiB; none for no bound."`
	Versions    string `placeholder:"N" help:"Versions that are not deleted; none for no bound."`
	Uploads     string `placeholder:"N" help:"Uploads and imports that are open at a time; none for no bound."`
	UploadBytes string `placeholder:"SIZE" help:"Of open uploads, that are not there yet: no push is larger; none for no bound."`

	remote `embed:""`
}

// Run implements the command.
func (q *quotaSetCmd) Run(ctx context.Context, a *app) error {
	c, err := q.client(a)
	if err != nil {
		return err
	}
	before, err := c.Quota(ctx, q.Scope)
	if err != nil {
		return err
	}
	var limits ballast.Quota // of a tenant that had that of every tenant, none is its own yet
	if before.Source == ballast.QuotaOwn {
		limits = before.Quota
	}
	for _, set := range []struct {
		flag, text string
		parse      func(string) (uint64, error)
		limit      **int64
	}{
		{"--bytes", q.Bytes, humanize.ParseBytes, &limits.Bytes},
		{"--versions", q.Versions, parseCount, &limits.Versions},
		{"--uploads", q.Uploads, parseCount, &limits.Uploads},
		{"--upload-bytes", q.UploadBytes, humanize.ParseBytes, &limits.UploadBytes},
	} {
		if err := parseBound(set.flag, set.text, set.parse, set.limit); err != nil {
			return err
		}
	}
	if limits == (ballast.Quota{}) && before.Source != ballast.QuotaOwn {
		return ballast.Errorf(ballast.CodeInvalid, "nothing to set; name at least one of --bytes, --versions, --uploads and --upload-bytes")
	}
	info, err := c.SetQuota(ctx, q.Scope, limits)
	if err != nil {
		return err
	}
	return q.show(a, info)
}

func parseCount(text string) (uint64, error) { return strconv.ParseUint(text, 10, 63) }

// parseBound reads a bound; an empty text leaves it as it is.
func parseBound(flag, text string, parse func(string) (uint64, error), limit **int64) error {
	switch text {
	case "":
		return nil
	case "none":
		*limit = nil
		return nil
	}
	n, err := parse(text)
	if err != nil || n > ballast.MaxQuota {
		return ballast.Errorf(ballast.CodeInvalid, "%s: %q is no bound; write a number, for bytes with a unit as in 10TiB, or none", flag, text)
	}
	bound := int64(n)
	*limit = &bound
	return nil
}

type quotaUnsetCmd struct {
	Scope string `arg:"" help:"A tenant, or global, or '*': every tenant without its own."`

	remote `embed:""`
}

// Run implements the command.
func (q *quotaUnsetCmd) Run(ctx context.Context, a *app) error {
	c, err := q.client(a)
	if err != nil {
		return err
	}
	if err := c.UnsetQuota(ctx, q.Scope); err != nil {
		return err
	}
	if q.JSON {
		return a.json(map[string]string{"unset": q.Scope})
	}
	fmt.Fprintln(a.stdout, "unset", q.Scope)
	return nil
}
