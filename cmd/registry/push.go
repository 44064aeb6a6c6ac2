package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// selection is the flags that choose files and how they move.
type selection struct {
	Include  []string  `placeholder:"GLOB" sep:"none" help:"Take only these: *.safetensors by name, onnx/* by path, onnx for a folder. Repeatable."`
	Exclude  []string  `placeholder:"GLOB" sep:"none" help:"Leave these out. Repeatable."`
	Parallel transfers `default:"8" help:"Transfers at once."`
	Progress string    `enum:"auto,plain,json,none" default:"auto" help:"Progress on stderr: ${enum}. auto is bars on a terminal, else none; plain is a line for each file, and one every 5 s in between."`
}

// transfers is how many run at once.
type transfers int

// Validate refuses what would move nothing.
func (n transfers) Validate() error {
	if n < 1 {
		return fmt.Errorf("%d transfers at once move nothing: write 1 or more", n)
	}
	return nil
}

// said is the flags that describe a version.
type said struct {
	Tag         []string `sep:"none" help:"A tag. Repeatable."`
	Description string   `help:"What it is."`
	Task        string   `help:"What it is for, as in text-generation."`
	Base        string   `placeholder:"REF" help:"The version it was made from."`
	Metric      metrics  `placeholder:"NAME=NUMBER" help:"A measured number. Repeatable."`
	Meta        string   `type:"existingfile" placeholder:"FILE" help:"Metadata as JSON; other flags go on top."`
}

// pushCmd publishes.
type pushCmd struct {
	Path   string `arg:"" type:"path" name:"dir|file" help:"A folder, or one file. Links are followed."`
	Target string `arg:"" name:"name[:version]" help:"Where to, as in llama/tiny, llama/tiny:1.2.0 or acme::llama/tiny. Without a version the next one, unless nothing changed."`

	said `embed:""`

	Alias    string `help:"Point this alias at the version once it is ready."`
	Strict   bool   `help:"Refuse safetensors and GGUF files that are not what their names say, and an index whose shards or tensors are not all there, before anything is sent."`
	Takeover bool   `help:"Abort the open upload that holds the version."`
	PartSize string `placeholder:"SIZE" help:"Send files larger than this in parts of this size, 5MiB to 5GiB. Left out, a file of up to 5 GiB goes up whole unless the way to the store is slow or was cut, or the push is one that was cut off before."`
	Rehash   bool   `help:"Read every file, also those that have not been touched since an earlier push hashed them."`

	selection `embed:""`
	remote    `embed:""`
}

// cutPush is what a push that was interrupted says.
const cutPush interrupted = "run the same command again to go on"

// Run implements the command.
func (p *pushCmd) Run(ctx context.Context, a *app) error {
	o, err := p.options(a)
	if err != nil {
		return err
	}
	c, err := p.client(a)
	if err != nil {
		return err
	}
	progress, stop := a.progress(p.Progress)
	o.Progress = progress
	result, err := c.Push(ctx, o)
	stop()
	switch {
	case err != nil:
		return cutPush.because(ctx, holderHint(err))
	case p.JSON:
		return a.json(result)
	}
	return p.pushed(a, result)
}

func (p *pushCmd) options(a *app) (o client.PushOptions, err error) {
	o = client.PushOptions{
		Path: p.Path, Include: p.Include, Exclude: p.Exclude, Strict: p.Strict, Takeover: p.Takeover, Parallel: int(p.Parallel), AttemptDir: a.attemptDir(),
		Rehash: p.Rehash,
	}
	if err := p.looksSwapped(); err != nil {
		return o, err
	}
	if o.Target, err = p.target(); err != nil {
		return o, err
	}
	if o.Alias, err = optionalAlias(p.Alias); err != nil {
		return o, err
	}
	if o.PartSize, err = parsePartSize(p.PartSize); err != nil {
		return o, err
	}
	o.Metadata, err = p.metadata()
	return o, err
}

// looksSwapped refuses a path that does not exist before a target that does.
func (p *pushCmd) looksSwapped() error {
	if _, err := os.Stat(p.Path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(p.Target); err != nil {
		return nil
	}
	return ballast.Errorf(ballast.CodeInvalid, "%q does not exist and %q does: write what to push first, then its name", p.Path, p.Target)
}

// target is where a push goes.
func (p *pushCmd) target() (ballast.Ref, error) { return parseTarget(p.Target, " with --alias") }

// parseTarget parses a name with a version or without one. What moves is no place for a version: ParseRef takes
// name:latest for the name alone, and so a push would make a new version. how says how to point an alias.
func parseTarget(text, how string) (ballast.Ref, error) {
	ref, err := ballast.ParseRef(text)
	switch {
	case err != nil:
		return ref, err
	case strings.HasSuffix(text, ":latest"), strings.HasSuffix(text, "@latest"):
		return ref, ballast.Errorf(ballast.CodeInvalid, "%q: latest is what a pull finds, not a version to publish: give a version, or none for the next one", text)
	case ref.Alias == ballast.ProductionAlias():
		return ref, ballast.Errorf(ballast.CodeInvalid, "%q: publish a version, then put it into production with `ballast promote`", text)
	case !ref.Alias.IsZero():
		return ref, ballast.Errorf(ballast.CodeInvalid, "%q: publish a version and point the alias at it%s %s", text, how, ref.Alias)
	case ref.Digest != "":
		return ref, ballast.Errorf(ballast.CodeInvalid, "%q: a digest follows from the files: give a version, or none for the next one", text)
	}
	return ref, nil
}

func (s *said) metadata() (m ballast.Metadata, err error) {
	if s.Meta != "" {
		b, err := os.ReadFile(s.Meta)
		if err == nil {
			err = ballast.StrictUnmarshal(b, &m)
		}
		if err != nil {
			return m, ballast.Errorf(ballast.CodeInvalid, "--meta %s: %w", s.Meta, err)
		}
	}
	m.Description = cmp.Or(s.Description, m.Description)
	m.Task = cmp.Or(s.Task, m.Task)
	m.BaseModel = cmp.Or(s.Base, m.BaseModel)
	m.Tags = append(m.Tags, s.Tag...)
	for name, value := range s.Metric {
		if m.Metrics == nil {
			m.Metrics = make(map[string]float64)
		}
		m.Metrics[name] = value
	}
	return m, nil
}

// holderHint adds until when the label is held.
func holderHint(err error) error {
	e := ballast.AsError(err)
	if e.Code != ballast.CodeConflict || e.Holder == nil || e.Holder.ExpiresAt.IsZero() {
		return err
	}
	more := *e
	more.Detail += "; its lease ends " + when(e.Holder.ExpiresAt) + " unless its publisher goes on"
	return &more
}

func (p *pushCmd) pushed(a *app, r client.PushResult) error {
	state := string(r.Version.Status)
	if r.Unchanged {
		state = "unchanged"
	}
	fmt.Fprintf(a.stdout, "%s  %s\n", r.Version.Key, state)
	alias := ""
	if p.Alias != "" {
		alias = fmt.Sprintf("@%s is %s", p.Alias, r.Version.Version)
	}
	err := a.pairs("digest", r.Version.Digest.String(),
		"files", fmt.Sprintf("%s, %s; %s sent", count(r.Version.Files, "file"), size(r.Version.Size), size(r.Sent)), "weights", inside(r.Version.Weights), "alias", alias)
	a.pushRemarks(r)
	return err
}

// pushRemarks says what a person should know of a push beside what became of it.
func (a *app) pushRemarks(r client.PushResult) {
	for _, w := range r.Warnings {
		fmt.Fprintf(a.stderr, "warning: %s\n", harmless(w))
	}
	if r.MetadataKept {
		fmt.Fprintln(a.stderr, "the version was there before with these files: its metadata was not changed")
	}
	if len(r.Skipped) > 0 {
		fmt.Fprintf(a.stderr, "skipped, as no part of a model: %s\n", harmless(strings.Join(r.Skipped, ", ")))
	}
}

// optionalAlias reads --alias; the zero one when it is not given.
func optionalAlias(text string) (ballast.Alias, error) {
	if text == "" {
		return ballast.Alias{}, nil
	}
	return ballast.ParseAlias(text)
}

// parsePartSize reads --part-size; 0 when it is not given.
func parsePartSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n < ballast.MinPartSize || n > ballast.MaxPartSize {
		return 0, ballast.Errorf(ballast.CodeInvalid, "--part-size %q: write 5MiB to 5GiB", text)
	}
	return int64(n), nil
}
