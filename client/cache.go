package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/hash"
)

// cache is a folder of files by their digest, sha256/ab/<hex>, for any number of pulls at once. An entry is read-only, and
// whole once it has its name; but whoever owns it may still change it, disks rot, and where it is a hard link it is the file
// in somebody's folder. So nothing of it is believed: a pull hashes what it takes, as it does all else. Nothing is ever
// removed but what is found damaged; entries may be removed at any time by hand.
type cache struct{ root *os.Root }

func openCache(dir string) (*cache, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &cache{root}, nil
}

func (c *cache) Close() error { return c.root.Close() }

func (c *cache) sync() error { return syncFolder(c.root, nil) }

func cachePath(f ballast.File) string {
	hex := f.Digest.Encoded()
	return path.Join("sha256", hex[:2], hex)
}

// open opens an entry; nil when there is none that could be it.
func (c *cache) open(f ballast.File) *os.File {
	file, err := c.root.Open(cachePath(f))
	if err != nil {
		return nil
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != f.Size {
		_ = file.Close()
		return nil
	}
	return file
}

// keep makes an entry of a part that is proved. The file that the part becomes is read-only if it has to be the entry too.
func (c *cache) keep(ctx context.Context, p *part, f ballast.File) error {
	at := cachePath(f)
	if entry := c.open(f); entry != nil {
		return entry.Close()
	}
	if err := c.root.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // what is no entry is in the way
	}
	if err := c.root.MkdirAll(path.Dir(at), 0o777); err != nil {
		return err
	}
	c.sweep(path.Dir(at))
	copied, err := newPart(c.root, ballast.File{Path: at, Digest: f.Digest})
	if err != nil {
		return err
	}
	if cloneFile(copied.file, p.file) != nil {
		if c.link(p, at) == nil {
			copied.drop()
			return nil
		}
		if _, err := io.Copy(copied.file, &live{ctx, io.NewSectionReader(p.file, 0, f.Size)}); err != nil {
			copied.drop()
			return err
		}
	}
	if err := makeReadOnly(copied.file); err != nil {
		copied.drop()
		return err
	}
	return copied.become(at)
}

// link makes a part an entry as it is.
func (c *cache) link(p *part, at string) error {
	err := linkFile(p.file, c.root, at)
	if errors.Is(err, fs.ErrExist) {
		return nil // another pull was faster
	}
	if err != nil {
		return err
	}
	return makeReadOnly(p.file)
}

// makeReadOnly takes away the right to write, and opens the file to nobody to whom the umask closed it.
func makeReadOnly(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return file.Chmod(info.Mode().Perm() &^ 0o222)
}

// sweep removes parts that killed pulls left in a folder of the cache.
func (c *cache) sweep(folder string) {
	entries, _ := fs.ReadDir(c.root.FS(), folder)
	for _, e := range entries {
		if at := path.Join(folder, e.Name()); isPartial(at) {
			removeAbandoned(c.root, at)
		}
	}
}

// fromCache takes lacking files from the cache, and out of lacking.
func (p *pull) fromCache(ctx context.Context, lacking map[string]ballast.File) error {
	if p.cache == nil {
		return nil
	}
	held := make(map[string]ballast.File)
	for at, f := range lacking {
		if file := p.cache.open(f); file != nil {
			_ = file.Close()
			held[at] = f
		}
	}
	p.plan(PhaseVerify, held)
	return p.each(ctx, held, func(ctx context.Context, f ballast.File) error {
		taken, err := p.takeCached(ctx, f)
		if err != nil || !taken {
			return p.inTheWay(err)
		}
		p.cached.Add(1)
		p.arrived(f)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(lacking, f.Path)
		return nil
	})
}

// takeCached puts an entry in the place of a file, once it was hashed: a clone, else a link to it, else a copy.
func (p *pull) takeCached(ctx context.Context, f ballast.File) (taken bool, err error) {
	entry := p.cache.open(f)
	if entry == nil {
		return false, nil
	}
	defer entry.Close()
	part, err := p.newPart(f)
	if err != nil {
		return false, err
	}
	cloned := cloneFile(part.file, entry) == nil
	proof := part.file
	if !cloned {
		proof = entry
	}
	right, err := p.holds(ctx, io.NewSectionReader(proof, 0, f.Size), f)
	if err != nil || !right {
		part.drop()
		if err == nil {
			p.damagedEntry(f)
		}
		return false, err
	}
	p.o.Progress.tell(Event{Phase: PhaseVerify, Path: f.Path, Done: true})
	if cloned {
		return true, part.become(f.Path)
	}
	if p.linkCached(entry, f) == nil {
		part.drop()
		return true, nil
	}
	if _, err := io.Copy(part.file, hash.NewReader(&live{ctx, io.NewSectionReader(entry, 0, f.Size)}, f.Digest, f.Size)); err != nil {
		part.drop()
		return false, err
	}
	return true, part.become(f.Path)
}

// linkCached links an entry beside its place and moves the link there: a link alone would not replace.
func (p *pull) linkCached(entry *os.File, f ballast.File) error {
	name := partialName(f)
	if err := linkFile(entry, p.root, name); err != nil {
		return err
	}
	defer func() { _ = p.root.Remove(name) }() // it is left when it could not be moved, or is the file that lay there
	return p.root.Rename(name, f.Path)
}

// damagedEntry removes an entry that is not what its name says.
func (p *pull) damagedEntry(f ballast.File) {
	text := fmt.Sprintf("the cache's copy of %q is damaged; it is removed and the file fetched", f.Path)
	if err := p.cache.root.Remove(cachePath(f)); err != nil {
		text = fmt.Sprintf("the cache's copy of %q is damaged and cannot be removed: %v", f.Path, err)
	}
	p.note(text)
}
