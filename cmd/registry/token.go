package main

import (
	"context"
	"fmt"

	"github.com/ballast-registry/ballast"
)

// tokenCmd manages tokens.
type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Mint a token and print it, this once."`
	Ls     tokenLsCmd     `cmd:"" help:"List tokens, without their secrets."`
	Revoke tokenRevokeCmd `cmd:"" help:"End a token at once."`
}

type tokenCreateCmd struct {
	Grant []string `required:"" sep:"none" placeholder:"SCOPE=ROLE" help:"What it may do, as in acme=writer or global=reader; roles: reader, writer, maintainer, admin. Repeatable; the first is its own scope."`
	Name  string   `help:"Who or what it is for."`

	remote `embed:""`
}

// Run implements the command. The token alone goes to stdout, so that a shell can take it.
func (t *tokenCreateCmd) Run(ctx context.Context, a *app) error {
	in := ballast.CreateToken{Name: t.Name}
	for _, text := range t.Grant {
		g, err := ballast.ParseGrant(text)
		if err != nil {
			return err
		}
		in.Grants = append(in.Grants, g)
	}
	c, err := t.client(a)
	if err != nil {
		return err
	}
	info, err := c.CreateToken(ctx, in)
	if err != nil {
		return err
	}
	if t.JSON {
		return a.json(info)
	}
	fmt.Fprintf(a.stderr, "token %s (%s); it is not shown again\n", info.ID, joinTexts(info.Grants))
	fmt.Fprintln(a.stdout, info.Token)
	return nil
}

type tokenLsCmd struct {
	remote `embed:""`
}

// Run implements the command.
func (t *tokenLsCmd) Run(ctx context.Context, a *app) error {
	c, err := t.client(a)
	if err != nil {
		return err
	}
	tokens, err := collect(c.Tokens(ctx))
	if err != nil {
		return err
	}
	if t.JSON {
		return a.json(ballast.TokensPage{Tokens: tokens})
	}
	rows := make([][]string, len(tokens))
	for i, info := range tokens {
		rows[i] = []string{info.ID, info.Name, joinTexts(info.Grants), when(info.CreatedAt), info.CreatedBy}
	}
	return a.table([]string{"ID", "NAME", "GRANTS", "CREATED", "BY"}, rows)
}

type tokenRevokeCmd struct {
	ID string `arg:"" help:"The token's id, as token ls shows it."`

	remote `embed:""`
}

// Run implements the command.
func (t *tokenRevokeCmd) Run(ctx context.Context, a *app) error {
	c, err := t.client(a)
	if err != nil {
		return err
	}
	if err := c.RevokeToken(ctx, t.ID); err != nil {
		return err
	}
	if t.JSON {
		return a.json(map[string]string{"revoked": t.ID})
	}
	fmt.Fprintln(a.stdout, "revoked", t.ID)
	return nil
}
