package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// tokenCmd manages tokens.
type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Mint a token and print it, this once."`
	Ls     tokenLsCmd     `cmd:"" help:"List tokens, without their secrets."`
	Show   tokenShowCmd   `cmd:"" help:"Show a token, without its secret."`
	Rotate tokenRotateCmd `cmd:"" help:"Give a token another secret and print it, this once."`
	Revoke tokenRevokeCmd `cmd:"" help:"End a token at once."`
}

type tokenCreateCmd struct {
	Grant   []string `required:"" sep:"none" placeholder:"GRANT" help:"What it may do: SCOPE=ROLE, as in acme=writer or global=reader, or SCOPE::NAMES=ROLE for the names that begin so, as in acme::llama-*=writer; roles: reader, writer, maintainer, admin. Repeatable; the first names its own scope."`
	Name    string   `help:"Who or what it is for."`
	Expires string   `placeholder:"WHEN" help:"When it ends: after a time, as in 90d or 12h, or at one, as in 2027-06-30 or 2027-06-30T12:00:00Z. Default: never."`

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
	if err := parseExpires(t.Expires, &in); err != nil {
		return err
	}
	c, err := t.client(a)
	if err != nil {
		return err
	}
	info, err := c.CreateToken(ctx, in)
	if err != nil {
		return err
	}
	return a.issued(info, t.JSON)
}

// issued shows a token with its secret: that alone goes to stdout, what is said of it to stderr.
func (a *app) issued(info ballast.TokenInfo, asJSON bool) error {
	if asJSON {
		return a.json(info.Issued())
	}
	said := fmt.Sprintf("token %s (%s)", info.ID, joinTexts(info.Grants))
	if !info.ExpiresAt.IsZero() {
		said += ", good until " + when(info.ExpiresAt)
	}
	if !info.OverlapUntil.IsZero() {
		said += "; the secret before it until " + when(info.OverlapUntil)
	}
	fmt.Fprintln(a.stderr, said+"; it is not shown again")
	fmt.Fprintln(a.stdout, info.Token.Reveal())
	return nil
}

// parseExpires reads when a token is to end: after a time, or at one; a date begins at midnight in UTC.
func parseExpires(text string, in *ballast.CreateToken) error {
	if text == "" {
		return nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			in.ExpiresAt = ballast.At(at)
			return nil
		}
	}
	life, err := parseLong(text)
	if err != nil || life < time.Second {
		return ballast.Errorf(ballast.CodeInvalid, "--expires %q: write how long it is good, as in 90d or 12h, or until when, as in 2027-06-30 or 2027-06-30T12:00:00Z", text)
	}
	seconds := int64(life / time.Second)
	in.ExpiresIn = &seconds
	return nil
}

// parseLong is time.ParseDuration that also knows days and weeks, as in 90d, each of 24 hours.
func parseLong(text string) (time.Duration, error) {
	for unit, long := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		number, ok := strings.CutSuffix(text, unit)
		if !ok {
			continue
		}
		var n int64
		if _, err := fmt.Sscanf(number, "%d", &n); err != nil || fmt.Sprint(n) != number || n < 0 || n > int64(1<<63-1)/int64(long) {
			return 0, ballast.Errorf(ballast.CodeInvalid, "duration %q: write a number and a unit, as in 90d", text)
		}
		return time.Duration(n) * long, nil
	}
	return time.ParseDuration(text)
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
		rows[i] = []string{info.ID, info.Name, joinTexts(info.Grants), when(info.ExpiresAt), lastUsed(info), when(info.CreatedAt), info.CreatedBy}
	}
	return a.table([]string{"ID", "NAME", "GRANTS", "EXPIRES", "LAST USED", "CREATED", "BY"}, rows)
}

// lastUsed is to the minute.
func lastUsed(info ballast.TokenInfo) string {
	if info.LastUsedAt.IsZero() {
		return "-"
	}
	return info.LastUsedAt.UTC().Format("2006-01-02 15:04Z")
}

type tokenShowCmd struct {
	ID string `arg:"" optional:"" help:"The token's id, as token ls shows it. Default: that of the token in use."`

	remote `embed:""`
}

// Run implements the command.
func (t *tokenShowCmd) Run(ctx context.Context, a *app) error {
	c, err := t.client(a)
	if err != nil {
		return err
	}
	id, err := tokenInUse(ctx, c, idOfToken(t.ID))
	if err != nil {
		return err
	}
	info, err := c.Token(ctx, id)
	if err != nil {
		return err
	}
	if t.JSON {
		return a.json(info)
	}
	return a.pairs("token", info.ID, "name", info.Name, "grants", joinTexts(info.Grants), "expires", expires(info.ExpiresAt), "last used", lastUsed(info),
		"created", when(info.CreatedAt)+" by "+info.CreatedBy, "rotated", sometimes(info.RotatedAt), "the secret before it is good until", sometimes(info.OverlapUntil))
}

// idOfToken is the id in a whole token, which is what people have at hand and not to be sent or shown; or what was given.
func idOfToken(given string) string {
	if rest, whole := strings.CutPrefix(strings.TrimPrefix(given, "hf_"), "bal_"); whole {
		given, _, _ = strings.Cut(rest, "_")
	}
	return given
}

// tokenInUse is the id that was given, else that of the token in use.
func tokenInUse(ctx context.Context, c *client.Client, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	who, err := c.Whoami(ctx)
	return who.ID, err
}

// expires writes the end of a token for people.
func expires(t ballast.Time) string { return cmp.Or(sometimes(t), "never") }

// sometimes is when, and empty for an instant that is none.
func sometimes(t ballast.Time) string {
	if t.IsZero() {
		return ""
	}
	return when(t)
}

type tokenRotateCmd struct {
	ID      string `arg:"" optional:"" help:"The token's id, as token ls shows it. Default: that of the token in use, which its holder may rotate."`
	Overlap string `default:"1h" placeholder:"TIME" help:"How long the secret before it stays good, as in 1h or 7d; 0 ends it at once. Default: 1h."`

	remote `embed:""`
}

// Run implements the command. A token that login remembered is remembered with its new secret.
func (t *tokenRotateCmd) Run(ctx context.Context, a *app) error {
	overlap, err := parseLong(t.Overlap)
	if err != nil || overlap < 0 {
		return ballast.Errorf(ballast.CodeInvalid, "--overlap %q: write a time, as in 1h or 7d, or 0", t.Overlap)
	}
	c, err := t.client(a)
	if err != nil {
		return err
	}
	id, err := tokenInUse(ctx, c, idOfToken(t.ID))
	if err != nil {
		return err
	}
	info, err := c.RotateToken(ctx, id, overlap)
	if err != nil {
		return err
	}
	if err := a.issued(info, t.JSON); err != nil {
		return err
	}
	saved, err := a.loadConfig()
	if err != nil || saved.URL != c.URL() || !strings.HasPrefix(saved.Token.Reveal(), "bal_"+id+"_") {
		return nil // it is not the one that login remembered
	}
	path, err := a.saveConfig(config{URL: saved.URL, Token: info.Token})
	if err == nil {
		fmt.Fprintln(a.stderr, "remembered in", path)
	}
	return err
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
	id := idOfToken(t.ID)
	if err := c.RevokeToken(ctx, id); err != nil {
		return err
	}
	if t.JSON {
		return a.json(map[string]string{"revoked": id})
	}
	fmt.Fprintln(a.stdout, "revoked", id)
	return nil
}
