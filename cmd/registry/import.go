package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/client/hf"
)

// importCmd publishes what lies in the object store, or somewhere else.
type importCmd struct {
	Source string `arg:"" help:"inbox:FOLDER/ is what lies in your scope's inbox, s3://BUCKET/FOLDER/ a folder or an object of any bucket, hf://ORG/NAME[@REVISION] a model of a Hugging Face endpoint."`
	Target string `arg:"" name:"name[:version]" help:"Where to, as in llama/tiny:1.2.0 or acme::llama/tiny. Without a version the next one, unless nothing changed."`

	Alias string `help:"Point this alias at the version once it is ready."`

	Move   bool `group:"By the registry" help:"Remove the objects from the source once the version is ready, unless they were changed meanwhile."`
	Detach bool `group:"By the registry" help:"Do not wait: print the import's id and leave it to the registry."`

	through `embed:"" group:"Through this machine"`

	said `embed:""`

	Progress string `enum:"auto,plain,json,none" default:"auto" help:"Progress on stderr: ${enum}. auto is bars on a terminal, else none."`

	remote `embed:""`
}

// Help is the long form of ballast import --help.
func (*importCmd) Help() string {
	return `Of inbox:, and of s3:// places that ballast whoami lists under imports, the registry itself lists, hashes and copies the
objects and reads the copies again; no byte passes through this machine. It goes on when this command ends: "ballast
imports" shows how far it is. Put files into the inbox with any program that speaks S3 and
credentials for the store; "ballast whoami" names the store and the inbox, as in

  aws --endpoint-url STORE s3 cp --recursive ./model s3://BUCKET/tenants/acme/inbox/model/

From hf://, and from any other s3:// place, this machine fetches the files, a few at once, and sends them to the registry's
store. Repeated, a command that was cut off goes on where it was. Models come from HF_ENDPOINT (default
https://huggingface.co; another Ballast is one too) with HF_TOKEN or the token that "hf auth login" saved; objects with the
credentials, region and endpoint that AWS's own programs would use.`
}

// Run implements the command.
func (i *importCmd) Run(ctx context.Context, a *app) error {
	if strings.HasPrefix(i.Source, hf.Scheme) {
		return i.fromHub(ctx, a)
	}
	req, alias, err := i.request()
	if err != nil {
		return err
	}
	c, err := i.client(a)
	if err != nil {
		return err
	}
	who, err := c.Whoami(ctx)
	if err != nil {
		return err
	}
	if req.Scope.IsZero() {
		req.Scope = who.Scope
	}
	if places, ok := placesOf(who, req.Scope); ok && !liesIn(req.Source, places) {
		return i.fromBucket(ctx, a, c, req.Source, places)
	}
	if flag := i.throughSet(); flag != "" {
		return ballast.Errorf(ballast.CodeInvalid, "%s is for files that pass through this machine, and the registry itself imports from %s: leave it out", flag, req.Source)
	}
	m, err := c.CreateImport(ctx, req)
	if err != nil {
		return holderHint(err)
	}
	if i.Detach {
		return i.detached(a, m)
	}
	progress, stop := a.progress(i.Progress)
	m, err = c.FollowImport(ctx, m, progress)
	stop()
	if err != nil {
		return notFollowed(ctx, m, err)
	}
	return i.imported(ctx, a, c, m, alias)
}

// request is what the command asks for, and the alias to point at it.
func (i *importCmd) request() (req ballast.CreateImport, alias ballast.Alias, err error) {
	if req.Source, err = ballast.ParseSource(i.Source); err != nil {
		return req, alias, err
	}
	to, err := parseTarget(i.Target, " with --alias")
	if err != nil {
		return req, alias, err
	}
	if alias, err = optionalAlias(i.Alias); err != nil {
		return req, alias, err
	}
	req.Scope, req.Name, req.Version, req.Move = to.Scope, to.Name, to.Version, i.Move
	req.Metadata, err = i.metadata()
	return req, alias, err
}

// placesOf are those from which the registry itself imports into a scope. ok is false for a scope that the token may not
// write to, which is the registry's to refuse.
func placesOf(who ballast.Whoami, scope ballast.Scope) (places []ballast.Source, ok bool) {
	for _, in := range who.Imports {
		if in.Scope == scope {
			return in.Sources, true
		}
	}
	return nil, false
}

func liesIn(s ballast.Source, places []ballast.Source) bool {
	return s.Bucket() == "" || slices.ContainsFunc(places, func(place ballast.Source) bool { _, ok := s.Below(place); return ok })
}

// notFollowed is why an import was not seen to its end: it failed, or it goes on without this command.
func notFollowed(ctx context.Context, m ballast.Import, err error) error {
	on := fmt.Sprintf("the registry goes on with it: `ballast imports show %s` tells how far it is, `ballast imports cancel %s` ends it", m.ID, m.ID)
	if e := ballast.AsError(err); e.Code == ballast.CodeUnavailable && !m.Status.Settled() {
		more := *e
		more.Detail += "; " + on
		err = &more
	}
	return interrupted(on).because(ctx, err)
}

func (i *importCmd) detached(a *app, m ballast.Import) error {
	if i.JSON {
		return a.json(m)
	}
	fmt.Fprintln(a.stdout, m.ID)
	fmt.Fprintf(a.stderr, "`ballast imports show --follow %s` waits for it\n", m.ID)
	return nil
}

// imported says what became of an import that is done.
func (i *importCmd) imported(ctx context.Context, a *app, c *client.Client, m ballast.Import, alias ballast.Alias) error {
	if m.Result == nil {
		return ballast.Errorf(ballast.CodeInternal, "the registry says that import %s is done, and not which version it is", m.ID)
	}
	if !alias.IsZero() {
		if _, err := c.SetAlias(ctx, ballast.Ref{Scope: m.Result.Scope, Name: m.Result.Name}, alias, m.Result.Version, 0); err != nil {
			return ballast.Errorf(ballast.CodeOf(err), "%s is ready, but @%s does not point at it: %w", m.Result.Key, alias, err)
		}
	}
	if i.JSON {
		return a.json(m)
	}
	at := ""
	if !alias.IsZero() {
		at = fmt.Sprintf("@%s is %s", alias, m.Result.Version)
	}
	if err := a.outcome(m, at); err != nil {
		return err
	}
	if isUnchanged(m) && i.describes() {
		fmt.Fprintln(a.stderr, "the version was there before with these files: its metadata was not changed")
	}
	return nil
}

// describes reports whether a flag says something of the version.
func (s *said) describes() bool {
	return s.Description != "" || s.Task != "" || s.Base != "" || s.Meta != "" || len(s.Tag)+len(s.Metric) > 0
}

// isUnchanged reports whether the version was there before the import.
func isUnchanged(m ballast.Import) bool { return m.Result.CreatedAt.Before(m.CreatedAt.Time) }

// outcome shows the version that an import is done with, and what became of its sources.
func (a *app) outcome(m ballast.Import, alias string) error {
	v, state := m.Result, string(m.Result.Status)
	if isUnchanged(m) {
		state = "unchanged"
	}
	fmt.Fprintf(a.stdout, "%s  %s\n", v.Key, state)
	err := a.pairs("digest", v.Digest.String(), "files", fmt.Sprintf("%s, %s", count(v.Files, "file"), size(v.Size)), "weights", inside(v.Weights),
		"source", m.Source.String(), "moved", movedText(m.Moved), "alias", alias)
	a.remarks(m)
	return err
}

func movedText(m *ballast.Moved) string {
	switch {
	case m == nil:
		return ""
	case m.Left == 0:
		return count(m.Files, "file") + " removed from the source"
	}
	return fmt.Sprintf("%s removed from the source, %d left there", count(m.Files, "file"), m.Left)
}

// remarks says what a person should know of an import beside what became of it.
func (a *app) remarks(m ballast.Import) {
	if m.Moved != nil {
		for _, k := range m.Moved.Kept {
			fmt.Fprintf(a.stderr, "left at the source: %s: %s\n", harmless(k.Path), harmless(k.Why))
		}
	}
	if len(m.Skipped) > 0 {
		fmt.Fprintf(a.stderr, "skipped, as no part of a model: %s\n", harmless(strings.Join(m.Skipped, ", ")))
	}
}
