package client

import (
	"context"
	"net/url"
	"strings"
	"unicode"

	"github.com/ballast-registry/ballast"
)

// ResolveOptions say which files to find. Ref is required.
type ResolveOptions struct {
	Ref ballast.Ref
	// Include and Exclude select files as in PushOptions.
	Include, Exclude []string
	URLs             bool // a signed request for each file's bytes; empty files have none
}

// Resolved says where the bytes of a version lie.
type Resolved struct {
	Version ballast.VersionInfo `json:"version"`
	Store   ballast.StoreInfo   `json:"store"`
	Files   []ResolvedFile      `json:"files"` // by path, as far as they were selected
}

// ResolvedFile is a file and where its bytes lie. Its name in the bucket is its digest, never its path.
type ResolvedFile struct {
	ballast.FileInfo
	Key string `json:"key"` // whole, in the bucket
	URI string `json:"uri"` // s3://bucket/key
}

// Resolve finds the files of a version in the object store, for programs that read it without the registry. It passes
// the same gate as Pull, and holds the list of files to the version's digest; the bytes are for the reader to check.
// All files are held in memory: at most ballast.MaxFiles, some 20 MB with URLs.
//
// Errors: those of Pull. unavailable when the registry describes a store, or signs URLs, that no program could use.
func (c *Client) Resolve(ctx context.Context, o ResolveOptions) (Resolved, error) {
	match, err := newFilter(o.Include, o.Exclude)
	if err != nil {
		return Resolved{}, err
	}
	v, err := c.Version(ctx, o.Ref)
	if err != nil {
		return Resolved{}, err
	}
	store, err := c.Store(ctx)
	if err != nil {
		return Resolved{}, err
	}
	files, infos, err := c.checkedFiles(ctx, v, o.URLs)
	if err != nil {
		return Resolved{}, err
	}
	r := Resolved{Version: v, Store: store}
	for i, f := range files {
		if !match.includes(f.Path) || match.excludes(f.Path) {
			continue
		}
		if o.URLs && f.Size > 0 {
			if err := c.checkRequest(f, infos[i].Request); err != nil {
				return Resolved{}, err
			}
		}
		key := ballast.BlobKey(v.Scope, f.Digest)
		r.Files = append(r.Files, ResolvedFile{infos[i], store.Key(key), store.URI(key)})
	}
	if len(r.Files) == 0 {
		return Resolved{}, nothingLeft(v, len(files))
	}
	return r, nil
}

// checkRequest refuses what a program that is handed only a URL would not fetch from a store, but for instance from the
// disk of who runs it.
func (c *Client) checkRequest(f ballast.File, r *ballast.SignedRequest) error {
	if r != nil && len(r.Headers) == 0 {
		if u, err := url.Parse(r.URL); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
			return nil
		}
	}
	return ballast.Errorf(ballast.CodeUnavailable, "%s gave no URL for %q that a download could use: check the registry's URL and version", c.base, f.Path)
}

// checkStore refuses a store that could not be written as an address or on a line.
func (c *Client) checkStore(s ballast.StoreInfo) error {
	for _, text := range []string{s.Endpoint, s.Region, s.Bucket, s.Prefix} {
		if strings.ContainsFunc(text, unicode.IsControl) || s.Bucket == "" || strings.Contains(s.Bucket, "/") {
			return ballast.Errorf(ballast.CodeUnavailable, "%s does not say in which bucket its files are: check the registry's URL and version", c.base)
		}
	}
	return nil
}
