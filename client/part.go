package client

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
)

// part is the unfinished file of one that is being fetched. It lies beside its place under a name of its own, so that two
// pulls into one folder do not meet. Its lock, which ends with the process however that ends, says that its pull lives.
type part struct {
	root *os.Root
	name string
	file *os.File
	lock *os.File // another handle than file, held longer; nil where there are no locks
	journal
}

// partTries is how often newPart begins anew when another pull took its file for an abandoned one.
const partTries = 5

// newPart makes the part of f.
func newPart(root *os.Root, f ballast.File) (*part, error) {
	for range partTries {
		p := &part{root: root, name: partialName(f)}
		var err error
		if p.file, err = root.OpenFile(p.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666); err != nil {
			return nil, err
		}
		held, err := p.hold()
		if held {
			return p, nil
		}
		if p.drop(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%q: another program removes it over and over", partialName(f))
}

// hold takes the lock. It reports false when a sweep came between the making of the file and its lock.
func (p *part) hold() (held bool, err error) {
	lock, err := p.root.OpenFile(p.name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	locked, err := tryLock(lock)
	if err == nil && locked && p.isNamed() {
		p.lock = lock
		return true, nil
	}
	_ = lock.Close() // nothing was written to it
	return err != nil, nil
}

// isNamed reports whether the file still has its name.
func (p *part) isNamed() bool {
	mine, err := p.file.Stat()
	if err != nil {
		return false
	}
	named, err := p.root.Lstat(p.name)
	return err == nil && os.SameFile(mine, named)
}

// adoptPart takes over the part at name, which a pull that ended left, with the pieces that had landed. It reports false
// when that pull lives, and when what it left cannot be gone on with: then it is removed, since what is fetched in its place
// may need its room.
func adoptPart(root *os.Root, name string, id partID) (p *part, landed []int, ok bool) {
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil, false
	}
	p = &part{root: root, name: name}
	if p.file, err = root.OpenFile(name, os.O_RDWR, 0); err != nil {
		return nil, nil, false
	}
	held, err := p.hold()
	if !held || err != nil || p.lock == nil && time.Since(info.ModTime()) <= staleAfter {
		p.close() // it is another's
		return nil, nil, false
	}
	switch landed, ok, err = p.resume(p.file, id); {
	case err != nil:
		p.close() // it is swept later
		return nil, nil, false
	case !ok:
		p.drop()
		return nil, nil, false
	}
	return p, landed, true
}

// become moves a whole file to its place. Closing comes first, since it may tell of bytes that could not be written;
// the lock goes last, since a part without one is anybody's to remove.
func (p *part) become(path string) error {
	defer p.unlock()
	if err := p.file.Close(); err != nil {
		_ = p.root.Remove(p.name)
		return err
	}
	err := p.root.Rename(p.name, path)
	if err != nil {
		_ = p.root.Remove(p.name)
	}
	return err
}

// drop removes the part.
func (p *part) drop() {
	defer p.unlock()
	_ = p.file.Close()
	_ = p.root.Remove(p.name)
}

// leave ends the work on a part and lets it lie for another pull, if one can go on with it.
func (p *part) leave() {
	if p.head == 0 {
		p.drop()
		return
	}
	p.close() // what could not be written is found out by who goes on
}

func (p *part) close() {
	_ = p.file.Close()
	p.unlock()
}

func (p *part) unlock() {
	if p.lock != nil {
		_ = p.lock.Close() // nothing was written to it
	}
}

func isPartial(p string) bool {
	ok, _ := path.Match(ballast.PartialPattern, path.Base(p))
	return ok
}

// partialName is a new name for the part of f: it begins with the digest, by which a later pull finds it.
func partialName(f ballast.File) string {
	return path.Join(path.Dir(f.Path), strings.Replace(ballast.PartialPattern, "*", f.Digest.Encoded()+"-"+rand.Text(), 1))
}

// partialDigest is the digest in the name of a part, in hex.
func partialDigest(name string) string {
	hex, _, _ := strings.Cut(strings.TrimPrefix(path.Base(name), ballast.PartialPattern[:strings.IndexByte(ballast.PartialPattern, '*')]), "-")
	return hex
}

// staleAfter is the age at which a part without a lock can belong to no running pull: those write all the time.
const staleAfter = time.Hour

// removeAbandoned removes the part at name, a regular file, unless its pull may live: it does while the lock is held,
// and where there are no locks while the file is young. The lock is held over the removal, so that a pull that has just
// made the file sees either the lock or that its file is gone.
func removeAbandoned(root *os.Root, name string) {
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	file, err := root.OpenFile(name, os.O_RDWR, 0)
	free := false
	if err == nil {
		defer file.Close()
		free, err = tryLock(file)
	}
	if err != nil {
		free = time.Since(info.ModTime()) > staleAfter
	}
	if free {
		_ = root.Remove(name) // it may be somebody else's, and is in nobody's way
	}
}
