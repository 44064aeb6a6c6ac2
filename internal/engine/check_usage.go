package engine

import (
	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// quotas counts anew what each scope uses of its quota, and compares.
func (c *checker) quotas() {
	counted := map[ballast.Scope]ballast.Usage{}
	count := func(scope ballast.Scope, more func(*ballast.Usage)) {
		u := counted[scope]
		more(&u)
		counted[scope] = u
	}
	for _, v := range c.Versions {
		if v.Status != ballast.StatusDeleted && v.Refused == "" {
			count(v.Scope, func(u *ballast.Usage) { u.Versions++ })
		}
	}
	for _, open := range c.Uploads {
		if open.Settled() {
			continue
		}
		count(open.Scope, func(u *ballast.Usage) {
			u.Uploads++
			u.ReservedBytes += open.Held.Bytes
			if open.Held.Version {
				u.ReservedVersions++
			}
		})
	}
	for id, b := range c.Blobs {
		bytes, open := c.weight(id, b)
		count(id.Scope, func(u *ballast.Usage) { u.Bytes, u.UploadBytes = u.Bytes+bytes, u.UploadBytes+open })
	}
	for scope := range c.Usage {
		count(scope, func(*ballast.Usage) {})
	}
	for scope, u := range counted {
		if kept := c.Usage[scope]; kept != u {
			c.report(InvariantBounded, "scope %s uses %+v of its quota, and what is counted says %+v", scope, u, kept)
		}
	}
}

// weight is what a blob counts for, and how much of that is not there yet.
func (c *checker) weight(id index.BlobID, b index.Blob) (bytes, open int64) {
	pinned, most := false, int64(0)
	for upload, size := range c.Pins[id] {
		if !c.OwnPins[id][upload] {
			pinned, most = true, max(most, size)
		}
	}
	switch {
	case b.State == index.BlobVerified && (pinned || len(c.References[id]) > 0):
		return b.Size, 0
	case b.State == index.BlobVerified:
		return 0, 0
	case b.State == index.BlobStored:
		return most, 0
	}
	return most, most
}
