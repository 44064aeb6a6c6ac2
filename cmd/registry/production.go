package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// promoteCmd puts a version into production.
type promoteCmd struct {
	Ref      string `arg:"" help:"The version, as in llama/tiny:1.2.0."`
	Reason   string `help:"Why; kept in the history."`
	Revision int64  `placeholder:"N" help:"Promote it only from this revision, as show shows it."`

	remote `embed:""`
}

// Run implements the command.
func (p *promoteCmd) Run(ctx context.Context, a *app) error {
	ref, err := ballast.ParseRef(p.Ref)
	if err != nil {
		return err
	}
	c, err := p.client(a)
	if err != nil {
		return err
	}
	before, unread := c.Provenance(ctx, ref)
	v, err := c.Promote(ctx, ref, p.Reason, p.Revision)
	if err != nil {
		return err
	}
	if p.JSON {
		return a.json(v)
	}
	if unread == nil && before.Key == v.Key && before.Revision == v.Revision {
		fmt.Fprintf(a.stdout, "%s  in production already; nothing was changed\n", v.Key)
		return nil
	}
	fmt.Fprintf(a.stdout, "%s  in production\n", v.Key)
	last, ok := a.lastPromotion(ctx, c, v)
	if ok && last.To == v.Version && !last.From.IsZero() {
		fmt.Fprintf(a.stdout, "it took the place of %s, which is staged; to go back: ballast rollback %s --reason …\n", last.From, nameOf(v))
	}
	return nil
}

// rollbackCmd puts the version that was in production before back.
type rollbackCmd struct {
	Name   string `arg:"" help:"The model."`
	Reason string `required:"" help:"Why; kept in the history."`

	remote `embed:""`
}

// Run implements the command.
func (r *rollbackCmd) Run(ctx context.Context, a *app) error {
	model, err := parseModel(r.Name)
	if err != nil {
		return err
	}
	c, err := r.client(a)
	if err != nil {
		return err
	}
	v, err := c.Rollback(ctx, model, r.Reason)
	if err != nil {
		return err
	}
	if r.JSON {
		return a.json(v)
	}
	fmt.Fprintf(a.stdout, "%s  in production again\n", v.Key)
	if last, ok := a.lastPromotion(ctx, c, v); ok && last.To == v.Version && !last.From.IsZero() {
		fmt.Fprintf(a.stdout, "it took the place of %s, which is staged; its history: ballast production %s\n", last.From, nameOf(v))
	}
	return nil
}

// productionCmd shows what is in production and how that came about.
type productionCmd struct {
	Name string `arg:"" help:"The model."`

	remote `embed:""`
}

// Run implements the command.
func (p *productionCmd) Run(ctx context.Context, a *app) error {
	ref, err := parseModel(p.Name)
	if err != nil {
		return err
	}
	c, err := p.client(a)
	if err != nil {
		return err
	}
	page, err := c.Production(ctx, ref)
	if err != nil {
		return err
	}
	if page.Cursor != "" {
		page.Cursor = ""
		if page.Promotions, err = collect(c.Promotions(ctx, ref)); err != nil {
			return err
		}
	}
	if p.JSON {
		return a.json(page)
	}
	model := ballast.Ref{Scope: page.Scope, Name: page.Name}
	if page.Version.IsZero() {
		fmt.Fprintf(a.stdout, "%s has nothing in production\n", model)
	} else {
		fmt.Fprintf(a.stdout, "%s has %s in production\n", model, page.Version)
	}
	if len(page.Promotions) == 0 {
		return nil
	}
	fmt.Fprintln(a.stdout)
	rows := make([][]string, len(page.Promotions))
	for i, how := range page.Promotions {
		rows[i] = []string{strconv.FormatInt(how.Number, 10), when(how.At), string(how.Kind), orDash(how.From), orDash(how.To), how.By, how.Reason}
	}
	return a.table([]string{"NO", "AT", "WHAT", "FROM", "TO", "BY", "REASON"}, rows)
}

// parseModel parses a name without a version, with a scope or without one.
func parseModel(text string) (ballast.Ref, error) {
	scope, name, err := ballast.ParseQualifiedName(text)
	if err != nil {
		if ref, other := ballast.ParseRef(text); other == nil {
			err = ballast.Errorf(ballast.CodeInvalid, "%q: write the name without a version: %s", text, ref.QualifiedName())
		}
	}
	return ballast.Ref{Scope: scope, Name: name}, err
}

func orDash(v ballast.Version) string {
	if v.IsZero() {
		return "-"
	}
	return v.String()
}

// lastPromotion is the newest promotion under the name of a version. What was asked for is done by then: that it cannot
// be read is said and is no failure.
func (a *app) lastPromotion(ctx context.Context, c *client.Client, v ballast.VersionInfo) (ballast.Promotion, bool) {
	page, err := c.Production(ctx, nameOf(v))
	if err != nil {
		fmt.Fprintln(a.stderr, "what is in production now cannot be read:", harmless(ballast.AsError(err).Detail))
		return ballast.Promotion{}, false
	}
	if len(page.Promotions) == 0 {
		return ballast.Promotion{}, false
	}
	return page.Promotions[0], true
}

// leftProduction says so when a version is no longer in production and nothing took its place, and what can.
func (a *app) leftProduction(ctx context.Context, c *client.Client, v ballast.VersionInfo) {
	last, ok := a.lastPromotion(ctx, c, v)
	if !ok || last.Kind != ballast.Cleared || last.From != v.Version {
		return
	}
	fmt.Fprintf(a.stdout, "it left production, where nothing is now; run ballast promote %s:VERSION", nameOf(v))
	if back := rollbackTarget(ctx, c, v); !back.IsZero() {
		fmt.Fprintf(a.stdout, ", or, to put %s there, ballast rollback %s --reason …", back, nameOf(v))
	}
	fmt.Fprintln(a.stdout)
}

// maxTargets bounds how many versions are looked at for a rollback.
const maxTargets = 10

// rollbackTarget is the version that a rollback would put into production now that nothing is there, as far as a look at
// the newest few can tell; zero when none is known.
func rollbackTarget(ctx context.Context, c *client.Client, v ballast.VersionInfo) ballast.Version {
	looked := map[ballast.Version]bool{{}: true}
	for p, err := range c.Promotions(ctx, nameOf(v)) {
		if err != nil || len(looked) > maxTargets {
			break
		}
		if looked[p.To] {
			continue
		}
		looked[p.To] = true
		ref := nameOf(v)
		ref.Version = p.To
		if served, err := c.Version(ctx, ref); err == nil && served.Status == ballast.StatusReady {
			return p.To
		}
	}
	return ballast.Version{}
}

// exactly is a version, as a reference.
func exactly(v ballast.VersionInfo) ballast.Ref {
	return ballast.Ref{Scope: v.Scope, Name: v.Name, Version: v.Version}
}

// nameOf is the model of a version, as a reference.
func nameOf(v ballast.VersionInfo) ballast.Ref { return ballast.Ref{Scope: v.Scope, Name: v.Name} }
