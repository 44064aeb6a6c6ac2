package engine

import (
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// imports checks that what is known of an import adds up: that it publishes the files it hashed and no others, and that its
// list is there for as long as something is to be done with it, and no longer.
func (c *checker) imports() {
	for id, u := range c.Uploads {
		if u.Import == nil {
			if u.Status == ballast.UploadImporting {
				c.report(InvariantOrder, "upload %s is importing and no import", id)
			}
			continue
		}
		where := u.Scope.String() + " " + id
		if !c.Imports[where] || c.Importing[where] == u.Status.Settled() {
			c.report(InvariantKept, "import %s is %s and found as an import %t, as an open one %t", id, u.Status, c.Imports[where], c.Importing[where])
		}
		if u.Import.Files > ballast.MaxFiles || len(u.Import.Skipped) > ballast.MaxSkipped || len(u.Import.Kept) > ballast.MaxKept {
			c.report(InvariantBounded, "import %s has %d files, tells of %d that it skipped and %d that it kept", id, u.Import.Files, len(u.Import.Skipped), len(u.Import.Kept))
		}
		if u.Status.Settled() {
			c.importOver(u)
		} else {
			c.importOpen(u)
		}
	}
	for where := range c.Imports {
		if _, id, _ := strings.Cut(where, " "); c.Uploads[id].Import == nil {
			c.report(InvariantKept, "%s is found as an import and is none", where)
		}
	}
	for id := range c.Sources {
		if c.Uploads[id].Import == nil {
			c.report(InvariantKept, "%d files are listed for %s, which is no import", len(c.Sources[id]), id)
		}
	}
}

// importOpen checks the list of an import that is under way, against what it counts and what it is to publish.
func (c *checker) importOpen(u index.Upload) {
	m := u.Import
	if !m.Listed {
		if u.Accepted != nil || m.Files+m.Hashed > 0 {
			c.report(InvariantOrder, "import %s is %s before its files were listed", u.ID, u.Status)
		}
		return
	}
	var files []ballast.File
	var bytes, hashed int64
	for n, f := range c.Sources[u.ID] {
		if n < 0 || n >= m.Files {
			c.report(InvariantOneContent, "import %s has %d files and one with the number %d", u.ID, m.Files, n)
		}
		bytes += f.Size
		if f.Digest != "" {
			hashed += f.Size
			files = append(files, ballast.File{Path: f.Path, Size: f.Size, Digest: f.Digest})
		}
	}
	if len(c.Sources[u.ID]) != m.Files || bytes != m.Bytes || len(files) != m.Hashed || hashed != m.HashedBytes {
		c.report(InvariantOneContent, "import %s counts %d files of %d bytes, %d of them with %d bytes hashed; its list has %d of %d, %d with %d",
			u.ID, m.Files, m.Bytes, m.Hashed, m.HashedBytes, len(c.Sources[u.ID]), bytes, len(files), hashed)
	}
	if u.Accepted == nil {
		return
	}
	_, manifest, err := ballast.BuildManifest(files)
	if err != nil || ballast.DigestOf(manifest) != u.Accepted.Manifest {
		c.report(InvariantOneContent, "import %s is to publish %s, which is not what it hashed: %v", u.ID, u.Accepted.Manifest, err)
	}
}

// importOver checks what is left of an import that has ended.
func (c *checker) importOver(u index.Upload) {
	m, left := u.Import, len(c.Sources[u.ID])
	moves := m.Move && u.Status == ballast.UploadDone
	switch {
	case m.Moving && !moves:
		c.report(InvariantKept, "import %s is %s and removes its sources", u.ID, u.Status)
	case moves && m.Moved+m.Left+left != m.Files:
		c.report(InvariantKept, "import %s was to remove %d sources: %d are gone, %d stay, %d are listed", u.ID, m.Files, m.Moved, m.Left, left)
	case left > 0 && !m.Moving && !c.Releasing[u.ID]:
		c.report(InvariantKept, "import %s is over and lists %d files", u.ID, left)
	case left == 0 && m.Moving:
		c.report(InvariantKept, "import %s removes sources of which none is left", u.ID)
	}
}
