package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// loginCmd checks a token and remembers it with its registry.
type loginCmd struct {
	URL       string `arg:"" help:"The registry, as in https://models.example.com."`
	TokenFile string `type:"path" placeholder:"FILE" help:"File with the token. Else BALLAST_TOKEN, BALLAST_TOKEN_FILE, or stdin."`
	JSON      bool   `name:"json" help:"Write one JSON document to stdout."`
}

// Run implements the command.
func (l *loginCmd) Run(ctx context.Context, a *app) error {
	token, err := l.token(ctx, a)
	if err != nil {
		return err
	}
	c, err := client.New(client.Options{URL: l.URL, Token: token, UserAgent: userAgent()})
	if err != nil {
		return err
	}
	who, err := c.Whoami(ctx)
	if err != nil {
		return err
	}
	path, err := a.saveConfig(config{URL: c.URL(), Token: token})
	if err != nil {
		return err
	}
	if l.JSON {
		return a.json(who)
	}
	until := ""
	if !who.ExpiresAt.IsZero() {
		until = " until " + when(who.ExpiresAt)
	}
	fmt.Fprintf(a.stdout, "%s: you are %s (%s)%s; remembered in %s\n", c.URL(), who.Name, joinTexts(who.Grants), until, path)
	return nil
}

// logoutCmd forgets what login remembered.
type logoutCmd struct {
	JSON bool `name:"json" help:"Write one JSON document to stdout."`
}

// Run implements the command. The token itself stays good, which is said. A file that cannot be read is removed as well.
func (l *logoutCmd) Run(a *app) error {
	saved, _ := a.loadConfig()
	path, err := a.forgetConfig()
	if err != nil {
		return err
	}
	if l.JSON {
		return a.json(map[string]string{"forgotten": saved.URL})
	}
	if path == "" {
		fmt.Fprintln(a.stdout, "nothing was remembered")
		return nil
	}
	fmt.Fprintf(a.stdout, "forgotten: %s and its token, in %s; where it came from it may still be good: an admin ends it with `ballast token revoke ID`\n", cmp.Or(saved.URL, "the registry"), path)
	return nil
}

func (l *loginCmd) token(ctx context.Context, a *app) (token client.Token, err error) {
	switch file := cmp.Or(l.TokenFile, a.env(envTokenFile)); {
	case l.TokenFile == "" && a.env(envToken) != "":
		return client.Token(a.env(envToken)), nil
	case file != "":
		token, err = client.TokenFile(file)(ctx)
	default:
		token, err = a.askToken()
	}
	if err == nil && token == "" {
		err = ballast.Errorf(ballast.CodeInvalid, "the token is empty: type one, or give --token-file or %s", envToken)
	}
	return token, err
}

// askToken reads a line from stdin, without echo on a terminal.
func (a *app) askToken() (client.Token, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(a.stdin, 4096)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return client.Token(strings.TrimSpace(line)), err
	}
	fmt.Fprint(a.stderr, "token: ")
	b, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(a.stderr)
	return client.Token(strings.TrimSpace(string(b))), err
}

// whoamiCmd shows the principal.
type whoamiCmd struct {
	remote `embed:""`
}

// Run implements the command.
func (w *whoamiCmd) Run(ctx context.Context, a *app) error {
	c, err := w.client(a)
	if err != nil {
		return err
	}
	who, err := c.Whoami(ctx)
	if err != nil {
		return err
	}
	if w.JSON {
		return a.json(who)
	}
	store, err := c.Store(ctx)
	if err != nil {
		return err
	}
	return a.pairs("name", who.Name, "token", who.ID, "scope", who.Scope.String(), "grants", joinTexts(who.Grants),
		"expires", expires(who.ExpiresAt), "imports", joinSources(who), "store", cmp.Or(store.Endpoint, "AWS")+", region "+store.Region, "registry", c.URL(), "server", who.Server)
}

func joinTexts[T fmt.Stringer](all []T) string {
	texts := make([]string, len(all))
	for i, v := range all {
		texts[i] = v.String()
	}
	return strings.Join(texts, ", ")
}

// joinSources are the places to import from, a line each; the scope is said where it is not the token's own.
func joinSources(who ballast.Whoami) string {
	var lines []string
	for _, in := range who.Imports {
		for _, s := range in.Sources {
			line := s.String()
			if in.Scope != who.Scope {
				line += " into " + in.Scope.String()
			}
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// versionCmd shows what this program is.
type versionCmd struct {
	JSON bool `name:"json" help:"Write one JSON document to stdout."`
}

// Run implements the command.
func (v *versionCmd) Run(a *app) error {
	if v.JSON {
		return a.json(map[string]string{"version": version, "go": runtime.Version(), "platform": platform})
	}
	fmt.Fprintln(a.stdout, versionLine())
	return nil
}

const platform = runtime.GOOS + "/" + runtime.GOARCH

func versionLine() string {
	return fmt.Sprintf("ballast %s (%s, %s)", version, runtime.Version(), platform)
}

// healthCmd is the health check of a container without a shell.
type healthCmd struct {
	At   string `arg:"" optional:"" name:"url" help:"The registry; default BALLAST_URL, else http://localhost:8080."`
	URL  string `name:"url" placeholder:"URL" help:"The same, as other commands have it."`
	JSON bool   `name:"json" help:"Write one JSON document to stdout."`
}

// Run implements the command. Every failure is exit code 1, as container runtimes want it.
func (h *healthCmd) Run(ctx context.Context, a *app) error {
	url := cmp.Or(h.URL, h.At, a.env(envURL), "http://localhost:8080")
	c, err := client.New(client.Options{URL: url, UserAgent: userAgent()})
	if err == nil {
		err = c.Health(ctx)
	}
	if err != nil {
		return ballast.Errorf(ballast.CodeInternal, "%s is not healthy: %s", url, ballast.AsError(err).Detail)
	}
	if h.JSON {
		return a.json(map[string]string{"status": "ok"})
	}
	fmt.Fprintln(a.stdout, "ok")
	return nil
}
