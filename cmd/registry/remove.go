package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// retireCmd takes a version out of service.
type retireCmd struct {
	Ref      string `arg:"" help:"The version, as in llama/tiny:1.2.0; latest is not taken."`
	Revision int64  `placeholder:"N" help:"Retire it only from this revision, as show shows it."`

	remote `embed:""`
}

// retired is the document of retire --json.
type retired struct {
	ballast.VersionInfo
	Recorded bool `json:"recorded"` // in the bucket
}

// Run implements the command.
func (r *retireCmd) Run(ctx context.Context, a *app) error {
	ref, err := ballast.ParseRef(r.Ref)
	if err != nil {
		return err
	}
	if ref.IsLatest() {
		return ballast.Errorf(ballast.CodeInvalid, "%q: say which: ballast retire %s:VERSION; it is for good", r.Ref, ref.QualifiedName())
	}
	c, err := r.client(a)
	if err != nil {
		return err
	}
	v, recorded, err := c.Retire(ctx, ref, r.Revision)
	if err != nil {
		return err
	}
	a.notRecorded(recorded)
	if r.JSON {
		return a.json(retired{v, recorded})
	}
	fmt.Fprintf(a.stdout, "%s  retired\n", v.Key)
	if v.Stage == ballast.StageArchived {
		a.leftProduction(ctx, c, v)
	}
	a.refusedToo(ctx, c, v)
	return nil
}

// maxCounted bounds how many children are counted.
const maxCounted = 1000

// refusedToo says how many versions are refused since their base is. Retiring is done by then: that they cannot be
// listed is said and is no failure.
func (a *app) refusedToo(ctx context.Context, c *client.Client, v ballast.VersionInfo) {
	n, more := 0, ""
	for child, err := range c.Children(ctx, exactly(v)) {
		if err != nil {
			fmt.Fprintln(a.stderr, "what was made from it cannot be listed:", harmless(ballast.AsError(err).Detail))
			return
		}
		if child.Status == ballast.StatusReady {
			n++
		}
		if n == maxCounted {
			more = " or more"
			break
		}
	}
	switch {
	case n == 1:
		fmt.Fprintf(a.stdout, "1 version made from it is refused too: ballast children %s\n", exactly(v))
	case n > 1:
		fmt.Fprintf(a.stdout, "%d%s versions made from it are refused too: ballast children %s\n", n, more, exactly(v))
	}
}

func (a *app) notRecorded(recorded bool) {
	if !recorded {
		fmt.Fprintln(a.stderr, "it holds from now on, but the bucket does not say so yet; the registry writes it as soon as the store takes it")
	}
}

// rmCmd deletes a version.
type rmCmd struct {
	Ref      string `arg:"" help:"The version, as in llama/tiny:1.2.0. What moves, as latest or an alias, is not taken."`
	IfExists bool   `help:"Succeed when it is not there."`
	Revision int64  `placeholder:"N" help:"Delete it only at this revision, as show shows it."`

	remote `embed:""`
}

// Run implements the command.
func (r *rmCmd) Run(ctx context.Context, a *app) error {
	ref, err := ballast.ParseRef(r.Ref)
	if err != nil {
		return err
	}
	if ref.Version.IsZero() {
		return ballast.Errorf(ballast.CodeInvalid, "%q: say which version, as in %s:1.2.0; a deletion is for good", r.Ref, ballast.Ref{Name: ref.Name})
	}
	c, err := r.client(a)
	if err != nil {
		return err
	}
	recorded, err := c.Delete(ctx, ref, client.DeleteOptions{Revision: r.Revision})
	absent := r.IfExists && ballast.CodeOf(err) == ballast.CodeNotFound
	if absent { // unless the scope is what is not there
		recorded, err = c.Delete(ctx, ref, client.DeleteOptions{IfExists: true})
	}
	if err != nil {
		return referenceHint(err)
	}
	a.notRecorded(recorded)
	if r.JSON {
		return a.json(map[string]any{"deleted": ref.String(), "recorded": recorded})
	}
	if absent {
		fmt.Fprintf(a.stdout, "%s  not there\n", ref)
		return nil
	}
	fmt.Fprintf(a.stdout, "%s  deleted\n", ref)
	return nil
}

// referenceHint adds what points at a version, and how to let go of it.
func referenceHint(err error) error {
	e := ballast.AsError(err)
	if e.Code != ballast.CodeReferenced || len(e.References) == 0 {
		return err
	}
	more := *e
	var b strings.Builder
	for _, r := range e.References {
		switch r.Kind {
		case ballast.ReferenceProduction:
			b.WriteString("\n  it is in production: promote another, or archive it")
		case ballast.ReferenceAlias:
			fmt.Fprintf(&b, "\n  alias @%s", r.Name)
		default:
			fmt.Fprintf(&b, "\n  %s %s", r.Kind, r.Name)
		}
	}
	more.Detail += ":" + b.String()
	return &more
}
