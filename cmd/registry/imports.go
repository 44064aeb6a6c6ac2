package main

import (
	"context"
	"fmt"

	"github.com/ballast-registry/ballast"
)

// importsCmd looks after imports.
type importsCmd struct {
	Ls     importsLsCmd     `cmd:"" default:"withargs" help:"List the imports into a scope, the newest first."`
	Show   importsShowCmd   `cmd:"" help:"Show how far an import is, or what became of it."`
	Cancel importsCancelCmd `cmd:"" help:"Give an import up; its source stays as it is."`
}

type importsLsCmd struct {
	Scope string `placeholder:"SCOPE" help:"Default: the token's own."`

	remote `embed:""`
}

// Run implements the command.
func (l *importsLsCmd) Run(ctx context.Context, a *app) (err error) {
	var scope ballast.Scope
	if l.Scope != "" {
		if scope, err = ballast.ParseScope(l.Scope); err != nil {
			return err
		}
	}
	c, err := l.client(a)
	if err != nil {
		return err
	}
	all, err := collect(c.Imports(ctx, scope))
	if err != nil {
		return err
	}
	if l.JSON {
		return a.json(ballast.ImportsPage{Imports: all})
	}
	rows := make([][]string, len(all))
	for i, m := range all {
		rows[i] = []string{m.ID, string(m.Status), importTarget(m), progressText(m), m.Source.String(), when(m.CreatedAt), m.CreatedBy}
	}
	return a.table([]string{"ID", "STATUS", "TARGET", "PROGRESS", "SOURCE", "CREATED", "BY"}, rows)
}

// importTarget is what an import publishes, as far as it is known.
func importTarget(m ballast.Import) string {
	if m.Key != "" {
		return m.Key
	}
	return ballast.Ref{Scope: m.Scope, Name: m.Name}.String()
}

// progressText is how far an import is, in one phrase.
func progressText(m ballast.Import) string {
	p := m.Progress
	switch {
	case m.Moved != nil && !m.Moved.Done:
		return fmt.Sprintf("removing sources, %d done", m.Moved.Files+m.Moved.Left)
	case m.Status.Settled():
		return "-"
	case p == nil:
		return "waiting"
	case p.BytesHashed < p.Bytes:
		return fmt.Sprintf("hashed %s of %s", size(p.BytesHashed), size(p.Bytes))
	case p.BytesCopied < p.Bytes:
		return fmt.Sprintf("copied %s of %s", size(p.BytesCopied), size(p.Bytes))
	}
	return fmt.Sprintf("verified %s of %s", size(p.BytesVerified), size(p.Bytes))
}

type importsShowCmd struct {
	ID       string `arg:"" help:"The import's id, as imports ls shows it."`
	Follow   bool   `short:"f" help:"Wait until it is over."`
	Progress string `enum:"auto,plain,json,none" default:"auto" help:"Progress on stderr, with --follow: ${enum}. auto is bars on a terminal, else none."`

	remote `embed:""`
}

// Run implements the command.
func (s *importsShowCmd) Run(ctx context.Context, a *app) error {
	c, err := s.client(a)
	if err != nil {
		return err
	}
	m, err := c.Import(ctx, s.ID, 0)
	if err != nil {
		return err
	}
	if s.Follow {
		progress, stop := a.progress(s.Progress)
		m, err = c.FollowImport(ctx, m, progress)
		stop()
		if err != nil {
			return notFollowed(ctx, m, err)
		}
	}
	switch {
	case s.JSON:
		return a.json(m)
	case m.Result != nil && m.Over():
		return a.outcome(m, "")
	}
	return a.underWay(m)
}

// underWay shows an import that is not done.
func (a *app) underWay(m ballast.Import) error {
	progress, why := progressText(m), ""
	if p := m.Progress; p != nil {
		progress += fmt.Sprintf("; %d of %s hashed", p.FilesHashed, count(p.Files, "file"))
	}
	if e := m.Waiting; e != nil {
		why = e.Detail
	}
	if e := m.Error; e != nil {
		why = e.Detail
	}
	err := a.pairs("import", m.ID, "status", string(m.Status), "target", importTarget(m), "progress", progress, "why", why, "source", m.Source.String(),
		"created", when(m.CreatedAt)+" by "+m.CreatedBy)
	a.remarks(m)
	return err
}

type importsCancelCmd struct {
	ID string `arg:"" help:"The import's id, as imports ls shows it."`

	remote `embed:""`
}

// Run implements the command.
func (k *importsCancelCmd) Run(ctx context.Context, a *app) error {
	c, err := k.client(a)
	if err != nil {
		return err
	}
	if err := c.CancelImport(ctx, k.ID); err != nil {
		return err
	}
	m, err := c.Import(ctx, k.ID, 0)
	if err != nil {
		return err
	}
	if k.JSON {
		return a.json(m)
	}
	if m.Status != ballast.UploadAborted {
		return ballast.Errorf(ballast.CodeConflict, "import %s had ended before: it is %s", k.ID, m.Status)
	}
	fmt.Fprintln(a.stdout, "cancelled", k.ID)
	return nil
}
