package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// auditCmd shows who asked for bytes, was refused, and changed what. Help is its manual.
type auditCmd struct {
	Model  string `placeholder:"NAME[:VERSION]" help:"Only what is about this model, deleted or not; acme::… of one scope."`
	Since  string `default:"30d" placeholder:"TIME" help:"Only what happened since: 30d, 12h, or a time as 2026-11-22T08:00:00Z."`
	Who    string `placeholder:"NAME" help:"Only what this token did, by its name, its name@scope or its id; changes are known by the first two alone."`
	Action string `placeholder:"ACTION" help:"Only this action, or those that begin with this word, as in bytes or bytes.read."`
	Scope  string `help:"Only what is about this scope."`
	Limit  int    `short:"n" placeholder:"N" help:"End after as many entries."`

	remote `embed:""`
}

// Help is the long form of ballast audit --help.
func (*auditCmd) Help() string {
	return `Who pulled this model in the last 30 days:

  ballast audit --model acme::llama/tiny --since 30d --action bytes.read

The newest entry comes first. It takes a token with the role admin: in a scope for what is about that scope, in global for
all. Actions are bytes.read (pulls), bytes.write (pushes), auth.refused, request.refused, lines.lost, and the kinds of
events that ballast events shows. How far back byte requests go the registry's operator decides: see docs/audit.md.`
}

// Run implements the command.
func (l *auditCmd) Run(ctx context.Context, a *app) error {
	o, err := l.list(time.Now())
	if err != nil {
		return err
	}
	c, err := l.client(a)
	if err != nil {
		return err
	}
	whole := ballast.AuditPage{Entries: []ballast.AuditEntry{}}
	shown := 0
	for page, err := range c.Audit(ctx, o) {
		if err != nil {
			return err
		}
		if l.Limit > 0 && shown+len(page.Entries) >= l.Limit {
			page.Entries, page.Cursor = page.Entries[:l.Limit-shown], ""
		}
		for _, e := range page.Entries {
			if shown++; !l.JSON {
				fmt.Fprintln(a.stdout, auditLine(e))
			}
		}
		whole.Requests, whole.Unreadable = page.Requests, whole.Unreadable+page.Unreadable
		if l.JSON {
			whole.Entries = append(whole.Entries, page.Entries...)
		}
		if l.Limit > 0 && shown == l.Limit {
			break
		}
	}
	if l.JSON {
		return a.json(whole)
	}
	if shown == 0 {
		fmt.Fprintln(a.stderr, "nothing since then that you may see")
	}
	if !whole.Requests {
		fmt.Fprintln(a.stderr, "the registry keeps changes only: serve it with --audit-log DIR for byte requests and refusals")
	}
	if whole.Unreadable > 0 {
		fmt.Fprintf(a.stderr, "%d lines of the audit could not be read and were passed over\n", whole.Unreadable)
	}
	return nil
}

// list is what the flags ask for.
func (l *auditCmd) list(now time.Time) (o client.ListAudit, err error) {
	o = client.ListAudit{Who: l.Who, Action: l.Action, Limit: min(l.Limit, 1000)}
	if l.Limit < 0 {
		return o, ballast.Errorf(ballast.CodeInvalid, "--limit %d: write how many entries to show", l.Limit)
	}
	if o.Since, err = parseSince(l.Since, now); err != nil {
		return o, err
	}
	if l.Model != "" {
		if o.Model, err = ballast.ParseRef(l.Model); err != nil {
			return o, err
		}
	}
	if l.Scope != "" {
		o.Scope, err = ballast.ParseScope(l.Scope)
	}
	return o, err
}

var daysAgo = regexp.MustCompile(`^[0-9]{1,5}d$`)

// parseSince reads a time, or how long ago it was: in days, or as Go writes durations.
func parseSince(s string, now time.Time) (time.Time, error) {
	if daysAgo.MatchString(s) {
		days, err := strconv.Atoi(strings.TrimSuffix(s, "d"))
		return now.AddDate(0, 0, -days), err
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return at, ballast.Errorf(ballast.CodeInvalid, "--since %q: write 30d, 12h, or a time as 2026-11-22T08:00:00Z", s)
	}
	return at, nil
}

// auditLine is an entry for people: when, who, what, of what, with which outcome, from where.
func auditLine(e ballast.AuditEntry) string {
	by, about := e.By, e.Key
	if by == "" {
		by = "-"
	}
	switch {
	case e.Change != nil:
		return harmless(strings.Join([]string{when(e.At), by, string(e.Action), changeOf(*e.Change)}, "  "))
	case e.Action == ballast.AuditLost:
		return harmless(fmt.Sprintf("%s  -  %s  %s are missing here", when(e.At), e.Action, count(int(e.Lost), "line")))
	case about == "" && !e.Name.IsZero():
		about = ballast.Ref{Scope: e.Scope, Name: e.Name}.String()
	case about == "":
		about = e.Request
	}
	if e.Path != "" {
		about += " " + e.Path
	}
	outcome := string(e.Code)
	switch {
	case e.Code == "" && e.URLs > 1:
		outcome = fmt.Sprintf("%d files, %s", e.URLs, size(e.Bytes))
	case e.Code == "":
		outcome = size(e.Bytes)
	case e.More > 0:
		outcome += fmt.Sprintf(", and %d more before", e.More)
	}
	return harmless(strings.Join([]string{when(e.At), by, string(e.Action), about, outcome, "from " + e.Remote, e.Agent}, "  "))
}
