package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"github.com/ballast-registry/ballast"
)

// moves reports whether a reference may mean another version after a change of the one it means now: latest does once
// that is retired. A call about such a reference must not be repeated in the dark.
func moves(ref ballast.Ref) bool { return ref.Version.IsZero() }

// Provenance is Version that also returns what is retired, or whose base is. Its files are not served.
func (c *Client) Provenance(ctx context.Context, ref ballast.Ref) (ballast.VersionInfo, error) {
	return fetch[ballast.VersionInfo](ctx, c, call{method: http.MethodGet, path: versionPath(ref), query: url.Values{"include": {"retired"}}})
}

// Patch changes what is said of a version, or its stage. With revision > 0 only from that revision.
// Errors: precondition for another revision, or a move of the stage that is not allowed; the detail names those that are.
func (c *Client) Patch(ctx context.Context, ref ballast.Ref, in ballast.PatchVersion, revision int64) (ballast.VersionInfo, error) {
	return fetch[ballast.VersionInfo](ctx, c, call{
		method: http.MethodPatch, path: versionPath(ref), header: ifMatch(revision), in: in, once: revision > 0 || moves(ref),
	})
}

// Promote puts a version into production; what was there goes back to staged. reason may be empty. With revision > 0
// only from that revision. Errors: retired; precondition for another revision, or an archived or deprecated version.
func (c *Client) Promote(ctx context.Context, ref ballast.Ref, reason string, revision int64) (ballast.VersionInfo, error) {
	return fetch[ballast.VersionInfo](ctx, c, call{
		method: http.MethodPost, path: versionPath(ref) + "/promote", header: ifMatch(revision),
		in: ballast.Promote{Reason: reason}, once: revision > 0 || moves(ref),
	})
}

// Rollback puts the version that was in production before back, for a reason; of ref only the scope and the name count.
// It is sent once, since a second rollback undoes the first: after unavailable look at Production.
// Errors: precondition when no earlier version is still served.
func (c *Client) Rollback(ctx context.Context, ref ballast.Ref, reason string) (ballast.VersionInfo, error) {
	return fetch[ballast.VersionInfo](ctx, c, call{method: http.MethodPost, path: modelPath(ref) + "/rollback", in: ballast.Rollback{Reason: reason}, once: true})
}

// Production returns what is in production under a name and the newest promotions, without which there is only the name;
// of ref only the scope and the name count.
func (c *Client) Production(ctx context.Context, ref ballast.Ref) (ballast.ProductionPage, error) {
	return fetch[ballast.ProductionPage](ctx, c, call{method: http.MethodGet, path: modelPath(ref) + "/production"})
}

// Promotions yields every change of what was in production under a name, the newest first; of ref only the scope and the
// name count.
func (c *Client) Promotions(ctx context.Context, ref ballast.Ref) iter.Seq2[ballast.Promotion, error] {
	return list(ctx, c, modelPath(ref)+"/production", nil, func(p ballast.ProductionPage) ([]ballast.Promotion, string) { return p.Promotions, p.Cursor })
}

// Retire takes a version out of service for good. recorded is false while the bucket does not say so yet; the registry
// goes on by itself. With revision > 0 only from that revision: precondition otherwise.
func (c *Client) Retire(ctx context.Context, ref ballast.Ref, revision int64) (v ballast.VersionInfo, recorded bool, err error) {
	a, err := c.do(ctx, call{method: http.MethodPost, path: versionPath(ref) + "/retire", header: ifMatch(revision), once: revision > 0 || moves(ref)})
	if err != nil {
		return v, false, err
	}
	v, err = decode[ballast.VersionInfo](c, a)
	return v, a.status == http.StatusOK, err
}

// Restore takes the deletion of a version back. recorded is false while the bucket does not say so yet; until then the version
// is not found. Errors: gone once bytes of it are being removed; precondition for what was never deleted, or whose base
// was deleted since.
func (c *Client) Restore(ctx context.Context, ref ballast.Ref, revision int64) (v ballast.VersionInfo, recorded bool, err error) {
	a, err := c.do(ctx, call{method: http.MethodPost, path: versionPath(ref) + "/restore", header: ifMatch(revision), once: revision > 0 || moves(ref)})
	if err != nil {
		return v, false, err
	}
	v, err = decode[ballast.VersionInfo](c, a)
	return v, a.status == http.StatusOK, err
}

// DeleteOptions say when Delete deletes.
type DeleteOptions struct {
	Revision int64 // > 0: only from that revision
	IfExists bool  // a version that is not there is a success
}

// Delete removes a version for good. recorded is as for Retire. Errors: referenced with Error.References, what points at
// the version; precondition for another revision.
func (c *Client) Delete(ctx context.Context, ref ballast.Ref, o DeleteOptions) (recorded bool, err error) {
	q := url.Values{}
	if o.IfExists {
		q.Set("if_exists", "true")
	}
	a, err := c.do(ctx, call{method: http.MethodDelete, path: versionPath(ref), query: q, header: ifMatch(o.Revision), once: moves(ref)})
	return err == nil && a.status == http.StatusNoContent, err
}

// Children yields the versions that have a version as their base, of those that the principal may read, in the order of
// scope, name and version.
func (c *Client) Children(ctx context.Context, ref ballast.Ref) iter.Seq2[ballast.Child, error] {
	return list(ctx, c, versionPath(ref)+"/children", nil, func(p ballast.ChildrenPage) ([]ballast.Child, string) { return p.Children, p.Cursor })
}
