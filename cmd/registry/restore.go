package main

import (
	"context"
	"fmt"

	"github.com/ballast-registry/ballast"
)

// restoreCmd takes a deletion back.
type restoreCmd struct {
	Ref      string `arg:"" help:"The version, as in llama/tiny:1.2.0."`
	Revision int64  `placeholder:"N" help:"Restore it only at this revision."`

	remote `embed:""`
}

// Help is the long form of ballast restore --help.
func (*restoreCmd) Help() string {
	return `Takes back what ballast rm did: the version is what it was, ready or retired, under the same label and with the same
files. It takes the role maintainer. Aliases that pointed at it are not set again.

It works for 24 hours at least (ballast serve --gc-grace), and for as long as none of its bytes is being removed. After
that push the files again under another version; a label is never used for other files.`
}

// Run implements the command.
func (r *restoreCmd) Run(ctx context.Context, a *app) error {
	ref, err := ballast.ParseRef(r.Ref)
	if err != nil {
		return err
	}
	if ref.Version.IsZero() {
		return ballast.Errorf(ballast.CodeInvalid, "%q: say which version, as in %s:1.2.0; what is deleted is found by its version alone", r.Ref, ref.QualifiedName())
	}
	c, err := r.client(a)
	if err != nil {
		return err
	}
	v, recorded, err := c.Restore(ctx, ref, r.Revision)
	if err != nil {
		return err
	}
	if r.JSON {
		return a.json(retired{v, recorded})
	}
	if !recorded {
		fmt.Fprintln(a.stderr, "the bucket does not say so yet; the registry writes it as soon as the store takes it, and then the version is there")
		fmt.Fprintf(a.stdout, "%s  being restored\n", v.Key)
		return nil
	}
	fmt.Fprintf(a.stdout, "%s  restored, %s\n", v.Key, v.Status)
	fmt.Fprintf(a.stdout, "digest  %s\n", v.Digest)
	return nil
}
