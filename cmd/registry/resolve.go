package main

import (
	"bytes"
	"cmp"
	"context"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/atomicfile"
)

// resolveCmd tells other programs where a version's files lie.
type resolveCmd struct {
	Ref     string   `arg:"" help:"What, as in llama/tiny, llama/tiny:1.2.0, llama/tiny@champion or acme::llama/tiny::1.2.0."`
	Format  string   `enum:"json,s3,urls,s5cmd,rclone,sha256" default:"json" help:"For whom: ${enum}. The long help explains them."`
	Dir     string   `placeholder:"DIR" help:"Folder in which the files are to lie; default one with the name's last segment, as for pull. With s5cmd and rclone also s3://BUCKET/FOLDER, where the store copies them to."`
	Output  string   `short:"o" type:"path" placeholder:"FILE" help:"Write to this file, readable by you alone, instead of stdout; at once and as a whole."`
	URLs    bool     `name:"urls" help:"In json, a signed URL for each file too."`
	Include []string `placeholder:"GLOB" sep:"none" help:"Only these: *.safetensors by name, onnx/* by path, onnx for a folder. Repeatable."`
	Exclude []string `placeholder:"GLOB" sep:"none" help:"Leave these out. Repeatable."`

	remote `embed:""`
}

// Help is the long form of ballast resolve --help.
func (*resolveCmd) Help() string {
	return `Prints where the files of a version lie in the bucket, so that a program of your own fetches them. Objects are named by digest;
every format says under which name a file is to lie.

  json    version, store and files, with keys, s3:// addresses, sizes and SHA-256
  s3      lines of s3:// address, tab, path
  urls    signed URLs, which need no credentials and expire: ballast resolve REF --format urls | curl --config -
  s5cmd   commands for s5cmd: ballast resolve REF --format s5cmd >get && s5cmd --endpoint-url URL run get
  rclone  a shell script: ballast resolve REF --format rclone >get && sh get
  sha256  what to check the files with afterwards: ballast resolve REF --format sha256 | sha256sum --check

All but urls take credentials for the bucket, from the environment or AWS's files. None but pull checks what it fetched,
which is what sha256 is for. Nothing is printed unless everything was found.`
}

// Run implements the command.
func (r *resolveCmd) Run(ctx context.Context, a *app) error {
	ref, err := ballast.ParseRef(r.Ref)
	if err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	c, err := r.client(a)
	if err != nil {
		return err
	}
	found, err := c.Resolve(ctx, client.ResolveOptions{
		Ref: ref, Include: r.Include, Exclude: r.Exclude, URLs: r.Format == formatURLs || r.URLs,
	})
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if r.Format == formatJSON {
		err = (&app{stdout: &text}).json(found)
	} else {
		write(&text, r.Format, found, folder(cmp.Or(r.Dir, ref.Name.Base())))
	}
	switch {
	case err != nil:
	case r.Output != "":
		if err = atomicfile.Replace(r.Output, text.String()); err != nil {
			err = ballast.Errorf(ballast.CodeInvalid, "--output %s: %w; name another file", r.Output, err)
		}
	default:
		_, err = text.WriteTo(a.stdout)
	}
	return err
}

// check refuses flags that do not go together.
func (r *resolveCmd) check() error {
	remote := strings.HasPrefix(r.Dir, s3Scheme)
	switch {
	case r.JSON && r.Format != formatJSON:
		return ballast.Errorf(ballast.CodeInvalid, "--json is --format json: leave one of the two out")
	case r.URLs && r.Format != formatJSON:
		return ballast.Errorf(ballast.CodeInvalid, "--urls is for --format json; --format urls has them in any case")
	case r.Dir != "" && r.Format == formatJSON:
		return ballast.Errorf(ballast.CodeInvalid, "--dir: json has the paths in the version, whatever the folder; leave it out")
	case remote && r.Format != formatS5cmd && r.Format != formatRclone:
		return ballast.Errorf(ballast.CodeInvalid, "--dir %s: only s5cmd and rclone copy within the store; name a folder here", r.Dir)
	case remote && strings.Trim(r.Dir[len(s3Scheme):], "/") == "":
		return ballast.Errorf(ballast.CodeInvalid, "--dir %s: name a bucket and a folder, as in s3://serving/llama/tiny", r.Dir)
	case strings.ContainsFunc(r.Dir, isControl):
		return ballast.Errorf(ballast.CodeInvalid, "--dir %q: holds a control character; name another folder", r.Dir)
	}
	return nil
}
