package main

import (
	"context"
	"fmt"

	"github.com/ballast-registry/ballast"
)

// uploadsCmd looks after uploads: of a push, a copy or an import.
type uploadsCmd struct {
	Show uploadsShowCmd `cmd:"" help:"Show how far an upload is, or what became of it."`
}

type uploadsShowCmd struct {
	ID string `arg:"" help:"The upload's id, as push and refusals name it."`

	remote `embed:""`
}

// Run implements the command.
func (s *uploadsShowCmd) Run(ctx context.Context, a *app) error {
	c, err := s.client(a)
	if err != nil {
		return err
	}
	u, err := c.Upload(ctx, s.ID, 0)
	if err != nil {
		return err
	}
	if s.JSON {
		return a.json(u)
	}
	target, lease, why := u.Key, "", ""
	if target == "" {
		target = ballast.Ref{Scope: u.Scope, Name: u.Name}.String()
	}
	if !u.ExpiresAt.IsZero() {
		lease = "until " + when(u.ExpiresAt)
	}
	if u.Error != nil {
		why = u.Error.Detail
	}
	return a.pairs("upload", u.ID, "status", string(u.Status), "target", target, "progress", verifiedText(u.Progress), "lease", lease, "why", why,
		"created", when(u.CreatedAt)+" by "+u.CreatedBy)
}

// verifiedText is how far a verifying upload is, in one phrase.
func verifiedText(p *ballast.Progress) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("verified %s of %s; %d of %s", size(p.BytesVerified), size(p.Bytes), p.BlobsVerified, count(p.Blobs, "file"))
}
