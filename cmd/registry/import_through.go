package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/client/hf"
)

// through is the flags of an import that passes through this machine.
type through struct {
	Include  []string  `placeholder:"GLOB" sep:"none" help:"Take only these: *.safetensors by name, onnx/* by path, onnx for a folder. Repeatable."`
	Exclude  []string  `placeholder:"GLOB" sep:"none" help:"Leave these out. Repeatable."`
	Strict   bool      `help:"Refuse safetensors and GGUF files that are not what their names say, and an index whose shards or tensors are not all there, before any is fetched as a whole."`
	Takeover bool      `help:"Abort the open upload that holds the version."`
	PartSize string    `placeholder:"SIZE" help:"As for ballast push."`
	Parallel transfers `default:"4" help:"Files fetched and sent at once; the spool needs room for so many."`
	Spool    string    `type:"path" placeholder:"DIR" help:"Folder in which files lie until they are sent (default $$XDG_CACHE_HOME/ballast/imports)."`
}

// throughSet is a flag of these that was given, or "".
func (t through) throughSet() string {
	for flag, set := range map[string]bool{
		"--include": len(t.Include) > 0, "--exclude": len(t.Exclude) > 0, "--strict": t.Strict, "--takeover": t.Takeover,
		"--parallel": t.Parallel != client.DefaultFetches, "--spool": t.Spool != "", "--part-size": t.PartSize != "",
	} {
		if set {
			return flag
		}
	}
	return ""
}

// fromHub imports a model of a Hugging Face endpoint.
func (i *importCmd) fromHub(ctx context.Context, a *app) error {
	source, err := hf.ParseSource(i.Source)
	if err != nil {
		return err
	}
	o, err := i.throughOptions(a)
	if err != nil {
		return err
	}
	c, err := i.client(a)
	if err != nil {
		return err
	}
	token, err := hubToken(a.env)
	if err != nil {
		return err
	}
	from, err := hf.Open(ctx, source, hf.Options{Endpoint: a.env("HF_ENDPOINT"), Token: token, UserAgent: userAgent()})
	if err != nil {
		return cutThrough.because(ctx, err)
	}
	return i.passThrough(ctx, a, c, from, o, "commit "+from.Commit())
}

// fromBucket imports from a bucket that the registry does not import from itself.
func (i *importCmd) fromBucket(ctx context.Context, a *app, c *client.Client, source ballast.Source, places []ballast.Source) error {
	o, err := i.throughOptions(a)
	if err != nil {
		return err
	}
	from, err := openS3(ctx, source, places)
	if err != nil {
		return cutThrough.because(ctx, err)
	}
	return i.passThrough(ctx, a, c, from, o, "with "+from.bucket.Credentials)
}

// throughOptions are what the command asks for, but for where from.
func (i *importCmd) throughOptions(a *app) (o client.ImportFromOptions, err error) {
	if i.Move || i.Detach {
		flag := "--move"
		if i.Detach {
			flag = "--detach"
		}
		return o, ballast.Errorf(ballast.CodeInvalid, "%s: files from %s pass through this machine, and the registry cannot go on by itself or remove them there: leave it out", flag, i.Source)
	}
	o = client.ImportFromOptions{
		Include: i.Include, Exclude: i.Exclude, Strict: i.Strict, Takeover: i.Takeover, Files: int(i.Parallel), Spool: cmp.Or(i.Spool, a.cacheDir("imports")),
	}
	if o.PartSize, err = parsePartSize(i.PartSize); err != nil {
		return o, err
	}
	if o.Target, err = parseTarget(i.Target, " with --alias"); err != nil {
		return o, err
	}
	if o.Alias, err = optionalAlias(i.Alias); err != nil {
		return o, err
	}
	o.Metadata, err = i.metadata()
	return o, err
}

// cutThrough is what an import that was interrupted says.
const cutThrough interrupted = "what was fetched and sent is kept: run the same command again to go on where it was"

func (i *importCmd) passThrough(ctx context.Context, a *app, c *client.Client, from client.Origin, o client.ImportFromOptions, how string) error {
	fmt.Fprintf(a.stderr, "%s passes through this machine, %s\n", harmless(from.String()), how)
	o.From = from
	progress, stop := a.progress(i.Progress)
	o.Progress = progress
	r, err := c.ImportFrom(ctx, o)
	stop()
	switch {
	case err != nil:
		return cutThrough.because(ctx, holderHint(err))
	case i.JSON:
		return a.json(r)
	}
	return i.passed(a, r)
}

// passed says what became of an import through this machine.
func (i *importCmd) passed(a *app, r client.ImportFromResult) error {
	state := string(r.Version.Status)
	if r.Unchanged {
		state = "unchanged"
	}
	fmt.Fprintf(a.stdout, "%s  %s\n", r.Version.Key, state)
	alias := ""
	if i.Alias != "" {
		alias = fmt.Sprintf("@%s is %s", i.Alias, r.Version.Version)
	}
	err := a.pairs("digest", r.Version.Digest.String(),
		"files", fmt.Sprintf("%s, %s; %s fetched, %s sent", count(r.Version.Files, "file"), size(r.Version.Size), size(r.Fetched), size(r.Sent)),
		"weights", inside(r.Version.Weights), "source", r.Source, "alias", alias)
	a.pushRemarks(r.PushResult)
	return err
}

// hubToken is the token where Hugging Face's own programs have it: HF_TOKEN, else a file, which HF_TOKEN_PATH names and which
// else is "token" in HF_HOME or in the cache folder. Without one it is empty.
func hubToken(env func(string) string) (client.Token, error) {
	if token := cmp.Or(env("HF_TOKEN"), env("HUGGING_FACE_HUB_TOKEN")); strings.TrimSpace(token) != "" {
		return client.Token(strings.TrimSpace(token)), nil
	}
	file := env("HF_TOKEN_PATH")
	if file == "" {
		home := env("HF_HOME")
		if home == "" {
			cache := env("XDG_CACHE_HOME")
			if cache == "" && env("HOME") != "" {
				cache = filepath.Join(env("HOME"), ".cache")
			}
			if cache == "" {
				return "", nil
			}
			home = filepath.Join(cache, "huggingface")
		}
		file = filepath.Join(home, "token")
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", ballast.Errorf(ballast.CodeUnauthenticated, "token of Hugging Face: %w; set HF_TOKEN, or name another file in HF_TOKEN_PATH", err)
	}
	return client.Token(strings.TrimSpace(string(b))), nil
}
