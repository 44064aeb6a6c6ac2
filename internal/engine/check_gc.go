package engine

import (
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// manifests are the blobs that versions have as their manifest, by what finds them.
func (c *checker) manifests() map[index.BlobID]bool {
	all := map[index.BlobID]bool{}
	for id, v := range c.Versions {
		if v.Digest != "" && c.ByManifest[id+" "+v.Digest.Encoded()] {
			all[index.BlobID{Scope: v.Scope, Digest: v.Digest}] = true
		}
	}
	return all
}

// refuses are the scopes with a version of which a rebuild believes nothing. What it had stays for good and unmarked, whatever it
// was: gc removes no bytes because somebody removed a record.
func (c *checker) refuses() map[ballast.Scope]bool {
	all := map[ballast.Scope]bool{}
	for _, v := range c.Versions {
		if v.Refused != "" {
			all[v.Scope] = true
		}
	}
	return all
}

// elsewhere reports whether another scope has a blob that this one does not. A manifest that nobody has any more was
// removed, and what it said of its files is dropped by gc.
func (c *checker) elsewhere(scope ballast.Scope, d digest.Digest) bool {
	for id := range c.Blobs {
		if id.Digest == d && id.Scope != scope {
			return true
		}
	}
	return false
}
