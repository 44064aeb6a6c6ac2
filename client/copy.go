package client

import (
	"context"

	"github.com/ballast-registry/ballast"
)

// CopyOptions say what Copy publishes where.
type CopyOptions struct {
	From     ballast.Ref
	To       ballast.Ref // scope, name and version; without a scope the principal's own, without a version the next one
	Progress Progress    // of PhaseVerify: blobs that are at the target, and verified there
}

// Copy publishes the files of a version, and what is said of it, under another name or in another scope, and waits until
// that version is ready. The store moves the bytes; the registry goes on when the caller is gone, and the same Copy again
// joins it. Errors: those of CopyVersion; integrity when the copy is not what it was copied from.
func (c *Client) Copy(ctx context.Context, o CopyOptions) (ballast.VersionInfo, error) {
	for range maxReopens {
		u, err := c.CopyVersion(ctx, o.From, ballast.CopyVersion{Scope: o.To.Scope, Name: o.To.Name, Version: o.To.Version})
		if err == nil {
			u, err = c.follow(ctx, u, o.Progress)
		}
		if err != nil {
			return ballast.VersionInfo{}, err
		}
		if u.Result != nil {
			return *u.Result, nil
		}
	}
	return ballast.VersionInfo{}, ballast.Errorf(ballast.CodeUnavailable, "the registry keeps losing what is copied to %s; tell its operator", o.To)
}
