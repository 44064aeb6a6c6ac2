package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"

	"github.com/ballast-registry/ballast"
)

// Exit codes.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitNotFound
	exitDenied
	exitConflict
	exitIntegrity
	exitUnavailable
)

// commands is the command line.
type commands struct {
	Serve      serveCmd                  `cmd:"" help:"Run the registry."`
	Login      loginCmd                  `cmd:"" help:"Remember a registry and a token for it."`
	Logout     logoutCmd                 `cmd:"" help:"Forget the registry and the token that login remembered."`
	Whoami     whoamiCmd                 `cmd:"" help:"Show whom the registry takes you for."`
	Push       pushCmd                   `cmd:"" help:"Publish a folder or a file as a version."`
	Import     importCmd                 `cmd:"" help:"Publish what lies in the object store already, in another bucket, or on a Hugging Face endpoint."`
	Imports    importsCmd                `cmd:"" help:"List, show and cancel imports."`
	Uploads    uploadsCmd                `cmd:"" help:"Show an upload."`
	Pull       pullCmd                   `cmd:"" help:"Fetch a version into a folder, verified."`
	Ls         lsCmd                     `cmd:"" help:"List models, or the versions of one."`
	Show       showCmd                   `cmd:"" help:"Show a version and its files."`
	Resolve    resolveCmd                `cmd:"" help:"Print where the files of a version lie in the bucket, for s5cmd, rclone, curl and others."`
	Cp         cpCmd                     `cmd:"" help:"Copy a version to another name or scope; the store moves the bytes."`
	Children   childrenCmd               `cmd:"" help:"List the versions that were made from a version."`
	Set        setCmd                    `cmd:"" help:"Change what is said of a version."`
	Stage      stageCmd                  `cmd:"" help:"Move a version to a stage."`
	Promote    promoteCmd                `cmd:"" help:"Put a version into production."`
	Rollback   rollbackCmd               `cmd:"" help:"Put the version that was in production before back."`
	Production productionCmd             `cmd:"" help:"Show what is in production, and how that came about."`
	Retire     retireCmd                 `cmd:"" help:"Take a version out of service for good."`
	Rm         rmCmd                     `cmd:"" help:"Delete a version; restore takes it back for a day."`
	Restore    restoreCmd                `cmd:"" help:"Take the deletion of a version back."`
	Events     eventsCmd                 `cmd:"" help:"Show what happened, or follow it."`
	Audit      auditCmd                  `cmd:"" help:"Show who asked for bytes, who was refused, and what changed."`
	Rebuild    rebuildCmd                `cmd:"" help:"Make the index anew from the bucket, when it is lost."`
	Alias      aliasCmd                  `cmd:"" help:"Set, remove and list aliases."`
	Task       taskCmd                   `cmd:"" help:"List the tasks that versions can be for, and add others."`
	Quota      quotaCmd                  `cmd:"" help:"Show what scopes may use and what they do, and set it."`
	Gc         gcCmd                     `cmd:"" help:"Remove bytes that nobody uses any more."`
	Fsck       fsckCmd                   `cmd:"" help:"Check that index, bucket and digests agree."`
	Compact    compactCmd                `cmd:"" help:"Write the index file anew without the room that was freed in it; the service must be stopped."`
	Token      tokenCmd                  `cmd:"" help:"Create, list, rotate and revoke tokens."`
	Doctor     doctorCmd                 `cmd:"" help:"Say whether store, data folder and machine are safe for a registry, and what to change."`
	Health     healthCmd                 `cmd:"" help:"Ask whether a registry answers; exit 0 or 1."`
	Version    versionCmd                `cmd:"" help:"Show the version of this program."`
	Completion kongcompletion.Completion `cmd:"" help:"Show how to complete commands in your shell."`
	S3dev      s3devCmd                  `cmd:"" hidden:"" name:"s3dev"`

	ShowVersion kong.VersionFlag `name:"version" help:"Show the version of this program."`
}

const about = `Ballast is a model registry that lives in your bucket.

Exit codes:

  0 done    2 usage                   4 denied      6 integrity
  1 failed  3 not found, or retired   5 conflict    7 unavailable, try again`

// app is what commands have of the world outside.
type app struct {
	env    func(string) string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	tokenless string // the registry that a command calls without a token
}

// exit is what kong's own commands (--help, completion) end with; run recovers it.
type exit int

// run parses args, runs the command and returns the exit code. env looks up environment variables, but for those of
// serve's flags, which kong takes from the process.
func run(ctx context.Context, args []string, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exit:
			code = int(r)
		default:
			panic(r)
		}
	}()
	a := &app{env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	parser, err := kong.New(&commands{},
		kong.Name("ballast"),
		kong.Description(about),
		kong.Vars{"version": versionLine()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(a),
	)
	if err != nil {
		fmt.Fprintln(stderr, "ballast:", err)
		return exitFailed
	}
	kongcompletion.Register(parser)
	cmd, err := parser.Parse(helpOf(args))
	if err != nil {
		return a.report(ctx, slices.Contains(args, "--json"), usage(err))
	}
	return a.report(ctx, wantsJSON(cmd), cmd.Run())
}

// helpOf makes --help of no arguments, and of help before a command.
func helpOf(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "help":
		return append(slices.Clone(args[1:]), "--help")
	}
	return args
}

// usage is what the command line was refused with, and where the help is that fits. A flag's value that is refused needs
// none: what it may be is said.
func usage(err error) error {
	help := "ballast --help"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if cmd := parse.Context.Selected(); cmd != nil {
			help = cmd.FullPath() + " --help"
		}
	}
	if strings.HasPrefix(err.Error(), "--") {
		return ballast.Errorf(ballast.CodeInvalid, "%w", err)
	}
	return ballast.Errorf(ballast.CodeInvalid, "%w; see `%s`", err, help)
}

// wantsJSON reports whether the command that was chosen got --json.
func wantsJSON(cmd *kong.Context) bool {
	for _, f := range cmd.Flags() {
		if on, ok := cmd.FlagValue(f).(bool); ok && f.Name == "json" {
			return on
		}
	}
	return false
}

// report says what went wrong and returns the exit code.
func (a *app) report(ctx context.Context, asJSON bool, err error) int {
	if err == nil {
		return exitDone
	}
	e := describe(ctx, a.withoutToken(err))
	if asJSON && !errors.As(err, new(toldError)) {
		_ = a.json(map[string]*ballast.Error{"error": e})
	}
	fmt.Fprintln(a.stderr, "ballast:", harmless(e.Detail))
	if e.RequestID != "" && e.Code == ballast.CodeInternal {
		fmt.Fprintln(a.stderr, "ballast: request id", harmless(e.RequestID))
	}
	return exitOf(e.Code)
}

// toldError is one that is in the JSON document on stdout already.
type toldError struct{ error }

func (t toldError) Unwrap() error { return t.error }

// told returns what a command ends with that wrote its document, with err in it. nil stays nil.
func told(writing, err error) error {
	if writing != nil || err == nil {
		return writing
	}
	return toldError{err}
}

// describe makes an Error of anything. What is no Error happened on this machine and says so itself.
func describe(ctx context.Context, err error) *ballast.Error {
	if ctx.Err() != nil {
		var cut interrupted
		if errors.As(err, &cut) {
			return ballast.Errorf(ballast.CodeInternal, "%w", cut)
		}
		return ballast.Errorf(ballast.CodeInternal, "interrupted")
	}
	var e *ballast.Error
	if !errors.As(err, &e) {
		return ballast.Errorf(ballast.CodeInternal, "%w", err)
	}
	if e.Code != ballast.CodeUnauthenticated || e.Status != 0 {
		return e // the registry's words are enough
	}
	more := *e
	more.Detail += "; run `ballast login URL`, or export BALLAST_TOKEN=… or BALLAST_TOKEN_FILE=…"
	return &more
}

// withoutToken is err, but for the refusal of a call that went without a token.
func (a *app) withoutToken(err error) error {
	if a.tokenless == "" || ballast.CodeOf(err) != ballast.CodeUnauthenticated {
		return err
	}
	return ballast.Errorf(ballast.CodeUnauthenticated, "no token for %s", a.tokenless)
}

// interrupted says what a command that was interrupted leaves, and how to go on.
type interrupted string

// Error implements error.
func (i interrupted) Error() string { return "interrupted; " + string(i) }

// because returns i where ctx was the reason for err, else err.
func (i interrupted) because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return i
	}
	return err
}

// exitOf is the one table from codes to exit codes; it goes by the HTTP status of the code.
func exitOf(code ballast.Code) int {
	switch code.Status() {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return exitUsage
	case http.StatusNotFound, http.StatusGone:
		return exitNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitDenied
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict
	case http.StatusUnprocessableEntity:
		return exitIntegrity
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return exitUnavailable
	}
	return exitFailed
}

// json writes the one document of --json.
func (a *app) json(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
